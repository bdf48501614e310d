// Dynamic filters with the channels first in memory, for strides and for types that are too narrow to sum in.
//
// A band of rows of four channels at a time is laid out with zeros between its rows, as many as the padding asks
// for: then every tap is the same band from another place on, and vectors run across the ends of rows. What they
// compute between two rows is not used. With a stride s the input is split into s (times s) such bands, its phases,
// of every s-th column (and row): a tap reads one of them, again without gaps.
#pragma once

#include "ddf_places.h"

namespace {

// Element (row, column) of a band is element first + step · (row, column) of a plane.
struct Window {
  int64_t rows, first[2], step[2];
};

// Calls f(place in the band, place in the plane, count) for the part of each row of the band that is in the plane.
template <typename F>
inline void for_rows(const Window& w, int64_t pitch, const int64_t (&size)[2], const F& f) {
  const int64_t begin = w.first[1] < 0 ? (w.step[1] - 1 - w.first[1]) / w.step[1] : 0;
  const int64_t last = size[1] - 1 - w.first[1];
  const int64_t end = last < 0 ? 0 : least(pitch, last / w.step[1] + 1);
  for (int64_t r = 0; r < w.rows && begin < end; ++r) {
    const int64_t row = w.first[0] + r * w.step[0];
    if (row >= 0 && row < size[0])
      f(r * pitch + begin, row * size[1] + w.first[1] + begin * w.step[1], end - begin);
  }
}

// Sizes and places that all bands share, in elements.
struct Frame {
  int64_t pitch;        // of a row with the zeros behind it
  int64_t rows;         // output rows of the largest band
  int64_t reach[2];     // how far the taps lie apart in a phase
  int64_t back;         // output rows by which an input row is behind the first output that reads it
  int64_t step;         // of a filter's taps, and of the channels of an output
  int64_t plane, input, grad;  // a phase of the input; the phases of a channel; a channel of the output's gradient
  int64_t phases;

  Frame(const DdfArgs& a, int64_t lanes) {
    for (int axis = 0; axis < 2; ++axis) reach[axis] = 2 * padding(a, axis) / a.stride[axis];
    // One padding does for both sides of it; with a stride that is so only where the phases have it alike.
    pitch = a.stride[1] == 1 ? a.in[1] + padding(a, 1)
                             : (a.in[1] + 2 * padding(a, 1) + a.stride[1] - 1) / a.stride[1];
    back = padding(a, 0) / a.stride[0];
    rows = (a.out[0] + a.bands - 1) / a.bands;
    const int64_t grad_rows = rows + (a.stride[0] > 1);
    phases = a.stride[0] * a.stride[1];
    step = rounded_up(grad_rows * pitch, lanes);
    plane = (rows + reach[0]) * pitch;
    input = phases * plane + reach[1] + lanes;
    grad = reach[1] + (grad_rows + reach[0]) * pitch + lanes;
  }
};

// The rows of one band.
struct Band {
  int64_t begin, end;             // output rows
  int64_t grad_begin, grad_rows;  // rows of the input's phases whose gradient it computes

  Band(const DdfArgs& a, const Frame& frame, int64_t band) {
    begin = a.out[0] * band / a.bands;
    end = a.out[0] * (band + 1) / a.bands;
    grad_begin = begin + frame.back;
    const int64_t last = (padding(a, 0) + a.in[0] - 1) / a.stride[0];
    grad_rows = band + 1 < a.bands ? end - begin : last + 1 - grad_begin;
  }
};

// The taps as they read the input, and sorted by the phase in which they read.
class TapLists {
 public:
  TapLists(const DdfArgs& a, const Frame& f)
      : phases_(f.phases), forward_(taps_of(a)), adjoint_(taps_of(a)), first_(f.phases + 1) {
    int64_t count = 0;
    for (int64_t phase = 0; phase < phases_; ++phase) {
      first_.data[phase] = count;
      for (int64_t tap = 0; tap < taps_of(a); ++tap) {
        const int64_t row = tap / a.kernel[1] * a.dilation[0], column = tap % a.kernel[1] * a.dilation[1];
        if (row % a.stride[0] * a.stride[1] + column % a.stride[1] != phase) continue;
        const int64_t at = row / a.stride[0] * f.pitch + column / a.stride[1];
        forward_.data[tap] = {phase * f.plane + at, tap * f.step, tap};
        adjoint_.data[count++] = {-at, tap * f.step, tap};
      }
    }
    first_.data[phases_] = count;
  }
  Taps forward() const { return {forward_.data, first_.data[phases_]}; }
  Taps adjoint(int64_t phase) const {
    return {adjoint_.data + first_.data[phase], first_.data[phase + 1] - first_.data[phase]};
  }

