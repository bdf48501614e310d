// Dynamic filters with the channels first in memory.
//
// A plane is one run of elements, and a tap reads the same run from another place on. Where it leaves the image it
// meets another row's element, or another plane's: a mask of the tap, the same for all channels, makes that zero.
// So vectors run across the ends of rows, and nothing but the filters is copied.
//
// With a stride s the input is laid out as s (times s) planes of the output's size, its phases, of every s-th column
// (and row): a tap reads one of them, again without gaps. Types that are too narrow to sum in are widened likewise.
#pragma once

#include "ddf_masked.h"

namespace {

// Where a tap reads along an axis, from an output on: in which phase, and how many elements of it further on.
struct Shift {
  int64_t phase, steps;

  Shift(const DdfArgs& a, int axis, int64_t tap) {
    const int64_t s = a.stride[axis], far = tap * a.dilation[axis] - padding(a, axis);
    phase = (far % s + s) % s;
    steps = (far - phase) / s;
  }
};

// The tasks [begin, end) of a thread.
template <typename T, typename A, bool add>
class Planes {
 public:
  explicit Planes(const DdfArgs& a)
      : a_(a), phases_(a.stride[0] * a.stride[1]), plane_(a.out[0] * a.out[1]), above_(steps_back(0)),
        reach_(above_ * a.out[1] + steps_back(1)), length_((a.out[0] + a.bands - 1) / a.bands * a.out[1]),
        size_(length_ + 2 * reach_), step_(rounded_up(length_, kLanes) + kLanes), taps_(taps_of(a)),
        adjoint_(taps_of(a)), first_(phases_ + 1), spatial_(taps_of(a) * step_),
        mask_(taps_of(a) * step_ * (a.grad && phases_ > 1 ? 2 : 1)), input_(kChannels * phases_ * size_),
        grad_(a.grad ? kChannels * size_ : 0), behind_(a.grad ? taps_of(a) * step_ : 0),
        by_spatial_(a.grad ? taps_of(a) * step_ : 0), result_(a.grad && phases_ > 1 ? kChannels * step_ : 0) {
    int64_t count = 0;
    for (int64_t phase = 0; phase < phases_; ++phase) {
      first_.data[phase] = count;
      for (int64_t tap = 0; tap < taps_of(a); ++tap) {
        const int64_t at = down(tap).steps * a.out[1] + along(tap).steps;
        if (down(tap).phase * a.stride[1] + along(tap).phase != phase) continue;
        taps_.data[tap] = {phase * size_ + at, tap * step_, tap * step_, tap};
        adjoint_.data[count++] = {-at, tap * step_, mask_behind(tap), tap};
      }
    }
    first_.data[phases_] = count;
  }

  void forward(const Part& part) {
    for_bands(part, [&] {
      for_channels(part, [&](int64_t plane, int64_t count, Rows<const T> own) {
        filter_masked<add>(stretch(taps_.data, taps_of(a_), spatial_.data), count, of_input(plane, count), own,
                           Rows<T>{static_cast<T*>(a_.output) + plane * plane_ + first_lane(), plane_});
      });
    });
  }

  void backward(const Part& part) {
    A* by_channel = channel_shares_of<A>(a_, part);
    for (int64_t i = 0; i < part.channels * taps_of(a_); ++i) by_channel[i] = 0;
    for_bands(part, [&] {
      start_backward(part);
      for_channels(part, [&](int64_t plane, int64_t count, Rows<const T> own) {
        const Rows<const A> grad = reached(static_cast<const T*>(a_.grad), plane, count, grad_.data);
        const int64_t c = plane - part.image * a_.channels - part.channel;
        correlate_masked<add>(stretch(taps_.data, taps_of(a_), spatial_.data), count, of_input(plane, count), grad,
                              own, by_spatial_.data, Rows<A>{by_channel + c * taps_of(a_), taps_of(a_)});
        by_input(plane, count, grad, own);
      });
      if (a_.spatial_shares)
        drain_spatial(grad_spatial_of<A>(a_, part));
      else
        drain_spatial(grad_spatial_of<T>(a_, part));
    });
  }

 private:
  static constexpr int64_t kLanes = lanes<A, Vector<A>>;

