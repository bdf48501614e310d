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

// Power and spline are learned, and have one exponent or a slope for each of the pieces; a sigmoid has a sharpness.
enum class Angle { Cos, Sqcos, Power, Spline, Linear, Sigmoid };
constexpr int kTurns = 4;
constexpr int parameters_of(Angle angle) {
  return angle == Angle::Power || angle == Angle::Sigmoid ? 1 : angle == Angle::Spline ? kTurns : 0;
}
// Whether every channel has parameters of its own, or all of a group the same.
constexpr bool parameters_by_channel(Angle angle) { return angle == Angle::Sigmoid; }
// What the kernels read of such a channel, one behind the other: 1/(2|k|), 1/T with T = tanh(π/(4|k|)), (π/2)(1 - T²)/T.
constexpr int kOfSigmoid = 3;
// A power of the cosine: the gradients by norms follow from the gain's.
constexpr bool is_power_of_cosine(Angle angle) { return angle == Angle::Cos || angle == Angle::Sqcos; }
// Whether the cosine follows from g, and so from the output.
constexpr bool is_invertible(Angle angle) { return is_power_of_cosine(angle) || angle == Angle::Linear; }
// Shares of a channel's gradients that a task writes: of gain, radius and bias and, where these do not say it all,
// by the logarithm of z and by each parameter.
constexpr int shares_of(Angle angle) { return is_power_of_cosine(angle) ? 3 : 4 + parameters_of(angle); }

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
  const void* h;             // (batch, groups, positions), where the magnitude is given; else null
  const void* parameters;    // (groups, parameters_of(angle)); by channel: (kOfSigmoid, channels)
  const void* value;         // z, or the output when `from_output`
  void* out;                 // may be `value`
  // Backward only.
  const void* grad;
  bool from_output;
  void* grad_value;
  void* grad_norm;  // (batch, groups, positions)
  void* grad_h;     // likewise, where `h` is given
  void* sums;       // (tasks, shares_of(angle), channels)
};

enum class Radial { Power, Spline };
constexpr int kPieces = 16;
constexpr double kWidth = 0.2;
// What a task sums up: for a spline, of each piece, grad · (u − its start) and grad; for a power, in the first place,
// grad · h · log u; and at last, for the radius, grad · u · dh/du.
constexpr int kRadialShares = 2 * kPieces + 1;

// A learned magnitude of the norms in units of the radius. A task works on `block` positions of one row.
struct RadialArgs {
  int64_t batch, rows, positions, block;
  Scalar scalar;  // Float or Double
  Radial magnitude;
  double radius;
  const void* norm;        // (batch, rows, positions)
  const void* parameters;  // (rows, 1 or kPieces)
  void* out;               // likewise; null for the backward pass
  const void* grad;
  void* grad_norm;
  double* sums;  // (tasks, kRadialShares)
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
  void (*radial)(const RadialArgs&, int64_t begin, int64_t end);      // likewise
  void (*ddf)(const DdfArgs&, int64_t begin, int64_t end);            // likewise
  void (*add_shares)(const ShareArgs&, int64_t begin, int64_t end);
};

// The best table this machine can run; ATEN_CPU_CAPABILITY lowers the choice, as it does for torch.
const KernelTable& kernels();

}  // namespace decoupled