 private:
  int64_t phases_;
  Room<Tap> forward_, adjoint_;
  Room<int64_t> first_;
};

// The tasks [begin, end) of a thread.
template <typename T, typename A, bool add>
class ChannelsFirst {
 public:
  explicit ChannelsFirst(const DdfArgs& a)
      : a_(a), frame_(a, kLanes), taps_(a, frame_), input_(kChannels * frame_.input),
        result_(kChannels * frame_.step), spatial_(taps_of(a) * frame_.step),
        grad_(a.grad ? kChannels * frame_.grad : 0), spatial_behind_(a.grad ? taps_of(a) * frame_.step : 0),
        by_spatial_(a.grad ? taps_of(a) * frame_.step : 0) {}

  void forward(const Part& part) {
    for (int64_t i = part.before(a_, a_.bands); i < part.before(a_, a_.bands, true); ++i) {
      const Band band(a_, frame_, i);
      start(part, band);
      for (int64_t c = 0; c < part.channels; c += kChannels) {
        const int64_t count = least(kChannels, part.channels - c), plane = place(part, c);
        fill_input(plane, count, band);
        filter<add, true, A, A, T, A>(taps_.forward(), count, length(band.end - band.begin),
                                      {input_.data, frame_.input}, spatial_.data,
                                      {channel_of<T>(a_, part) + c * taps_of(a_), taps_of(a_)},
                                      {result_.data, frame_.step});
        drain(static_cast<T*>(a_.output) + plane * volume(a_.out), count, output_window(band), a_.out);
      }
    }
  }

  void backward(const Part& part) {
    A* by_channel = channel_shares_of<A>(a_, part);
    for (int64_t i = 0; i < part.channels * taps_of(a_); ++i) by_channel[i] = 0;
    for (int64_t i = part.before(a_, a_.bands); i < part.before(a_, a_.bands, true); ++i) {
      const Band band(a_, frame_, i);
      start(part, band);
      start_backward(part, band);
      for (int64_t c = 0; c < part.channels; c += kChannels) {
        const int64_t count = least(kChannels, part.channels - c), plane = place(part, c);
        fill_input(plane, count, band);
        by_filters(part, c, plane, count, band, by_channel + c * taps_of(a_));
        by_input(part, c, plane, count, band);
      }
      if (a_.spatial_shares)
        drain_spatial(grad_spatial_of<A>(a_, part), band);
      else
        drain_spatial(grad_spatial_of<T>(a_, part), band);
    }
  }

 private:
  static constexpr int64_t kLanes = lanes<A, Vector<A>>;

  static int64_t volume(const int64_t (&size)[2]) { return size[0] * size[1]; }
  int64_t place(const Part& part, int64_t c) const { return part.image * a_.channels + part.channel + c; }
  int64_t length(int64_t rows) const { return rounded_up(rows * frame_.pitch, kLanes); }
  Window output_window(const Band& band) const { return {band.end - band.begin, {band.begin, 0}, {1, 1}}; }
  Window input_window(int64_t phase, int64_t first_row, int64_t rows) const {
    return {rows,
            {first_row * a_.stride[0] + phase / a_.stride[1] - padding(a_, 0), phase % a_.stride[1] - padding(a_, 1)},
            {a_.stride[0], a_.stride[1]}};
  }

  void start(const Part& part, const Band& band) {
    input_.clear(kChannels * frame_.input);
    spatial_.clear(taps_of(a_) * frame_.step);
    const T* spatial = spatial_of<T>(a_, part);
    for (int64_t tap = 0; tap < taps_of(a_); ++tap)
      for (int64_t r = band.begin; r < band.end; ++r)
        copy(spatial_.data + tap * frame_.step + (r - band.begin) * frame_.pitch, 1,
             spatial + tap * a_.of_tap + r * a_.of_row, a_.of_column, a_.out[1]);
  }

  // The spatial filter of each tap once more, from where the gradient of an input row meets it.
  void start_backward(const Part& part, const Band& band) {
    grad_.clear(kChannels * frame_.grad);
    by_spatial_.clear(taps_of(a_) * frame_.step);
    spatial_behind_.clear(taps_of(a_) * frame_.step);
    const T* spatial = spatial_of<T>(a_, part);
    for (int64_t tap = 0; tap < taps_of(a_); ++tap) {
      const int64_t down = tap / a_.kernel[1] * a_.dilation[0] / a_.stride[0];
      const int64_t along = tap % a_.kernel[1] * a_.dilation[1] / a_.stride[1];
      for (int64_t r = 0; r < band.grad_rows; ++r) {
        const int64_t row = band.grad_begin + r - down;
        if (row >= 0 && row < a_.out[0])
          copy(spatial_behind_.data + tap * frame_.step + r * frame_.pitch + along, 1,
               spatial + tap * a_.of_tap + row * a_.of_row, a_.of_column, least(a_.out[1], frame_.pitch - along));
      }
    }
  }

