"""What is saved computes what the network computes: differences that leave no trace in modules or state."""

from __future__ import annotations

import copy
import random
import threading
from pathlib import Path
from types import MethodType

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from saved_networks import small
from torch import Tensor, nn
from torchvision import models

import decoupled_nets as dn
from decoupled_nets.hub import recipe as recipes
from decoupled_nets.hub.inputs import candidates
from decoupled_nets.hub.proof import _copy

REFUSED = "the network is not what its name and options build: in "


class Detector(nn.Module):
    """Takes a list of images, in training with targets; its options leave no module."""

    def __init__(self, alpha: float = 1.0, drop: str = "") -> None:
        super().__init__()
        self.alpha, self.drop = alpha, drop
        self.body = nn.Conv2d(3, 4, 3, padding=1)
        self.scores = dn.DecoupledConv2d(4, 2, 3)

    def forward(self, images: list[Tensor], targets: list[Tensor] | None = None) -> object:
        if self.training and targets is None:
            raise ValueError("needed: targets")
        maps = [self.scores(self.alpha * self.body(image)) for image in images]
        if self.drop == "random" and random.random() < 0.5:
            maps = [2 * m for m in maps]
        if self.drop == "numpy":
            maps = [np.random.rand() * m for m in maps]  # noqa: NPY002
        if targets is None:
            return [{"scores": m, "count": len(m)} for m in maps]
        return {"loss": sum(((m - t) ** 2).mean() for m, t in zip(maps, targets, strict=True))}


RECIPE = {"source": "torchvision", "model": "detector"}
IMAGES = [torch.rand(3, 8, 8), torch.rand(3, 9, 7)]
TARGETS = [torch.rand(2, 6, 6), torch.rand(2, 7, 5)]


@pytest.fixture
def _detectors(monkeypatch) -> None:
    monkeypatch.setitem(recipes._SOURCES, "torchvision", lambda name, arguments: Detector(**arguments))


@pytest.mark.usefixtures("_detectors")
@pytest.mark.parametrize("drop", ["", "random", "numpy"])
def test_networks_that_take_something_else(drop: str, tmp_path: Path) -> None:
    """Detectors; what they draw from Python's and NumPy's random numbers they draw alike."""
    model = Detector(drop=drop)
    recipe = {**RECIPE, "arguments": {"drop": drop}}
    with pytest.raises(
        ValueError, match=r"no input could be made .*\(needed: targets\); needed: example_input="
    ):
        dn.save_pretrained(model, tmp_path, recipe=recipe)
    with pytest.raises(ValueError, match="fails in training mode on the input given: needed: targets"):
        dn.save_pretrained(model, tmp_path, recipe=recipe, example_input=(IMAGES,))
    assert not list(tmp_path.iterdir())
    dn.save_pretrained(model, tmp_path, recipe=recipe, example_input=(IMAGES, TARGETS))
    assert isinstance(dn.from_pretrained(tmp_path), Detector)


@pytest.mark.usefixtures("_detectors")
def test_options_that_leave_no_module(tmp_path: Path) -> None:
    model = Detector(alpha=3.0)
    with pytest.raises(
        ValueError, match=rf"{REFUSED}evaluation mode .*first at the module 'scores', which is given"
    ):
        dn.save_pretrained(model, tmp_path, recipe=RECIPE, example_input=(IMAGES, TARGETS))
    assert not list(tmp_path.iterdir())
    known = {**RECIPE, "arguments": {"alpha": 3.0}}
    dn.save_pretrained(model, tmp_path, recipe=known, example_input=(IMAGES, TARGETS))
    assert dn.from_pretrained(tmp_path).alpha == 3.0


@pytest.mark.usefixtures("_detectors")
def test_networks_that_cannot_be_copied(tmp_path: Path) -> None:
    model = Detector()
    model.lock = threading.Lock()
    with pytest.raises(ValueError, match=r"the network cannot be copied, to be compared .*lock"):
        dn.save_pretrained(model, tmp_path, recipe=RECIPE, example_input=(IMAGES, TARGETS))


@pytest.mark.slow
def test_normalisation_inside_a_network_of_torchvision(tmp_path: Path) -> None:
    """As released weights of googlenet have it; untrained, in evaluation, its maps are too small to tell."""
    model = models.get_model(
        "googlenet", num_classes=5, aux_logits=False, init_weights=False, transform_input=True
    )
    dn.convert(model)
    arguments = {"num_classes": 5, "aux_logits": False}
    recipe = {"source": "torchvision", "model": "googlenet", "arguments": arguments}
    with pytest.raises(
        ValueError, match=rf"{REFUSED}.*first at the module 'conv1', which is given something else"
    ):
        dn.save_pretrained(model, tmp_path, recipe=recipe)
    arguments["transform_input"] = True
    dn.save_pretrained(model, tmp_path, recipe=recipe)


