// The ops patch_norm, patch_norm_backward and patch_norm_backward_ (which adds to a gradient in place).
#include "tensors.h"

namespace decoupled {
namespace {

// Positions a task of the channel-wise passes works on: a few thousand elements that stay in the first cache,
// and enough tasks for several threads. It depends on the shape only, so the sums do not depend on the threads.
int64_t block_size(int64_t batch, int64_t positions) { return batch * positions >= 8192 ? 1024 : 128; }

void check_geometry(const Tensor& input, const Ints& kernel, const Ints& stride, const Ints& padding,
                    const Ints& dilation, int64_t groups) {
  const size_t dims = static_cast<size_t>(input.dim()) - 2;
  STD_TORCH_CHECK(dims >= 1 && dims <= 3, "patch_norm: 3 to 5 dimensions needed, received ", input.dim());
  STD_TORCH_CHECK(kernel.size() == dims && stride.size() == dims && dilation.size() == dims &&
                      padding.size() == 2 * dims,
                  "patch_norm: one kernel size, stride and dilation a dimension needed, and two paddings");
  STD_TORCH_CHECK(groups >= 1 && input.size(1) % groups == 0, "patch_norm: groups = ", groups,
                  " received, a divisor of ", input.size(1), " channels needed");
  for (size_t i = 0; i < dims; ++i)
    STD_TORCH_CHECK(kernel[i] >= 1 && stride[i] >= 1 && dilation[i] >= 1 && padding[2 * i] >= 0 &&
                        padding[2 * i + 1] >= 0,
                    "patch_norm: kernel size, stride and dilation of at least 1 needed, and padding of 0");
}

PatchNormArgs arguments(const Tensor& input, const Ints& kernel, const Ints& stride, const Ints& padding,
                        const Ints& dilation, int64_t groups, double eps) {
  check_geometry(input, kernel, stride, padding, dilation, groups);
  PatchNormArgs a{};
  a.batch = input.size(0);
  a.channels = input.size(1);
  a.groups = groups;
  a.eps = eps;
  a.scalar = scalar_of(input);
  a.layout = layout_of(input);
  a.block = block_size(a.batch, positions_of(input));
  a.input = input.const_data_ptr();
  const int64_t missing = 5 - input.dim();
  for (int64_t i = 0; i < 3; ++i) {
    const int64_t axis = i - missing;
    const bool real = axis >= 0;
    a.in[i] = real ? input.size(axis + 2) : 1;
    a.kernel[i] = real ? kernel[axis] : 1;
    a.stride[i] = real ? stride[axis] : 1;
    a.dilation[i] = real ? dilation[axis] : 1;
    a.before[i] = real ? padding[2 * axis] : 0;
    const int64_t padded = a.in[i] + a.before[i] + (real ? padding[2 * axis + 1] : 0);
    const int64_t span = a.dilation[i] * (a.kernel[i] - 1) + 1;
    STD_TORCH_CHECK(padded >= span, "patch_norm: padded size ", padded, " received, at least ", span, " needed");
    a.out[i] = (padded - span) / a.stride[i] + 1;
  }
  return a;
}

Ints norm_size(const PatchNormArgs& a, int64_t dim) {
  Ints size{a.batch, a.groups};
  for (int64_t i = 5 - dim; i < 3; ++i) size.push_back(a.out[i]);
  return size;
}

// Independent tasks of one kind, as many for every image, and about how many operations one takes.
struct Pass {
  int64_t tasks, work;
  void (*kernel)(const PatchNormArgs&, int64_t begin, int64_t end);
};

Pass channelwise(const PatchNormArgs& a, void (*kernel)(const PatchNormArgs&, int64_t, int64_t)) {
  const int64_t blocks = (a.in[0] * a.in[1] * a.in[2] + a.block - 1) / a.block;
  const bool first = a.layout == Layout::ChannelsFirst;
  return {a.batch * blocks * (first ? a.groups : 1), a.block * (first ? a.channels / a.groups : a.channels),
          kernel};
}

Pass windows(const PatchNormArgs& a, const int64_t (&size)[3],
             void (*kernel)(const PatchNormArgs&, int64_t, int64_t)) {
  return {a.batch * a.groups * size[0] * size[1], size[2] * (a.kernel[0] * a.kernel[1] + a.kernel[2]), kernel};
}

// `second` reads what `first` wrote for the same image. With enough images they run image by image: one start of
// the threads in place of two, and what lies between the passes stays in cache.
void run(const PatchNormArgs& a, const Pass& first, const Pass& second) {
  constexpr int64_t kEnoughImages = 8;
  if (a.batch < kEnoughImages) {
    for (const Pass& pass : {first, second})
      for_tasks(pass.tasks, pass.work, [&](int64_t begin, int64_t end) { pass.kernel(a, begin, end); });
    return;
  }
  const int64_t of_first = first.tasks / a.batch, of_second = second.tasks / a.batch;
  for_tasks(a.batch, of_first * first.work + of_second * second.work, [&](int64_t begin, int64_t end) {
    for (int64_t image = begin; image < end; ++image) {
      first.kernel(a, image * of_first, (image + 1) * of_first);
      second.kernel(a, image * of_second, (image + 1) * of_second);
    }
  });
}

Tensor patch_norm(const Tensor& input, const Ints& kernel, const Ints& stride, const Ints& padding,
                  const Ints& dilation, int64_t groups, double eps) {
  const Tensor x = readable(input);
  PatchNormArgs a = arguments(x, kernel, stride, padding, dilation, groups, eps);
  const auto type = accumulation_type(x);
  Tensor norm = torch::stable::new_empty(x, norm_size(a, x.dim()), type);
  Tensor plane = torch::stable::new_empty(x, Ints{a.batch, a.groups, a.in[0] * a.in[1] * a.in[2]}, type);
  a.norm = norm.mutable_data_ptr();
  a.plane = plane.mutable_data_ptr();
  const KernelTable& table = kernels();
  run(a, channelwise(a, table.square_sums), windows(a, a.out, table.window_norms));
  return norm;
}

void spread(const Tensor& x, const Tensor& grad_input, const Tensor& grad, const Tensor& norm,
            const Ints& kernel, const Ints& stride, const Ints& padding, const Ints& dilation, bool accumulate) {
  PatchNormArgs a = arguments(x, kernel, stride, padding, dilation, norm.size(1), 0.0);
  STD_TORCH_CHECK(same_shape(grad, norm) && grad.scalar_type() == accumulation_type(x) &&
                      norm.scalar_type() == accumulation_type(x),
                  "patch_norm_backward: gradient and norm of one shape, in the type of accumulation, needed");
  Ints size = norm_size(a, x.dim());
  for (int64_t i = 0; i < norm.dim(); ++i)
    STD_TORCH_CHECK(norm.dim() == x.dim() && norm.size(i) == size[i], "patch_norm_backward: norm does not fit");
  const Tensor dense_grad = torch::stable::contiguous(grad), dense_norm = torch::stable::contiguous(norm);
  Tensor plane =
      torch::stable::new_empty(norm, Ints{a.batch, a.groups, a.in[0] * a.in[1] * a.in[2]}, std::nullopt);
  a.grad = dense_grad.const_data_ptr();
  a.norm = const_cast<void*>(dense_norm.const_data_ptr());
  a.plane = plane.mutable_data_ptr();
  a.grad_input = grad_input.mutable_data_ptr();
  a.accumulate = accumulate;
  const KernelTable& table = kernels();
  run(a, windows(a, a.in, table.window_adjoint), channelwise(a, table.scale_input));
}

Tensor patch_norm_backward(const Tensor& grad, const Tensor& input, const Tensor& norm, const Ints& kernel,
                           const Ints& stride, const Ints& padding, const Ints& dilation) {
  const Tensor x = readable(input);
  Tensor grad_input = new_like(x);
  spread(x, grad_input, grad, norm, kernel, stride, padding, dilation, false);
  return grad_input;
}

void patch_norm_backward_(Tensor grad_input, const Tensor& grad, const Tensor& input, const Tensor& norm,
                          const Ints& kernel, const Ints& stride, const Ints& padding, const Ints& dilation) {
  STD_TORCH_CHECK(same_shape(grad_input, input) && grad_input.scalar_type() == input.scalar_type(),
                  "patch_norm_backward_: gradient of the input's shape and type needed");
  const Tensor x = arranged_as(readable(input), grad_input);
  spread(x, grad_input, grad, norm, kernel, stride, padding, dilation, true);
}

}  // namespace
}  // namespace decoupled

// The schemas are in src/decoupled_nets/ops/decoupled/register.py.
STABLE_TORCH_LIBRARY_IMPL(decoupled_nets, CPU, m) {
  m.impl("patch_norm", TORCH_BOX(&decoupled::patch_norm));
  m.impl("patch_norm_backward", TORCH_BOX(&decoupled::patch_norm_backward));
  m.impl("patch_norm_backward_", TORCH_BOX(&decoupled::patch_norm_backward_));
}
