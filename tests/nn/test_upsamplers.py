"""Upsamplers by name: each against its formula, what it starts as, sizes, guidance, the registry."""

from __future__ import annotations

import copy
import itertools
import math
import pickle

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch._dynamo.testing import CompileCounterWithBackend
from upsampler_formulas import FORMULAS

import decoupled_nets as dn
from decoupled_nets.nn.upsamplers.carafe import CARAFE

NAMES = [
    "bilinear",
    "carafe",
    "ddf",
    "ddf-bilinear",
    "dysample",
    "nearest",
    "pac",
    "pixelshuffle",
    "transposed",
]
AS_NEAREST = ["ddf", "nearest", "pixelshuffle", "transposed"]


def made(name, channels=4, s=2, guidance_channels=3, *, drawn=False, dtype=torch.float32):
    layer = dn.upsampler(name, channels, s, guidance_channels).to(dtype)
    if drawn:
        with torch.no_grad():
            for parameter in layer.parameters():
                parameter.copy_(0.3 * torch.randn_like(parameter))
    return layer


def test_names():
    assert dn.list_upsamplers() == NAMES


@pytest.mark.parametrize("s", [2, 3, pytest.param(4, marks=pytest.mark.sweep)])
@pytest.mark.parametrize(("name", "p"), [*((name, 3) for name in NAMES), ("pac", 16)])
def test_value_and_gradients_are_those_of_the_formula(near, name, p, s):
    layer = made(name, s=s, guidance_channels=p, drawn=True, dtype=torch.float64)
    x = torch.randn(2, 4, 4, 3, dtype=torch.float64, requires_grad=True)
    g = torch.randn(2, p, 4 * s, 3 * s, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(2, 4, 4 * s, 3 * s, dtype=torch.float64)
    into = [x, g, *layer.parameters()]
    results = []
    for y in (layer(x, g), FORMULAS[name](layer, x, g)):
        gradients = torch.autograd.grad((y * weight).sum(), into, allow_unused=True)
        results.append(
            [y, *(torch.zeros_like(v) if d is None else d for d, v in zip(gradients, into, strict=True))]
        )
    for found, wanted in zip(*results, strict=True):
        near(found, wanted)
    if name not in ("pac", "ddf", "ddf-bilinear"):
        assert not results[0][2].any()  # it looks at no guidance
    else:
        assert results[0][2].any()


@pytest.mark.parametrize("s", [2, 3, 4, 8])
@pytest.mark.parametrize("name", AS_NEAREST)
def test_starts_as_nearest(name, s):
    layer, x = made(name, s=s), torch.randn(2, 4, 5, 6)
    for size in [None, (5 * s - 1, 6 * s + 1), (5 * s + s - 1, 6 * s - s + 1)]:
        g = torch.randn(2, 3, *(size or (5 * s, 6 * s)))
        wanted = F.interpolate(x, size=size or (5 * s, 6 * s), mode="nearest")
        assert (layer(x, g, size) - wanted).abs().max() <= 1e-5 * wanted.abs().max()


@pytest.mark.parametrize("s", [2, 3, 4, 8])
@pytest.mark.parametrize(
    ("name", "within"),
    [("bilinear", 0.0), ("ddf-bilinear", 1e-6), ("dysample", 5e-3), ("carafe", 2e-2), ("pac", 1e-6)],
)
def test_starts_as_bilinear(name, within, s):
    """Away from the border, beyond which some have zeros; with a constant guidance."""
    layer, x = made(name, s=s), torch.rand(2, 4, 5, 6)
    wanted = F.interpolate(x, scale_factor=s, mode="bilinear")
    inside = (..., slice(s, -s), slice(s, -s))
    assert (layer(x, torch.rand(2, 3, 1, 1)) - wanted)[inside].abs().max() <= within


@pytest.mark.parametrize("p", [3, 16, 64])
def test_pac_looks_at_its_guidance_from_the_start(p):
    """Pixels beyond an edge of it count less, whatever its channels; 16 are compared themselves."""
    layer = made("pac", guidance_channels=p)
    assert ("features.weight" in layer.state_dict()) == (p != 16)
    edge = torch.zeros(1, p, 12, 12)
    edge[..., 6:] = torch.randn(1, p, 1, 1)
    edge *= 0.5 * math.sqrt(p) / edge.norm(dim=1).max()
    flat, weighed = layer(torch.ones(1, 4, 6, 6), 0 * edge), layer(torch.ones(1, 4, 6, 6), edge)
    change = ((flat - weighed) / flat)[0, 0, 6]
    assert 0.05 < change[5:7].min() <= change[5:7].max() <= 0.25  # the weight of the pixel beyond
    assert max(change[:5].abs().max(), change[7:].abs().max()) < 1e-6
    guidance = edge.requires_grad_()
    (found,) = torch.autograd.grad(layer(torch.ones(1, 4, 6, 6), guidance).sum(), guidance)
    assert found.norm() > 0.1


@pytest.mark.parametrize("s", [2, 3, 4, 5])
@pytest.mark.parametrize("name", NAMES)
def test_sizes(name, s):
    """Every size near s times the input's; pixels stay what they are without the size, or are picked."""
    layer, x = made(name, s=s, drawn=True), torch.randn(1, 4, 4, 3)
    g = torch.ones(1, 3, 2, 2)  # alike everywhere
    whole = layer(x, g)
    for height, width in itertools.product(
        (3 * s + 1, 4 * s - 1, 4 * s + 1, 5 * s - 1), (2 * s + 1, 3 * s, 4 * s - 1)
    ):
        y = layer(x, g, (height, width))
        assert y.shape == (1, 4, height, width)
        if name in ("nearest", "bilinear"):
            wanted = F.interpolate(x, size=(height, width), mode=name)
        elif name in AS_NEAREST and (4 * s - height not in (0, 1) or 3 * s - width not in (0, 1)):
            wanted = F.interpolate(whole, size=(height, width), mode="nearest")
        else:
            rows, columns = (
                torch.arange(height).clamp(max=4 * s - 1),
                torch.arange(width).clamp(max=3 * s - 1),
            )
            wanted = whole[..., rows, :][..., columns]
        torch.testing.assert_close(y, wanted)
    for size in [(3 * s, 3 * s), (4 * s, 4 * s), (4 * s,)]:
        with pytest.raises(
            ValueError, match=f"received; needed: a height from {3 * s + 1} to {5 * s - 1} and a"
        ):
            layer(x, g, size)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("nearest", "bilinear")])
