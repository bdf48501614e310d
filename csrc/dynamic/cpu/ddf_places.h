// Where the taps of a dynamic filtering lie, and how rows are copied.
#pragma once

#include "ddf.h"
#include "ddf_core.h"

namespace {

using decoupled::DdfArgs;

// One of the tasks, and where its parts of the tensors begin.
struct Part {
  int64_t image, head, slab, chunk;
  int64_t channel, channels;  // the first of all channels, and how many

  Part(const DdfArgs& a, int64_t task) {
    const int64_t width = a.channels / a.heads;
    chunk = task % a.chunks;
    slab = task / a.chunks % a.slabs;
    head = task / (a.chunks * a.slabs) % a.heads;
    image = task / (a.chunks * a.slabs * a.heads);
    channel = head * width + width * chunk / a.chunks;
    channels = head * width + width * (chunk + 1) / a.chunks - channel;
  }

  // Of `total` rows or bands, those before the slab; with the next slab, those before its end.
  int64_t before(const DdfArgs& a, int64_t total, bool next = false) const {
    return total * (slab + next) / a.slabs;
  }
};

inline int64_t taps_of(const DdfArgs& a) { return a.kernel[0] * a.kernel[1]; }
inline int64_t padding(const DdfArgs& a, int axis) { return a.dilation[axis] * (a.kernel[axis] - 1) / 2; }

template <typename T>
const T* spatial_of(const DdfArgs& a, const Part& part) {
  return static_cast<const T*>(a.spatial) + part.image * a.of_image + part.head * taps_of(a) * a.of_tap;
}

// The task's part of the spatial filter's gradient: in the tensor itself, or in the chunk's shares.
template <typename T>
T* grad_spatial_of(const DdfArgs& a, const Part& part) {
  T* first = static_cast<T*>(a.spatial_shares ? a.spatial_shares : a.grad_spatial);
  if (a.spatial_shares) first += part.chunk * a.spatial_size;
  return first + part.image * a.of_image + part.head * taps_of(a) * a.of_tap;
}

template <typename T>
const T* channel_of(const DdfArgs& a, const Part& part) {
  return static_cast<const T*>(a.channel) + (part.image * a.channels + part.channel) * taps_of(a);
}

template <typename A>
A* channel_shares_of(const DdfArgs& a, const Part& part) {
  const int64_t row = (part.slab * a.batch + part.image) * a.channels + part.channel;
  return static_cast<A*>(a.channel_shares) + row * taps_of(a);
}

// Zeroed memory of the thread that works on the tasks.
template <typename T>
class Room {
 public:
  explicit Room(int64_t size) : data(new T[size]) { clear(size); }
  ~Room() { delete[] data; }
  Room(const Room&) = delete;
  Room& operator=(const Room&) = delete;
  void clear(int64_t size) {
    for (int64_t i = 0; i < size; ++i) data[i] = T{};
  }
  T* const data;
};

constexpr int64_t kChannels = 4;  // worked on together where they come first in memory

inline int64_t rounded_up(int64_t size, int64_t step) { return (size + step - 1) / step * step; }

template <typename A, typename B>
constexpr bool is_same = false;
template <typename A>
constexpr bool is_same<A, A> = true;

template <int64_t size>
inline void move_bytes(char* to, const char* from) {
  char held[size];
  memcpy(held, from, size);
  memcpy(to, held, size);
}

// Rows are short, and what is left of them behind whole vectors would take longer than those: the last vector
// covers the end of the one before it once more.
template <int64_t size>
inline void move_run(char* to, const char* from, int64_t bytes) {
  for (int64_t i = 0; i + size < bytes; i += size) move_bytes<size>(to + i, from + i);
  move_bytes<size>(to + bytes - size, from + bytes - size);
}

template <typename To, typename From>
inline void copy(To* to, int64_t to_step, const From* from, int64_t from_step, int64_t count) {
  if constexpr (is_same<To, From>) {
    const int64_t bytes = count * sizeof(To);
    char* target = reinterpret_cast<char*>(to);
    const char* source = reinterpret_cast<const char*>(from);
    if (to_step == 1 && from_step == 1 && bytes >= 64) return move_run<64>(target, source, bytes);
    if (to_step == 1 && from_step == 1 && bytes >= 32) return move_run<32>(target, source, bytes);
    if (to_step == 1 && from_step == 1 && bytes >= 16) return move_run<16>(target, source, bytes);
  }
  if (to_step == 1 && from_step == 1) {
    INDEPENDENT
    for (int64_t i = 0; i < count; ++i) store(to + i, load(from + i));
  } else if (to_step == 1 && from_step == 2) {  // a known step can be vectorised
    INDEPENDENT
    for (int64_t i = 0; i < count; ++i) store(to + i, load(from + 2 * i));
  } else {
    for (int64_t i = 0; i < count; ++i) store(to + i * to_step, load(from + i * from_step));
  }
}

}  // namespace
