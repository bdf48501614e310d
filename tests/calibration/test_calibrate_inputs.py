"""Batches of any kind go into a calibration; outputs are compared where they can be."""

from __future__ import annotations

import copy

import pytest
import torch
import torchvision
from calibration_cases import BATCHES, X, error, network, refused
from torch import nn

import decoupled_nets as dn


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"batches": []}, "no batch received"),
        ({"batches": X}, "one tensor received"),
        ({"batches": [X[:0]]}, r"a batch of shape \(0, .* received; needed: one input"),
        ({"batches": [X * float("nan")]}, "the plain layer '0' gives infinities or NaN"),
        ({"batches": [{"x": X}]}, "begins with dict received"),
        ({"batches": [[]]}, "begins with list received"),
        ({"batches": [{"x": X}]}, r"forward=lambda model, batch: model\(\*\*batch\)"),
        ({"radius": 0.0}, "radius = 0.0 received"),
        ({"radius": "wide"}, "radius = 'wide' received; needed: 'auto', a positive number or None"),
        ({"radius": True}, "radius = True received"),
        ({"tolerance": 0.0}, "tolerance = 0.0 received; needed: a number between 0 and 1"),
        ({"tolerance": 1.5}, "tolerance = 1.5 received"),
        ({"max_batches": 0}, "max_batches = 0 received; needed: a positive integer"),
        ({"max_batches": -1}, "max_batches = -1 received; needed: a positive integer"),
        ({"max_batches": 2.0}, "max_batches = 2.0 received; needed: a positive integer"),
        ({"batches": [X.byte()]}, "batches of torch.uint8 received.*; needed: torch.float32"),
        ({"batches": [X, X.double()]}, "batches of torch.float64 received.*; needed: torch.float32"),
    ],
)
def test_errors(options, text):
    model = network()
    dn.convert(model)
    refused(model, text, **{"batches": BATCHES} | options)


def test_batches_of_several_sizes_calibrate_and_are_not_compared():
    dense = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 3)).eval()
    plain = copy.deepcopy(dense)
    dn.convert(dense, select=dn.Select(outputs=True))
    report = dn.calibrate(dense, [X, X[..., :7]])
    assert report.before.error is report.after.error is report.after.agreement is None
    assert "outputs are of shapes (128, 2, 4, 4) and (128, 2, 4, 3)" in report.why_not
    assert f"outputs not compared: {report.why_not}" in str(report)
    assert error(dense, plain) < 0.05


def test_outputs_without_a_tensor():
    model = network()
    dn.convert(model)
    model.register_forward_hook(lambda *_: "text")
    refused(model, "an output of type str received; needed: one with a tensor", batches=[X])


class TwoImages(nn.Module):
    """Two batches of images by position, as in registration or change detection."""

    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 8, 3), nn.Linear(8, 4)

    def forward(self, before, after):
        return self.head((self.conv(before) - self.conv(after)).mean((2, 3)))


def test_tuples_of_inputs_need_forward():
    model = TwoImages()
    dn.convert(model)
    text = r"missing a required argument: 'after'\); needed: forward=.*model\(\*batch\)"
    refused(model, text, batches=[(X, X)])
    report = dn.calibrate(model, [(X, X.flip(0))], forward=lambda model, batch: model(*batch))
    assert report.after.error < report.before.error


def test_errors_of_a_networks_own_are_passed_on():
    class Odd(TwoImages):
        def forward(self, images):
            raise TypeError("its own")

    model = Odd()
    dn.convert(model, select="conv")
    refused(model, "^its own$", batches=[X])


class TwoInputs(nn.Module):
    """Images and positions, by keyword only."""

    def __init__(self):
        super().__init__()
        self.images, self.positions = nn.Conv2d(3, 8, 3), nn.Linear(2, 8)
        self.both = nn.Linear(8, 4)

    def forward(self, *, images, positions):
        return {
            "note": "text",
            "logits": self.both(self.images(images).mean((2, 3)) + self.positions(positions)),
        }