  Shift down(int64_t tap) const { return {a_, 0, tap / a_.kernel[1]}; }
  Shift along(int64_t tap) const { return {a_, 1, tap % a_.kernel[1]}; }
  int64_t steps_back(int axis) const { return (padding(a_, axis) + a_.stride[axis] - 1) / a_.stride[axis]; }
  // Elements of a phase along an axis.
  int64_t extent(int axis, int64_t phase) const {
    return (a_.in[axis] - phase + a_.stride[axis] - 1) / a_.stride[axis];
  }
  int64_t first_lane() const { return begin_ * a_.out[1]; }
  int64_t lane_count() const { return (end_ - begin_) * a_.out[1]; }
  // With a stride of 1 the mask of the tap on the other side serves.
  int64_t mask_behind(int64_t tap) const { return (phases_ == 1 ? taps_of(a_) - 1 - tap : taps_of(a_) + tap) * step_; }

  Stretch<A> stretch(const MaskedTap* taps, int64_t count, const A* spatial) const {
    return {taps, count, lane_count(), spatial, mask_.data};
  }

  template <typename F>
  void for_bands(const Part& part, const F& f) {
    for (int64_t band = part.before(a_, a_.bands); band < part.before(a_, a_.bands, true); ++band) {
      const int64_t begin = a_.out[0] * band / a_.bands, end = a_.out[0] * (band + 1) / a_.bands;
      const bool elsewhere = begin != begin_ || end != end_;
      begin_ = begin;
      end_ = end;
      if (elsewhere) set_masks();
      start(part);
      f();
    }
  }

  // Calls f(first plane, count, channel filters) for a few channels at a time.
  template <typename F>
  void for_channels(const Part& part, const F& f) {
    for (int64_t c = 0; c < part.channels; c += kChannels)
      f(part.image * a_.channels + part.channel + c, least(kChannels, part.channels - c),
        Rows<const T>{channel_of<T>(a_, part) + c * taps_of(a_), taps_of(a_)});
  }

  // Sets a mask where (row, column) + steps is in [0, rows) × [0, columns).
  void set_mask(int64_t at, int64_t down, int64_t along, int64_t rows, int64_t columns) {
    for (int64_t r = begin_; r < end_; ++r) {
      Mask<A>* to = mask_.data + at + (r - begin_) * a_.out[1];
      const int64_t end = r + down >= 0 && r + down < rows ? columns - along : 0;
      for (int64_t column = 0; column < a_.out[1]; ++column) to[column] = column >= -along && column < end ? -1 : 0;
    }
  }

  // Which elements of the image the taps of the band's rows find, and which outputs read the band's input.
  void set_masks() {
    for (int64_t tap = 0; tap < taps_of(a_); ++tap) {
      const Shift row = down(tap), column = along(tap);
      set_mask(tap * step_, row.steps, column.steps, extent(0, row.phase), extent(1, column.phase));
      if (a_.grad && phases_ > 1) set_mask(mask_behind(tap), -row.steps, -column.steps, a_.out[0], a_.out[1]);
    }
  }

  // The spatial filter of the band's rows.
  void start(const Part& part) {
    const T* spatial = spatial_of<T>(a_, part);
    for (int64_t tap = 0; tap < taps_of(a_); ++tap)
      for (int64_t r = begin_; r < end_; ++r)
        copy(spatial_.data + tap * step_ + (r - begin_) * a_.out[1], 1, spatial + tap * a_.of_tap + r * a_.of_row,
             a_.of_column, a_.out[1]);
  }

  // The spatial filter of each tap once more, from where the gradient of an input row meets it.
  void start_backward(const Part& part) {
    const T* spatial = spatial_of<T>(a_, part);
    const int64_t width = a_.out[1];
    behind_.clear(taps_of(a_) * step_);
    by_spatial_.clear(taps_of(a_) * step_);
    for (int64_t tap = 0; tap < taps_of(a_); ++tap) {
      const int64_t back = down(tap).steps, shift = along(tap).steps, from = most<int64_t>(0, -shift);
      const int64_t count = least(width, width - shift) - from;
      for (int64_t r = begin_; r < end_; ++r)
        if (r - back >= 0 && r - back < a_.out[0] && count > 0)
          copy(behind_.data + tap * step_ + (r - begin_) * width + from + shift, 1,
               spatial + tap * a_.of_tap + (r - back) * a_.of_row + from * a_.of_column, a_.of_column, count);
    }
  }

