// The ops ddf and ddf_backward on processors.
#include <string>
#include <tuple>

#include "cpu/ddf.h"
#include "tensors.h"

namespace decoupled {
namespace {

int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }
int64_t parts(int64_t size, int64_t part) { return (size + part - 1) / part; }

// Bands small enough for the cache, and a few tasks where the images do not suffice; by shape only, so that sums
// do not depend on the number of threads.
void set_tasks(DdfArgs& a) {
  constexpr int64_t kRows = 16, kFilterElements = 16384, kTasks = 8, kChannels = 16;
  const int64_t row = a.kernel[0] * a.kernel[1] * (a.out[1] + a.dilation[1] * a.kernel[1]);
  a.bands = parts(a.out[0], least(kRows, most(1, kFilterElements / row)));
  const int64_t own = most(1, a.batch * a.heads);
  a.slabs = least(a.layout == Layout::ChannelsFirst ? a.bands : a.out[0], parts(kTasks, own));
  a.chunks = least(parts(a.channels / a.heads, kChannels), parts(kTasks, own * a.slabs));
}

void check(const Tensor& input, const Tensor& channel, const Tensor& spatial, const Ints& stride,
           const Ints& dilation) {
  STD_TORCH_CHECK(input.dim() == 4 && channel.dim() == 4 && spatial.dim() == 4, "ddf: 4 dimensions needed");
  STD_TORCH_CHECK(channel.scalar_type() == input.scalar_type() && spatial.scalar_type() == input.scalar_type(),
                  "ddf: filters of the input's type needed");
  STD_TORCH_CHECK(stride.size() == 2 && dilation.size() == 2 && stride[0] > 0 && stride[1] > 0 &&
                      dilation[0] > 0 && dilation[1] > 0,
                  "ddf: two positive strides and dilations needed");
  const int64_t taps = channel.size(2) * channel.size(3);
  const bool image = input.size(1) > 0 && input.size(2) > 0 && input.size(3) > 0;
  STD_TORCH_CHECK(image && channel.size(0) == input.size(0) && channel.size(1) == input.size(1) &&
                      channel.size(2) % 2 == 1 && channel.size(3) % 2 == 1,
                  "ddf: channel filter of shape (B, C, kh, kw), kh and kw odd, needed");
  bool fits = spatial.size(0) == input.size(0) && spatial.size(1) > 0 && spatial.size(1) % taps == 0 &&
              input.size(1) % (spatial.size(1) / taps) == 0;
  for (int axis = 0; axis < 2; ++axis)
    fits = fits && spatial.size(2 + axis) == parts(input.size(2 + axis), stride[axis]);
  STD_TORCH_CHECK(fits, "ddf: spatial filter of shape (B, G * kh * kw, H', W') needed");
}

// All tensors as the kernels read them.
DdfArgs arguments(const Tensor& input, const Tensor& channel, const Tensor& spatial, const Ints& stride,
                  const Ints& dilation, bool add) {
  DdfArgs a{};
  a.batch = input.size(0);
  a.channels = input.size(1);
  for (int axis = 0; axis < 2; ++axis) {
    a.in[axis] = input.size(2 + axis);
    a.out[axis] = spatial.size(2 + axis);
    a.kernel[axis] = channel.size(2 + axis);
    a.stride[axis] = stride[axis];
    a.dilation[axis] = dilation[axis];
  }
  a.heads = spatial.size(1) / (a.kernel[0] * a.kernel[1]);
  a.scalar = scalar_of(input);
  a.layout = layout_of(input);
  a.add = add;
  a.of_image = spatial.stride(0);
  a.of_tap = spatial.stride(1);
  a.of_row = spatial.stride(2);
  a.of_column = spatial.stride(3);
  a.spatial_size = spatial.numel();
  a.input = input.const_data_ptr();
  a.channel = channel.const_data_ptr();
  a.spatial = spatial.const_data_ptr();
  set_tasks(a);
  return a;
}

bool is_add(const std::string& combine) {
  STD_TORCH_CHECK(combine == "mul" || combine == "add", "ddf: unknown combination ", combine);
  return combine == "add";
}

void run(const DdfArgs& a) {
  const KernelTable& table = kernels();
  const int64_t tasks = a.batch * a.heads * a.slabs * a.chunks;
  const int64_t work = 2 * a.kernel[0] * a.kernel[1] * a.out[0] * a.out[1] * a.channels /
                       (a.heads * a.slabs * a.chunks) / 16;
  for_tasks(tasks, work, [&](int64_t begin, int64_t end) { table.ddf(a, begin, end); });
}

Tensor ddf(const Tensor& input, const Tensor& channel, const Tensor& spatial, const Ints& stride,
           const Ints& dilation, const std::string& combine) {
  check(input, channel, spatial, stride, dilation);
  const Tensor x = readable(input), own = torch::stable::contiguous(channel), maps = readable(spatial);
  DdfArgs a = arguments(x, own, maps, stride, dilation, is_add(combine));
  Tensor output = new_images(x, Ints{a.batch, a.channels, a.out[0], a.out[1]});
  a.output = output.mutable_data_ptr();
  run(a);
  return output;
}

// `x` itself where it has the layout, else a copy that has it.
Tensor laid_out_as(const Tensor& x, Layout layout) {
  if (layout == Layout::ChannelsFirst) return torch::stable::contiguous(x);
  return is_channels_last(x) ? x : torch::stable::contiguous(x, torch::headeronly::MemoryFormat::ChannelsLast);
}

// Adds the shares of slabs or chunks up, in their order.
void add_up(const Tensor& shares, const Tensor& out) {
  const int64_t size = out.numel();
  const ShareArgs a = {scalar_of(out), shares.size(0), size, shares.const_data_ptr(), out.mutable_data_ptr()};
  const KernelTable& table = kernels();
  for_tasks(size, a.count, [&](int64_t begin, int64_t end) { table.add_shares(a, begin, end); });
}

std::tuple<Tensor, Tensor, Tensor> ddf_backward(const Tensor& grad, const Tensor& input, const Tensor& channel,
                                                const Tensor& spatial, const Ints& stride, const Ints& dilation,
                                                const std::string& combine) {
  check(input, channel, spatial, stride, dilation);
  const Tensor x = readable(input), own = torch::stable::contiguous(channel), maps = readable(spatial);
  DdfArgs a = arguments(x, own, maps, stride, dilation, is_add(combine));
  const bool fits = grad.dim() == 4 && grad.size(0) == a.batch && grad.size(1) == a.channels &&
                    grad.size(2) == a.out[0] && grad.size(3) == a.out[1];
  STD_TORCH_CHECK(fits && grad.scalar_type() == input.scalar_type(),
                  "ddf_backward: gradient of the output's shape and type needed");
  const Tensor dense_grad = laid_out_as(grad, a.layout);
  Tensor by_input = new_like(x), by_channel = torch::stable::empty_like(own);
  Tensor by_spatial = torch::stable::empty_like(maps);
  const auto type = accumulation_type(x);
  const bool narrow = type != x.scalar_type();
  Tensor channel_shares = by_channel, spatial_shares = by_spatial;
  if (narrow || a.slabs > 1)
    channel_shares = torch::stable::new_empty(x, Ints{a.slabs, own.numel()}, type);
  if (a.chunks > 1 || (narrow && a.layout == Layout::ChannelsLast))
    spatial_shares = torch::stable::new_empty(x, Ints{a.chunks, maps.numel()}, type);
  a.grad = dense_grad.const_data_ptr();
  a.grad_input = by_input.mutable_data_ptr();
  a.grad_spatial = by_spatial.mutable_data_ptr();
  a.channel_shares = channel_shares.mutable_data_ptr();
  a.spatial_shares = spatial_shares.dim() == 2 ? spatial_shares.mutable_data_ptr() : nullptr;
  run(a);
  if (channel_shares.dim() == 2) add_up(channel_shares, by_channel);
  if (spatial_shares.dim() == 2) add_up(spatial_shares, by_spatial);
  return {by_input, by_channel, by_spatial};
}

}  // namespace
}  // namespace decoupled

// The schemas are in src/decoupled_nets/ops/dynamic/register.py, where they are also without this code.
STABLE_TORCH_LIBRARY_IMPL(decoupled_nets, CPU, m) {
  m.impl("ddf", TORCH_BOX(&decoupled::ddf));
  m.impl("ddf_backward", TORCH_BOX(&decoupled::ddf_backward));
}