  void fill_input(int64_t plane, int64_t count, const Band& band) {
    for (int64_t c = 0; c < count; ++c) {
      const T* from = static_cast<const T*>(a_.input) + (plane + c) * volume(a_.in);
      for (int64_t phase = 0; phase < frame_.phases; ++phase) {
        A* to = input_.data + c * frame_.input + phase * frame_.plane;
        for_rows(input_window(phase, band.begin, band.end - band.begin + frame_.reach[0]), frame_.pitch, a_.in,
                 [&](int64_t at, int64_t source, int64_t size) {
                   copy(to + at, 1, from + source, a_.stride[1], size);
                 });
      }
    }
  }

  // Rows [begin, end) of the output's gradient, which start at row grad_begin - reach.
  void fill_grad(int64_t plane, int64_t count, const Band& band, int64_t begin, int64_t end) {
    const int64_t above = begin - (band.grad_begin - frame_.reach[0]);
    for (int64_t c = 0; c < count; ++c) {
      const T* from = static_cast<const T*>(a_.grad) + (plane + c) * volume(a_.out);
      A* to = grad_.data + c * frame_.grad + frame_.reach[1] + above * frame_.pitch;
      for_rows({end - begin, {begin, 0}, {1, 1}}, frame_.pitch, a_.out,
               [&](int64_t at, int64_t source, int64_t size) { copy(to + at, 1, from + source, 1, size); });
    }
  }

  void by_filters(const Part& part, int64_t c, int64_t plane, int64_t count, const Band& band, A* by_channel) {
    const int64_t first = band.grad_begin - frame_.reach[0];
    fill_grad(plane, count, band, first, band.end);
    // The rows behind the band have to be zero here: the last vector reaches into them.
    const int64_t behind = frame_.reach[1] + (band.end - first) * frame_.pitch;
    for (int64_t k = 0; k < count; ++k)
      for (int64_t i = behind; i < least(behind + kLanes, frame_.grad); ++i) grad_.data[k * frame_.grad + i] = 0;
    correlate<add, A, A, T>(
        taps_.forward(), count, length(band.end - band.begin), {input_.data, frame_.input},
        {grad_.data + frame_.reach[1] + (band.begin - first) * frame_.pitch, frame_.grad}, spatial_.data,
        {channel_of<T>(a_, part) + c * taps_of(a_), taps_of(a_)}, by_spatial_.data, {by_channel, taps_of(a_)});
  }

  void by_input(const Part& part, int64_t c, int64_t plane, int64_t count, const Band& band) {
    fill_grad(plane, count, band, band.end, band.grad_begin + band.grad_rows);
    const A* grad = grad_.data + frame_.reach[1] + frame_.reach[0] * frame_.pitch;
    for (int64_t phase = 0; phase < frame_.phases; ++phase) {
      filter<add, true, A, A, T, A>(taps_.adjoint(phase), count, length(band.grad_rows), {grad, frame_.grad},
                                    spatial_behind_.data,
                                    {channel_of<T>(a_, part) + c * taps_of(a_), taps_of(a_)},
                                    {result_.data, frame_.step});
      drain(static_cast<T*>(a_.grad_input) + plane * volume(a_.in), count,
            input_window(phase, band.grad_begin, band.grad_rows), a_.in);
    }
  }

  void drain(T* to, int64_t count, const Window& window, const int64_t (&size)[2]) {
    for (int64_t c = 0; c < count; ++c)
      for_rows(window, frame_.pitch, size, [&](int64_t at, int64_t target, int64_t elements) {
        copy(to + c * volume(size) + target, window.step[1], result_.data + c * frame_.step + at, 1, elements);
      });
  }

  template <typename To>
  void drain_spatial(To* to, const Band& band) {
    for (int64_t tap = 0; tap < taps_of(a_); ++tap)
      for (int64_t r = band.begin; r < band.end; ++r)
        copy(to + tap * a_.of_tap + r * a_.of_row, a_.of_column,
             by_spatial_.data + tap * frame_.step + (r - band.begin) * frame_.pitch, 1, a_.out[1]);
  }

  const DdfArgs& a_;
  const Frame frame_;
  const TapLists taps_;
  Room<A> input_, result_, spatial_, grad_, spatial_behind_, by_spatial_;
};

}  // namespace
