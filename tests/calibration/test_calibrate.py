"""``dn.calibrate``: a converted network starts from the plain one's response."""

from __future__ import annotations

import copy
import sys

import pytest
import torch
from calibration_cases import BATCHES, X, error, network, patch_norm_by_unfold
from torch import nn

import decoupled_nets as dn
from decoupled_nets.calibration import patch_norms
from decoupled_nets.nn import DecoupledConv2dSame


@pytest.mark.parametrize("operator", ["tanh-cos", "ball-cos", "seg-sqcos", "sphere-cos", "log-linear"])
@pytest.mark.parametrize("weighting", [None, "linear", "product"])
def test_outputs_come_near(operator, weighting):
    plain = network()
    model = copy.deepcopy(plain)
    dn.convert(model, operator, weighting=weighting)
    before = error(model, plain)
    report = dn.calibrate(model, BATCHES)
    after = error(model, plain)
    assert report.before.error == pytest.approx(before, rel=1e-4)
    assert report.after.error == pytest.approx(after, rel=1e-4)
    assert after < {"sphere-cos": 0.45, "seg-sqcos": 0.8}.get(operator, 0.25)
    assert after < 0.75 * before
    assert report.after.agreement > 0.7
    assert not model.training


@pytest.mark.parametrize("radius", ["relative", "learned", 3.0])
def test_layers_match_in_mean_and_spread(radius):
    """Of one batch, so that every average is over the same outputs."""
    plain = network().double()
    model = copy.deepcopy(plain)
    dn.convert(model, radius=radius)
    inputs = {}
    for layer in (3, 6):
        model[layer].register_forward_hook(
            lambda m, args, out, layer=layer: inputs.update({layer: (args[0], out)})
        )
    report = dn.calibrate(model, [X.double()], radius=2.0)
    model(X.double())
    expected = plain[:4](X.double())
    for layer in (3, 6):
        out, expected = inputs[layer][1], plain[: layer + 1](X.double())
        # BatchNorm's variances are of n - 1 while it averages, of n afterwards.
        for moment in (torch.mean, torch.std):
            torch.testing.assert_close(
                moment(out, (0, 2, 3)), moment(expected, (0, 2, 3)), rtol=1e-3, atol=1e-4
            )
    norm = patch_norms(model[6], inputs[6][0]).mean()
    assert report.layers[2].name == "6"
    assert report.layers[2].mean_norm == pytest.approx(norm.item(), rel=1e-3)
    if radius == 3.0:
        assert model[6].radius == 3.0
    else:
        assert report.layers[2].radius == pytest.approx(2.0, rel=1e-3)
        assert torch.allclose(model[6].effective_radius(norm), 2 * norm, rtol=1e-3)


def test_no_more_batches_are_taken_than_asked_for():
    model = network()
    dn.convert(model)
    again = copy.deepcopy(model)
    batches = iter([*BATCHES[:2], 100 * BATCHES[0], BATCHES[3]])
    report = dn.calibrate(model, batches, max_batches=2)
    assert len(list(batches)) == 2
    assert str(dn.calibrate(again, BATCHES[:2])) == str(report)


def test_nothing_else_changes():
    model = network().train()
    model[5].eval()
    dn.convert(model)
    state = {key: value.clone() for key, value in model.state_dict().items()}
    buffers = {id(buffer) for buffer in model[1].buffers()}
    rng = torch.get_rng_state()
    dn.calibrate(model, iter(BATCHES), max_batches=2, radius=None)
    assert torch.equal(torch.get_rng_state(), rng)
    assert [m.training for m in model] == [True] * 5 + [False] + [True] * 3
    assert {id(buffer) for buffer in model[1].buffers()} == buffers
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    changed = {k for k, v in model.state_dict().items() if k not in state or not torch.equal(v, state[k])}
    ours = {f"{i}.{name}" for i in (0, 3, 6) for name in ("scale", "mean_norm", "num_updates")}
    # Layer 0 has no bias: the BatchNorm behind it takes the shift.
    assert changed <= ours | {"3.bias", "6.bias", "1.running_mean"}
    model(X).sum().backward()


def test_state_dict_fuse_and_revert(near):
    model = network()
    dn.convert(model)
    dn.calibrate(model, BATCHES)
    fresh = network()
    dn.convert(fresh)
    fresh.load_state_dict(model.state_dict())
    assert torch.equal(fresh(X), model(X))
    near(dn.fuse(model)(X), model(X))
    plain = network()
    assert plain.load_state_dict(model.state_dict(), strict=False).missing_keys == []
    dn.revert(model)
    assert list(model.state_dict()) == list(plain.state_dict())
    assert torch.equal(model(X), plain(X))


def test_other_layers(near):
    x = torch.randn(16, 4, 9, 7)
    same = DecoupledConv2dSame(4, 4, 3, stride=2, groups=2)
    near(patch_norms(same, x), patch_norm_by_unfold(same.padded_input(x)[0], 2, 2, 1e-4))
    reflect = dn.DecoupledConv2d(4, 4, 3, padding=1, padding_mode="reflect")
    padded = torch.nn.functional.pad(x, (1, 1, 1, 1), mode="reflect")
    near(patch_norms(reflect, x), patch_norm_by_unfold(padded, 1, 1, 1e-4))
    model = nn.Sequential(nn.Conv1d(3, 4, 3), nn.Flatten(), nn.Linear(20, 6), nn.Tanh(), nn.Linear(6, 3))
    plain = copy.deepcopy(model)
    dn.convert(model, "ball-cos", linear=True)
    report = dn.calibrate(model, [torch.randn(64, 3, 7)], radius=8.0)
    assert [layer.name for layer in report.layers] == ["0", "2"]
    assert report.after.error < 1e-2
    near(model[4].weight, plain[4].weight)


