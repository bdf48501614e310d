"""``convert_upsampling``: which calls are taken, what guides them, the way back, and what may not change."""

from __future__ import annotations

import copy
import io
import pickle
import re
import weakref
from collections import OrderedDict

import pytest
import torch
import torch.nn.functional as F
from pyramids import Block, Calls, Decoder, Pyramid
from torch import nn
from torch.utils.checkpoint import checkpoint

import decoupled_nets as dn
from decoupled_nets.nn.upsamplers import unregister_upsampler

X = torch.rand(2, 3, 32, 48)


def outcome(report: dn.Conversion) -> list[tuple[str, str | None, str | None]]:
    return [(fate.name, fate.became, fate.reason) for fate in report.fates]


def outputs(model, *inputs):
    with torch.no_grad():
        return list(torch.utils._pytree.tree_leaves(model(*inputs)))


@pytest.mark.parametrize("padding", [1, 0])
@pytest.mark.parametrize("size", [(32, 48), (61, 75), (47, 50)])
def test_a_pyramid_answers_as_before(size, padding):
    """Sizes of which a half is rounded up, or with no padding down: the finer map is 2H − 1 or 2H + 1."""
    model, x = Pyramid(padding).eval(), torch.rand(1, 3, *size)
    before = outputs(model, x)
    report = dn.convert_upsampling(model, torch.rand(1, 3, 64, 64))
    assert outcome(report) == [(f"fpn[{i}]", "DDF 2×, guided (16 channels)", None) for i in range(2)]
    for got, wanted in zip(outputs(model, x), before, strict=True):
        assert (got - wanted).abs().max() <= 1e-5 * wanted.abs().max()


def test_guidance_is_the_lateral_or_the_skip():
    model = Pyramid()
    dn.convert_upsampling(model, X)
    laterals, guides = [], []
    for block in model.fpn.inner_blocks:
        block.register_forward_hook(lambda module, args, out: laterals.append(out))
    for layer in model.fpn.upsamplers:
        layer.register_forward_hook(lambda module, args, out: guides.append(args[1]))
    model(X)
    assert [g is lateral for g, lateral in zip(guides, laterals[1:], strict=True)] == [True, True]

    decoder, skips = Decoder(), []
    dn.convert_upsampling(decoder, X)
    decoder.block.register_forward_pre_hook(lambda module, args: skips.append(args[1]))
    decoder.block.upsamplers[0].register_forward_hook(lambda module, args, out: skips.append(args[1]))
    decoder(X)
    assert skips[0] is skips[1]


def test_the_image_guides_a_network_that_upsamples_by_itself():
    model = Calls(lambda m, x: F.interpolate(F.max_pool2d(x, 2), scale_factor=2, mode="bilinear"))
    model.first = nn.Conv2d(3, 8, 2, 2)
    report = dn.convert_upsampling(model, X)
    assert outcome(report) == [("the network[0]", "DDF 2×, guided (8 channels)", None)]  # a map came after
    model = Calls(lambda m, x: F.interpolate(x, scale_factor=2))
    model.first = nn.Conv2d(3, 8, 2, 2)
    assert outcome(dn.convert_upsampling(model, X)) == [
        ("the network[0]", "DDF 2×, guided (3 channels)", None)
    ]
    given = []
    model.upsamplers[0].register_forward_hook(lambda module, args, out: given.append(args[1]))
    model(X)
    assert given[0] is X


def test_everything_learns():
    model = Pyramid()
    dn.convert_upsampling(model, X)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    target, losses = [torch.randn_like(y) for y in outputs(model, X)], []
    for _ in range(6):
        optimizer.zero_grad()
        loss = sum((y - t).square().mean() for y, t in zip(model(X).values(), target, strict=True))
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    assert all(p.grad.abs().sum() > 0 for p in model.parameters())
    assert {name for name, _ in model.named_parameters() if ".upsamplers." in name}


