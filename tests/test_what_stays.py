"""Converting, calibrating, fusing and saving change what they are for, and nothing else."""

from __future__ import annotations

import copy
import random

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

import decoupled_nets as dn
from decoupled_nets.export import export_network
from snapshot import Snapshot

X = torch.randn(8, 3, 8, 8, generator=torch.Generator().manual_seed(3))
EXAMPLES = [X, 2 * X + 0.5]


class Drawing(nn.Module):
    """Draws random numbers of every kind that there is."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        random.random()
        np.random.random()  # noqa: NPY002
        torch.rand(1)
        return x


def network(*more: nn.Module) -> nn.Sequential:
    """With modes, gradients and momenta that differ from layer to layer."""
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8, momentum=0.3),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding=1),
        nn.BatchNorm2d(8, momentum=None),
        Drawing(),
        *more,
        nn.Dropout(0.5),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 5),
    )
    model[0].weight.requires_grad_(False)
    model[0].bias.requires_grad_(False)
    model[1].eval()
    model[0].register_forward_hook(lambda *args: None)
    return model


def radii(*names: str) -> set[str]:
    """What a converted layer has that a plain one has not."""
    parts = (
        "value of {}.radius",
        "gradient of {}.radius",
        "value of {}.mean_norm",
        "value of {}.num_updates",
    )
    return {part.format(name) for name in names for part in parts}


@pytest.mark.parametrize("example", [None, X])
def test_converting_adds_radii_and_changes_nothing(example):
    model = network()
    before = Snapshot(model)
    dn.convert(model, example_input=example)
    assert before.changes() == radii("0", "3")
    assert not model[0].radius.requires_grad  # a frozen layer's radius is frozen
    assert model[3].radius.requires_grad
    dn.revert(model)
    assert before.changes() == set()


def test_a_learned_sharpness_is_frozen_with_its_layer():
    model = network()
    dn.convert(model, dn.Operator("tanh", "sigmoid", k="learned"))
    assert [model[n].kappa.requires_grad for n in (0, 3)] == [False, True]


@pytest.mark.parametrize("operator", ["tanh-cos", "ddf"])
def test_a_dry_run_and_a_failure_change_nothing(operator):
    model = network()
    before = Snapshot(model)
    assert dn.convert(model, operator, dry_run=True, example_input=X).converted
    with pytest.raises(ValueError, match="nothing"):
        dn.convert(model, operator, select="nothing.here")
    assert before.changes() == set()


def test_spectral_norm_does_not_go_on_with_its_iteration():
    model = network(parametrizations.spectral_norm(nn.Conv2d(8, 8, 3, padding=1)))
    before = Snapshot(model)
    dn.convert(model)
    changed = before.changes()
    assert {name for name in changed if "parametrizations" in name} == set()
    assert radii("6") <= changed


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("frozen", [True, False])
def test_dynamic_filters_have_the_mode_and_gradients_of_the_layer(frozen, training):
    model = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 6, 3, padding=1), nn.BatchNorm2d(6))
    model.requires_grad_(not frozen).train(training)
    dn.convert(model, "ddf", mix_channels=True)
    assert [p.requires_grad for p in model.parameters()] == [not frozen] * len(list(model.parameters()))
    assert [m.training for m in model.modules()] == [training] * len(list(model.modules()))


def calibrated(reset: bool = False, **options):
    model = network()
    model(X)
    plain = copy.deepcopy(model)
    dn.convert(model)
    before = Snapshot(model)
    report = dn.calibrate(model, EXAMPLES, reset_batch_norm=reset, **options)
    return plain, model, before, report


def test_calibrating_sets_radii_scales_and_biases():
    _, _, before, _ = calibrated()
    names = ("radius", "mean_norm", "num_updates", "scale", "bias")
    expected = {f"value of {layer}.{name}" for layer in (0, 3) for name in names}
    drawn = {f"random state of {kind}" for kind in ("torch", "numpy", "python")}  # by the network's own code
    assert before.changes() - drawn == expected


def test_averages_anew_are_those_of_the_batches_and_nothing_else_changes():
    plain, model, before, report = calibrated(reset=True)
    changed = {name for name in before.changes() if name.split(".")[0] in ("value of 1", "value of 4")}
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    assert changed == {f"value of {norm}.{name}" for norm in (1, 4) for name in statistics}
    assert not {
        name for name in before.changes() if name.startswith(("mode", "momentum", "gradient", "hooks"))
    }
    with torch.no_grad():
        inputs = [model[0].eval()(x) for x in EXAMPLES]
        mean = torch.stack([x.mean((0, 2, 3)) for x in inputs]).mean(0)
        torch.testing.assert_close(model[1].running_mean, mean, rtol=1e-3, atol=1e-4)
        ours, theirs = (torch.cat([m.eval()(x) for x in EXAMPLES]) for m in (model, plain))
    # What is reported is what the network does from now on, with the averages that it has.
    own = (ours - theirs).square().mean().sqrt() / (theirs - theirs.mean(0)).square().mean().sqrt()
    assert report.after.error == pytest.approx(float(own), rel=0.05)


def test_a_channel_that_is_dead_in_the_plain_network_keeps_the_scale_of_its_kernel():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2))
    plain = copy.deepcopy(model).eval()
    nn.init.zeros_(plain[0].weight[1])
    dn.convert(model.eval(), "tanh-cos")
    dn.calibrate(model, EXAMPLES, reference=plain)
    assert model[0].scale.isfinite().all()
    assert float(model[0].scale[1]) > 0.1 * float(model[0].scale.min())
    assert float(model[0].scale[1]) > 0


def test_fusing_a_copy_changes_nothing():
    model = dn.create_model("cifar_vgg11", 4, operator="tanh-cos", width=1 / 16).eval()
    before = Snapshot(model)
    dn.fuse(model)
    assert before.changes() == set()


def test_saving_and_loading(tmp_path, monkeypatch):
    relu = nn.ReLU.forward
    drawing = Drawing()
    monkeypatch.setattr(nn.ReLU, "forward", lambda self, x: relu(self, drawing(x)))
    model = dn.create_model("cifar_vgg11", 4, operator="tanh-cos", width=1 / 32)
    next(m for m in model.modules() if isinstance(m, nn.BatchNorm2d)).eval()
    next(model.parameters()).requires_grad_(False)
    before = Snapshot(model)
    dn.save_pretrained(model, tmp_path)
    assert before.changes() == set()
    loaded = dn.from_pretrained(tmp_path)
    assert before.changes() == set()
    assert not any(module.training for module in loaded.modules())
    assert all(parameter.requires_grad for parameter in loaded.parameters())


@pytest.mark.parametrize("dynamic_size", [None, False])
def test_exporting(dynamic_size, tmp_path):
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    dn.convert(model, select=dn.Select(outputs=True))
    before = Snapshot(model)
    export_network(model, tmp_path / "net.pt2", "pt2", image_size=8, dynamic_size=dynamic_size, rounds=2)
    assert before.changes() - {"random state of torch"} == set()
