"""DDFUpsample: values sub-position by sub-position, guidance of any resolution, odd sizes, its start."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
import torch.nn.functional as F
from ddf_cases import ddf_by_unfolding
from torch import nn
from torch._dynamo.testing import CompileCounterWithBackend

import decoupled_nets as dn
from decoupled_nets.nn import upsample
from decoupled_nets.nn.upsample import bilinear_filters


def randomised(layer: nn.Module) -> nn.Module:
    """So that no parameter stands at a special value."""
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(torch.randn_like(parameter))
    return layer


def part_by_part(layer: dn.DDFUpsample, x: torch.Tensor, at) -> torch.Tensor:
    """The paper's loop: for every sub-position its filters and one filtering, then a pixel shuffle.

    ``at(row, column)`` is the guidance that a sub-position sees, (B, P, H, W).
    """
    s, c, taps = layer.scale_factor, layer.channels, layer.kernel_size[0] * layer.kernel_size[1]
    convs = layer.spatial_branch[0], layer.channel_branch[1], layer.channel_branch[3]
    weights = [(conv.weight.chunk(s * s), conv.bias.chunk(s * s)) for conv in convs]
    outs = []
    for i in range(s * s):
        (to_maps, maps_bias), (squeeze, squeeze_bias), (excite, excite_bias) = (
            (weight[i], bias[i]) for weight, bias in weights
        )
        spatial = F.conv2d(at(i // s, i % s), to_maps, maps_bias)
        hidden = F.conv2d(x.mean((2, 3), keepdim=True), squeeze, squeeze_bias).relu()
        channel = F.conv2d(hidden, excite, excite_bias)
        spatial = normed(spatial, layer.spatial_branch[1], i, layer.heads, taps)
        channel = normed(channel, layer.channel_branch[4], i, c, taps)
        channel = channel.view(len(x), c, *layer.kernel_size)
        outs.append(ddf_by_unfolding(x, channel, spatial, (1, 1), layer.dilation, layer.combine))
    return F.pixel_shuffle(torch.stack(outs, 2).flatten(1, 2), s)


def normed(filters, norm, i, count, taps):
    each = filters.unflatten(1, (count, taps))
    unit = (each - each.mean(2, keepdim=True)) / (each.var(2, correction=0, keepdim=True) + 1e-5).sqrt()
    own = slice(i * count, (i + 1) * count)
    return (unit * norm.scale[own].view(-1, 1, 1, 1) + norm.shift[own].view(-1, 1, 1, 1)).flatten(1, 2)


SETTINGS = [
    {},
    {"scale_factor": 3, "heads": 2},
    {"scale_factor": 1, "kernel_size": (1, 5)},
    {"kernel_size": (3, 5), "dilation": (2, 1), "combine": "add"},
    {"scale_factor": 4, "heads": 4},
]


@pytest.mark.parametrize("options", SETTINGS, ids=str)
def test_without_guidance(near, options):
    layer = randomised(dn.DDFUpsample(4, dtype=torch.float64, **options))
    x = torch.randn(2, 4, 5, 3, dtype=torch.float64)
    near(layer(x), part_by_part(layer, x, lambda row, column: layer.guide(x)))


@pytest.mark.parametrize("options", SETTINGS, ids=str)
def test_guidance_of_the_outputs_size(near, options):
    layer = randomised(dn.DDFUpsample(4, guidance_channels=3, dtype=torch.float64, **options))
    s = layer.scale_factor
    x, g = torch.randn(2, 4, 5, 3, dtype=torch.float64), torch.randn(2, 3, 5 * s, 3 * s, dtype=torch.float64)
    near(layer(x, g), part_by_part(layer, x, lambda row, column: g[..., row::s, column::s]))


@pytest.mark.parametrize("options", SETTINGS, ids=str)
def test_guidance_of_the_inputs_size_is_seen_by_every_part(near, options):
    layer = randomised(dn.DDFUpsample(4, guidance_channels=3, dtype=torch.float64, **options))
    s = layer.scale_factor
    x, g = torch.randn(2, 4, 5, 3, dtype=torch.float64), torch.randn(2, 3, 5, 3, dtype=torch.float64)
    near(layer(x, g), part_by_part(layer, x, lambda row, column: g))
    near(layer(x, g), layer(x, g.repeat_interleave(s, 2).repeat_interleave(s, 3)))


@pytest.mark.parametrize("size", [(20, 12), (3, 40), (7, 5), (1, 1)])
def test_other_guidance_is_averaged_to_the_outputs_size(near, size):
    layer = randomised(dn.DDFUpsample(4, guidance_channels=3, dtype=torch.float64))
    x, g = torch.randn(2, 4, 5, 3, dtype=torch.float64), torch.randn(2, 3, *size, dtype=torch.float64)
    near(layer(x, g), layer(x, F.interpolate(g, (10, 6), mode="area")))


@pytest.mark.parametrize("guided", [False, True])
@pytest.mark.parametrize(("s", "size"), [(2, (9, 6)), (2, (9, 5)), (3, (13, 8))])
def test_output_size(near, guided, s, size):
    layer = randomised(dn.DDFUpsample(4, s, guidance_channels=3 if guided else None, dtype=torch.float64))
    x = torch.randn(2, 4, 5, 3, dtype=torch.float64)
    g = torch.randn(2, 3, *size, dtype=torch.float64) if guided else None
    y = layer(x, g, output_size=size)
    assert y.shape == (2, 4, *size)
    # Guidance of that size lies on the output pixel by pixel: it is continued, not stretched.
    whole = None if g is None else F.pad(g, (0, 3 * s - size[1], 0, 5 * s - size[0]), mode="replicate")
    near(y, layer(x, whole)[..., : size[0], : size[1]])


@pytest.mark.parametrize("combine", ["mul", "add"])
@pytest.mark.parametrize("guided", [False, True])
@pytest.mark.parametrize("s", [1, 2, 3, 4])
def test_starts_as_bilinear_interpolation(near, s, guided, combine):
    layer = dn.DDFUpsample(4, s, guidance_channels=3 if guided else None, heads=2, combine=combine).double()
    x = torch.randn(2, 4, 5, 6, dtype=torch.float64)
    g = torch.randn(2, 3, 11, 7, dtype=torch.float64) if guided else None
    y = F.interpolate(x, scale_factor=s, mode="bilinear", align_corners=False)
    inner = (..., slice(s, -s), slice(s, -s))
    near(layer(x, g)[inner], y[inner], torch.float32)


def test_bilinear_taps():
    assert bilinear_filters(2, (1, 3)).tolist() == [[0.25, 0.75, 0], [0, 0.75, 0.25]] * 2
    assert bilinear_filters(1, (3, 3)).tolist() == [[0, 0, 0, 0, 1, 0, 0, 0, 0]]
    assert bilinear_filters(2, (1, 1)).tolist() == [[1]] * 4
    assert bilinear_filters(2, (1, 3), (1, 2))[0].tolist() == [0.125, 0.875, 0]
    assert torch.allclose(bilinear_filters(5, (3, 5)).sum(1), torch.ones(25, dtype=torch.float64))


@pytest.mark.parametrize("combine", ["mul", "add"])
@pytest.mark.parametrize("guided", [False, True])
@pytest.mark.parametrize("s", [2, 3, 4, 8])
def test_starts_as_nearest_interpolation(s, guided, combine):
    """At the border and at every size that is near, too, as it has to for networks that are trained."""
    layer = dn.DDFUpsample(
        4, s, guidance_channels=3 if guided else None, heads=2, combine=combine, init="nearest"
    )
    x = torch.randn(2, 4, 5, 6)
    for more, wide in [(0, 0), (1 - s, 0), (s - 1, 1 - s), (-1, s - 1), (1, -1)]:
        size = (5 * s + more, 6 * s + wide)
        g = torch.randn(2, 3, *size) if guided else None
        wanted = F.interpolate(x, size=size, mode="nearest")
        assert (layer(x, g, size) - wanted).abs().max() <= 1e-5 * x.abs().max(), size


@pytest.mark.parametrize("init", ["bilinear", "nearest"])
def test_guidance_lies_pixel_on_pixel_at_sizes_beyond(init):
    """The guidance of one output pixel changes that one alone, or those that show the same one."""
    layer = randomised(dn.DDFUpsample(2, 2, guidance_channels=1, init=init, dtype=torch.float64))
    x, g = torch.randn(1, 2, 4, 4, dtype=torch.float64), torch.randn(1, 1, 9, 8, dtype=torch.float64)
    y, other = layer(x, g, (9, 8)), g.clone()
    other[0, 0, 5, 3] += 1
    assert (layer(x, other, (9, 8)) != y).any(1).nonzero().tolist() == [[0, 5, 3]]
    # The pixel that is continued (or, as nearest interpolation has it, the first one) is shown twice.
    twice = (0, 1) if init == "nearest" else (7, 8)
    assert torch.equal(y[:, :, twice[0]], y[:, :, twice[1]])


@pytest.mark.parametrize("init", ["bilinear", "nearest", "random"])
@pytest.mark.parametrize("guided", [False, True])
def test_trains_from_its_start(init, guided):
    layer = dn.DDFUpsample(5, guidance_channels=2 if guided else None, init=init, squeeze_ratio=1.0)
    x, target = torch.randn(3, 5, 4, 6), torch.randn(3, 5, 8, 12)
    g = torch.randn(3, 2, 8, 12) if guided else None
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.01)
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = (layer(x, g) - target).square().mean()
        loss.backward()
        assert all(p.grad.isfinite().all() for p in layer.parameters())
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    assert all(p.grad.abs().sum() > 0 for p in layer.parameters())


@pytest.mark.parametrize("norm", ["filter", "released", "sigmoid"])
def test_other_normalisations(norm):
    layer = dn.DDFUpsample(4, norm=norm)
    assert layer.init == "random"
    layer(torch.randn(2, 4, 3, 3)).sum().backward()
    with pytest.raises(ValueError, match=f"init = 'bilinear' with norm = '{norm}' received"):
        dn.DDFUpsample(4, norm=norm, init="bilinear")


@pytest.mark.parametrize("guided", [False, True])
def test_unbatched_and_empty(near, guided):
    layer = randomised(dn.DDFUpsample(4, guidance_channels=3 if guided else None))
    x, g = torch.randn(4, 3, 5), torch.randn(3, 6, 10) if guided else None
    near(layer(x, g, (5, 10)), layer(x[None], None if g is None else g[None], (5, 10))[0])
    none = layer(x[None][:0], None if g is None else g[None][:0])
    assert none.shape == (0, 4, 6, 10)


@pytest.mark.parametrize("guided", [False, True])
def test_state_copies_types_and_formats(near, guided):
    make = lambda **options: dn.DDFUpsample(4, guidance_channels=3 if guided else None, **options)  # noqa: E731
    layer, other = randomised(make()), make()
    x, g = torch.randn(2, 4, 3, 5), torch.randn(2, 3, 6, 10) if guided else None
    assert other.load_state_dict(layer.state_dict()) == ([], [])
    for twin in (other, copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert torch.equal(twin(x, g), layer(x, g))
    near(layer(x.contiguous(memory_format=torch.channels_last), g), layer(x, g))
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(x, g).dtype == torch.bfloat16
    half = make(dtype=torch.bfloat16)
    y = half(x.bfloat16(), None if g is None else g.bfloat16())
    near(y[..., 2:-2, 2:-2], make()(x, g)[..., 2:-2, 2:-2], torch.bfloat16)
    with torch.device("meta"):
        made = make()
        made.to_empty(device="cpu").reset_parameters()
    near(made(x, g)[..., 2:-2, 2:-2], half.float()(x, g)[..., 2:-2, 2:-2], torch.bfloat16)


@pytest.mark.parametrize("compiled", [False, pytest.param(True, marks=pytest.mark.sweep)])
@pytest.mark.parametrize("size", [None, (3, 5), (6, 10), (7, 7)])
def test_memory_format_is_the_inputs(near, size, compiled):
    torch._dynamo.reset()
    layer = randomised(dn.DDFUpsample(4, guidance_channels=None if size is None else 3, heads=2))
    run = torch.compile(layer, backend="aot_eager", fullgraph=True) if compiled else layer
    x, g = torch.randn(2, 4, 3, 5), None if size is None else torch.randn(2, 3, *size)
    y = run(x, g)
    assert y.is_contiguous()
    last = run(x.contiguous(memory_format=torch.channels_last), g)
    assert last.is_contiguous(memory_format=torch.channels_last)
    near(last, y)
    torch._dynamo.reset()


@pytest.mark.parametrize("combine", ["mul", "add"])
@pytest.mark.parametrize("guided", [False, True])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_large_maps_are_filtered_part_by_part(monkeypatch, near, combine, guided, memory_format):
    """The same bits as in one call, the same gradients, and the input is not kept more than once."""
    layer = randomised(
        dn.DDFUpsample(4, 3, heads=2, combine=combine, guidance_channels=2 if guided else None)
    )
    x = torch.randn(2, 4, 5, 6).to(memory_format=memory_format).requires_grad_()
    g = torch.randn(2, 2, 15, 18) if guided else None

    def run():
        kept = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
            y = layer(x, g)
        gradients = torch.autograd.grad(y, [x, *layer.parameters()], torch.randn_like(y))
        return y, gradients, {tuple(t.shape) for t in kept}

    torch.manual_seed(0)
    at_once, gradients, kept = run()
    assert (2, 9 * 4, 5, 6) in kept
    monkeypatch.setattr(upsample, "REPEATED", 0)
    torch.manual_seed(0)
    by_parts, others, kept = run()
    assert (2, 9 * 4, 5, 6) not in kept
    assert torch.equal(by_parts, at_once)
    assert by_parts.stride() == at_once.stride()
    for other, gradient in zip(others, gradients, strict=True):
        near(other, gradient)


@pytest.mark.parametrize("size", [None, (3, 5), (6, 10), (7, 7)])
def test_every_part_is_called_as_a_module(size):
    """Hooks, parametrisations and whatever is put in a part's place depend on it."""
    layer = dn.DDFUpsample(4, guidance_channels=None if size is None else 3)
    parts = [module for module in layer.modules() if not list(module.children())]
    called = []
    for part in parts:
        part.register_forward_hook(lambda module, args, output: called.append(module))
    layer(torch.randn(2, 4, 3, 5), None if size is None else torch.randn(2, 3, *size))
    assert len(called) == len(parts)
    assert set(called) == set(parts)