def changed(method: str, new) -> nn.Module:
    """A small network of ours with another method."""
    model = small(operator="tanh-cos")
    setattr(model, method, MethodType(new, model))
    return model


def dropping(self, x: Tensor, pre_logits: bool = False) -> Tensor:
    return self.head(F.dropout(x.mean((2, 3)), 0.3, self.training))


def averaging(self, images: Tensor) -> Tensor:
    if self.training:
        self.stages[0][0][1].running_mean.add_(1.0)
    return self.forward_head(self.forward_features(images))


@pytest.mark.parametrize(
    ("method", "new", "reason"),
    [
        (
            "forward_features",
            lambda self, x: self.stages(2 * x),
            "evaluation .*'stages', which is given",
        ),
        (
            "forward",
            lambda self, x: self.forward_head(self.forward_features(x)) + 1,
            "evaluation .* at the end, behind",
        ),
        ("forward", lambda self, x: self.stages(x).mean((2, 3)), "evaluation .*'hidden', which only one"),
        ("forward_head", dropping, "training .*'hidden', which only one"),
        ("forward", averaging, "training .*first in the averages that it keeps"),
    ],
    ids=["before", "behind", "another path", "training only", "averages"],
)
def test_what_networks_do_beside_their_modules(method: str, new, reason: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"{REFUSED}{reason}"):
        dn.save_pretrained(changed(method, new), tmp_path)
    assert not list(tmp_path.iterdir())


def test_branches_that_start_at_zero(tmp_path: Path) -> None:
    """What they compute counts, though today it does not show."""
    model = dn.create_model("resnet32", 4, width=1 / 16)
    for name, module in model.named_modules():
        if name.endswith("second"):
            nn.init.zeros_(module[-1].weight)
    conv = model.stages[1][0].second[0]
    conv.forward = MethodType(lambda self, x: F.conv2d(x.flip(-1), self.weight, padding=1), conv)
    with pytest.raises(ValueError, match=rf"{REFUSED}training mode .*'stages\.1\.0\.second\.0', which gives"):
        dn.save_pretrained(model, tmp_path)


def test_the_network_is_left_as_it_was(tmp_path: Path) -> None:
    model = small(operator="tanh-cos", drop_rate=0.5).train()
    model.stages[0].eval()
    model.head.weight.requires_grad_(False)
    modes = [m.training for m in model.modules()]
    state = copy.deepcopy(model.state_dict())
    drawn = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()  # noqa: NPY002
    dn.save_pretrained(model, tmp_path)
    assert [m.training for m in model.modules()] == modes
    assert all(torch.equal(model.state_dict()[k], v) for k, v in state.items())
    assert not model.head.weight.requires_grad
    assert torch.equal(torch.get_rng_state(), drawn[0])
    assert random.getstate() == drawn[1]
    assert (np.random.get_state()[1] == drawn[2]).all()  # noqa: NPY002


def test_hooks_are_not_saved_and_do_not_run(tmp_path: Path) -> None:
    model, seen = small(), []
    model.stages[0].register_forward_hook(lambda m, args, out: seen.append(out))
    model.register_forward_pre_hook(lambda m, args: seen.append(args))
    with pytest.warns(
        UserWarning, match=r"hooks are not saved: those of 'the network', 'stages\.0' are left out"
    ):
        dn.save_pretrained(model, tmp_path)
    assert not seen
    assert len(model.stages[0]._forward_hooks) == 1


def test_copies_share_nothing_with_other_processes() -> None:
    layer = dn.DecoupledConv2d(3, 4, 3, radius=dn.RelativeRadius(sync=True)).to(torch.bfloat16)
    twin = _copy(layer)
    assert layer.relative.sync is True
    assert twin.relative.sync is False
    assert {t.dtype for t in twin.parameters()} == {torch.float32}
    assert not any(p.requires_grad for p in twin.parameters())


def sizes(network: nn.Module, **arguments) -> list[tuple[int, ...]]:
    return [tuple(x.shape[1:]) for (x,) in candidates(network, {"arguments": arguments})]


def test_inputs_that_are_tried() -> None:
    model = nn.Linear(1, 1)
    assert sizes(model)[:2] == [(3, 128, 128), (3, 224, 224)]
    assert sizes(model, in_chans=5, img_size=(40, 48))[0] == (5, 40, 48)
    model.pretrained_cfg = {"input_size": (1, 32, 48)}
    assert sizes(nn.Sequential(model))[0] == (1, 32, 48)
    model.pretrained_cfg = {"input_size": (3, 224, 224)}
    assert sizes(model)[:2] == [(3, 128, 128), (3, 224, 224)]
    model.pretrained_cfg["fixed_input_size"] = True
    assert sizes(model)[0] == (3, 224, 224)
    assert len(set(sizes(model))) == len(sizes(model))