  // The band of some planes of a tensor, with all that the taps reach: where it lies, unless the tensor ends before
  // or its type is too narrow.
  Rows<const A> reached(const T* tensor, int64_t plane, int64_t count, A* to) const {
    if constexpr (is_same<T, A>) {
      const int64_t first = plane * plane_ + first_lane(), all = a_.batch * a_.channels * plane_;
      const int64_t last = (plane + count - 1) * plane_ + first_lane() + lane_count();
      if (first >= reach_ && last + reach_ <= all) return {tensor + first, plane_};
    }
    const int64_t from = most<int64_t>(0, first_lane() - reach_);
    const int64_t end = least(plane_, first_lane() + lane_count() + reach_);
    for (int64_t c = 0; c < count; ++c)
      copy(to + c * size_ + from - (first_lane() - reach_), 1, tensor + (plane + c) * plane_ + from, 1, end - from);
    return {to + reach_, size_};
  }

  // Calls f(channel, phase, place in the plane of the phase, place in the image, count) for all rows of the phases
  // from `above` before the band to `below` behind it.
  template <typename F>
  void for_phase_rows(int64_t phase, int64_t above, int64_t below, const F& f) const {
    const int64_t of_row = phase / a_.stride[1], of_column = phase % a_.stride[1];
    const int64_t count = extent(1, of_column), end = least(end_ + below, extent(0, of_row));
    for (int64_t r = most<int64_t>(0, begin_ - above); r < end; ++r)
      f((r - begin_) * a_.out[1], (r * a_.stride[0] + of_row) * a_.in[1] + of_column, count);
  }

  Rows<const A> of_input(int64_t plane, int64_t count) const {
    const T* input = static_cast<const T*>(a_.input);
    if (phases_ == 1) return reached(input, plane, count, input_.data);
    for (int64_t c = 0; c < count; ++c)
      for (int64_t phase = 0; phase < phases_; ++phase) {
        if (first_.data[phase] == first_.data[phase + 1]) continue;
        A* to = input_.data + (c * phases_ + phase) * size_ + reach_;
        const T* from = input + (plane + c) * a_.in[0] * a_.in[1];
        for_phase_rows(phase, above_, padding(a_, 0) / a_.stride[0], [&](int64_t at, int64_t source, int64_t size) {
          copy(to + at, 1, from + source, a_.stride[1], size);
        });
      }
    return {input_.data + reach_, phases_ * size_};
  }

  void by_input(int64_t plane, int64_t count, Rows<const A> grad, Rows<const T> own) {
    T* out = static_cast<T*>(a_.grad_input) + plane * a_.in[0] * a_.in[1];
    if (phases_ == 1)
      return filter_masked<add>(stretch(adjoint_.data, taps_of(a_), behind_.data), count, grad, own,
                                Rows<T>{out + first_lane(), plane_});
    for (int64_t phase = 0; phase < phases_; ++phase) {
      const int64_t first = first_.data[phase];
      filter_masked<add>(stretch(adjoint_.data + first, first_.data[phase + 1] - first, behind_.data), count, grad,
                         own, Rows<A>{result_.data, step_});
      for (int64_t c = 0; c < count; ++c)
        for_phase_rows(phase, 0, 0, [&](int64_t at, int64_t target, int64_t size) {
          copy(out + c * a_.in[0] * a_.in[1] + target, a_.stride[1], result_.data + c * step_ + at, 1, size);
        });
    }
  }

  template <typename To>
  void drain_spatial(To* to) const {
    for (int64_t tap = 0; tap < taps_of(a_); ++tap)
      for (int64_t r = begin_; r < end_; ++r)
        copy(to + tap * a_.of_tap + r * a_.of_row, a_.of_column,
             by_spatial_.data + tap * step_ + (r - begin_) * a_.out[1], 1, a_.out[1]);
  }

  const DdfArgs& a_;
  const int64_t phases_, plane_;  // of the input; elements of a plane of the output
  const int64_t above_, reach_;   // how many rows and elements a tap reaches from its position
  const int64_t length_, size_;   // lanes of the largest band; with what the taps reach
  const int64_t step_;            // from tap to tap in the filters
  int64_t begin_ = 0, end_ = 0;   // the band's rows, for which the masks are
  Room<MaskedTap> taps_, adjoint_;
  Room<int64_t> first_;  // of each phase in adjoint_
  Room<A> spatial_;
  Room<Mask<A>> mask_;
  Room<A> input_, grad_, behind_, by_spatial_, result_;
};

}  // namespace
