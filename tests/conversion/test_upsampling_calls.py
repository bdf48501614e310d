"""``convert_upsampling``: which calls are taken, which are left and why, and what answers which."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
import torch.nn.functional as F
from pyramids import Block, Calls, Decoder, X, outcome
from torch import nn

import decoupled_nets as dn


def test_the_last_call_is_left_and_others_with_a_reason():
    report = dn.convert_upsampling(Decoder(), X)
    assert outcome(report) == [
        ("the network[0]", None, "gives the outputs"),
        ("block[0]", "DDF 2×, guided (8 channels)", None),
    ]
    lines = str(report).splitlines()
    assert lines[0] == "1 calls converted, 1 left"
    assert lines[1].split() == ["calls", "was", "became", "for", "example"]
    assert "interpolate bilinear 2×  left: gives the outputs" in lines[4]
    assert lines[5].startswith("parameters: 2,058 before, 3,066 after")
    assert report.flops[1] > report.flops[0] > 0


class Last(nn.Module):
    """Logits that are interpolated, and changed by what has no weights."""

    def __init__(self, behind: nn.Module) -> None:
        super().__init__()
        self.conv, self.behind = nn.Conv2d(3, 8, 3, padding=1), behind

    def forward(self, x):
        y = F.interpolate(self.conv(x), scale_factor=2)
        if self.training:
            y = F.interpolate(y, scale_factor=2)
        out = torch.empty_like(y)
        out[:] = y.softmax(1)
        return {"out": self.behind(out)}


def test_what_follows_a_call_decides_whether_it_gives_the_outputs():
    (fate,) = dn.convert_upsampling(Last(nn.Sigmoid()), X).fates
    assert fate.reason == "gives the outputs"
    model = Last(nn.Conv2d(8, 8, 1)).train()
    (fate,) = dn.convert_upsampling(model, X).fates  # in training it makes two
    assert fate.became
    assert model.training
    assert model.upsamplers.training


CASES = {
    "interpolation by 1.5": (lambda m, x: F.interpolate(x, scale_factor=1.5), "scale 1.5×"),
    "the same size": (lambda m, x: F.interpolate(x, size=x.shape[2:]), "scale 1×"),
    "smaller": (lambda m, x: F.interpolate(x, scale_factor=0.5), "scale 0.5×"),
    "other along each axis": (lambda m, x: F.interpolate(x, scale_factor=(2, 4)), "scale 2× and 4×"),
    "few channels": (lambda m, x: F.interpolate(x[:, :3], scale_factor=2), "3 channels: an image or a mask"),
    "pooled to a pixel": (
        lambda m, x: F.interpolate(F.adaptive_avg_pool2d(x, 1), x.shape[2:]), "pooled to 1×1"
    ),
    "pooled to four": (lambda m, x: F.interpolate(F.adaptive_avg_pool2d(x, 2), x.shape[2:]), "pooled to 2×2"),
    "without a width": (lambda m, x: F.interpolate(x.flatten(2), scale_factor=2).unflatten(2, (-1, 8)),
                        "3 dimensions, and a map has 4"),
    "an embedding": (
        lambda m, x: x + F.interpolate(2 * m.table, scale_factor=2), "does not depend on the input"
    ),
    "pixel shuffle": (lambda m, x: F.pixel_shuffle(x, 2), "its module is no nn.PixelShuffle"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_what_is_left(case):
    function, reason = CASES[case]
    model = Calls(function)
    report = dn.convert_upsampling(model, torch.rand(1, 3, 8, 8))
    assert [fate.reason for fate in report.left] == [reason]
    assert not report.converted
    assert type(model) is Calls


def test_upsample_modules_are_taken_in_their_place():
    model = Calls(lambda m, x: m.up(x), up=nn.Upsample(scale_factor=3)).eval()
    x = torch.rand(1, 3, 9, 7)
    before, up = model(x), model.up
    report = dn.convert_upsampling(model, x)
    assert outcome(report) == [("up", "DDF 3×", None)]
    assert model.up is up
    assert isinstance(up, nn.Upsample)
    torch.testing.assert_close(model(x), before)
    dn.revert(model)
    assert type(up) is nn.Upsample
    # The bilinear one starts bilinear, away from the border.
    smooth = Calls(lambda m, x: m.up(x), up=nn.UpsamplingBilinear2d(scale_factor=2))
    report = dn.convert_upsampling(smooth, x)
    assert report.converted[0].note == "no longer aligned at the corners"
    y = torch.rand(1, 8, 6, 6)
    wanted = F.interpolate(y, scale_factor=2, mode="bilinear")[..., 2:-2, 2:-2]
    torch.testing.assert_close(smooth.up(y)[..., 2:-2, 2:-2], wanted)


def test_transposed_convolutions_are_taken_on_demand():
    model = Calls(lambda m, x: m.up(x), up=nn.ConvTranspose2d(8, 8, 4, 2, 1)).eval()
    x = torch.rand(1, 3, 8, 8)
    before, weight = model(x), model.up.weight
    (fate,) = dn.convert_upsampling(model, x).fates
    assert fate.reason == "it has learned kernels (transposed=True takes it)"
    (fate,) = dn.convert_upsampling(model, x, "ddf", transposed=True).fates
    assert (fate.became, fate.note) == ("DDF 2×", "its kernels are set aside")
    assert not dict(model.up.named_parameters(recurse=False))
    y = torch.rand(1, 8, 5, 5)
    torch.testing.assert_close(model.up(y), F.interpolate(y, scale_factor=2))
    assert model.up(y, output_size=(1, 8, 11, 10)).shape == (1, 8, 11, 10)
    assert copy.deepcopy(model)(x).shape == before.shape
    dn.revert(model)
    assert model.up.weight is weight
    assert torch.equal(model(x), before)
    other = Calls(lambda m, x: m.up(x), up=nn.ConvTranspose2d(8, 4, 2, 2))
    (fate,) = dn.convert_upsampling(other, x, transposed=True).fates
    assert fate.reason == "8 to 4 channels"


@pytest.mark.parametrize("name", ["ddf", "dysample"])
def test_pixel_shuffles_are_taken_on_demand(name):
    model = Calls(lambda m, x: m.up(x), channels=32, up=nn.PixelShuffle(2)).eval()
    x = torch.rand(1, 3, 8, 8)
    before = model(x)
    (fate,) = dn.convert_upsampling(model, x, name).fates
    assert fate.reason == "its channels become pixels (transposed=True takes their mean)"
    (fate,) = dn.convert_upsampling(model, x, name, transposed=True).fates
    assert fate.note == "4 channels become their mean"
    y = torch.rand(2, 32, 5, 6)
    wanted = dn.upsampler(name, 8, 2)
    wanted.load_state_dict(model.up.upsamplers[0].state_dict())
    assert torch.equal(model.up(y), wanted(y.unflatten(1, (8, 4)).mean(2)))
    loaded = pickle.loads(pickle.dumps(model.up))
    assert torch.equal(loaded(y), model.up(y))
    model(x).mean().backward()
    assert any(p.grad is not None for p in model.up.parameters())
    dn.revert(model)
    assert type(model.up) is nn.PixelShuffle
    assert torch.equal(model(x), before)


class Row(nn.Sequential):
    """Runs its children, then interpolates."""

    def forward(self, x):
        return F.interpolate(super().forward(x), scale_factor=2)


def test_modules_that_cannot_answer():
    x = torch.rand(1, 3, 8, 8)
    model = Calls(lambda m, x: m.row(x), row=Row(nn.Conv2d(8, 8, 1)))
    assert outcome(dn.convert_upsampling(model, x)) == [("row[0]", None, "Row would run what is added to it")]
    up = nn.Upsample(scale_factor=2)
    shared = Calls(lambda m, x: m.up(m.up(x)[:, :8]).repeat(1, 2, 1, 1), up=up)
    assert dn.convert_upsampling(shared, x).converted  # twice the same
    shared = Calls(lambda m, x: m.up(m.up(x).repeat(1, 2, 1, 1)), up=nn.Upsample(scale_factor=2))
    (fate,) = dn.convert_upsampling(shared, x).fates
    assert fate.reason == "its module makes other calls from run to run"
    own = Calls(lambda m, x: m.up(x), up=nn.Upsample(scale_factor=2))
    own.up.forward = lambda x: F.interpolate(x, scale_factor=2)
    (fate,) = dn.convert_upsampling(own, x).fates
    assert fate.reason == "its forward was replaced on the object itself"
    taken = Calls(lambda m, x: F.interpolate(x, scale_factor=2), upsamplers=nn.Identity())
    (fate,) = dn.convert_upsampling(taken, x).fates
    assert fate.reason == "its module has 'upsamplers' or parametrisations of its own"


class Mixed(nn.Module):
    """Upsamples by a transposed convolution, then by itself; the first result guides the second."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.up = nn.Conv2d(3, 8, 3, padding=1), nn.ConvTranspose2d(8, 8, 2, 2)
        self.last = nn.Conv2d(8, 2, 1)

    def forward(self, x):
        y = self.stem(x)
        return self.last(self.up(y) + F.interpolate(y, scale_factor=2))


