// Dynamic filters with the channels first in memory and a stride of 1: the tensors are read where they lie.
//
// A plane is one run of elements, and a tap reads the same run from another place on. Where it leaves the image it
// meets another row's element, or another plane's: a mask of the tap, the same for all channels, makes that zero.
// So vectors run across the ends of rows, and nothing but the filters is copied. The last vector of a band covers
// the end of the one before it once more.
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
template <typename V, bool add, int rows, int width, typename A>
inline __attribute__((always_inline)) void masked_tile(const Stretch<A>& run, Rows<const A> x, Rows<const A> number,
                                                       Rows<A> out, int64_t v) {
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
      const A own = number[r][tap.number];
      for (int w = 0; w < width; ++w) {
        const V value = kept<V, A>(read<V>(x[r] + tap.at + at[w]), run.mask + tap.mask + at[w]);
        total[r][w] += add ? (along[w] + own) * value : value * own * along[w];
      }
    }
  }
  for (int r = 0; r < rows; ++r)
    for (int w = 0; w < width; ++w) write(out[r] + at[w], total[r][w]);
}

template <bool add, int rows, typename A>
inline void masked_rows(const Stretch<A>& run, Rows<const A> x, Rows<const A> number, Rows<A> out) {
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
template <bool add, int rows, typename A>
inline void correlate_masked(const Stretch<A>& run, Rows<const A> x, Rows<const A> grad, Rows<const A> number,
                             A* by_vector, Rows<A> by_number) {
  using V = Vector<A>;
  constexpr int64_t step = lanes<A, V>;
  Mask<A> tails[2 * step];
  for (int64_t l = 0; l < 2 * step; ++l) tails[l] = l < step ? 0 : -1;
  for (const MaskedTap& tap : run) {
    A own[rows], by_own[rows] = {};
    for (int r = 0; r < rows; ++r) own[r] = number[r][tap.number];
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

// The tasks [begin, end) of a thread.
template <typename A, bool add>
class Planes {
 public:
  explicit Planes(const DdfArgs& a)
      : a_(a), plane_(a.in[0] * a.in[1]), reach_(padding(a, 0) * a.in[1] + padding(a, 1)),
        length_((a.out[0] + a.bands - 1) / a.bands * a.in[1]), step_(rounded_up(length_, kLanes) + kLanes),
        taps_(taps_of(a)), adjoint_(taps_of(a)), spatial_(taps_of(a) * step_), mask_(taps_of(a) * step_),
        edge_(kChannels * (length_ + 2 * reach_)), behind_(a.grad ? taps_of(a) * step_ : 0),
        by_spatial_(a.grad ? taps_of(a) * step_ : 0) {
    for (int64_t tap = 0; tap < taps_of(a); ++tap) {
      const int64_t at = row_shift(tap) * a.in[1] + column_shift(tap), mirrored = taps_of(a) - 1 - tap;
      taps_.data[tap] = {at, tap * step_, tap * step_, tap};
      adjoint_.data[tap] = {-at, tap * step_, mirrored * step_, tap};
    }
  }

  void forward(const Part& part) {
    for_bands(part, [&] {
      for_channels(part, [&](int64_t c, int64_t count) {
        filter(taps_.data, spatial_.data, part, c, count, static_cast<const A*>(a_.input),
               static_cast<A*>(a_.output));
      });
    });
  }

  void backward(const Part& part) {
    A* by_channel = channel_shares_of<A>(a_, part);
    for (int64_t i = 0; i < part.channels * taps_of(a_); ++i) by_channel[i] = 0;
    for_bands(part, [&] {
      start_backward(part);
      for_channels(part, [&](int64_t c, int64_t count) {
        const A* grad = static_cast<const A*>(a_.grad);
        by_filters(part, c, count, grad, by_channel + c * taps_of(a_));
        filter(adjoint_.data, behind_.data, part, c, count, grad, static_cast<A*>(a_.grad_input));
      });
      A* to = grad_spatial_of<A>(a_, part);
      for (int64_t tap = 0; tap < taps_of(a_); ++tap)
        for (int64_t r = begin_; r < end_; ++r)
          copy(to + tap * a_.of_tap + r * a_.of_row, a_.of_column,
               by_spatial_.data + tap * step_ + (r - begin_) * a_.in[1], 1, a_.in[1]);
    });
  }

 private:
  static constexpr int64_t kLanes = lanes<A, Vector<A>>;

  int64_t row_shift(int64_t tap) const { return tap / a_.kernel[1] * a_.dilation[0] - padding(a_, 0); }
  int64_t column_shift(int64_t tap) const { return tap % a_.kernel[1] * a_.dilation[1] - padding(a_, 1); }
  int64_t first_lane() const { return begin_ * a_.in[1]; }
  int64_t lane_count() const { return (end_ - begin_) * a_.in[1]; }

  template <typename F>
  void for_bands(const Part& part, const F& f) {
    for (int64_t band = part.before(a_, a_.bands); band < part.before(a_, a_.bands, true); ++band) {
      begin_ = a_.out[0] * band / a_.bands;
      end_ = a_.out[0] * (band + 1) / a_.bands;
      start(part);
      f();
    }
  }

  template <typename F>
  void for_channels(const Part& part, const F& f) {
    for (int64_t c = 0; c < part.channels; c += kChannels) f(c, least(kChannels, part.channels - c));
  }

  // The spatial filter of the band's rows, and which elements of the image its taps find.
  void start(const Part& part) {
    const A* spatial = spatial_of<A>(a_, part);
    const int64_t width = a_.in[1];
    for (int64_t tap = 0; tap < taps_of(a_); ++tap)
      for (int64_t r = begin_; r < end_; ++r) {
        const int64_t to = tap * step_ + (r - begin_) * width, shift = column_shift(tap), row = r + row_shift(tap);
        copy(spatial_.data + to, 1, spatial + tap * a_.of_tap + r * a_.of_row, a_.of_column, width);
        const bool inside = row >= 0 && row < a_.in[0];
        for (int64_t column = 0; column < width; ++column)
          mask_.data[to + column] = inside && column + shift >= 0 && column + shift < width ? -1 : 0;
      }
  }

  // The spatial filter of each tap once more, from where the gradient of an input row meets it.
  void start_backward(const Part& part) {
    const A* spatial = spatial_of<A>(a_, part);
    const int64_t width = a_.in[1];
    behind_.clear(taps_of(a_) * step_);
    by_spatial_.clear(taps_of(a_) * step_);
    for (int64_t tap = 0; tap < taps_of(a_); ++tap)
      for (int64_t r = begin_; r < end_; ++r) {
        const int64_t shift = column_shift(tap), row = r - row_shift(tap), from = most<int64_t>(0, -shift);
        const int64_t count = least(width, width - shift) - from;
        if (row >= 0 && row < a_.in[0] && count > 0)
          copy(behind_.data + tap * step_ + (r - begin_) * width + from + shift, 1,
               spatial + tap * a_.of_tap + row * a_.of_row + from * a_.of_column, a_.of_column, count);
      }
  }

  // The band of some planes of a tensor, with all that the taps reach: where it lies, unless the tensor ends before.
  Rows<const A> reached(const A* tensor, int64_t plane, int64_t count) {
    const int64_t first = plane * plane_ + first_lane(), all = a_.batch * a_.channels * plane_;
    const int64_t last = (plane + count - 1) * plane_ + first_lane() + lane_count();
    if (first >= reach_ && last + reach_ <= all) return {tensor + first, plane_};
    const int64_t from = most<int64_t>(0, first_lane() - reach_), size = length_ + 2 * reach_;
    const int64_t to = least(plane_, first_lane() + lane_count() + reach_);
    for (int64_t c = 0; c < count; ++c)
      copy(edge_.data + c * size + from - (first_lane() - reach_), 1, tensor + (plane + c) * plane_ + from, 1,
           to - from);
    return {edge_.data + reach_, size};
  }

  // out[p] = Σ of taps of x at p + at · (spatial ∘ channel).
  void filter(const MaskedTap* taps, const A* spatial, const Part& part, int64_t c, int64_t count, const A* x,
              A* out) {
    const Stretch<A> run = {taps, taps_of(a_), lane_count(), spatial, mask_.data};
    const int64_t plane = part.image * a_.channels + part.channel + c;
    const Rows<const A> from = reached(x, plane, count);
    const Rows<const A> number = {channel_of<A>(a_, part) + c * taps_of(a_), taps_of(a_)};
    const Rows<A> to = {out + plane * plane_ + first_lane(), plane_};
    if (count == kChannels) return masked_rows<add, kChannels>(run, from, number, to);
    for (int64_t r = 0; r < count; ++r)
      masked_rows<add, 1>(run, Rows<const A>{from[r], 0}, Rows<const A>{number[r], 0}, Rows<A>{to[r], 0});
  }

  void by_filters(const Part& part, int64_t c, int64_t count, const A* grad, A* by_channel) {
    const Stretch<A> run = {taps_.data, taps_of(a_), lane_count(), spatial_.data, mask_.data};
    const int64_t plane = part.image * a_.channels + part.channel + c;
    const Rows<const A> x = reached(static_cast<const A*>(a_.input), plane, count);
    const Rows<const A> own = {channel_of<A>(a_, part) + c * taps_of(a_), taps_of(a_)};
    const Rows<const A> of_output = {grad + plane * plane_ + first_lane(), plane_};
    const Rows<A> to = {by_channel, taps_of(a_)};
    if (count == kChannels)
      return correlate_masked<add, kChannels>(run, x, of_output, own, by_spatial_.data, to);
    for (int64_t r = 0; r < count; ++r)
      correlate_masked<add, 1>(run, Rows<const A>{x[r], 0}, Rows<const A>{of_output[r], 0}, Rows<const A>{own[r], 0},
                               by_spatial_.data, Rows<A>{to[r], 0});
  }

  const DdfArgs& a_;
  const int64_t plane_, reach_;  // elements of a plane; how far a tap reaches from its position
  const int64_t length_, step_;  // lanes of the largest band; from tap to tap in the filters
  int64_t begin_ = 0, end_ = 0;  // the band's rows
  Room<MaskedTap> taps_, adjoint_;
  Room<A> spatial_;
  Room<Mask<A>> mask_;
  Room<A> edge_, behind_, by_spatial_;
};

}  // namespace
