// Dynamic filters with the channels last in memory.
//
// Vectors lie along the channels and read the tensors themselves; where the window leaves the image, the list of
// taps is shorter. Four positions of a row at a time share the elements of the channel filter.
#pragma once

#include "ddf_places.h"

namespace {

// The tasks [begin, end) of a thread.
template <typename T, typename A, bool add>
class ChannelsLast {
 public:
  explicit ChannelsLast(const DdfArgs& a)
      : a_(a), block_(least(kBlock, a.channels / a.heads)), list_(taps_of(a)), channel_(taps_of(a) * block_) {}

  void forward(const Part& part) {
    for (int64_t c = 0; c < part.channels; c += block_) {
      const Piece piece = start(part, c);
      const T* x = static_cast<const T*>(a_.input) + piece.input;
      T* out = static_cast<T*>(a_.output) + piece.output;
      for (int64_t row = part.before(a_, a_.out[0]); row < part.before(a_, a_.out[0], true); ++row)
        for_outputs(row, [&](Taps taps, int64_t column, int64_t count) {
          filter<add, A, T, T, T>(taps, count, piece.channels,
                                         {x + column * a_.stride[1] * a_.channels, a_.stride[1] * a_.channels},
                                         channel_.data, {spatial_at(part, row, column), a_.of_column},
                                         {out + (row * a_.out[1] + column) * a_.channels, a_.channels});
        });
    }
  }

  void backward(const Part& part) {
    A* by_spatial = grad_spatial_of<A>(a_, part);
    for (int64_t tap = 0; tap < taps_of(a_); ++tap)
      for (int64_t row = part.before(a_, a_.out[0]); row < part.before(a_, a_.out[0], true); ++row)
        for (int64_t column = 0; column < a_.out[1]; ++column)
          by_spatial[tap * a_.of_tap + row * a_.of_row + column * a_.of_column] = 0;
    for (int64_t c = 0; c < part.channels; c += block_) {
      const Piece piece = start(part, c);
      A* by_channel = channel_shares_of<A>(a_, part) + c * taps_of(a_);
      by_filters(part, piece, by_channel, by_spatial);
      by_input(part, piece);
      turn(by_channel, piece);
    }
  }

 private:
  static constexpr int64_t kBlock = 256;

  // A block of channels of one image, and where it begins in the input and in the output.
  struct Piece {
    int64_t channels, input, output;
  };

  Piece start(const Part& part, int64_t c) {
    const Piece piece = {least(block_, part.channels - c),
                         part.image * a_.in[0] * a_.in[1] * a_.channels + part.channel + c,
                         part.image * a_.out[0] * a_.out[1] * a_.channels + part.channel + c};
    const T* channel = channel_of<T>(a_, part) + c * taps_of(a_);
    step_ = piece.channels;
    for (int64_t k = 0; k < step_; ++k)
      for (int64_t tap = 0; tap < taps_of(a_); ++tap)
        channel_.data[tap * step_ + k] = load(channel + k * taps_of(a_) + tap);
    return piece;
  }

  const T* spatial_at(const Part& part, int64_t row, int64_t column) const {
    return spatial_of<T>(a_, part) + row * a_.of_row + column * a_.of_column;
  }

  // The taps that output position (row, column) finds in the image, from the element at column · stride on.
  Taps taps_at(int64_t row, int64_t column) {
    int64_t count = 0;
    for (int64_t i = 0; i < a_.kernel[0]; ++i) {
      const int64_t from_row = row * a_.stride[0] + i * a_.dilation[0] - padding(a_, 0);
      if (from_row < 0 || from_row >= a_.in[0]) continue;
      for (int64_t j = 0; j < a_.kernel[1]; ++j) {
        const int64_t shift = j * a_.dilation[1] - padding(a_, 1), from = column * a_.stride[1] + shift;
        if (from < 0 || from >= a_.in[1]) continue;
        const int64_t tap = i * a_.kernel[1] + j;
        list_.data[count++] = {(from_row * a_.in[1] + shift) * a_.channels, tap * step_, tap * a_.of_tap};
      }
    }
    return {list_.data, count};
  }