@pytest.mark.parametrize("guided", [False, True])
def test_compile_and_export(near, guided):
    torch._dynamo.reset()
    layer = randomised(dn.DDFUpsample(4, guidance_channels=3 if guided else None))
    arguments = (torch.randn(2, 4, 3, 5), torch.randn(2, 3, 6, 10)) if guided else (torch.randn(2, 4, 3, 5),)
    compiled = torch.compile(layer, backend=CompileCounterWithBackend("aot_eager"), fullgraph=True)
    near(compiled(*arguments), layer(*arguments))
    batch = torch.export.Dim("batch", min=1, max=64)
    shapes = ({0: batch},) * len(arguments)
    exported = torch.export.export(layer.eval(), arguments, dynamic_shapes=_padded(shapes))
    more = tuple(torch.cat([a, a]) for a in arguments)
    near(exported.module()(*more), layer(*more))
    torch._dynamo.reset()


def _padded(shapes):
    return {"input": shapes[0], **({"guidance": shapes[1]} if len(shapes) > 1 else {})}


def test_one_call_for_all_parts(monkeypatch):
    import decoupled_nets.nn.upsample as module

    calls = []
    monkeypatch.setattr(module, "ddf", lambda *args, **kw: calls.append(1) or args[0])
    dn.DDFUpsample(4, 3)(torch.randn(1, 4, 3, 3))
    assert calls == [1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scale_factor": 0}, "scale_factor = 0 received; needed: a whole number"),
        ({"scale_factor": 1.5}, "scale_factor = 1.5 received"),
        ({"guidance_channels": 0}, "guidance_channels = 0 received"),
        ({"heads": 3}, "heads = 3 received; needed: a divisor of the 4 channels"),
        ({"kernel_size": 2}, "kernel_size = 2 received"),
        ({"combine": "or"}, "combine = 'or' received"),
        ({"init": "area"}, "init = 'area' received"),
        ({"norm": "none"}, "norm = 'none' received"),
    ],
)
def test_refusals(options, message):
    with pytest.raises(ValueError, match=message):
        dn.DDFUpsample(**{"channels": 4, **options})