class Elsewhere(nn.Module):
    """One branch that no batch reaches, one layer that is used twice."""

    def __init__(self):
        super().__init__()
        self.unused = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3))
        self.twice = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x):
        return {"out": self.twice(self.twice(x)), "note": "text"}


def test_layers_out_of_reach_and_layers_used_twice():
    model = Elsewhere()
    model.unused[1].running_mean.fill_(7.0)
    dn.convert(model, select=dn.Select(outputs=True))
    report = dn.calibrate(model, BATCHES, reset_batch_norm=True)
    assert report.unused == ("unused.0",)
    assert "reached by no batch: unused.0" in str(report)
    assert model.unused[0].scale is None
    assert model.unused[1].running_mean[0] == 7.0
    assert report.after.agreement is None
    assert report.after.error < report.before.error


def test_reference():
    plain = network()
    model = copy.deepcopy(plain)
    dn.convert(model)
    first = dn.calibrate(model, BATCHES, radius=1.0).after.error
    with pytest.raises(ValueError, match="needed: reference=, the plain network"):
        dn.calibrate(model, BATCHES)
    assert dn.calibrate(model, BATCHES, radius=4.0, reference=plain).after.error < first
    with pytest.raises(ValueError, match="reference has no module '0'"):
        dn.calibrate(model, BATCHES, reference=nn.Sequential())


def test_a_failure_leaves_the_network_as_it_was():
    model = network()
    dn.convert(model)
    state = {key: value.clone() for key, value in model.state_dict().items()}
    calls = []

    def fail(*_):
        calls.append(1)
        if len(calls) == 11:  # the third pass over the batches
            raise RuntimeError("in the middle")

    handle = model[8].register_forward_hook(fail)
    with pytest.raises(RuntimeError, match="in the middle"):
        dn.calibrate(model, BATCHES, reset_batch_norm=True)
    handle.remove()
    assert model.state_dict().keys() == state.keys()
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert isinstance(model[0], dn.DecoupledConv2d)
    dn.calibrate(model, BATCHES)


def test_compiled_networks_are_calibrated_inside():
    model = network()
    dn.convert(model)
    again = copy.deepcopy(model)
    report = dn.calibrate(torch.compile(model, backend="eager"), BATCHES)
    assert report == dn.calibrate(again, BATCHES)


def test_a_plain_network_is_refused():
    with pytest.raises(ValueError, match="without decoupled layers"):
        dn.calibrate(network(), BATCHES)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_dtypes(dtype):
    plain = network().to(dtype)
    model = copy.deepcopy(plain)
    dn.convert(model)
    report = dn.calibrate(model, [batch.to(dtype) for batch in BATCHES])
    assert report.after.error < 0.3
    assert model(X.to(dtype)).dtype == dtype


def test_scales_are_as_exact_in_bfloat16(tmp_path):
    """After a state dict, a file and a change of type."""
    torch.manual_seed(0)
    plain = dn.create_model("resnet18", 4, width=1 / 8).eval()
    inputs = [torch.rand(8, 3, 32, 32) for _ in range(2)]
    model = copy.deepcopy(plain).bfloat16()
    dn.convert(model)
    dn.calibrate(model, [batch.bfloat16() for batch in inputs])
    x = inputs[0].bfloat16()
    fresh = copy.deepcopy(plain).bfloat16()
    dn.convert(fresh)
    fresh.load_state_dict(model.state_dict())
    assert torch.equal(fresh(x), model(x))
    dn.save_pretrained(model, tmp_path)
    assert torch.equal(dn.from_pretrained(tmp_path)(x), model(x))
    dn.convert(plain)
    dn.calibrate(plain, inputs)
    scales = {name: value.clone() for name, value in plain.state_dict().items() if name.endswith("scale")}
    narrow = plain.bfloat16().state_dict()
    assert scales
    assert all(torch.equal(narrow[name], scale) for name, scale in scales.items())


def test_progress_only_if_it_takes_long(capsys, monkeypatch):
    model = network()
    dn.convert(model)
    monkeypatch.setattr(sys.modules["decoupled_nets.calibration.passes"], "LONG", -1.0)
    dn.calibrate(copy.deepcopy(model), BATCHES)
    monkeypatch.undo()
    report = dn.calibrate(model, BATCHES)
    assert str(report).splitlines()[0].split() == ["layer", "mean", "patch", "norm", "radius", "scale"]
    assert capsys.readouterr().err == ""


def test_the_calibrated_average_outlives_the_first_training_steps():
    model = network()
    dn.convert(model)
    report = dn.calibrate(model, BATCHES)
    model.train()(10 * X)
    assert float(model[0].mean_norm) < 1.2 * report.layers[0].mean_norm
