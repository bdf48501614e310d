// The ops epilogue, epilogue_ (in place) and epilogue_backward.
#include <cmath>
#include <optional>
#include <string>
#include <tuple>

#include "tensors.h"

namespace decoupled {
namespace {

using MaybeTensor = std::optional<Tensor>;

constexpr const char* kAngles[] = {"cos", "sqcos", "power", "spline", "linear", "sigmoid", nullptr};  // as in Angle

int place_of(const char* kind, const std::string& name, const char* const* names) {
  for (int i = 0; names[i]; ++i)
    if (name == names[i]) return i;
  STD_TORCH_CHECK(false, "epilogue: unknown ", kind, " ", name);
}

std::string joined(const char* const* names) {
  std::string all;
  for (; *names; ++names) all += (all.empty() ? "" : ",") + std::string(*names);
  return all;
}

// One number a channel, contiguous; `otherwise` where nothing is given.
template <typename F>
Tensor per_channel(const char* what, const Tensor& z, const MaybeTensor& given, double otherwise, F make) {
  if (!given) return make(otherwise);
  STD_TORCH_CHECK(given->dim() == 1 && given->size(0) == z.size(1) && given->scalar_type() == accumulation_type(z),
                  "epilogue: ", what, ": one number a channel, in the type of accumulation, needed");
  return torch::stable::contiguous(*given);
}

// Holds what the pointers of EpilogueArgs point to.
struct Operands {
  Tensor norm, gain, kernel_norm, inverse_norm, radius, bias, h, parameters, of_sigmoid;
  EpilogueArgs args{};
  int64_t tasks = 0, work = 0;
};

template <typename A>
void invert(const Tensor& from, const Tensor& to) {
  const A* x = static_cast<const A*>(from.const_data_ptr());
  A* y = static_cast<A*>(to.mutable_data_ptr());
  for (int64_t i = 0; i < from.numel(); ++i) y[i] = A(1) / x[i];
}

// Enough positions for a task to be worth its start, few enough for its rows to stay in cache; by shape only,
// so that sums over positions do not depend on the number of threads.
void set_tasks(Operands& o) {
  EpilogueArgs& a = o.args;
  if (a.layout == Layout::ChannelsLast) {
    if (a.groups == 1) {  // norms of all images lie behind each other, as the rows of z do
      a.positions *= a.batch;
      a.batch = a.positions ? 1 : 0;
    }
    const int64_t rows = 32768 / (a.channels + 1) + 1;
    a.block = rows > 1024 ? 1024 : rows < 16 ? 16 : rows;
  } else {
    a.block = a.batch * a.positions >= 8192 ? 1024 : 128;
  }
  o.tasks = a.batch * ((a.positions + a.block - 1) / a.block);
  o.work = a.channels * (a.block < a.positions ? a.block : a.positions);
}

void check_norm(const Tensor& z, const Tensor& norm) {
  bool fits = z.dim() >= 3 && norm.dim() == z.dim() && norm.size(0) == z.size(0) && norm.size(1) >= 1 &&
              z.size(1) % norm.size(1) == 0 && norm.scalar_type() == accumulation_type(z);
  for (int64_t i = 2; fits && i < z.dim(); ++i) fits = norm.size(i) == z.size(i);
  STD_TORCH_CHECK(fits, "epilogue: norms of shape (B, G, *S), in the type of accumulation, needed");
}

// From sharpnesses k (channels, 1), what EpilogueArgs says of a sigmoid; g does not change with the sign of k.
template <typename A>
void set_sigmoid(const Tensor& k, const Tensor& to) {
  const int64_t channels = k.size(0);
  const A* from = static_cast<const A*>(k.const_data_ptr());
  A* of = static_cast<A*>(to.mutable_data_ptr());
  constexpr double right_angle = 1.57079632679489661923;
  for (int64_t c = 0; c < channels; ++c) {
    const double width = 0.5 / std::fabs(static_cast<double>(from[c])), top = std::tanh(right_angle * width);
    const double across = std::cosh(right_angle * width);
    of[c] = static_cast<A>(width);
    of[channels + c] = static_cast<A>(1 / top);
    of[2 * channels + c] = static_cast<A>(right_angle / (across * across) / top);
  }
}

// The map of a given magnitude, and the parameters of an angle that has some.
void set_learned(Operands& o, const MaybeTensor& h, const MaybeTensor& parameters, const std::string& magnitude) {
  EpilogueArgs& a = o.args;
  const auto type = o.norm.scalar_type();
  const bool given = magnitude == "given";
  STD_TORCH_CHECK(given == h.has_value() && (!given || (same_shape(*h, o.norm) && h->scalar_type() == type)),
                  "epilogue: h of the norms' shape and type needed with the magnitude given, and with no other");
  if (given) {
    o.h = torch::stable::contiguous(*h);
    a.h = o.h.const_data_ptr();
  }
  const int64_t count = parameters_of(a.angle), rows = parameters_by_channel(a.angle) ? a.channels : a.groups;
  STD_TORCH_CHECK((count > 0) == parameters.has_value() &&
                      (count == 0 || (parameters->dim() == 2 && parameters->size(0) == rows &&
                                      parameters->size(1) == count && parameters->scalar_type() == type)),
                  "epilogue: parameters (", rows, ", ", count, ") of the angle, in the type of the norms, needed");
  if (count > 0) {
    o.parameters = torch::stable::contiguous(*parameters);
    a.parameters = o.parameters.const_data_ptr();
  }
  if (a.angle == Angle::Sigmoid) {
    o.of_sigmoid = torch::stable::new_empty(o.norm, Ints{kOfSigmoid, a.channels}, std::nullopt);
    if (a.scalar == Scalar::Double)
      set_sigmoid<double>(o.parameters, o.of_sigmoid);
    else
      set_sigmoid<float>(o.parameters, o.of_sigmoid);
    a.parameters = o.of_sigmoid.const_data_ptr();
  }
}

Operands operands(const Tensor& z, const Tensor& norm, const Tensor& kernel_norm, const MaybeTensor& gain,
                  const MaybeTensor& radius, const MaybeTensor& bias, const MaybeTensor& h,
                  const MaybeTensor& parameters, const std::string& magnitude, const std::string& angle, double alpha,
                  double beta) {
  check_norm(z, norm);
  const auto type = accumulation_type(z);
  const Ints channels{z.size(1)};
  auto make = [&](double value) {
    return torch::stable::full(channels, value, type, std::nullopt, std::nullopt, std::nullopt);
  };
  Operands o;
  o.norm = torch::stable::contiguous(norm);
  o.kernel_norm = per_channel("kernel_norm", z, kernel_norm, 1, make);
  o.inverse_norm = torch::stable::empty_like(o.kernel_norm);
  if (type == torch::headeronly::ScalarType::Double)
    invert<double>(o.kernel_norm, o.inverse_norm);
  else
    invert<float>(o.kernel_norm, o.inverse_norm);
  o.gain = per_channel("gain", z, gain, 1, make);
  o.radius = per_channel("radius", z, radius, 1, make);
  o.bias = per_channel("bias", z, bias, 0, make);
  EpilogueArgs& a = o.args;
  a.batch = z.size(0);
  a.channels = z.size(1);
  a.groups = norm.size(1);
  a.positions = positions_of(z);
  a.scalar = scalar_of(z);
  a.layout = layout_of(z);
  a.magnitude = place_of("magnitude", magnitude, kernels().magnitudes());
  a.angle = static_cast<Angle>(place_of("angle", angle, kAngles));
  a.alpha = alpha;
  a.beta = beta;
  a.norm = o.norm.const_data_ptr();
  a.gain = o.gain.const_data_ptr();
  a.inverse_norm = o.inverse_norm.const_data_ptr();
  a.radius = o.radius.const_data_ptr();
  a.bias = o.bias.const_data_ptr();
  set_learned(o, h, parameters, magnitude);
  set_tasks(o);
  return o;
}

void run(const Operands& o) {
  const KernelTable& table = kernels();
  for_tasks(o.tasks, o.work, [&](int64_t begin, int64_t end) { table.epilogue(o.args, begin, end); });
}

Tensor epilogue(const Tensor& z, const Tensor& norm, const Tensor& kernel_norm, const MaybeTensor& gain,
                const MaybeTensor& radius, const MaybeTensor& bias, const MaybeTensor& h,
                const MaybeTensor& parameters, const std::string& magnitude, const std::string& angle, double alpha,
                double beta) {
  const Tensor value = readable(z);
  Operands o = operands(value, norm, kernel_norm, gain, radius, bias, h, parameters, magnitude, angle, alpha, beta);
  Tensor out = new_like(value);
  o.args.value = value.const_data_ptr();
  o.args.out = out.mutable_data_ptr();
  run(o);
  return out;
}

void epilogue_(Tensor z, const Tensor& norm, const Tensor& kernel_norm, const MaybeTensor& gain,
               const MaybeTensor& radius, const MaybeTensor& bias, const MaybeTensor& h,
               const MaybeTensor& parameters, const std::string& magnitude, const std::string& angle, double alpha,
               double beta) {
  Operands o = operands(z, norm, kernel_norm, gain, radius, bias, h, parameters, magnitude, angle, alpha, beta);
  o.args.value = z.const_data_ptr();
  o.args.out = z.mutable_data_ptr();
  run(o);
}

// Adds the tasks' shares up, in their order and in double precision.
template <typename A>
void add_shares(const Operands& o, const Tensor& sums, const Tensor& gain, const Tensor& kernel_norm,
                const Tensor& radius, const Tensor& bias) {
  const int64_t channels = o.args.channels, rows = shares_of(o.args.angle);
  const bool turned = !is_power_of_cosine(o.args.angle);
  const A* shares = static_cast<const A*>(sums.const_data_ptr());
  const A* own_gain = static_cast<const A*>(o.args.gain);
  const A* inverse = static_cast<const A*>(o.args.inverse_norm);
  A* targets[3] = {static_cast<A*>(gain.mutable_data_ptr()), static_cast<A*>(radius.mutable_data_ptr()),
                   static_cast<A*>(bias.mutable_data_ptr())};
  A* by_kernel_norm = static_cast<A*>(kernel_norm.mutable_data_ptr());
  const double degree = o.args.angle == Angle::Cos ? 1 : 2;
  std::vector<double> total(channels);
  for (int which = 0; which < (turned ? 4 : 3); ++which) {
    total.assign(channels, 0.0);
    for (int64_t task = 0; task < o.tasks; ++task)
      for (int64_t c = 0; c < channels; ++c) total[c] += shares[(task * rows + which) * channels + c];
    for (int64_t c = 0; which < 3 && c < channels; ++c) targets[which][c] = static_cast<A>(total[c]);
    for (int64_t c = 0; which == 0 && !turned && c < channels; ++c)
      by_kernel_norm[c] = static_cast<A>(-degree * total[c] * own_gain[c] * inverse[c]);
    for (int64_t c = 0; which == 3 && c < channels; ++c) by_kernel_norm[c] = static_cast<A>(-total[c] * inverse[c]);
  }
}

// Likewise for the parameters of an angle, each shared by the channels of a group, or a channel's own.
template <typename A>
void add_parameters(const Operands& o, const Tensor& sums, const Tensor& parameters) {
  const EpilogueArgs& a = o.args;
  const int64_t count = parameters_of(a.angle), rows = shares_of(a.angle);
  const int64_t groups = parameters_by_channel(a.angle) ? a.channels : a.groups, width = a.channels / groups;
  const A* shares = static_cast<const A*>(sums.const_data_ptr());
  const A* own = static_cast<const A*>(o.parameters.const_data_ptr());
  A* target = static_cast<A*>(parameters.mutable_data_ptr());
  for (int64_t group = 0; group < groups; ++group)
    for (int64_t j = 0; j < count; ++j) {
      double total = 0;
      for (int64_t task = 0; task < o.tasks; ++task)
        for (int64_t c = group * width; c < (group + 1) * width; ++c)
          total += shares[(task * rows + 4 + j) * a.channels + c];
      // A sigmoid's shares are by 1/(2|k|).
      if (a.angle == Angle::Sigmoid) total *= -0.5 / (static_cast<double>(own[group]) * std::fabs(own[group]));
      target[group * count + j] = static_cast<A>(total);
    }
}

using Gradients = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor>;

Gradients epilogue_backward(const Tensor& grad, const Tensor& value, const Tensor& norm,
                            const Tensor& kernel_norm, const MaybeTensor& gain, const MaybeTensor& radius,
                            const MaybeTensor& h, const MaybeTensor& parameters, const std::string& magnitude,
                            const std::string& angle, double alpha, double beta, bool from_output) {
  STD_TORCH_CHECK(same_shape(grad, value) && grad.scalar_type() == value.scalar_type(),
                  "epilogue_backward: gradient of the value's shape and type needed");
  const Tensor x = readable(value);
  Operands o = operands(x, norm, kernel_norm, gain, radius, std::nullopt, h, parameters, magnitude, angle, alpha, beta);
  const Tensor dense_grad = arranged_as(grad, x);
  Tensor by_value = new_like(x), by_norm = torch::stable::empty_like(o.norm);
  Tensor by_kernel_norm = torch::stable::empty_like(o.gain), by_gain = torch::stable::empty_like(o.gain);
  Tensor by_radius = torch::stable::empty_like(o.gain), by_bias = torch::stable::empty_like(o.gain);
  auto like_or_none = [&](bool given, const Tensor& like) {
    return given ? torch::stable::empty_like(like) : torch::stable::new_empty(o.norm, Ints{0}, std::nullopt);
  };
  Tensor by_h = like_or_none(h.has_value(), o.h), by_parameters = like_or_none(parameters.has_value(), o.parameters);
  Tensor sums = torch::stable::new_empty(o.norm, Ints{o.tasks, shares_of(o.args.angle), o.args.channels}, std::nullopt);
  o.args.value = x.const_data_ptr();
  o.args.grad = dense_grad.const_data_ptr();
  STD_TORCH_CHECK(!from_output || is_invertible(o.args.angle), "epilogue_backward: z needed by this angle");
  o.args.from_output = from_output;
  o.args.grad_value = by_value.mutable_data_ptr();
  o.args.grad_norm = by_norm.mutable_data_ptr();
  o.args.grad_h = by_h.mutable_data_ptr();
  o.args.sums = sums.mutable_data_ptr();
  run(o);
  if (o.args.scalar == Scalar::Double)
    add_shares<double>(o, sums, by_gain, by_kernel_norm, by_radius, by_bias);
  else
    add_shares<float>(o, sums, by_gain, by_kernel_norm, by_radius, by_bias);
  if (parameters && o.args.scalar == Scalar::Double)
    add_parameters<double>(o, sums, by_parameters);
  else if (parameters)
    add_parameters<float>(o, sums, by_parameters);
  return {by_value, by_norm, by_kernel_norm, by_gain, by_radius, by_bias, by_h, by_parameters};
}

std::string capability() { return kernels().name; }

// The magnitude and angular functions that the kernels know, separated by commas.
std::tuple<std::string, std::string> functions() { return {joined(kernels().magnitudes()), joined(kAngles)}; }

}  // namespace
}  // namespace decoupled

// The ops' schemas are in src/decoupled_nets/ops/decoupled/register.py; these two tell of the code itself.
STABLE_TORCH_LIBRARY_FRAGMENT(decoupled_nets, m) {
  m.def("cpu_capability() -> str");
  m.def("cpu_functions() -> (str, str)");
}

STABLE_TORCH_LIBRARY_IMPL(decoupled_nets, CPU, m) {
  m.impl("epilogue", TORCH_BOX(&decoupled::epilogue));
  m.impl("epilogue_", TORCH_BOX(&decoupled::epilogue_));
  m.impl("epilogue_backward", TORCH_BOX(&decoupled::epilogue_backward));
}

STABLE_TORCH_LIBRARY_IMPL(decoupled_nets, CompositeExplicitAutograd, m) {
  m.impl("cpu_capability", TORCH_BOX(&decoupled::capability));
  m.impl("cpu_functions", TORCH_BOX(&decoupled::functions));
}