@pytest.mark.parametrize("make", [Pyramid, Decoder])
def test_revert_is_exact_and_keys_stay(make):
    model = make().eval()
    state, before, kinds = model.state_dict(), outputs(model, X), [type(m) for m in model.modules()]
    drawn = torch.get_rng_state()
    report = dn.convert_upsampling(model, X, dry_run=True)
    assert report.dry_run
    assert report.converted
    assert torch.equal(drawn, torch.get_rng_state())
    assert [type(m) for m in model.modules()] == kinds
    dn.convert_upsampling(model, X, "transposed")
    assert set(state) < set(model.state_dict())
    assert report.parameters[0] == sum(p.numel() for p in state.values())
    assert dn.revert(model) == 1
    assert [type(m) for m in model.modules()] == kinds
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert list(model.state_dict()) == list(state)
    assert all(torch.equal(a, b) for a, b in zip(outputs(model, X), before, strict=True))
    assert not any("upsampl" in name or "_plain" in name for m in model.modules() for name in vars(m))


def trained(model):
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


@pytest.mark.parametrize("make", [Pyramid, Decoder])
def test_state_dict_pickle_and_copies(make):
    model = make()
    dn.convert_upsampling(model, X)
    trained(model)
    other = make().eval()
    dn.convert_upsampling(other, X)
    other.load_state_dict(model.state_dict())
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    twins = [other, copy.deepcopy(model), torch.load(file, weights_only=False)]
    twins += [pickle.loads(pickle.dumps(model))]
    for twin in twins:
        assert all(torch.equal(a, b) for a, b in zip(outputs(twin, X), outputs(model, X), strict=True))
        assert not {id(p) for p in twin.parameters()} & {id(p) for p in model.parameters()}
        assert dn.revert(twin) == 1
    assert any("upsamplers" in name for name in model.state_dict())


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
    "pooled and mixed": (
        lambda m, x: F.interpolate(F.relu(m.mix(F.adaptive_avg_pool2d(x, 2))), x.shape[2:]), "pooled to 2×2"
    ),
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
    model = Calls(function, mix=nn.Conv2d(8, 8, 1))
    report = dn.convert_upsampling(model, torch.rand(1, 3, 8, 8))
    assert [fate.reason for fate in report.left] == [reason]
    assert not report.converted
    assert type(model) is Calls


def test_a_map_of_the_size_of_a_pooled_one_is_taken():
    """A gate beside it pools to the size that it has; it does not follow from what is pooled."""

    def gated(m, x):
        gate = m.gate(F.adaptive_avg_pool2d(x, 8).mean((2, 3), keepdim=True)).sigmoid()
        return F.interpolate(x, scale_factor=2) * gate

    report = dn.convert_upsampling(Calls(gated, gate=nn.Conv2d(8, 8, 1)), torch.rand(1, 3, 8, 8))
    assert outcome(report) == [("the network[0]", "DDF 2×", None)]


def test_recording_keeps_no_maps():
    """They are freed as in any run."""
    seen, alive = [], []

    def chain(m, x):
        for _ in range(20):
            x = F.relu(x + 1)
            seen.append(weakref.ref(x))
        alive.append(sum(one() is not None for one in seen))
        return F.interpolate(x, scale_factor=2)

    model = Calls(chain)
    del seen[:], alive[:]
    dn.convert_upsampling(model, torch.rand(1, 3, 8, 8), dry_run=True)
    assert alive[0] == 1


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


def test_runs_that_differ_are_refused_by_name():
    def maybe(m, x):
        for _ in range(m.times):
            x = F.interpolate(x, scale_factor=2)
        return x[:, :8]

    Calls.times = 1
    inner = Calls(maybe)
    model = nn.Sequential(nn.Identity(), inner)
    x = torch.rand(1, 3, 8, 8)
    dn.convert_upsampling(model, x)
    try:
        for times, found in ((2, "more than 1"), (0, "0")):
            inner.times = times
            with pytest.raises(ValueError, match=f"^1: {found} calls of F.interpolate in this run; needed"):
                model(x)
        inner.times = 1
        model(x)
    finally:
        del Calls.times
    wide = Block(8)
    dn.convert_upsampling(wide, (torch.rand(1, 8, 4, 4), torch.rand(1, 8, 8, 8)))
    with pytest.raises(ValueError, match=r"^the network: call 1 of F\.interpolate with 9 channels received"):
        wide(torch.rand(1, 9, 4, 4), torch.rand(1, 8, 8, 8))
    with pytest.raises(ValueError, match=r"^the network: call 1 of F\.interpolate has no map of 8×8"):
        wide(torch.rand(1, 8, 4, 4), torch.rand(1, 7, 8, 8))


