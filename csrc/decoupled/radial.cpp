// The ops radial and radial_backward: a learned magnitude of norms (B, N, *S), one radius, parameters (N, P).
#include <string>
#include <tuple>

#include "tensors.h"

namespace decoupled {
namespace {

struct Operands {
  Tensor norm, parameters;
  RadialArgs args{};
  int64_t tasks = 0;
};

double number(const Tensor& x) {
  return x.scalar_type() == torch::headeronly::ScalarType::Double ? *static_cast<const double*>(x.const_data_ptr())
                                                                  : *static_cast<const float*>(x.const_data_ptr());
}

Operands operands(const Tensor& norm, const Tensor& parameters, const Tensor& radius, const std::string& magnitude) {
  STD_TORCH_CHECK(magnitude == "power" || magnitude == "spline", "radial: unknown magnitude ", magnitude);
  Operands o;
  RadialArgs& a = o.args;
  a.magnitude = magnitude == "power" ? Radial::Power : Radial::Spline;
  const int64_t count = a.magnitude == Radial::Power ? 1 : kPieces;
  const auto type = norm.scalar_type();
  STD_TORCH_CHECK(norm.dim() >= 2 && scalar_of(norm) != Scalar::BFloat16 && parameters.scalar_type() == type &&
                      radius.scalar_type() == type && radius.numel() == 1 && parameters.dim() == 2 &&
                      parameters.size(0) == norm.size(1) && parameters.size(1) == count,
                  "radial: norms (B, N, *S), parameters (N, ", count, ") and a radius () of one type needed");
  o.norm = torch::stable::contiguous(norm);
  o.parameters = torch::stable::contiguous(parameters);
  a.batch = norm.size(0);
  a.rows = norm.size(1);
  a.positions = positions_of(norm);
  a.block = 1024;
  a.scalar = scalar_of(norm);
  a.radius = number(radius);
  a.norm = o.norm.const_data_ptr();
  a.parameters = o.parameters.const_data_ptr();
  o.tasks = a.batch * a.rows * ((a.positions + a.block - 1) / a.block);
  return o;
}

void run(const Operands& o) {
  const KernelTable& table = kernels();
  const int64_t work = 8 * (o.args.positions < o.args.block ? o.args.positions : o.args.block);
  for_tasks(o.tasks, work, [&](int64_t begin, int64_t end) { table.radial(o.args, begin, end); });
}

Tensor radial(const Tensor& norm, const Tensor& parameters, const Tensor& radius, const std::string& magnitude) {
  Operands o = operands(norm, parameters, radius, magnitude);
  Tensor out = torch::stable::empty_like(o.norm);
  o.args.out = out.mutable_data_ptr();
  run(o);
  return out;
}

// The tasks' shares, added up in their order: of one row, its parameters' gradients; and the radius's.
template <typename A>
void add_shares(const Operands& o, const std::vector<double>& sums, const Tensor& by_parameters,
                const Tensor& by_radius) {
  const RadialArgs& a = o.args;
  const int64_t blocks = (a.positions + a.block - 1) / a.block;
  A* given = static_cast<A*>(by_parameters.mutable_data_ptr());
  double by_log = 0;
  for (int64_t row = 0; row < a.rows; ++row) {
    double total[kRadialShares] = {};
    for (int64_t image = 0; image < a.batch; ++image)
      for (int64_t block = 0; block < blocks; ++block)
        for (int j = 0; j < kRadialShares; ++j)
          total[j] += sums[((image * a.rows + row) * blocks + block) * kRadialShares + j];
    by_log += total[kRadialShares - 1];
    if (a.magnitude == Radial::Power) {
      given[row] = static_cast<A>(total[0]);
      continue;
    }
    double behind = 0;  // the gradients of all that lies behind the piece
    for (int j = kPieces - 1; j >= 0; --j) {
      given[row * kPieces + j] = static_cast<A>(total[j] + kWidth * behind);
      behind += total[kPieces + j];
    }
  }
  *static_cast<A*>(by_radius.mutable_data_ptr()) = static_cast<A>(-by_log / a.radius);
}

std::tuple<Tensor, Tensor, Tensor> radial_backward(const Tensor& grad, const Tensor& norm, const Tensor& parameters,
                                                   const Tensor& radius, const std::string& magnitude) {
  Operands o = operands(norm, parameters, radius, magnitude);
  STD_TORCH_CHECK(same_shape(grad, norm) && grad.scalar_type() == norm.scalar_type(),
                  "radial_backward: a gradient of the norms' shape and type needed");
  const Tensor dense = torch::stable::contiguous(grad);
  Tensor by_norm = torch::stable::empty_like(o.norm), by_parameters = torch::stable::empty_like(o.parameters);
  Tensor by_radius = torch::stable::empty_like(radius);
  std::vector<double> sums(static_cast<size_t>(o.tasks) * kRadialShares);
  o.args.grad = dense.const_data_ptr();
  o.args.grad_norm = by_norm.mutable_data_ptr();
  o.args.sums = sums.data();
  run(o);
  if (o.args.scalar == Scalar::Double)
    add_shares<double>(o, sums, by_parameters, by_radius);
  else
    add_shares<float>(o, sums, by_parameters, by_radius);
  return {by_norm, by_parameters, by_radius};
}

}  // namespace
}  // namespace decoupled

STABLE_TORCH_LIBRARY_IMPL(decoupled_nets, CPU, m) {
  m.impl("radial", TORCH_BOX(&decoupled::radial));
  m.impl("radial_backward", TORCH_BOX(&decoupled::radial_backward));
}
