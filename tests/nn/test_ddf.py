"""DDF2d: values against the module written out, every option, and what torch.nn's layers do."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from ddf_cases import ddf_by_unfolding, released_module
from torch import nn
from torch._dynamo.testing import CompileCounterWithBackend

import decoupled_nets as dn
from decoupled_nets.nn.filter_norm import NORMS

OPTIONS = [
    {},
    {"combine": "add"},
    {"stride": 2},
    {"stride": (2, 1), "dilation": (1, 2)},
    {"kernel_size": (3, 5)},
    {"kernel_size": (1, 3), "heads": 2},
    {"kernel_size": 5, "heads": 6, "combine": "add", "dilation": 2},
    {"norm": "paper"},
    {"norm": "released", "stride": 2},
    {"norm": "sigmoid", "combine": "add"},
    {"norm": "batch"},
    {"branches": "spatial", "heads": 3},
    {"branches": "channel", "stride": 2},
    {"branches": "channel", "combine": "add"},
]
BRANCHES = ["both", "spatial", "channel"]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("size", [(7, 6), (1, 1), (5, 8)])
def test_layer_is_its_filters_applied_to_every_patch(near, options, size):
    layer = dn.DDF2d(6, dtype=torch.float64, **options)
    x = torch.randn(3, 6, *size, dtype=torch.float64)
    channel, spatial = layer.eval().filters(x)
    combine = layer.combine if layer.branches == "both" else "mul"
    expected = ddf_by_unfolding(x, channel, spatial, layer.stride, layer.dilation, combine)
    near(layer(x), expected)
    sizes = [-(-n // s) for n, s in zip(size, layer.stride, strict=True)]
    assert list(expected.shape[2:]) == sizes


@pytest.mark.parametrize("combine", ["mul", "add"])
@pytest.mark.parametrize("stride", [1, 2])
def test_released_arithmetic(near, combine, stride):
    layer = dn.DDF2d(10, stride=stride, combine=combine, norm="released", dtype=torch.float64)
    x = torch.rand(2, 10, 9, 8, dtype=torch.float64)
    near(layer(x), released_module(x, layer.state_dict(), "", stride, 1, combine))


def test_switching_to_it(near):
    layer = dn.DDF2d(10, dtype=torch.float64)
    state = layer.state_dict()
    state["channel_branch.4.std"] = state.pop("channel_branch.4.scale")
    x = torch.rand(2, 10, 9, 8, dtype=torch.float64)
    before = layer(x)
    layer.use_released_arithmetic()
    assert layer.norm == "released"
    near(layer(x), released_module(x, state, ""))
    # Both deviations are a constant factor apart: sqrt(8/9) for each branch.
    torch.testing.assert_close(layer(x), before * 8 / 9, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("norm", ["paper", "batch", "sigmoid"])
def test_another_normalisation_has_no_released_arithmetic(norm):
    with pytest.raises(ValueError, match=f"norm = '{norm}' received"):
        dn.DDF2d(4, norm=norm).use_released_arithmetic()


@pytest.mark.parametrize(
    ("options", "count"),
    [
        ({}, 64 * 9 + 9 + (64 * 12 + 12) + (12 * 576 + 576) + 576),
        ({"norm": "released"}, 9429),
        ({"norm": "paper"}, 9429 - 576 + 2 * 64 + 2),
        ({"norm": "sigmoid"}, 9429 - 576),
        ({"norm": "batch"}, 9429 - 576 + 2 * 576 + 2 * 9),
        ({"branches": "spatial"}, 64 * 9 + 9),
        ({"branches": "channel"}, 9429 - 585),
        ({"heads": 4}, 9429 + 3 * 585),
        ({"squeeze_ratio": 0.01}, 585 + (64 + 1) + (576 + 576) + 576),
    ],
    ids=str,
)
def test_parameter_counts(options, count):
    layer = dn.DDF2d(64, device="meta", **options)
    assert sum(p.numel() for p in layer.parameters()) == count


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_few_channels(channels):
    layer = dn.DDF2d(channels)
    assert layer.channel_branch[1].out_channels == 1
    assert layer(torch.randn(2, channels, 5, 5)).shape == (2, channels, 5, 5)


def test_names_of_the_released_modules_parts():
    assert set(dn.DDF2d(8, norm="released").state_dict()) == {
        "spatial_branch.0.weight", "spatial_branch.0.bias", "channel_branch.1.weight",
        "channel_branch.1.bias", "channel_branch.3.weight", "channel_branch.3.bias", "channel_branch.4.std",
    }  # fmt: skip


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_everything_trains(options):
    layer = dn.DDF2d(6, squeeze_ratio=2.0, **options)
    x = torch.randn(4, 6, 7, 6, requires_grad=True)
    layer(x).square().sum().backward()
    for name, tensor in (("input", x), *layer.named_parameters()):
        assert tensor.grad.isfinite().all(), name
        assert tensor.grad.abs().sum() > 0, name


@pytest.mark.parametrize("branches", BRANCHES)
def test_gradients_are_finite_for_constant_filters(branches):
    layer = dn.DDF2d(4, branches=branches)
    for part in layer.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.zeros_(part.weight)
            nn.init.zeros_(part.bias)
    x = torch.randn(2, 4, 5, 5, requires_grad=True)
    y = layer(x)
    y.backward(torch.randn_like(y))
    assert all(t.grad.isfinite().all() and t.grad.abs().max() < 1e5 for t in (x, *layer.parameters()))


@pytest.mark.parametrize("combine", ["mul", "add"])
def test_gradcheck_through_the_layer(combine):
    layer = dn.DDF2d(2, heads=2, stride=2, combine=combine, dtype=torch.float64)
    names = [name for name, _ in layer.named_parameters()]

    def fn(x, *values):
        return torch.func.functional_call(layer, dict(zip(names, values, strict=True)), (x,))

    values = [p.detach().clone().requires_grad_() for p in layer.parameters()]
    x = torch.randn(2, 2, 3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(fn, (x, *values))


def test_unbatched(near):
    layer = dn.DDF2d(4)
    x = torch.randn(4, 6, 5)
    near(layer(x), layer(x[None])[0])


@pytest.mark.parametrize("branches", BRANCHES)
def test_empty_batch(branches):
    layer = dn.DDF2d(4, stride=2, branches=branches)
    x = torch.randn(0, 4, 6, 5, requires_grad=True)
    y = layer(x)
    assert y.shape == (0, 4, 3, 3)
    y.sum().backward()
    assert x.grad.shape == x.shape


@pytest.mark.parametrize("norm", NORMS)
def test_round_trip_and_copies(norm):
    layer, other = dn.DDF2d(6, norm=norm).eval(), dn.DDF2d(6, norm=norm).eval()
    x = torch.randn(2, 6, 5, 5)
    assert other.load_state_dict(layer.state_dict()) == ([], [])
    for twin in (other, copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert torch.equal(twin(x), layer(x))


@pytest.mark.parametrize("branches", BRANCHES)
def test_devices_and_types(branches):
    layer = dn.DDF2d(4, stride=2, branches=branches, device="meta", dtype=torch.float64)
    assert all(p.is_meta and p.dtype == torch.float64 for p in layer.parameters())
    assert layer(torch.empty(2, 4, 7, 7, device="meta", dtype=torch.float64)).shape == (2, 4, 4, 4)
    layer.to_empty(device="cpu").reset_parameters()
    assert layer(torch.randn(2, 4, 7, 7, dtype=torch.float64)).isfinite().all()


@pytest.mark.parametrize("norm", NORMS)
def test_reset_is_a_new_start(norm):
    torch.manual_seed(1)
    state = dn.DDF2d(4, norm=norm).state_dict()
    layer = dn.DDF2d(4, norm=norm)
    layer(torch.randn(2, 4, 5, 5))  # running statistics move
    torch.manual_seed(1)
    layer.reset_parameters()
    for name, value in layer.state_dict().items():
        assert torch.equal(value, state[name]), name


@pytest.mark.parametrize("options", [{}, {"stride": 2, "heads": 2, "combine": "add"}])
def test_channels_last(near, options):
    layer = dn.DDF2d(8, **options)
    x = torch.randn(2, 8, 6, 5)
    near(layer(x.contiguous(memory_format=torch.channels_last)), layer(x))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("norm", ["filter", "paper"])
def test_half_precision(dtype, norm):
    layer = dn.DDF2d(8, norm=norm)
    x = torch.randn(2, 8, 6, 5)
    half = copy.deepcopy(layer).to(dtype)
    y = half(x.to(dtype))
    assert y.dtype == dtype
    # Generated filters carry the rounding of their branch, which normalisation may enlarge.
    assert (y.float() - layer(x)).abs().mean() < 0.05 * layer(x).abs().mean()
    y.sum().backward()
    assert all(p.grad.isfinite().all() for p in half.parameters())


def test_autocast():
    layer = dn.DDF2d(8)
    x = torch.randn(2, 8, 6, 5)
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(x)
        assert y.dtype == torch.bfloat16
        y.sum().backward()
    assert (y.float() - layer(x)).abs().mean() < 0.05 * layer(x).abs().mean()
    assert all(p.grad.dtype == torch.float32 for p in layer.parameters())


@pytest.mark.parametrize("options", [{}, {"stride": 2, "heads": 2, "branches": "spatial", "norm": "paper"}])
def test_compiled_training_step(near, options):
    torch._dynamo.reset()
    layer = dn.DDF2d(4, **options)
    twin = copy.deepcopy(layer)
    counter = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(twin, backend=counter, fullgraph=True)
    for _ in range(2):
        x = torch.randn(2, 4, 7, 6)
        expected, actual = layer(x), compiled(x)
        near(actual, expected)
        expected.square().sum().backward()
        actual.square().sum().backward()
    assert counter.frame_count == 1
    for (name, p), q in zip(layer.named_parameters(), twin.parameters(), strict=True):
        near(q.grad, p.grad, name=name)
    torch._dynamo.reset()


@pytest.mark.parametrize("branches", BRANCHES)
def test_export(near, branches):
    layer = dn.DDF2d(4, stride=2, branches=branches).eval()
    shapes = ({0: torch.export.Dim("batch", min=1, max=64)},)
    exported = torch.export.export(layer, (torch.randn(2, 4, 7, 6),), dynamic_shapes=shapes)
    for batch in (1, 3):
        x = torch.randn(batch, 4, 7, 6)
        near(exported.module()(x), layer(x))


def test_a_depthwise_convolution_is_a_special_case(near):
    """All images' channel filters alike, spatial filters of ones."""
    layer = dn.DDF2d(4, stride=2, dilation=2, branches="channel", dtype=torch.float64)
    nn.init.zeros_(layer.channel_branch[3].weight)
    x = torch.randn(2, 4, 9, 8, dtype=torch.float64)
    weight = layer.filters(x)[0][0].unsqueeze(1)
    near(layer(x), F.conv2d(x, weight, stride=2, padding=2, dilation=2, groups=4))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channels": 0}, "channels = 0 received; needed: at least 1"),
        ({"heads": 4}, "heads = 4 received; needed: a divisor of the 6 channels"),
        ({"squeeze_ratio": 0}, "squeeze_ratio = 0 received; needed: a positive number"),
        ({"squeeze_ratio": float("inf")}, "squeeze_ratio = inf received; needed: a positive number"),
        ({"combine": "max"}, "combine = 'max' received"),
        ({"norm": "layer"}, "norm = 'layer' received"),
        ({"branches": "none"}, "branches = 'none' received"),
        ({"kernel_size": 2}, "kernel_size = 2 received; needed: an odd number or a pair of odd numbers"),
        (
            {"kernel_size": 3.0},
            r"kernel_size = 3\.0 received; needed: an odd number or a pair of odd numbers",
        ),
        ({"kernel_size": (3, 5.0)}, r"kernel_size = \(3, 5\.0\) received"),
        ({"kernel_size": "33"}, "kernel_size = '33' received"),
        ({"kernel_size": 1}, "filters of one tap received"),
        ({"stride": 0}, "stride 0 received, at least 1 needed"),
        ({"dilation": (1, 2, 3)}, "dilation with 3 entries received, 2 needed"),
    ],
)
def test_refusals(options, message):
    with pytest.raises(ValueError, match=message):
        dn.DDF2d(**{"channels": 6, **options})