def test_learns(name):
    """Every parameter gets a gradient, at the latest after one step, and the loss falls."""
    layer = made(name, 8)
    x, g, target = torch.randn(2, 8, 5, 4), torch.randn(2, 3, 10, 8), torch.randn(2, 8, 10, 8)
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.01)
    losses = []
    for step in range(12):
        optimizer.zero_grad()
        loss = (layer(x, g) - target).square().mean()
        loss.backward()
        if step == 1:
            assert all(p.grad.abs().sum() > 0 for p in layer.parameters())
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.99 * losses[0]


@pytest.mark.parametrize("name", NAMES)
def test_copies_types_and_unbatched(near, name):
    layer = made(name, drawn=True)
    x, g = torch.randn(2, 4, 4, 3), torch.randn(2, 3, 8, 6)
    y, other = layer(x, g), made(name)
    other.load_state_dict(layer.state_dict())
    for twin in (other, copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert torch.equal(twin(x, g), y)
    near(layer(x[0], g[0]), y[0])
    near(layer(x.contiguous(memory_format=torch.channels_last), g), y)
    assert layer.bfloat16()(x.bfloat16(), g.bfloat16()).dtype == torch.bfloat16
    with torch.device("meta"):
        fresh = made(name)
    fresh.to_empty(device="cpu")
    for module in fresh.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    if hasattr(fresh, "reset_parameters"):
        fresh.reset_parameters()  # its own start, which its parts do not know
    wanted = F.interpolate(x, scale_factor=2, mode="nearest" if name in AS_NEAREST else "bilinear")
    torch.testing.assert_close(fresh(x, 0 * g)[..., 2:-2, 2:-2], wanted[..., 2:-2, 2:-2], atol=0.1, rtol=0)


@pytest.mark.parametrize("way", ["bfloat16", "float16", "autocast", "autocast of bfloat16"])
@pytest.mark.parametrize("name", NAMES)
def test_half_precision_on_wide_maps(name, way):
    """Places far to the right are as exact as those at the left: the error is that of rounding the values."""
    half = torch.float16 if way == "float16" else torch.bfloat16
    layer, eps = made(name), torch.finfo(half).eps
    x = F.avg_pool2d(torch.randn(1, 4, 9, 309), 9, 1, padding=(4, 0))  # smooth
    x, g = (x / x.std()).to(half), torch.randn(1, 3, 18, 602).to(half)
    wanted = layer(x.float(), g.float())
    with torch.autocast("cpu", torch.bfloat16, enabled=way.startswith("autocast")):
        if way == "autocast":
            x, g = x.float(), g.float()
        elif not way.startswith("autocast"):
            layer.to(half)
        error = (layer(x, g).float() - wanted).square()
    assert error.mean().sqrt() <= eps
    assert error[..., 300:].mean().sqrt() <= 2 * error[..., :300].mean().sqrt() + 0.1 * eps


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.sweep) for name in NAMES])
def test_compiles_and_exports(near, name):
    torch._dynamo.reset()
    layer = made(name, drawn=True).eval()
    x, g = torch.randn(2, 4, 4, 3), torch.randn(2, 3, 9, 6)
    run = torch.compile(layer, backend=CompileCounterWithBackend("aot_eager"), fullgraph=True)
    near(run(x, g, (9, 6)), layer(x, g, (9, 6)))
    near(torch.export.export(layer, (x, g, (9, 6))).module()(x, g, (9, 6)), layer(x, g, (9, 6)))
    torch._dynamo.reset()


