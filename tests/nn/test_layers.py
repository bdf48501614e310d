"""Layers take what ``torch.nn``'s take and answer in kind."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
import torch.nn.functional as F
from layer_cases import LAYERS, RADII, make, plain, sample
from torch import nn

import decoupled_nets as dn
from decoupled_nets.ops.decoupled.angle import angles
from decoupled_nets.ops.decoupled.magnitude import magnitudes
from decoupled_nets.ops.decoupled.operator import WEIGHTINGS
from decoupled_nets.ops.decoupled.reference import decoupled_conv_reference

EVEN = "ignore:Using padding='same' with even kernel lengths:UserWarning"


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("radius", RADII, ids=str)
@pytest.mark.parametrize("weighting", [None, *WEIGHTINGS])
def test_layer_is_the_function_of_its_parameters(near, name, radius, weighting):
    operator = dn.Operator("tanh", "sigmoid", k="learned")
    layer = make(name, operator=operator, radius=radius, weighting=weighting, eps=0.01, dtype=torch.float64)
    layer.eval()
    with torch.no_grad():
        for parameter in (layer.radius, layer.kappa):
            if isinstance(parameter, nn.Parameter):
                parameter.copy_(torch.linspace(-0.7, 2, 6))
        if layer.relative:
            layer.mean_norm.fill_(1.7)
    rho = layer.radius
    if isinstance(rho, nn.Parameter):
        rho = (rho**2 + 1e-4) * (1.7 if layer.relative else 1.0)
    x = sample(name, 2, dtype=torch.float64)
    options = {"weighting": weighting, "eps": 0.01, "radius": rho, "k": layer.kappa.abs() + 0.05}
    near(layer(x), decoupled_conv_reference(x, layer.weight, layer.bias, operator=operator, **options))


@pytest.mark.parametrize("angle", angles)
@pytest.mark.parametrize("magnitude", magnitudes)
def test_every_operator_trains(magnitude, angle):
    layer = make("conv2d", operator=f"{magnitude}-{angle}", padding=1)
    layer(sample("conv2d", 2)).square().sum().backward()
    for name, parameter in layer.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("bias", [True, False])
def test_twin_of_the_plain_layer(name, bias):
    torch.manual_seed(3)
    layer = make(name, bias=bias)
    torch.manual_seed(3)
    twin = plain(name, bias=bias)
    assert isinstance(layer, type(twin))
    assert torch.equal(layer.weight, twin.weight)
    assert (layer.bias is None) == (twin.bias is None)
    if bias:
        assert torch.equal(layer.bias, twin.bias)
    x = sample(name, 2)
    assert layer(x).shape == twin(x).shape


@pytest.mark.parametrize("name", LAYERS)
def test_linear_cos_weighted_linearly_is_the_plain_layer(near, name):
    layer, twin = make(name, operator="linear-cos", weighting="linear"), plain(name)
    layer.load_state_dict(twin.state_dict())
    x = sample(name, 2)
    near(layer(x), twin(x))


PADDINGS = [
    {"padding": 2},
    {"padding": "same", "dilation": 2},
    {"padding": "same"},
    {"padding": "valid", "stride": 2},
]


@pytest.mark.filterwarnings(EVEN)
@pytest.mark.parametrize("kernel", [3, 4])
@pytest.mark.parametrize("geometry", PADDINGS, ids=str)
@pytest.mark.parametrize("mode", ["zeros", "reflect", "replicate", "circular"])
@pytest.mark.parametrize(("dims", "layer_type"), [(1, dn.DecoupledConv1d), (2, dn.DecoupledConv2d)])
def test_padding_modes(near, dims, layer_type, mode, geometry, kernel):
    options = {"padding_mode": mode, "operator": "seg-sqcos", "radius": 2.0, **geometry}
    layer = layer_type(4, 6, kernel, groups=2, dtype=torch.float64, **options)
    x = torch.randn(2, 4, *(9, 8)[:dims], dtype=torch.float64)
    dilation = geometry.get("dilation", 1)
    total = dilation * (kernel - 1)
    sides = {"same": (total // 2, total - total // 2), "valid": (0, 0)}.get(geometry["padding"], (2, 2))
    padded = F.pad(x, sides * dims, mode="constant" if mode == "zeros" else mode)
    options = {"dilation": dilation, "stride": geometry.get("stride", 1), "groups": 2, "radius": 2.0}
    near(
        layer(x),
        decoupled_conv_reference(padded, layer.weight, layer.bias, operator="seg-sqcos", **options),
    )
    near(layer(x[0]), layer(x)[0])


def test_padding_mode_in_three_dimensions(near):
    options = {"padding": (1, 0, 1), "padding_mode": "replicate"}
    layer = make("conv3d", operator="linear-cos", weighting="linear", **options)
    twin = plain("conv3d", **options)
    layer.load_state_dict(twin.state_dict())
    x = sample("conv3d", 2)
    near(layer(x), twin(x))


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("training", [True, False])
def test_unbatched(near, name, training):
    layer = make(name).train(training)
    x = sample(name)
    near(layer(x), copy.deepcopy(layer)(x.unsqueeze(0)).squeeze(0))


def test_linear_takes_more_dimensions(near):
    layer = make("linear").eval()
    x = torch.randn(2, 3, 5, 4)
    near(layer(x), layer(x.flatten(0, 2)).view(2, 3, 5, 6))


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("operator", ["tanh-cos", "seg-linear"])
def test_empty_batch(name, operator):
    layer = make(name, operator=operator)
    x = sample(name, 0).requires_grad_()
    y = layer(x)
    assert y.shape == plain(name)(x).shape
    y.sum().backward()
    assert x.grad.shape == x.shape
    for parameter in layer.parameters():
        assert parameter.grad is None or not parameter.grad.any()


@pytest.mark.parametrize("operator", ["tanh-cos", "seg-linear"])
@pytest.mark.parametrize(
    "options", [{}, {"groups": 2}, {"padding": "same"}, {"groups": 4, "stride": 2}], ids=str
)
def test_channels_last(near, operator, options):
    layer = dn.DecoupledConv2d(4, 8, 3, operator=operator, **options).eval()
    twin = nn.Conv2d(4, 8, 3, **options)
    x = torch.randn(2, 4, 7, 6)
    expected = layer(x)
    layer.to(memory_format=torch.channels_last)
    twin.to(memory_format=torch.channels_last)
    last = x.to(memory_format=torch.channels_last)
    assert twin(last).is_contiguous(memory_format=torch.channels_last)
    assert layer(last).is_contiguous(memory_format=torch.channels_last)
    near(layer(last), expected)
    assert layer(last.contiguous()).is_contiguous(memory_format=torch.channels_last)


def test_channels_last_3d(near):
    layer, twin = make("conv3d").eval(), plain("conv3d")
    x = sample("conv3d", 2)
    expected = layer(x)
    for module in (layer, twin):
        module.to(memory_format=torch.channels_last_3d)
    last = x.to(memory_format=torch.channels_last_3d)
    contiguous = twin(last).is_contiguous(memory_format=torch.channels_last_3d)
    assert layer(last).is_contiguous(memory_format=torch.channels_last_3d) == contiguous
    near(layer(last), expected)


def test_contiguous_stays_contiguous():
    assert make("conv2d", groups=2)(sample("conv2d", 2)).is_contiguous()


@pytest.mark.parametrize("name", LAYERS)
def test_input_with_odd_strides(near, name):
    layer = make(name).eval()
    x = torch.randn(*reversed(sample(name, 2).shape)).permute(*reversed(range(sample(name, 2).dim())))
    near(layer(x), layer(x.contiguous()))


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("radius", RADII, ids=str)
def test_meta_device(name, radius):
    options = {"radius": radius, "operator": dn.Operator("tanh", "sigmoid", k="learned")}
    layer = make(name, device="meta", **options)
    tensors = [*layer.parameters(), *layer.buffers()]
    assert all(tensor.device.type == "meta" for tensor in tensors)
    y = layer(sample(name, 2, device="meta"))
    assert y.shape == plain(name)(sample(name, 2)).shape

    layer.to_empty(device="cpu")
    with torch.no_grad():
        for tensor in [*layer.parameters(), *layer.buffers()]:
            tensor.fill_(77)
    torch.manual_seed(5)
    layer.reset_parameters()
    torch.manual_seed(5)
    fresh = make(name, **options).state_dict()
    for key, value in layer.state_dict().items():
        assert torch.equal(value, fresh[key]), key


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("radius", RADII, ids=str)
@pytest.mark.parametrize("how", ["deepcopy", "pickle"])
def test_copies(name, radius, how):
    layer = make(
        name, radius=radius, weighting="product", operator=dn.Operator("seg", "sigmoid", k="learned")
    )
    x = sample(name, 2)
    layer(x)
    twin = copy.deepcopy(layer) if how == "deepcopy" else pickle.loads(pickle.dumps(layer))
    assert type(twin) is type(layer)
    assert repr(twin) == repr(layer)
    assert torch.equal(twin.eval()(x), layer.eval()(x))
    with torch.no_grad():
        twin.weight.zero_()
    assert layer.weight.any()


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_dtype(near, name, dtype):
    layer = make(name, dtype=dtype, operator=dn.Operator("tanh", "sigmoid", k="learned")).eval()
    assert {p.dtype for p in layer.parameters()} == {dtype}
    x = sample(name, 2, dtype=dtype)
    y = layer(x)
    assert y.dtype == dtype
    rho, k = (layer.radius.double() ** 2 + 1e-4) * layer.mean_norm.double(), layer.kappa.double().abs() + 0.05
    options = {"operator": "tanh-sigmoid", "radius": rho, "k": k}
    near(y, decoupled_conv_reference(x, layer.weight, layer.bias, **options))


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("training", [True, False])
def test_autocast(near, name, training):
    layer = make(name).train(training)
    x = sample(name, 2)
    expected = copy.deepcopy(layer)(x)
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(x)
        assert y.dtype == plain(name)(x).dtype == torch.bfloat16
    near(y, expected)
    y.sum().backward()
    assert {p.grad.dtype for p in layer.parameters()} == {torch.float32}