  // Calls f(taps, column, count) for pieces of the output row whose positions have the same taps.
  template <typename F>
  void for_outputs(int64_t row, const F& f) {
    const int64_t pad = padding(a_, 1), stride = a_.stride[1];
    const int64_t begin = least((pad + stride - 1) / stride, a_.out[1]);
    const int64_t room = a_.in[1] - 1 - pad, end = room < 0 ? 0 : least(room / stride + 1, a_.out[1]);
    for (int64_t column = 0; column < a_.out[1];) {
      const int64_t count = column >= begin && column < end ? end - column : 1;
      f(taps_at(row, column), column, count);
      column += count;
    }
  }

  // The channel filter's gradient lies like the filter here, tap by tap, in what will hold it channel by channel.
  void by_filters(const Part& part, const Piece& piece, A* by_channel, A* by_spatial) {
    const T* x = static_cast<const T*>(a_.input) + piece.input;
    const T* grad = static_cast<const T*>(a_.grad) + piece.output;
    for (int64_t i = 0; i < taps_of(a_) * step_; ++i) by_channel[i] = 0;
    for (int64_t row = part.before(a_, a_.out[0]); row < part.before(a_, a_.out[0], true); ++row)
      for_outputs(row, [&](Taps taps, int64_t column, int64_t count) {
        correlate<add, A, T, T>(taps, count, piece.channels,
                                {x + column * a_.stride[1] * a_.channels, a_.stride[1] * a_.channels},
                                {grad + (row * a_.out[1] + column) * a_.channels, a_.channels}, channel_.data,
                                {spatial_at(part, row, column), a_.of_column}, by_channel,
                                {by_spatial + row * a_.of_row + column * a_.of_column, a_.of_column});
      });
  }

  // From tap by tap to channel by channel; the channel filter, which has the same size, has been used.
  void turn(A* by_channel, const Piece& piece) {
    for (int64_t i = 0; i < taps_of(a_) * piece.channels; ++i) channel_.data[i] = by_channel[i];
    for (int64_t k = 0; k < piece.channels; ++k)
      for (int64_t tap = 0; tap < taps_of(a_); ++tap)
        by_channel[k * taps_of(a_) + tap] = channel_.data[tap * piece.channels + k];
  }

  // The taps through which input position (row, column) is read, from the output's element (0, `from`) on.
  Taps readers_of(int64_t row, int64_t column, int64_t from) {
    int64_t count = 0;
    for (int64_t i = 0; i < a_.kernel[0]; ++i) {
      const int64_t down = row + padding(a_, 0) - i * a_.dilation[0];
      if (down < 0 || down % a_.stride[0] || down / a_.stride[0] >= a_.out[0]) continue;
      for (int64_t j = 0; j < a_.kernel[1]; ++j) {
        const int64_t along = column + padding(a_, 1) - j * a_.dilation[1];
        if (along < 0 || along % a_.stride[1] || along / a_.stride[1] >= a_.out[1]) continue;
        const int64_t tap = i * a_.kernel[1] + j, reader = along / a_.stride[1] - from;
        list_.data[count++] = {(down / a_.stride[0] * a_.out[1] + reader) * a_.channels, tap * step_,
                               tap * a_.of_tap + down / a_.stride[0] * a_.of_row + reader * a_.of_column};
      }
    }
    return {list_.data, count};
  }

  void by_input(const Part& part, const Piece& piece) {
    const T* grad = static_cast<const T*>(a_.grad) + piece.output;
    T* to = static_cast<T*>(a_.grad_input) + piece.input;
    const int64_t pad = padding(a_, 1);
    for (int64_t row = part.before(a_, a_.in[0]); row < part.before(a_, a_.in[0], true); ++row)
      for (int64_t column = 0; column < a_.in[1];) {
        // Away from the edges, and with stride 1, neighbours have the same taps.
        const bool inside = a_.stride[1] == 1 && column >= pad && column + pad < a_.in[1];
        const int64_t count = inside ? a_.in[1] - pad - column : 1, from = inside ? column : 0;
        filter<add, A, T, T, T>(readers_of(row, column, from), count, piece.channels,
                                       {grad + from * a_.channels, a_.channels}, channel_.data,
                                       {spatial_at(part, 0, from), a_.of_column},
                                       {to + (row * a_.in[1] + column) * a_.channels, a_.channels});
        column += count;
      }
  }

  const DdfArgs& a_;
  const int64_t block_;
  int64_t step_ = 0;  // from tap to tap in the channel filter: the channels of the piece
  Room<Tap> list_;
  Room<A> channel_;
};

}  // namespace