def test_a_call_that_was_another_one_is_refused_by_name():
    """What can be seen of another order: channels, scale and mode."""

    def two(m, x):
        kinds = [{"scale_factor": 2}, {"scale_factor": m.scale, "mode": m.mode}]
        y, z = (F.interpolate(x, **kind) for kind in (kinds[::-1] if m.swapped else kinds))
        return y + z[..., : y.shape[2], : y.shape[3]]

    Calls.scale, Calls.mode, Calls.swapped = 2, "bilinear", False
    model = Calls(two).eval()
    x = torch.rand(1, 3, 8, 8)
    try:
        dn.convert_upsampling(model, x, "dysample")
        assert model(x[:, :, 1:]).shape == (1, 4, 14, 16)
        for option, value, said in (
            ("scale", 3, "call 2 of F.interpolate from 8×8 to 24×24 received; needed: 2× the size, as when"),
            (
                "mode",
                "bicubic",
                "call 2 of F.interpolate with the mode 'bicubic' received; needed: 'bilinear'",
            ),
            ("swapped", True, "call 1 of F.interpolate with the mode 'bilinear' received; needed: 'nearest'"),
        ):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(model, option, value, raising=False)
                with pytest.raises(ValueError, match=f"^the network: {re.escape(said)}"):
                    model(x)
    finally:
        del Calls.scale, Calls.mode, Calls.swapped


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpoints(reentrant):
    """Of whole modules they work; a part that would be run again without its upsampler is refused."""

    def part(m, x):
        return checkpoint(lambda y: F.interpolate(y, scale_factor=2), x, use_reentrant=reentrant)

    model = Calls(part).train()
    dn.convert_upsampling(model, torch.rand(1, 3, 8, 8))
    found = "without gradients, in training" if reentrant else "in a part that is checkpointed"
    with pytest.raises(ValueError, match=f"^the network: call 1 received {found}; needed: gradients"):
        model(torch.rand(1, 3, 8, 8))
    with torch.no_grad():
        model.eval()(torch.rand(1, 3, 8, 8))
    whole = Calls(lambda m, x: checkpoint(m.up, x, use_reentrant=reentrant), up=nn.Upsample(scale_factor=2))
    dn.convert_upsampling(whole.train(), torch.rand(1, 3, 8, 8))
    whole(torch.rand(1, 3, 8, 8)).sum().backward()
    assert whole.up.upsamplers[0].guide.weight.grad is not None


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
@pytest.mark.parametrize(("reentrant", "mode"), [(False, "train"), (False, "eval"), (True, "train")])
def test_no_gradients_are_those_of_what_was_replaced(reentrant, mode):
    """`bilinear` keeps for its gradients what bicubic interpolation keeps: no check of torch's sees it."""

    def part(m, x):
        return checkpoint(
            lambda y: F.interpolate(y, scale_factor=2, mode="bicubic"), x, use_reentrant=reentrant
        )

    model, x = Calls(part), torch.rand(1, 3, 8, 8, requires_grad=True)
    dn.convert_upsampling(model, x.detach(), "bilinear")
    getattr(model, mode)()
    with pytest.raises(ValueError, match="checkpoint the whole module, or leave it out by select="):
        model(x)
    inside = nn.Sequential(Calls(lambda m, x: F.interpolate(x, scale_factor=2, mode="bicubic")))
    dn.convert_upsampling(inside.train(), x.detach(), "bilinear")
    wanted = torch.autograd.grad(inside(x).square().sum(), x)[0]
    found = torch.autograd.grad(checkpoint(inside, x, use_reentrant=False).square().sum(), x)[0]
    assert torch.equal(found, wanted)
    with torch.autograd.graph.save_on_cpu():
        assert torch.equal(torch.autograd.grad(inside(x).square().sum(), x)[0], wanted)


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


class Larger(nn.Module):
    """Gives twice the size, whatever is asked for."""

    def __init__(self, channels, scale, guidance=None):
        super().__init__()

    def forward(self, input, guidance=None, size=None):
        return input.repeat_interleave(2, 2).repeat_interleave(2, 3)


