// What the kernels take and give: plain pointers and numbers, no torch. The kernels are compiled once for each
// instruction set, so nothing inline may be shared between those files and the rest of the library.
#pragma once

#include <cstdint>

namespace decoupled {

enum class Scalar { Float, Double, BFloat16 };
enum class Layout { ChannelsFirst, ChannelsLast };

// Spatial dimensions are always three, leading ones of size 1; `in` and `out` are their sizes.
struct PatchNormArgs {
  int64_t batch, channels, groups;
  int64_t in[3], out[3], kernel[3], stride[3], before[3], dilation[3];
  double eps;
  Scalar scalar;
  Layout layout;
  int64_t block;  // positions a task of the channel-wise passes works on
  const void* input;
  const void* grad;  // of the norms, for the backward pass
  void* norm;        // (batch, groups, out)
  void* plane;       // (batch, groups, in): summed squares, or the adjoint window sums
  void* grad_input;
  bool accumulate;  // add to grad_input instead of writing it
};

enum class Angle { Cos, Sqcos };

// A task works on `block` positions of one image. Per-channel arrays hold `channels` entries and positions lie
// behind each other: z is (batch, channels, positions), or (batch, positions, channels) with channels last.
struct EpilogueArgs {
  int64_t batch, channels, groups, positions, block;
  Scalar scalar;
  Layout layout;
  int magnitude;  // its place among KernelTable::magnitudes
  Angle angle;
  double alpha, beta;
  const void* norm;          // (batch, groups, positions)
  const void* gain;          // (channels)
  const void* inverse_norm;  // (channels): 1/‖w‖
  const void* radius;        // (channels)
  const void* bias;          // (channels)
  const void* value;         // z, or the output when `from_output`
  void* out;                 // may be `value`
  // Backward only.
  const void* grad;
  bool from_output;
  void* grad_value;
  void* grad_norm;  // (batch, groups, positions)
  void* sums;       // (tasks, 3, channels): shares of the gradients of gain, radius and bias
};

struct DdfArgs;  // ddf.h
struct ShareArgs;

// Every kernel works on the tasks [begin, end); no two tasks write to the same place.
struct KernelTable {
  const char* name;
  const char* const* (*magnitudes)();  // names, with a null pointer behind the last
  void (*square_sums)(const PatchNormArgs&, int64_t begin, int64_t end);
  void (*window_norms)(const PatchNormArgs&, int64_t begin, int64_t end);
  void (*window_adjoint)(const PatchNormArgs&, int64_t begin, int64_t end);
  void (*scale_input)(const PatchNormArgs&, int64_t begin, int64_t end);
  void (*epilogue)(const EpilogueArgs&, int64_t begin, int64_t end);  // backward where `grad` is given
  void (*ddf)(const DdfArgs&, int64_t begin, int64_t end);            // likewise
  void (*add_shares)(const ShareArgs&, int64_t begin, int64_t end);
};

// The best table this machine can run; ATEN_CPU_CAPABILITY lowers the choice, as it does for torch.
const KernelTable& kernels();

}  // namespace decoupled