@pytest.mark.parametrize("name", ["bilinear", "nearest", "ddf"])
def test_what_answers_a_transposed_convolution_is_no_call_of_the_module_around(name):
    model, x = Mixed().eval(), torch.rand(1, 3, 8, 8)
    report = dn.convert_upsampling(model, x, name, transposed=True)
    assert [fate.name for fate in report.converted] == ["the network[0]", "up"]
    seen = []
    model.upsamplers[0].register_forward_hook(lambda module, args, out: seen.append(args[1]))
    model.up.upsamplers[0].register_forward_hook(lambda module, args, out: seen.append(out))
    assert model(x).shape == (1, 2, 16, 16)
    if name == "ddf":
        assert torch.equal(*seen)  # it is seen by the module around, as before


class Nested(nn.Module):
    """Interpolates itself, around a module that does so."""

    def __init__(self, left: bool) -> None:
        super().__init__()
        self.stem, self.inner = nn.Conv2d(3, 8, 3, 4, 1), Block(8)
        self.left, self.last = left, nn.Conv2d(8, 2, 1)

    def forward(self, x):
        small, skip = self.stem(x), F.max_pool2d(x.repeat(1, 3, 1, 1)[:, :8], 2)
        y = self.inner(small, skip)
        y = F.interpolate(y, size=x.shape[2:]) + F.interpolate(small, size=x.shape[2:])
        return self.last(y)


@pytest.mark.parametrize("name", ["ddf", "nearest", "dysample", "pixelshuffle"])
@pytest.mark.parametrize("select", [None, "inner", lambda name, module: name == ""])
def test_calls_of_modules_inside_are_told_apart(select, name):
    """Whether they are answered, or left, and whatever answers them: `nearest` interpolates itself."""
    model = Nested(left=False).eval()
    before = model(X)
    report = dn.convert_upsampling(model, X, name, select=select)
    assert len(report.converted) == {None: 3, "inner": 1}.get(select, 2)
    if name != "dysample":
        torch.testing.assert_close(model(X), before)
    assert model(X).shape == before.shape
    dn.revert(model)
    assert torch.equal(model(X), before)