def test_inputs_that_do_not_fit():
    layer = dn.DDF2d(6)
    with pytest.raises(ValueError, match=r"input of shape \(2, 5, 4, 4\) received; needed: \(B, 6, H, W\)"):
        layer(torch.randn(2, 5, 4, 4))
    with pytest.raises(ValueError, match=r"input of shape \(2, 6, 0, 4\) received"):
        layer(torch.randn(2, 6, 0, 4))
    with pytest.raises(TypeError, match=r"input of type torch\.int64 received"):
        layer(torch.ones(2, 6, 4, 4, dtype=torch.long))


def test_repr():
    text = repr(dn.DDF2d(6, heads=2, norm="paper"))
    assert "6, kernel_size=(3, 3), stride=(1, 1), dilation=(1, 1), heads=2" in text
    assert "norm='paper'" in text


@pytest.mark.parametrize("branch", ["spatial_branch", "channel_branch"])
@pytest.mark.parametrize("make", [dn.DDF2d, dn.DDFUpsample])
def test_a_part_left_on_meta_is_named(make, branch):
    """A plain convolution would answer with memory that nobody wrote."""
    layer = make(4)
    for part in getattr(layer, branch):
        if not list(part.parameters()):
            continue
        part.to("meta")
        with pytest.raises(ValueError, match=r"on device meta received, cpu needed, where input is"):
            layer(torch.rand(1, 4, 6, 6))
        part.to_empty(device="cpu")