def test_an_upsampler_that_gives_another_size_is_named():
    def sizes(m, x):
        return F.interpolate(x, size=(2 * x.shape[2] - x.shape[2] % 2, 16))

    model, x = Calls(sizes).eval(), torch.rand(1, 3, 8, 8)
    dn.convert_upsampling(model, x, Larger)
    said = "(1, 8, 14, 16) received from the upsampler 'Larger'; needed: (1, 8, 13, 16)"
    with pytest.raises(ValueError, match=f"^the network: {re.escape(said)}"):
        model(x[:, :, 1:])
    up = Calls(lambda m, x: m.up(x), up=nn.ConvTranspose2d(8, 8, 3, 3)).eval()
    dn.register_upsampler("larger", Larger)
    try:
        said = "(1, 8, 16, 16) received from the upsampler 'larger'; needed: (1, 8, 24, 24)"
        with pytest.raises(ValueError, match=f"^up: {re.escape(said)}"):
            dn.convert_upsampling(up, x, "larger", transposed=True)
    finally:
        unregister_upsampler("larger")


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


@pytest.mark.parametrize("name", dn.list_upsamplers())
def test_every_upsampler(name):
    model = Pyramid()
    report = dn.convert_upsampling(model, X, name)
    assert len(report.converted) == 2
    guided = name in ("ddf", "ddf-bilinear", "pac")
    assert all(("guided" in fate.became) == guided for fate in report.converted)
    sum(y.mean() for y in model(X).values()).backward()
    assert "guided" not in str(dn.convert_upsampling(Pyramid(), X, "ddf", guided=False))


@pytest.mark.parametrize("says", [False, True])
def test_an_upsampler_of_ones_own_is_guided_if_it_says_so(says):
    class Mine(nn.Upsample):
        guided = says

        def __init__(self, channels, scale, guidance):
            super().__init__(scale_factor=scale)

        def forward(self, input, guidance=None, size=None):
            assert (guidance is not None) == says
            return F.interpolate(input, size)

    report = dn.convert_upsampling(Pyramid(), X, Mine)
    assert ["guided" in fate.became for fate in report.converted] == [says, says]
    layers = dn.convert_upsampling(
        Pyramid(), X, lambda channels, scale, p: dn.DDFUpsample(channels, scale, guidance_channels=p)
    )
    assert ["guided" in fate.became for fate in layers.converted] == [True, True]


def test_upsamplers_that_cannot_be_built():
    model = Calls(lambda m, x: m.up(x), up=nn.Upsample(scale_factor=2))
    x = torch.rand(1, 3, 8, 8)
    (fate,) = dn.convert_upsampling(model, x, "pac").fates
    assert fate.reason == "there is no map to guide it"
    with pytest.raises(ValueError, match="unknown upsampler 'dff'"):
        dn.convert_upsampling(model, x, "dff")
    assert type(model.up) is nn.Upsample
    built = []

    class Mine(nn.Upsample):
        def __init__(self, channels, scale, guidance):
            super().__init__(scale_factor=scale)
            built.append((channels, scale, guidance))

        def forward(self, input, guidance=None, size=None):
            return 2 * super().forward(input)

    before = model(x) - model.last.bias.view(-1, 1, 1)
    report = dn.convert_upsampling(model, x, Mine)
    assert report.converted[0].became == "Mine 2×"
    assert set(built) == {(8, 2, None)}
    torch.testing.assert_close(model(x) - model.last.bias.view(-1, 1, 1), 2 * before)


class Taking(nn.Module):
    """Takes what detectors take."""

    def __init__(self) -> None:
        super().__init__()
        self.pyramid = Pyramid()

    def forward(self, images, extra=None):
        images = images["images"] if isinstance(images, dict) else images
        x = torch.stack(images) if isinstance(images, list) else images
        return self.pyramid(x if extra is None else x + extra[0])


@pytest.mark.parametrize(
    "example",
    [X, list(X), {"images": list(X)}, (list(X), [torch.ones(1)]), ({"images": X},)],
    ids=["tensor", "list", "dict", "tuple", "dict in a tuple"],
)
def test_examples_of_any_kind(example):
    assert len(dn.convert_upsampling(Taking(), example).converted) == 2


def test_select():
    model = nn.Sequential(OrderedDict(a=Decoder(), few=nn.Conv2d(10, 3, 1), b=Decoder()))
    with pytest.raises(ValueError, match="'c' matches no module of the network; needed: names as"):
        dn.convert_upsampling(model, X, select="c")
    for select in ("b", ["b.*"], lambda name, module: name.startswith("b") and isinstance(module, Block)):
        report = dn.convert_upsampling(model, X, select=select, dry_run=True)
        assert [fate.name for fate in report.converted] == ["b.block[0]"]
        assert {fate.reason for fate in report.left} >= {"not among the names"}