@pytest.mark.parametrize(
    ("guidance", "size", "message"),
    [
        (None, None, "no guidance received; needed: guidance of 3 channels"),
        ((2, 4, 6, 6), None, r"guidance of shape \(2, 4, 6, 6\) received; needed: \(B, 3, H, W\)"),
        ((1, 3, 6, 6), None, "needed: equally many images"),
        ((3, 6, 6), None, "needed: equally many images"),
        ((2, 3, 6, 6), (4, 6), r"output_size = \(4, 6\) received; needed: a height from 5 to 7 and"),
        ((2, 3, 6, 6), (8, 6), r"output_size = \(8, 6\) received"),
        ((2, 3, 6, 6), (6,), r"output_size = \(6,\) received"),
    ],
)  # fmt: skip
def test_what_does_not_fit(guidance, size, message):
    layer = dn.DDFUpsample(4, guidance_channels=3)
    with pytest.raises(ValueError, match=message):
        layer(torch.randn(2, 4, 3, 3), None if guidance is None else torch.randn(guidance), size)


def test_guidance_that_is_not_expected():
    with pytest.raises(ValueError, match="received by a layer made without it; needed: guidance_channels"):
        dn.DDFUpsample(4)(torch.randn(2, 4, 3, 3), torch.randn(2, 4, 3, 3))
    with pytest.raises(TypeError, match="guidance of type"):
        dn.DDFUpsample(4, guidance_channels=1)(torch.randn(2, 4, 3, 3), torch.ones(2, 1, 3, 3).long())


def test_what_lies_beyond_the_output_continues_the_guidance():
    """With BatchNorm it takes part in the statistics, though it is cut off."""
    layer = dn.DDFUpsample(4, guidance_channels=2, norm="batch", combine="add").train()
    x, guidance = torch.randn(2, 4, 5, 6), torch.randn(2, 2, 9, 11)
    whole = F.pad(guidance, (0, 1, 0, 1), mode="replicate")
    torch.testing.assert_close(layer(x, guidance, (9, 11)), layer(x, whole)[..., :9, :11])