@pytest.mark.parametrize("kind", ["dict", "tuple", "object"])
def test_networks_with_several_inputs(kind):
    plain = TwoInputs().eval()
    model = copy.deepcopy(plain)
    dn.convert(model, linear=True, select=dn.Select(outputs=True))
    positions = torch.rand(128, 2).split(32)
    batches = [{"images": x, "positions": p} for x, p in zip(BATCHES, positions, strict=True)]
    forward = lambda model, batch: model(**batch)  # noqa: E731
    if kind == "tuple":
        batches = [(b["images"], (b["positions"], "text")) for b in batches]
        forward = lambda model, batch: model(images=batch[0], positions=batch[1][0])  # noqa: E731
    if kind == "object":
        batches = [Own(b) for b in batches]
        forward = lambda model, batch: model(**batch.inputs)["logits"]  # noqa: E731
    report = dn.calibrate(model, batches, forward=forward)
    assert [layer.name for layer in report.layers] == ["images", "positions", "both"]
    assert report.after.error < 0.05 < report.before.error
    assert report.after.agreement > 0.95
    with torch.no_grad():
        outputs = [dict(m(images=X, positions=torch.cat(positions)))["logits"] for m in (model, plain)]
    assert (outputs[0] - outputs[1]).square().mean() < 0.01 * outputs[1].var()
    if kind == "object":
        assert all(batch.devices == [torch.device("cpu")] for batch in batches)


class Own:
    """A batch of a class of its own, that knows how to move."""

    def __init__(self, inputs):
        self.inputs, self.devices = inputs, []

    def to(self, device):
        self.devices.append(device)
        return self


def test_a_reference_is_run_with_forward_too():
    plain = TwoInputs().eval()
    model = copy.deepcopy(plain)
    dn.convert(model, linear=True)
    batch = {"images": X, "positions": torch.rand(128, 2)}
    options = {"forward": lambda model, batch: model(**batch), "radius": 3.0}
    first = dn.calibrate(model, [batch], **options)
    assert dn.calibrate(model, [batch], reference=plain, **options).after == first.after


@pytest.mark.parametrize("compared", [False, True])
def test_detectors(compared):
    """Lists of images of several sizes go in, lists of dicts come out."""
    torch.manual_seed(0)
    plain = torchvision.models.detection.ssdlite320_mobilenet_v3_large(
        weights=None, weights_backbone=None, num_classes=3
    ).eval()
    model = copy.deepcopy(plain)
    images = [torch.rand(3, 90, 70), torch.rand(3, 60, 80)]
    dn.convert(model, "tanh-cos")
    batch = (images, [{"boxes": torch.zeros(0, 4)}, {"boxes": torch.ones(1, 4)}])

    def forward(model, batch):
        if not compared:
            return model(batch[0])
        sizes, _ = model.transform(batch[0])
        return next(iter(model.backbone(sizes.tensors).values()))

    report = dn.calibrate(model, [batch], forward=forward)
    assert report.layers
    assert all(layer.scale is not None for layer in model.modules() if isinstance(layer, dn.DecoupledConv2d))
    if compared:
        assert report.why_not is None
        assert report.after.error < 0.1 < report.before.error
    else:
        assert report.why_not == "the network gives a list of dicts, one for an input"
        assert report.after.error is report.after.agreement is None


def test_integers_for_networks_that_take_them():
    model = nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 4), nn.Linear(4, 3))
    dn.convert(model, linear=True)
    report = dn.calibrate(model, [torch.arange(9)])
    assert report.after.error < report.before.error


@pytest.mark.parametrize("batch", [X[:1], X[:1].expand(16, -1, -1, -1), torch.zeros(16, 3, 8, 8)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_no_error_in_units_of_nothing(batch, dtype):
    """Outputs that do not vary between inputs have no spread."""
    model = network().to(dtype)
    dn.convert(model)
    report = dn.calibrate(model, [batch.to(dtype)])
    assert report.before.error is report.after.error is None
    assert str(report).splitlines()[-1] == "after: error –, same class for 100.0 %"