def test_networks_that_cannot_be_converted():
    with pytest.raises(ValueError, match="example_input received, on which the network fails"):
        dn.convert_upsampling(Pyramid(), torch.rand(1, 4, 8, 8))
    with pytest.raises(ValueError, match="DataParallel received; needed: the module inside it"):
        dn.convert_upsampling(nn.DataParallel(Pyramid()), X)
    nothing = dn.convert_upsampling(nn.Conv2d(3, 4, 1), X)
    assert "it upsamples nothing" in str(nothing)


@pytest.mark.parametrize("more", [True, False])
def test_calls_in_training_only_have_a_remedy(more):
    """Another example is none: all run in evaluation mode."""

    def auxiliary(m, x):
        y = F.interpolate(x, scale_factor=2)
        return F.interpolate(x, scale_factor=2) + y if m.training == more else y

    model = Calls(auxiliary).train()
    dn.convert_upsampling(model, X)
    with pytest.raises(ValueError, match=r"converted; leave it out by select= if it upsamples otherwise in"):
        model(X)
    model.eval()(X)
    again = nn.Sequential(Calls(auxiliary)).train()
    dn.convert_upsampling(again, X, select=lambda name, module: False)
    again(X)


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("full"), MemoryError("full"), None])
def test_a_lack_of_memory_is_no_bad_example(error):
    def large(m, x):
        if m.ready and error is not None:
            raise error
        return x.new_empty(2**56 if m.ready else x.shape).view(x.shape)

    Calls.ready = False
    model = Calls(large)
    try:
        Calls.ready = True
        for convert in (lambda: dn.convert_upsampling(model, X), lambda: dn.convert(model, example_input=X)):
            with pytest.raises(type(error) if error is not None else RuntimeError, match=r"full|allocate"):
                convert()
    finally:
        del Calls.ready


class Counted(Pyramid):
    """Cannot be copied, and counts its runs in a buffer and in one that it makes anew."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("runs", torch.zeros(()))
        self.register_buffer("made", torch.zeros(()))

    def forward(self, images):
        self.runs += 1
        self.made = self.made + 1
        return super().forward(images)

    def __deepcopy__(self, memo):
        raise TypeError("cannot be copied")


def test_a_network_that_cannot_be_copied_has_its_buffers_back():
    model = Counted().train()
    model(X)
    runs, made = model.runs, model.made
    assert dn.convert_upsampling(model, X).converted
    assert model.runs is runs
    assert model.made is made
    assert (runs.item(), made.item()) == (1, 1)
    assert all(module.training for module in model.modules())


def test_twice_and_beside_convert():
    model = Pyramid().eval()
    before = outputs(model, X)
    dn.convert_upsampling(model, X, "carafe")
    again = dn.convert_upsampling(model, X, "ddf")
    assert outcome(again) == [("fpn", None, "converted already")]
    report = dn.convert(model, "tanh-cos", select=dn.Select(kernel_size="any", outputs=True))
    inside = [fate for fate in report.fates if ".upsamplers." in fate.name]
    assert inside
    assert {fate.reason for fate in inside} == {"a part of an upsampler"}
    assert outputs(model, X)[0].shape == before[0].shape  # laterals are seen whatever computes them
    converted = len(report.converted)
    assert dn.revert(model) == converted + 1
    assert all(torch.equal(a, b) for a, b in zip(outputs(model, X), before, strict=True))


def test_types_modes_and_hooks():
    model = Pyramid().bfloat16().train()
    calls = []
    model.fpn.register_forward_hook(lambda module, args, out: calls.append(1))
    dn.convert_upsampling(model, X.bfloat16())
    assert calls == []  # it ran on a copy without hooks
    assert all(p.dtype == torch.bfloat16 for p in model.parameters())
    assert all(m.training for m in model.modules())
    model(X.bfloat16())
    assert calls == [1]
    mixed = Pyramid().eval()
    dn.convert_upsampling(mixed, X)
    assert not any(m.training for m in mixed.modules())
    with torch.autocast("cpu", torch.bfloat16):
        assert outputs(mixed, X)[0].dtype == torch.bfloat16
