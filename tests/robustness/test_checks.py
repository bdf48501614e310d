"""Each check by what it sees on a result made for it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from network_zoo import THREAT, honest, liar, pictures
from torch import Tensor, nn

from decoupled_nets.robustness import Check, Robustness, Stage, Suite, evaluate
from decoupled_nets.robustness.checks import Context, checks
from decoupled_nets.robustness.victim import Victim

NAMES = {
    "black box", "convergence", "gradients", "inference", "linearity", "loss scale", "one step", "saturation",
    "unbounded",
}  # fmt: skip


def context(model: nn.Module, suite: str | Suite = "fgsm,pgd") -> Context:
    images, labels = pictures(48, seed=2)
    found = evaluate(model, images, labels, THREAT, suite, checks=False)
    victim = Victim(model)
    return Context(victim, images, labels, found, 0, lambda units: None, victim)


def look(name: str, given: Context) -> Check | None:
    return checks()[name](given)


def test_all_checks_are_found():
    assert checks().keys() == NAMES


def late(found: Robustness, name: str, steps: int) -> None:
    """Have a stage have broken five more images at that step."""
    stage = next(stage for stage in found.stages if stage.name == name)
    more = (~stage.broken).nonzero()[:5, 0]
    stage.broken[more], stage.steps[more] = True, steps


@pytest.mark.parametrize(("step", "flag"), [(100, True), (20, False)])
def test_convergence_sees_images_that_fall_at_the_end(step: int, flag: bool):
    given = context(honest("cnn"), "apgd-dlr")
    assert not look("convergence", given).flag
    late(given.found, "apgd-dlr", step)
    assert look("convergence", given).flag == flag


def test_convergence_has_nothing_to_say_without_steps():
    assert look("convergence", context(honest("cnn"), "fgsm")) is None


def test_one_step_sees_what_iterating_missed():
    given = context(honest("cnn"))
    assert not look("one step", given).flag
    late(given.found, "fgsm", 1)
    only = next(s for s in given.found.stages if s.name == "fgsm").broken & ~given.found.stages[1].broken
    assert look("one step", given).flag
    assert look("one step", given).values["broken"] >= int(only.sum()) > 1


def test_black_box_sees_what_gradients_missed():
    given = context(
        honest("cnn"),
        Suite("own", (Stage("apgd-dlr"), Stage("square", every=True, options={"queries": 60})), ""),
    )
    assert not look("black box", given).flag
    late(given.found, "square", 100)
    assert look("black box", given).flag


def test_unbounded_sees_a_network_that_more_radius_protects():
    inner = honest("linear")  # trained here, not where gradients are off

    class Dead(nn.Module):
        """Gradients vanish away from the images: an attack that goes far gets nowhere."""

        def forward(self, images: Tensor) -> Tensor:
            return inner(images).detach() + 0 * images.sum()

    assert look("unbounded", context(Dead().eval())).flag
    assert not look("unbounded", context(honest("cnn"))).flag


def test_gradients_tell_which_fault_it_is():
    fine = look("gradients", context(honest("cnn"))).values
    assert (fine["dead"], fine["misleading"]) == (0, 0)
    assert fine["signs"] > 0.99
    assert look("gradients", context(liar("detached"))).values["dead"] == 1
    flipped = look("gradients", context(liar("flipped"))).values
    assert (flipped["dead"], flipped["misleading"]) == (0, 1)
    assert look("gradients", context(liar("binary"))).values["signs"] < 0.9


def test_gradients_computed_within_are_seen():
    class Inner(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            with torch.enable_grad():
                again = images.detach().requires_grad_()
                (step,) = torch.autograd.grad(again.square().sum(), again)
            return honest("cnn")(images - 0.0 * step)

    before = torch.autograd.grad, torch.autograd.backward, Tensor.backward
    check = look("inference", context(Inner().eval()))
    assert check.flag
    assert "computed within" in check.text
    assert (torch.autograd.grad, torch.autograd.backward, Tensor.backward) == before


def test_inference_tells_which_fault_it_is():
    for name, text in (("softmax", "probabilities"), ("batch", "other images"), ("noisy", "vary")):
        check = look("inference", context(liar(name), "fgsm"))
        assert text in check.text
    assert not look("inference", context(honest("cnn"))).flag


def test_saturation_is_a_matter_of_decoupled_layers():
    assert look("saturation", context(honest("cnn"))) is None
    values: dict[str, Any] = look("saturation", context(honest("tanh-flat"))).values
    assert values["flat"]["1"] == 1
    assert values["left"][1] >= values["left"][0]
    assert not look("saturation", context(honest("tanh-flat"))).flag
    assert "_respond" not in vars(honest("tanh-flat")[1])


def test_loss_scale_counts_effects():
    values = look("loss scale", context(honest("cnn-linear"))).values
    assert values["saturated"] > 0.05  # large margins alone are no fault
    assert not look("loss scale", context(honest("cnn-linear"))).flag
    large = look("loss scale", context(liar("large"))).values
    assert large["vanished"] == 1
    assert large["left"][0] - large["left"][1] > 5
    assert look("loss scale", context(liar("shifted"))).values["lost"] == 1
