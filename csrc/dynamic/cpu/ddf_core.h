// The sums of a dynamic filtering, without masks: with the channels last. ddf_masked.h has those with a mask.
//
// Every product has three factors: an element of the shifted operand, and an element of each filter. Along the
// vectors one of the filters varies and the other is a number; from row to row it is the other way round. With the
// channels first, vectors lie along positions and rows are channels: the spatial filter is the vector, the channel
// filter the number. With the channels last the roles are exchanged, as here. The combined filter is never written down.
#pragma once

#include "cpu/vectors.h"

namespace {

// Where a tap finds its factors, relative to the first row and lane.
struct Tap {
  int64_t at;      // in the shifted operand
  int64_t vector;  // in the filter that varies along vectors
  int64_t number;  // in the filter that varies from row to row
};

struct Taps {
  const Tap* first;
  int64_t count;
  const Tap* begin() const { return first; }
  const Tap* end() const { return first + count; }
};

// Rows of elements a step apart.
template <typename T>
struct Rows {
  T* data;
  int64_t step;
  T* operator[](int64_t row) const { return data + row * step; }
};

// rows × width vectors of outputs, from lane v on. x is the shifted operand, which meets the channel filter first, in
// either layout; T, N and O are types in memory.
template <typename V, bool add, int rows, int width, typename A, typename T, typename N, typename O>
inline __attribute__((always_inline)) void filter_tile(Taps taps, Rows<const T> x, const A* vector,
                                                       Rows<const N> number, Rows<O> out, int64_t v) {
  constexpr int64_t step = lanes<A, V>;
  V total[rows][width];
  for (int r = 0; r < rows; ++r)
    for (int w = 0; w < width; ++w) total[r][w] = V{};
  for (const Tap& tap : taps) {
    V along[width];
    for (int w = 0; w < width; ++w) along[w] = read<V>(vector + tap.vector + v + w * step);
    for (int r = 0; r < rows; ++r) {
      const A own = load(number[r] + tap.number);
      for (int w = 0; w < width; ++w) {
        const V value = read<V>(x[r] + tap.at + v + w * step);
        total[r][w] += add ? (along[w] + own) * value : value * along[w] * own;
      }
    }
  }
  for (int r = 0; r < rows; ++r)
    for (int w = 0; w < width; ++w) write(out[r] + v + w * step, total[r][w]);
}

template <bool add, int rows, typename A, typename T, typename N, typename O>
inline void filter_rows(Taps taps, Rows<const T> x, const A* vector, Rows<const N> number, Rows<O> out,
                        int64_t length) {
  using V = Vector<A>;
  constexpr int64_t step = lanes<A, V>;
  int64_t v = 0;
  for (; v + 2 * step <= length; v += 2 * step) filter_tile<V, add, rows, 2>(taps, x, vector, number, out, v);
  if (v + step <= length) {
    filter_tile<V, add, rows, 1>(taps, x, vector, number, out, v);
    v += step;
  }
  for (; v < length; ++v) filter_tile<A, add, rows, 1>(taps, x, vector, number, out, v);
}

// out[r][v] = Σ of taps of x · (vector ∘ number), in their order.
template <bool add, typename A, typename T, typename N, typename O>
void filter(Taps taps, int64_t count, int64_t length, Rows<const T> x, const A* vector, Rows<const N> number,
            Rows<O> out) {
  int64_t r = 0;
  for (; r + 4 <= count; r += 4)
    filter_rows<add, 4>(taps, Rows<const T>{x[r], x.step}, vector, Rows<const N>{number[r], number.step},
                                 Rows<O>{out[r], out.step}, length);
  for (; r < count; ++r)
    filter_rows<add, 1>(taps, Rows<const T>{x[r], x.step}, vector, Rows<const N>{number[r], number.step},
                                 Rows<O>{out[r], out.step}, length);
}

// One tap's part of the filters' gradients over lanes [v, length); returns where it stopped.
template <typename V, bool add, int rows, typename A, typename T>
inline __attribute__((always_inline)) int64_t correlate_tap(const Tap& tap, Rows<const T> x, Rows<const T> grad,
                                                            const A* vector, const A (&own)[rows], A* by_vector,
                                                            A (&by_number)[rows], int64_t v, int64_t length) {
  constexpr int64_t step = lanes<A, V>;
  V total[rows];
  for (int r = 0; r < rows; ++r) total[r] = V{};
  for (; v + step <= length; v += step) {
    const V along = read<V>(vector + tap.vector + v);
    V sum = read<V>(by_vector + tap.vector + v);
    for (int r = 0; r < rows; ++r) {
      const V product = read<V>(x[r] + tap.at + v) * read<V>(grad[r] + v);
      total[r] += add ? product : along * product;
      sum += add ? product : product * own[r];
    }
    write(by_vector + tap.vector + v, sum);
  }
  for (int r = 0; r < rows; ++r) by_number[r] += sum_of<A>(total[r]);
  return v;
}

template <bool add, int rows, typename A, typename T, typename N>
inline void correlate_rows(Taps taps, Rows<const T> x, Rows<const T> grad, const A* vector, Rows<const N> number,
                           A* by_vector, Rows<A> by_number, int64_t length) {
  for (const Tap& tap : taps) {
    A own[rows], by_own[rows] = {};
    for (int r = 0; r < rows; ++r) own[r] = load(number[r] + tap.number);
    const int64_t v = correlate_tap<Vector<A>, add, rows>(tap, x, grad, vector, own, by_vector, by_own, 0, length);
    if (v < length) correlate_tap<A, add, rows>(tap, x, grad, vector, own, by_vector, by_own, v, length);
    for (int r = 0; r < rows; ++r) by_number[r][tap.number] += by_own[r];
  }
}

// Adds to the gradients of both filters: Σ over rows of x · grad (· number), Σ over lanes of x · grad (· vector).
template <bool add, typename A, typename T, typename N>
void correlate(Taps taps, int64_t count, int64_t length, Rows<const T> x, Rows<const T> grad, const A* vector,
               Rows<const N> number, A* by_vector, Rows<A> by_number) {
  int64_t r = 0;
  for (; r + 4 <= count; r += 4)
    correlate_rows<add, 4>(taps, Rows<const T>{x[r], x.step}, Rows<const T>{grad[r], grad.step}, vector,
                           Rows<const N>{number[r], number.step}, by_vector, Rows<A>{by_number[r], by_number.step},
                           length);
  for (; r < count; ++r)
    correlate_rows<add, 1>(taps, Rows<const T>{x[r], x.step}, Rows<const T>{grad[r], grad.step}, vector,
                           Rows<const N>{number[r], number.step}, by_vector, Rows<A>{by_number[r], by_number.step},
                           length);
}

}  // namespace