def test_guidance_that_is_missing_or_not_looked_at():
    with pytest.raises(
        ValueError, match="upsampler 'pac' received without guidance; needed: guidance_channels"
    ):
        dn.upsampler("pac", 4, 2)
    with pytest.raises(ValueError, match="no guidance received by PAC; needed: guidance of 3 channels"):
        made("pac")(torch.ones(1, 4, 2, 2))
    with pytest.raises(ValueError, match=r"guidance of shape \(1, 2, 4, 4\) received"):
        made("pac")(torch.ones(1, 4, 2, 2), torch.ones(1, 2, 4, 4))
    for name in ("pac", "ddf"):
        with pytest.raises(
            ValueError, match=r"guidance of shape \(1, 3, 4, 4\) and input of .* equally many"
        ):
            made(name)(torch.ones(2, 4, 2, 2), torch.ones(1, 3, 4, 4))
    x, g = torch.randn(1, 4, 3, 3), torch.randn(1, 3, 6, 6)
    layer = dn.upsampler("ddf", 4, 2)
    assert torch.equal(layer(x, g), layer(x))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nearst", 4), "unknown upsampler 'nearst' .did you mean 'nearest'"),
        (("nearest", 0), "channels = 0 received; needed: at least 1"),
        (("nearest", 4, 1), "scale_factor = 1 received; needed: a whole number from 2 on"),
        (("ddf", 4, 2.5), "scale_factor = 2.5 received; needed: a whole number from 2 on"),
        (("pac", 4, 2, 0), "guidance_channels = 0 received; needed: None or at least 1"),
    ],
)
def test_refusals(arguments, message):
    with pytest.raises(ValueError, match=message):
        dn.upsampler(*arguments)


@pytest.mark.parametrize("name", NAMES)
def test_inputs_that_do_not_fit(name):
    with pytest.raises(ValueError, match=r"input of shape \(1, 5, 3, 3\) received; needed: \(B, 4, H, W\)"):
        made(name)(torch.ones(1, 5, 3, 3), torch.ones(1, 3, 6, 6))
    with pytest.raises(
        TypeError, match=r"input of type torch\.int64 received; needed: a floating point type"
    ):
        made(name)(torch.ones(1, 4, 3, 3).long(), torch.ones(1, 3, 6, 6))


def test_layers_show_their_options():
    layer = CARAFE(8, 3, kernel_size=3, compressed=12)
    assert layer.extra_repr() == "8, scale_factor=3, kernel_size=3, compressed=12"
    assert repr(layer).startswith("CARAFE(\n  8, scale_factor=3, kernel_size=3, compressed=12\n")


def test_register():
    dn.register_upsampler("of-mine", lambda c, s, g: nn.Identity())
    try:
        assert isinstance(dn.upsampler("of-mine", 4), nn.Identity)
        assert "of-mine" in dn.list_upsamplers()
        with pytest.raises(ValueError, match="upsampler 'of-mine' is already registered"):
            dn.register_upsampler("of-mine", nn.Identity)
    finally:
        dn.unregister_upsampler("of-mine")
    with pytest.raises(ValueError, match="unknown upsampler 'of-mine'"):
        dn.unregister_upsampler("of-mine")
    with pytest.raises(ValueError, match="upsampler name 'Mine' received; needed: a lower-case identifier"):
        dn.register_upsampler("Mine", nn.Identity)
    with pytest.raises(TypeError, match="upsampler 'x': int received; needed: a function of"):
        dn.register_upsampler("x", 3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="int received; needed: a module"):
        dn.upsampler(lambda c, s, g: c, 4)  # type: ignore[arg-type]
    assert isinstance(dn.upsampler(lambda c, s, g: nn.Conv2d(c, s, 1), 4), nn.Conv2d)


def test_parameters_are_as_documented():
    count = lambda name, g=None: sum(p.numel() for p in dn.upsampler(name, 256, 2, g).parameters())  # noqa: E731
    assert count("transposed") == 1_048_832
    assert count("pixelshuffle") == 2_360_320
    assert count("carafe") == 257 * 64 + (9 * 64 + 1) * 25 * 4 == 74_148
    assert count("dysample") == 257 * 32 == 8_224
    assert count("ddf") == 545_528
    assert count("ddf", 256) == 542_968
    assert count("pac", 256) == 25 * 256**2 + 256 + 16 * 256
    assert count("pac", 16) == 25 * 256**2 + 256
    assert math.isclose(count("nearest"), 0)
