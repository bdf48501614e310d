"""The fused path of the convolution: when it runs, what it keeps, and what may happen to its output."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from decoupled_cases import make_tensors
from torch import nn
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

import decoupled_nets as dn
from decoupled_nets.ops import backend
from decoupled_nets.ops.decoupled import derivative, kernels
from decoupled_nets.ops.decoupled.functional import decoupled_conv
from decoupled_nets.ops.decoupled.magnitude import Magnitude, magnitudes
from decoupled_nets.ops.decoupled.reference import decoupled_conv_reference

needs_binary = pytest.mark.skipif(not backend.status.loaded, reason="the binary was not built")
ops = torch.ops.decoupled_nets
COS = ["tanh-cos", "ball-sqcos", "seg-cos", "mix-sqcos", "linear-cos", "seg-linear", "tanh-sigmoid"]


@pytest.fixture
def fused_calls(monkeypatch):
    """How often the fused path was taken."""
    calls = []

    def counted(*arguments):
        calls.append(arguments)
        return original(*arguments)

    original = kernels.respond
    monkeypatch.setattr(kernels, "respond", counted)
    return calls


def layer_and_input(dtype=torch.float64, **options):
    options = {"radius": "relative", "bias": False, **options}
    layer = dn.DecoupledConv2d(4, 6, 3, padding=1, stride=2, groups=2, dtype=dtype, **options)
    return layer, torch.randn(3, 4, 9, 7, dtype=dtype, requires_grad=True)


def gradients(layer, x, after=None, **options):
    out = layer(x)
    out = out if after is None else after(out)
    generator = torch.Generator().manual_seed(3)
    cotangent = torch.randn(out.shape, generator=generator, dtype=torch.float64).to(out.dtype)
    return torch.autograd.grad(out, [x, *layer.parameters()], cotangent, **options)


def composed_gradients(*arguments, **options):
    with backend.use_backend("composed"):
        return gradients(*arguments, **options)


@needs_binary
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("operator", COS)
def test_gradients_are_those_of_the_composed_path(near, fused_calls, operator, bias):
    layer, x = layer_and_input(operator=operator, bias=bias)
    actual = gradients(layer, x)
    assert len(fused_calls) == 1
    expected = composed_gradients(layer, x)
    assert len(fused_calls) == 1
    for got, want in zip(actual, expected, strict=True):
        near(got, want)


@needs_binary
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize("bias", [True, False])
def test_parameters_alone_get_their_gradients_a_few_images_at_a_time(near, monkeypatch, bias, dtype):
    layer = dn.DecoupledConv2d(4, 6, 3, radius="learned", bias=bias, weighting="linear", dtype=dtype)
    x = torch.randn(5, 4, 7, 6, dtype=dtype)
    cotangent = torch.randn(5, 6, 5, 4, dtype=dtype)
    at_once = torch.autograd.grad(layer(x), list(layer.parameters()), cotangent)
    sizes = []
    original = ops.epilogue_backward

    def counted(grad, *others):
        sizes.append(len(grad))
        return original(grad, *others)

    monkeypatch.setattr(ops, "epilogue_backward", counted)
    monkeypatch.setattr(derivative, "_FEW_IMAGES", 2 * 6 * 5 * 4)
    in_parts = torch.autograd.grad(layer(x), list(layer.parameters()), cotangent)
    assert sizes == [2, 2, 1]
    for got, want in zip(in_parts, at_once, strict=True):
        assert got.dtype == dtype
        near(got, want)


@needs_binary
@pytest.mark.parametrize("operator", COS)
def test_gradients_that_are_to_be_differentiated_are_the_same(near, operator):
    layer, x = layer_and_input(operator=operator)
    for got, want in zip(gradients(layer, x, create_graph=True), gradients(layer, x), strict=True):
        near(got, want)


@needs_binary
@pytest.mark.parametrize(
    "after",
    [torch.relu_, partial(nn.functional.relu, inplace=True), lambda y: y.mul_(2), lambda y: y[:, 1:].zero_()],
    ids=["relu_", "relu", "mul_", "zero_ of a part"],
)
@pytest.mark.parametrize("operator", ["tanh-cos", "seg-sqcos"])
def test_output_changed_in_place(near, operator, after):
    layer, x = layer_and_input(operator=operator)
    actual = gradients(layer, x, after)
    for got, want in zip(actual, composed_gradients(layer, x, after), strict=True):
        near(got, want)


@needs_binary
def test_backward_twice_and_input_changed_in_place(near):
    layer, x = layer_and_input()
    out = layer(x).sum()
    first = torch.autograd.grad(out, layer.weight, retain_graph=True)[0]
    near(torch.autograd.grad(out, layer.weight)[0], first)
    y = x * 1
    out = layer(y)
    y.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        out.sum().backward()


def kept_bytes(layer, x):
    """Bytes of the tensors that autograd keeps for the layer's backward pass, input and weight aside."""
    seen = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        seen[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        out = layer(x)
    known = {t.untyped_storage().data_ptr() for t in (x, layer.weight)}
    return sum(size for at, size in seen.items() if at not in known), out


@needs_binary
@pytest.mark.parametrize("radius", ["relative", "learned", 2.0])
def test_nothing_of_activation_size_is_kept_beside_input_and_output(radius):
    layer = dn.DecoupledConv2d(32, 64, 3, padding=1, bias=False, radius=radius)
    x = torch.randn(4, 32, 16, 16, requires_grad=True)
    kept, out = kept_bytes(layer, x)
    size = out.untyped_storage().nbytes()
    assert kept - size < 0.05 * size


@needs_binary
def test_activation_checkpointing(near):
    layer, x = layer_and_input(operator="tanh-cos", radius="learned")
    for after in (None, torch.relu_):
        whole = nn.Sequential(layer) if after is None else nn.Sequential(layer, nn.ReLU(inplace=True))
        expected = gradients(layer, x, after)
        out = checkpoint(whole, x, use_reentrant=False)
        generator = torch.Generator().manual_seed(3)
        cotangent = torch.randn(out.shape, generator=generator, dtype=torch.float64)
        actual = torch.autograd.grad(out, [x, *layer.parameters()], cotangent)
        for got, want in zip(actual, expected, strict=True):
            near(got, want)


@needs_binary
@pytest.mark.parametrize("frozen", ["input", "weight", "radius"])
def test_what_needs_no_gradient_gets_none(near, frozen):
    layer, x = layer_and_input(radius="learned")
    {"input": x, "weight": layer.weight, "radius": layer.radius}[frozen].requires_grad_(False)
    wanted = [t for t in (x, *layer.parameters()) if t.requires_grad]
    actual = torch.autograd.grad(layer(x).square().sum(), wanted)
    with backend.use_backend("composed"):
        expected = torch.autograd.grad(layer(x).square().sum(), wanted)
    for got, want in zip(actual, expected, strict=True):
        near(got, want)


@needs_binary
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_memory_format_is_kept(near, memory_format):
    layer = dn.DecoupledConv2d(8, 16, 3, radius="learned").to(memory_format=memory_format)
    x = torch.randn(2, 8, 9, 9).contiguous(memory_format=memory_format).requires_grad_()
    out = layer(x)
    assert out.is_contiguous(memory_format=memory_format)
    out.square().sum().backward()
    assert x.grad.is_contiguous(memory_format=memory_format)
    near(out, decoupled_conv_reference(x, layer.weight, layer.bias, radius=1 + 1e-4))


@needs_binary
@pytest.mark.parametrize("training", [True, False])
def test_autocast(near, fused_calls, training):
    layer, x = layer_and_input(torch.float32, radius="learned")
    layer.train(training)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        actual = gradients(layer, x)
        out = layer(x)
    assert len(fused_calls) == 2
    assert out.dtype == torch.bfloat16
    exact = layer_and_input()[0]
    exact.load_state_dict(layer.state_dict(), strict=False)
    exact = dn.DecoupledConv2d(4, 6, 3, 2, 1, groups=2, bias=False, radius="learned", dtype=torch.float64)
    exact.load_state_dict(layer.state_dict())
    wide = x.detach().double().requires_grad_()
    near(out, exact(wide), torch.bfloat16)
    for got, want in zip(actual, gradients(exact, wide), strict=True):
        assert got.dtype == torch.float32
        near(got, want, torch.bfloat16)


@needs_binary
def test_empty_batch_has_zero_gradients():
    layer = dn.DecoupledConv2d(3, 4, 3, radius="learned", bias=False)
    x = torch.zeros(0, 3, 5, 5, requires_grad=True)
    out = layer(x)
    assert out.shape == (0, 4, 3, 3)
    out.sum().backward()
    assert x.grad.shape == x.shape
    assert not layer.weight.grad.any()
    assert not layer.radius.grad.any()


@needs_binary
def test_compilers_transforms_and_other_operators_take_the_composed_path(fused_calls):
    layer, x = layer_and_input(radius="learned")
    torch.func.vmap(lambda y: layer(y.unsqueeze(0)))(x)
    torch.func.grad(lambda y: layer(y).sum())(x)
    with torch.autograd.forward_ad.dual_level():
        layer(x)
    torch.compile(layer, backend="eager", fullgraph=True)(x)
    dn.DecoupledConv2d(4, 6, 3, operator="tanh-test_cubic")(x.float())
    dn.DecoupledConv2d(4, 6, 3, operator="test_root-cos")(x.float())
    dn.DecoupledConv2d(4, 6, 3, operator="log-cos", weighting="product")(x.float())
    dn.DecoupledConv2d(4, 6, 3).half()(x.half())
    assert not fused_calls
    layer(x)
    assert len(fused_calls) == 1


@needs_binary
def test_a_magnitude_put_in_place_of_ours_is_used(fused_calls, monkeypatch):
    other = Magnitude(lambda norm, radius, alpha, beta: 0 * norm)
    monkeypatch.setitem(magnitudes._entries, "tanh", other)
    assert not dn.DecoupledConv2d(2, 2, 1, bias=False)(torch.randn(1, 2, 2, 2)).any()
    assert not fused_calls


@needs_binary
@pytest.mark.parametrize("weighting", [None, "linear", "product", "separate"])
def test_negative_and_vanishing_alpha_keep_the_value_before_the_epilogue(near, weighting):
    tensors = make_tensors(groups=2)
    own = {name: tensors[name] for name in ("input", "weight", "radius")}
    for alpha in (-0.7, 0.0):
        options = {"alpha": alpha, "operator": "tanh-sqcos", "groups": 2, "weighting": weighting}
        results = []
        for fn in (decoupled_conv, decoupled_conv_reference):
            out = fn(**own, **options)
            results.append((out, *torch.autograd.grad(out.square().sum() + out.sum(), list(own.values()))))
        for got, want in zip(*results, strict=True):
            near(got, want)


@needs_binary
def test_flops_of_a_layer_include_its_convolution():
    layer = dn.DecoupledConv2d(4, 8, 3, bias=False)
    x = torch.randn(2, 4, 10, 10)
    plain = nn.Conv2d(4, 8, 3, bias=False)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        layer(x)
    with FlopCounterMode(display=False) as plain_counter, torch.no_grad():
        out = plain(x)
    extra = counter.get_total_flops() - plain_counter.get_total_flops()
    assert extra == 2 * x.numel() + 2 * layer.weight.numel() + 2 * out.numel()


def test_without_the_binary_one_warning_and_the_same_results(without_binary):
    found = without_binary(
        "with warnings.catch_warnings(record=True) as caught:\n"
        "    warnings.simplefilter('always')\n"
        "    layer = dn.DecoupledConv2d(2, 3, 3, radius='learned')\n"
        "    layer(torch.randn(1, 2, 5, 5)); out = layer(torch.randn(1, 2, 5, 5))\n"
        "assert sum('kernels' in str(w.message) for w in caught) == 1, caught\n"
        "torch.save(out.detach(), OUT)\n"
    )
    torch.manual_seed(0)
    layer = dn.DecoupledConv2d(2, 3, 3, radius="learned")
    layer(torch.randn(1, 2, 5, 5))
    expected = layer(torch.randn(1, 2, 5, 5))
    torch.testing.assert_close(found, expected.detach())