NUMBERS = [np.int64, np.int32, torch.tensor]


@pytest.mark.parametrize("number", NUMBERS)
def test_whole_numbers_of_other_libraries_become_pythons(number):
    layers = [
        dn.DDF2d(number(4), number(3), number(2), number(1), number(2)),
        dn.DDF2d(4, (number(3), number(5)), [number(1), number(2)]),
        dn.DDFUpsample(number(4), number(2), number(3), number(3), dilation=number(1), heads=number(2)),
        dn.FilterNorm(number(4), number(3)),
        dn.DecoupledConv2d(number(4), number(6), number(3), number(2), number(1), number(1), number(2)),
        dn.DecoupledConv2d(4, 6, (number(3), 1), padding=(1, number(2))),
        dn.DecoupledLinear(number(4), number(6)),
    ]
    for layer in layers:
        for name, value in vars(layer).items():
            for entry in value if isinstance(value, tuple) else (value,):
                assert not isinstance(entry, torch.Tensor | np.generic), name
    x, window = torch.rand(2, 4, 6, 6), torch.rand(2, 4, 3, 3)
    out = dn.functional.ddf(x, window, torch.rand(2, 9, 3, 3), stride=number(2), dilation=(number(1), 2))
    assert out.shape == (2, 4, 3, 3)
    assert layers[0](torch.rand(1, 4, 6, 6)).shape == (1, 4, 3, 3)
    assert layers[4](torch.rand(1, 4, 6, 6)).shape == (1, 6, 3, 3)


def test_real_numbers_of_other_libraries():
    assert dn.DecoupledConv2d(3, 4, 3, radius=np.float32(2.0)).radius == 2.0
    assert type(dn.Operator("tanh", "sigmoid", k=np.float32(0.5)).k) is float
    with pytest.raises(ValueError, match=r"radius = True received"):
        dn.DecoupledConv2d(3, 4, 3, radius=True)
    for size in (3.0, np.float64(3), np.int64(4), True + 1):
        with pytest.raises(ValueError, match=r"kernel_size = .* received; needed: an odd number"):
            dn.DDF2d(4, size)
    for scale in (2.0, np.float64(2), True, np.int64(0)):
        with pytest.raises(ValueError, match=r"scale_factor = .* received; needed: a whole number"):
            dn.DDFUpsample(4, scale)
