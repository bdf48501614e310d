// The sums of a dynamic filtering over runs of positions, as in ddf_core.h with the channels first, but with a mask:
// what a tap finds outside the image is a zero. The last vector of a run covers the end of the one before it once
// more.
#pragma once

#include "ddf_places.h"

namespace {

template <typename A>
struct MaskOf;
template <>
struct MaskOf<float> {
  using type = int32_t;
};
template <>
struct MaskOf<double> {
  using type = int64_t;
};
template <typename A>
using Mask = typename MaskOf<A>::type;  // all bits are alike

// `value` where the mask is set, and zero elsewhere, whatever `value` is.
template <typename V, typename A>
inline __attribute__((always_inline)) V kept(V value, const Mask<A>* mask) {
  if constexpr (sizeof(V) == sizeof(A)) {
    return *mask ? value : V{};
  } else {
    typedef Mask<A> bits __attribute__((vector_size(sizeof(V))));
    bits own;
    memcpy(&own, mask, sizeof own);
    return reinterpret_cast<V>(reinterpret_cast<bits>(value) & own);
  }
}

// Where a tap finds its factors and its mask, relative to the first row and lane.
struct MaskedTap {
  int64_t at;      // in the shifted operand
  int64_t vector;  // in the spatial filter
  int64_t mask;
  int64_t number;  // in the channel filter
};

// What all sums of a band have in common: its taps, and how many lanes it has.
template <typename A>
struct Stretch {
  const MaskedTap* taps;
  int64_t count, length;
  const A* vector;
  const Mask<A>* mask;
  const MaskedTap* begin() const { return taps; }
  const MaskedTap* end() const { return taps + count; }
};

// rows × width vectors of outputs, from lane v on; what would lie behind the last lane ends with it.
template <typename V, bool add, int rows, int width, typename A, typename N, typename O>
inline __attribute__((always_inline)) void masked_tile(const Stretch<A>& run, Rows<const A> x, Rows<const N> number,
                                                       Rows<O> out, int64_t v) {
  constexpr int64_t step = lanes<A, V>;
  int64_t at[width];
  V total[rows][width];
  for (int w = 0; w < width; ++w) at[w] = least(v + w * step, run.length - step);
  for (int r = 0; r < rows; ++r)
    for (int w = 0; w < width; ++w) total[r][w] = V{};
  for (const MaskedTap& tap : run) {
    V along[width];
    for (int w = 0; w < width; ++w) along[w] = read<V>(run.vector + tap.vector + at[w]);
    for (int r = 0; r < rows; ++r) {
      const A own = load(number[r] + tap.number);
      for (int w = 0; w < width; ++w) {
        const V value = kept<V, A>(read<V>(x[r] + tap.at + at[w]), run.mask + tap.mask + at[w]);
        total[r][w] += add ? (along[w] + own) * value : value * own * along[w];
      }
    }
  }
  for (int r = 0; r < rows; ++r)
    for (int w = 0; w < width; ++w) write(out[r] + at[w], total[r][w]);
}

template <bool add, int rows, typename A, typename N, typename O>
inline void masked_rows(const Stretch<A>& run, Rows<const A> x, Rows<const N> number, Rows<O> out) {
  using V = Vector<A>;
  constexpr int64_t step = lanes<A, V>;
  constexpr int width = kVectorBytes == 64 ? 4 : 2;  // AVX-512 has twice the registers
  if (run.length < step) {
    for (int64_t v = 0; v < run.length; ++v) masked_tile<A, add, rows, 1>(run, x, number, out, v);
    return;
  }
  int64_t v = 0;
  for (; v + (width - 1) * step < run.length; v += width * step)
    masked_tile<V, add, rows, width>(run, x, number, out, v);
  if (v + step < run.length) {
    masked_tile<V, add, rows, 2>(run, x, number, out, v);
    v += 2 * step;
  }
  if (v < run.length) masked_tile<V, add, rows, 1>(run, x, number, out, v);
}

// One vector's part of a tap's gradients. Lanes that `tail` leaves out have been counted before.
template <typename V, bool add, bool partial, int rows, typename A>
inline __attribute__((always_inline)) void correlate_lanes(const Stretch<A>& run, const MaskedTap& tap,
                                                           Rows<const A> x, Rows<const A> grad, const A (&own)[rows],
                                                           A* by_vector, V (&total)[rows], const Mask<A>* tail,
                                                           int64_t v) {
  const V along = read<V>(run.vector + tap.vector + v);
  V sum = read<V>(by_vector + tap.vector + v);
  for (int r = 0; r < rows; ++r) {
    const V both = read<V>(x[r] + tap.at + v) * read<V>(grad[r] + v);
    const V product = kept<V, A>(both, run.mask + tap.mask + v);
    V to_number = add ? product : product * along, to_vector = add ? product : product * own[r];
    if (partial) {
      to_number = kept<V, A>(to_number, tail);
      to_vector = kept<V, A>(to_vector, tail);
    }
    total[r] += to_number;
    sum += to_vector;
  }
  write(by_vector + tap.vector + v, sum);
}

// Adds to the gradients of both filters: Σ over lanes of x · grad (· vector), Σ over rows of x · grad (· number).
// A function of its own, with copies of run and taps: as a part of a whole pass, its inner loop would read them from
// memory again after every write, which costs a few per cent of the pass.
template <bool add, int rows, typename A, typename N>
__attribute__((noinline)) void correlate_rows_masked(Stretch<A> run, Rows<const A> x, Rows<const A> grad,
                                                     Rows<const N> number, A* by_vector, Rows<A> by_number) {
  using V = Vector<A>;
  constexpr int64_t step = lanes<A, V>;
  Mask<A> tails[2 * step];
  for (int64_t l = 0; l < 2 * step; ++l) tails[l] = l < step ? 0 : -1;
  for (const MaskedTap tap : run) {
    A own[rows], by_own[rows] = {};
    for (int r = 0; r < rows; ++r) own[r] = load(number[r] + tap.number);
    V total[rows];
    for (int r = 0; r < rows; ++r) total[r] = V{};
    int64_t v = 0;
    for (; v + step <= run.length; v += step)
      correlate_lanes<V, add, false, rows>(run, tap, x, grad, own, by_vector, total, nullptr, v);
    if (run.length < step) {
      for (; v < run.length; ++v)
        correlate_lanes<A, add, false, rows>(run, tap, x, grad, own, by_vector, by_own, nullptr, v);
    } else if (v < run.length) {
      const int64_t last = run.length - step;
      correlate_lanes<V, add, true, rows>(run, tap, x, grad, own, by_vector, total, tails + step - (v - last), last);
    }
    for (int r = 0; r < rows; ++r) by_number[r][tap.number] += by_own[r] + sum_of<A>(total[r]);
  }
}

// out[p] = Σ of taps of x at p + at · (vector ∘ number), for `count` rows, at most kChannels.
template <bool add, int rows = kChannels, typename A, typename N, typename O>
void filter_masked(const Stretch<A>& run, int64_t count, Rows<const A> x, Rows<const N> number, Rows<O> out) {
  if (count == rows) return masked_rows<add, rows>(run, x, number, out);
  if constexpr (rows > 1) filter_masked<add, rows - 1>(run, count, x, number, out);
}

// Adds to the gradients of both filters, for `count` rows, at most kChannels.
template <bool add, int rows = kChannels, typename A, typename N>
void correlate_masked(const Stretch<A>& run, int64_t count, Rows<const A> x, Rows<const A> grad, Rows<const N> number,
                      A* by_vector, Rows<A> by_number) {
  if (count == rows) return correlate_rows_masked<add, rows>(run, x, grad, number, by_vector, by_number);
  if constexpr (rows > 1) correlate_masked<add, rows - 1>(run, count, x, grad, number, by_vector, by_number);
}

}  // namespace
