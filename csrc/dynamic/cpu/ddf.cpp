// Decoupled dynamic filters and their gradients, compiled once for each instruction set.
#include "cpu/capability.h"

#include "ddf_last.h"
#include "ddf_plane.h"

namespace {

using decoupled::Layout;
using decoupled::Scalar;
using decoupled::ShareArgs;

template <typename Filtering>
void run(const DdfArgs& a, int64_t begin, int64_t end) {
  Filtering filtering(a);
  for (int64_t task = begin; task < end; ++task)
    a.grad ? filtering.backward(Part(a, task)) : filtering.forward(Part(a, task));
}

template <typename T, bool add>
void ddf_of(const DdfArgs& a, int64_t begin, int64_t end) {
  using A = typename Accumulate<T>::type;
  if (a.layout == Layout::ChannelsLast) return run<ChannelsLast<T, A, add>>(a, begin, end);
  run<Planes<T, A, add>>(a, begin, end);
}

template <typename T>
void ddf_of(const DdfArgs& a, int64_t begin, int64_t end) {
  a.add ? ddf_of<T, true>(a, begin, end) : ddf_of<T, false>(a, begin, end);
}

template <typename T>
void sum_of_shares(const ShareArgs& a, int64_t begin, int64_t end) {
  using A = typename Accumulate<T>::type;
  const A* shares = static_cast<const A*>(a.shares);
  for (int64_t i = begin; i < end; ++i) {
    A sum = shares[i];
    for (int64_t k = 1; k < a.count; ++k) sum += shares[k * a.size + i];
    store(static_cast<T*>(a.out) + i, sum);
  }
}

}  // namespace

namespace decoupled::CAPABILITY {

void ddf(const DdfArgs& a, int64_t begin, int64_t end) {
  if (a.scalar == Scalar::Float) return ddf_of<float>(a, begin, end);
  if (a.scalar == Scalar::Double) return ddf_of<double>(a, begin, end);
  ddf_of<bfloat16>(a, begin, end);
}

void add_shares(const ShareArgs& a, int64_t begin, int64_t end) {
  if (a.scalar == Scalar::Float) return sum_of_shares<float>(a, begin, end);
  if (a.scalar == Scalar::Double) return sum_of_shares<double>(a, begin, end);
  sum_of_shares<bfloat16>(a, begin, end);
}

}  // namespace decoupled::CAPABILITY
