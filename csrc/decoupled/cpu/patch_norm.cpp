// Patch norms and their backward, compiled once for each instruction set.
//
// Forward: the squares are summed over the channels of each position (one read of the input), then over the
// window (small: one value a position and group). Backward: the gradients are spread over the window, then each
// input element is multiplied by its position's share.
#include "cpu/capability.h"

#include "cpu/scalar.h"

namespace {

using decoupled::Layout;
using decoupled::PatchNormArgs;

int64_t volume(const int64_t (&size)[3]) { return size[0] * size[1] * size[2]; }

// Channels first: one task is `block` positions of one image and group.
template <typename T, typename A>
void square_sums_first(const PatchNormArgs& a, int64_t begin, int64_t end) {
  const int64_t positions = volume(a.in), blocks = (positions + a.block - 1) / a.block;
  const int64_t width = a.channels / a.groups;
  for (int64_t task = begin; task < end; ++task) {
    const int64_t row = task / blocks, start = task % blocks * a.block;
    const int64_t count = least(a.block, positions - start);
    const T* x = static_cast<const T*>(a.input) + row * width * positions + start;
    A* sum = static_cast<A*>(a.plane) + row * positions + start;
    int64_t c = width % 4;
    for (int64_t i = 0; i < count; ++i) sum[i] = 0;
    for (int64_t k = 0; k < c; ++k) {
      INDEPENDENT
      for (int64_t i = 0; i < count; ++i) sum[i] += load(x + k * positions + i) * load(x + k * positions + i);
    }
    for (; c < width; c += 4) {
      const T *x0 = x + c * positions, *x1 = x0 + positions, *x2 = x1 + positions, *x3 = x2 + positions;
      INDEPENDENT
      for (int64_t i = 0; i < count; ++i) {
        const A v0 = load(x0 + i), v1 = load(x1 + i), v2 = load(x2 + i), v3 = load(x3 + i);
        sum[i] += (v0 * v0 + v1 * v1) + (v2 * v2 + v3 * v3);
      }
    }
  }
}

// Channels last: one task is `block` positions of one image, all groups.
template <typename T, typename A>
void square_sums_last(const PatchNormArgs& a, int64_t begin, int64_t end) {
  const int64_t positions = volume(a.in), blocks = (positions + a.block - 1) / a.block;
  const int64_t width = a.channels / a.groups;
  for (int64_t task = begin; task < end; ++task) {
    const int64_t image = task / blocks, start = task % blocks * a.block;
    const int64_t stop = least(start + a.block, positions);
    for (int64_t i = start; i < stop; ++i)
      for (int64_t g = 0; g < a.groups; ++g) {
        const T* x = static_cast<const T*>(a.input) + (image * positions + i) * a.channels + g * width;
        Lanes<A> sum;
        for_lanes(0, width, [&](int64_t c, int64_t lane) { sum.of[lane] += A(load(x + c)) * load(x + c); });
        static_cast<A*>(a.plane)[(image * a.groups + g) * positions + i] = sum.sum();
      }
  }
}

// Room for an input row behind its padding, and for everything the taps of an output row reach.
int64_t line_length(const PatchNormArgs& a) {
  const int64_t padded = a.before[2] + a.in[2];
  const int64_t reach = (a.out[2] - 1) * a.stride[2] + (a.kernel[2] - 1) * a.dilation[2] + 1;
  return padded > reach ? padded : reach;
}

// One task is one output row (the last spatial dimension).
template <typename A>
void window_norms(const PatchNormArgs& a, int64_t begin, int64_t end) {
  const int64_t length = line_length(a);
  A* line = new A[length];
  for (int64_t task = begin; task < end; ++task) {
    const int64_t h = task % a.out[1], d = task / a.out[1] % a.out[0], row = task / (a.out[0] * a.out[1]);
    const A* plane = static_cast<const A*>(a.plane) + row * volume(a.in);
    A* norm = static_cast<A*>(a.norm) + task * a.out[2];
    for (int64_t i = 0; i < length; ++i) line[i] = 0;
    A* inner = line + a.before[2];
    for (int64_t kd = 0; kd < a.kernel[0]; ++kd) {
      const int64_t id = d * a.stride[0] - a.before[0] + kd * a.dilation[0];
      if (id < 0 || id >= a.in[0]) continue;
      for (int64_t kh = 0; kh < a.kernel[1]; ++kh) {
        const int64_t ih = h * a.stride[1] - a.before[1] + kh * a.dilation[1];
        if (ih < 0 || ih >= a.in[1]) continue;
        const A* source = plane + (id * a.in[1] + ih) * a.in[2];
        INDEPENDENT
        for (int64_t i = 0; i < a.in[2]; ++i) inner[i] += source[i];
      }
    }
    for (int64_t o = 0; o < a.out[2]; ++o) norm[o] = static_cast<A>(a.eps);
    for (int64_t k = 0; k < a.kernel[2]; ++k) {
      const A* tap = line + k * a.dilation[2];
      if (a.stride[2] == 1) {
        INDEPENDENT
        for (int64_t o = 0; o < a.out[2]; ++o) norm[o] += tap[o];
      } else {
        for (int64_t o = 0; o < a.out[2]; ++o) norm[o] += tap[o * a.stride[2]];
      }
    }
    INDEPENDENT
    for (int64_t o = 0; o < a.out[2]; ++o) norm[o] = root(norm[o]);
  }
  delete[] line;
}

// Where output index o has input index i under tap k; -1 if nowhere.
int64_t output_index(const PatchNormArgs& a, int axis, int64_t i, int64_t k) {
  const int64_t shifted = i + a.before[axis] - k * a.dilation[axis];
  if (shifted < 0 || shifted % a.stride[axis]) return -1;
  const int64_t o = shifted / a.stride[axis];
  return o < a.out[axis] ? o : -1;
}

// One task is one input row: the sum of grad/norm over the windows that hold each of its positions.
template <typename A>
void window_adjoint(const PatchNormArgs& a, int64_t begin, int64_t end) {
  const int64_t length = line_length(a);
  A* line = new A[length + a.out[2]];
  A* share = line + length;
  for (int64_t task = begin; task < end; ++task) {
    const int64_t h = task % a.in[1], d = task / a.in[1] % a.in[0], row = task / (a.in[0] * a.in[1]);
    const int64_t base = row * volume(a.out);
    for (int64_t i = 0; i < length + a.out[2]; ++i) line[i] = 0;
    for (int64_t kd = 0; kd < a.kernel[0]; ++kd) {
      const int64_t od = output_index(a, 0, d, kd);
      if (od < 0) continue;
      for (int64_t kh = 0; kh < a.kernel[1]; ++kh) {
        const int64_t oh = output_index(a, 1, h, kh);
        if (oh < 0) continue;
        const int64_t at = base + (od * a.out[1] + oh) * a.out[2];
        const A *grad = static_cast<const A*>(a.grad) + at, *norm = static_cast<const A*>(a.norm) + at;
        INDEPENDENT
        for (int64_t o = 0; o < a.out[2]; ++o) share[o] += grad[o] / norm[o];
      }
    }
    for (int64_t k = 0; k < a.kernel[2]; ++k) {
      A* tap = line + k * a.dilation[2];
      if (a.stride[2] == 1) {
        INDEPENDENT
        for (int64_t o = 0; o < a.out[2]; ++o) tap[o] += share[o];
      } else {
        for (int64_t o = 0; o < a.out[2]; ++o) tap[o * a.stride[2]] += share[o];
      }
    }
    A* plane = static_cast<A*>(a.plane) + task * a.in[2];
    for (int64_t i = 0; i < a.in[2]; ++i) plane[i] = line[a.before[2] + i];
  }
  delete[] line;
}

// grad_input (+)= x · share, tasks as in square_sums.
template <typename T, typename A, bool add>
void scale_first(const PatchNormArgs& a, int64_t begin, int64_t end) {
  const int64_t positions = volume(a.in), blocks = (positions + a.block - 1) / a.block;
  const int64_t width = a.channels / a.groups;
  for (int64_t task = begin; task < end; ++task) {
    const int64_t row = task / blocks, start = task % blocks * a.block;
    const int64_t count = least(a.block, positions - start);
    const A* share = static_cast<const A*>(a.plane) + row * positions + start;
    for (int64_t c = 0; c < width; ++c) {
      const int64_t at = (row * width + c) * positions + start;
      const T* x = static_cast<const T*>(a.input) + at;
      T* grad = static_cast<T*>(a.grad_input) + at;
      INDEPENDENT
      for (int64_t i = 0; i < count; ++i)
        store(grad + i, add ? load(grad + i) + load(x + i) * share[i] : load(x + i) * share[i]);
    }
  }
}

template <typename T, typename A, bool add>
void scale_last(const PatchNormArgs& a, int64_t begin, int64_t end) {
  const int64_t positions = volume(a.in), blocks = (positions + a.block - 1) / a.block;
  const int64_t width = a.channels / a.groups;
  for (int64_t task = begin; task < end; ++task) {
    const int64_t image = task / blocks, start = task % blocks * a.block;
    const int64_t stop = least(start + a.block, positions);
    for (int64_t i = start; i < stop; ++i)
      for (int64_t g = 0; g < a.groups; ++g) {
        const int64_t at = (image * positions + i) * a.channels + g * width;
        const T* x = static_cast<const T*>(a.input) + at;
        T* grad = static_cast<T*>(a.grad_input) + at;
        const A share = static_cast<const A*>(a.plane)[(image * a.groups + g) * positions + i];
        INDEPENDENT
        for (int64_t c = 0; c < width; ++c)
          store(grad + c, add ? load(grad + c) + load(x + c) * share : load(x + c) * share);
      }
  }
}

template <typename T>
void square_sums_of(const PatchNormArgs& a, int64_t begin, int64_t end) {
  using A = typename Accumulate<T>::type;
  if (a.layout == Layout::ChannelsFirst) return square_sums_first<T, A>(a, begin, end);
  square_sums_last<T, A>(a, begin, end);
}

template <typename T>
void scale_of(const PatchNormArgs& a, int64_t begin, int64_t end) {
  using A = typename Accumulate<T>::type;
  if (a.layout == Layout::ChannelsFirst)
    return a.accumulate ? scale_first<T, A, true>(a, begin, end) : scale_first<T, A, false>(a, begin, end);
  a.accumulate ? scale_last<T, A, true>(a, begin, end) : scale_last<T, A, false>(a, begin, end);
}

}  // namespace

namespace decoupled::CAPABILITY {

void square_sums(const PatchNormArgs& a, int64_t begin, int64_t end) {
  if (a.scalar == Scalar::Float) return square_sums_of<float>(a, begin, end);
  if (a.scalar == Scalar::Double) return square_sums_of<double>(a, begin, end);
  square_sums_of<bfloat16>(a, begin, end);
}

void window_norms(const PatchNormArgs& a, int64_t begin, int64_t end) {
  if (a.scalar == Scalar::Double) return ::window_norms<double>(a, begin, end);
  ::window_norms<float>(a, begin, end);
}

void window_adjoint(const PatchNormArgs& a, int64_t begin, int64_t end) {
  if (a.scalar == Scalar::Double) return ::window_adjoint<double>(a, begin, end);
  ::window_adjoint<float>(a, begin, end);
}

void scale_input(const PatchNormArgs& a, int64_t begin, int64_t end) {
  if (a.scalar == Scalar::Float) return scale_of<float>(a, begin, end);
  if (a.scalar == Scalar::Double) return scale_of<double>(a, begin, end);
  scale_of<bfloat16>(a, begin, end);
}

}  // namespace decoupled::CAPABILITY
