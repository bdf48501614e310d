"""``convert_upsampling``: what guides calls, what learns, the way back, and what may not change."""

from __future__ import annotations

import copy
import io
import pickle
from collections import OrderedDict

import pytest
import torch
from pyramids import Block, Decoder, Pyramid, X, outcome, outputs
from torch import nn

import decoupled_nets as dn


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
