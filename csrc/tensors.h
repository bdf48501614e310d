// From torch tensors to what the kernels take.
#pragma once

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#ifdef __linux__
#include <sys/mman.h>
#endif

#include <cstdint>
#include <optional>
#include <vector>

#include "cpu/kernels.h"

namespace decoupled {

using torch::stable::Tensor;
using Ints = std::vector<int64_t>;

inline Scalar scalar_of(const Tensor& x) {
  using torch::headeronly::ScalarType;
  const ScalarType type = x.scalar_type();
  if (type == ScalarType::Float) return Scalar::Float;
  if (type == ScalarType::Double) return Scalar::Double;
  STD_TORCH_CHECK(type == ScalarType::BFloat16, "float32, float64 or bfloat16 needed, received ",
                  torch::headeronly::toString(type));
  return Scalar::BFloat16;
}

// The type of norms and of everything per channel.
inline torch::headeronly::ScalarType accumulation_type(const Tensor& x) {
  using torch::headeronly::ScalarType;
  return scalar_of(x) == Scalar::Double ? ScalarType::Double : ScalarType::Float;
}

inline int64_t positions_of(const Tensor& x) {
  int64_t count = 1;
  for (int64_t i = 2; i < x.dim(); ++i) count *= x.size(i);
  return count;
}

inline bool is_channels_last(const Tensor& x) {
  int64_t expected = x.size(1);
  if (expected != 1 && x.stride(1) != 1) return false;
  for (int64_t i = x.dim() - 1; i >= 1; --i) {
    const int64_t axis = i == 1 ? 0 : i;
    if (x.size(axis) != 1 && x.stride(axis) != expected) return false;
    expected *= x.size(axis);
  }
  return true;
}

// Both layouts hold for a single position (or channel); the longer rows are the better ones to walk along.
inline Layout layout_of(const Tensor& x) {
  const bool first = x.is_contiguous(), last = is_channels_last(x);
  STD_TORCH_CHECK(first || last, "a contiguous or channels_last tensor needed");
  return last && (!first || positions_of(x) == 1) ? Layout::ChannelsLast : Layout::ChannelsFirst;
}

// `x` itself where the kernels can read it, else a contiguous copy.
inline Tensor readable(const Tensor& x) {
  return x.is_contiguous() || is_channels_last(x) ? x : torch::stable::contiguous(x);
}

inline bool same_shape(const Tensor& x, const Tensor& y) {
  if (x.dim() != y.dim()) return false;
  for (int64_t i = 0; i < x.dim(); ++i)
    if (x.size(i) != y.size(i)) return false;
  return true;
}

// `x` in the layout of `like`, which has its shape.
inline Tensor arranged_as(const Tensor& x, const Tensor& like) {
  if (layout_of(like) == Layout::ChannelsFirst ? x.is_contiguous() : is_channels_last(x)) return x;
  Tensor copy = torch::stable::empty_like(like);
  torch::stable::copy_(copy, x);
  return copy;
}

// `made`, a new tensor. A large one is mapped afresh each time, and the faults of its small pages can take longer
// than the pass that fills it: where the system leaves the choice to programs, ask for large ones.
inline Tensor in_large_pages(Tensor made) {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  constexpr uintptr_t kPage = 4096, kWorthIt = uintptr_t{4} << 20;
  const uintptr_t bytes = static_cast<uintptr_t>(made.numel()) * made.element_size();
  if (bytes >= kWorthIt) {
    const uintptr_t start = reinterpret_cast<uintptr_t>(made.const_data_ptr()), first = (start + kPage - 1) & -kPage;
    (void)madvise(reinterpret_cast<void*>(first), (start + bytes - first) & -kPage, MADV_HUGEPAGE);
  }
#endif
  return made;
}

// An uninitialised tensor like `like`.
inline Tensor new_like(const Tensor& like) { return in_large_pages(torch::stable::empty_like(like)); }

// An uninitialised tensor of another size, in the memory format of `like`, which is a batch of images.
inline Tensor new_images(const Tensor& like, const Ints& size) {
  using torch::headeronly::MemoryFormat;
  return in_large_pages(
      torch::stable::empty(size, like.scalar_type(), std::nullopt, like.device(), std::nullopt,
                           like.is_contiguous() ? MemoryFormat::Contiguous : MemoryFormat::ChannelsLast));
}

// Calls f(begin, end) for ranges of tasks, on libtorch's threads where the work is worth it.
template <typename F>
void for_tasks(int64_t tasks, int64_t work_per_task, const F& f) {
  constexpr int64_t kWorthAThread = 32768;
  const int64_t grain = (kWorthAThread + work_per_task) / (work_per_task + 1);
  if (tasks > 0) torch::stable::parallel_for(0, tasks, grain > 0 ? grain : 1, f);
}

}  // namespace decoupled
