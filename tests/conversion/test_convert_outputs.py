"""Layers that give a network's outputs stay plain: found by what the network does, whatever they are."""

from __future__ import annotations

import random
import warnings

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

import decoupled_nets as dn


def conv(before, after, size=3, **options):
    return nn.Conv2d(before, after, size, padding=size // 2, **options)


def dense(*tail):
    return nn.Sequential(conv(3, 8), nn.ReLU(), conv(8, 8), nn.ReLU(), conv(8, 4), *tail)


class Net(nn.Module):
    """Layers a, b, ... and a function that uses them."""

    def __init__(self, function, **layers):
        super().__init__()
        self.function = function
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x):
        return self.function(self, x)


def three(function, **more):
    return Net(function, a=conv(3, 4), b=conv(4, 4), c=conv(4, 4), **more)


def outputs(model, **options) -> list[str]:
    return [f.name for f in dn.convert(model, **options).left if f.reason == "gives the outputs"]


def unrolled(net, x):
    """A prediction that is improved step by step, each time cut loose from the last."""
    state, guess = F.relu(net.a(x)), 0
    for _ in range(3):
        step = net.c(F.relu(net.b(state + guess)))
        guess = guess + step
        guess = guess.detach()
    return guess + step


def proposals(net, x):
    """As a detector's first stage: what it predicts only chooses where the second looks."""
    features = F.relu(net.a(x))
    chosen = net.b(features).detach().sigmoid()
    return net.c(features * chosen)


def hourglass(net, x):
    """A prediction that is handed out and also used."""
    first = net.b(F.relu(net.a(x)))
    return [first, net.c(first)]


def pyramid(net, x):
    """Features that are handed out on the way; the last ones are bare."""
    first = F.relu(net.a(x))
    second = net.norm(net.b(first))
    return [first, second, F.relu(net.c(F.relu(second)))]


def auxiliary(net, x):
    """A second prediction in training only."""
    features = net.a(x).relu()
    return (net.c(features), net.b(features)) if net.training else net.c(features)


def by_functional(net, x):
    """A product with a weight that no layer is called for."""
    x = F.relu(net.c(F.relu(net.b(F.relu(net.a(x)))))).mean((2, 3))
    return F.linear(x, net.weights.weight)


@pytest.mark.parametrize(
    ("model", "found"),
    [
        (lambda: dense(), ["4"]),
        (lambda: dense(nn.Sigmoid()), ["4"]),
        (lambda: dense(nn.ReLU()), ["4"]),
        (lambda: dense(nn.PixelShuffle(2)), ["4"]),
        (lambda: dense(nn.Upsample(scale_factor=2, mode="bilinear"), nn.Softmax(1)), ["4"]),
        (lambda: dense(nn.BatchNorm2d(4)), []),
        (lambda: dense(nn.GroupNorm(2, 4), nn.ReLU()), []),
        (lambda: dense(nn.ReLU(), nn.Flatten(), nn.LazyLinear(5)), []),
        (lambda: dense(nn.ReLU(), nn.ConvTranspose2d(4, 1, 2, 2)), []),
        (lambda: three(lambda n, x: x[:, :1] + n.c(n.b(n.a(x).relu()).relu())), ["c"]),
        (lambda: three(lambda n, x: {"out": n.c(n.a(x).relu()), "aux": [n.b(n.a(x).relu())]}), ["b", "c"]),
        (lambda: three(lambda n, x: torch.cat([n.c(n.a(x).relu()), n.b(n.a(x).relu())])), ["b", "c"]),
        (lambda: three(lambda n, x: n.b(n.c(n.a(x).relu()).relu())), ["b"]),  # not the last one there is
        (lambda: three(unrolled), ["c"]),
        (lambda: three(proposals), ["b", "c"]),
        (lambda: three(hourglass), ["b", "c"]),
        (lambda: three(pyramid, norm=nn.BatchNorm2d(4)), ["c"]),
        (lambda: three(by_functional, weights=nn.Linear(4, 5)), []),
        (lambda: three(auxiliary), ["b", "c"]),
        (lambda: three(lambda n, x: n.c(n.b(n.a(x.sub_(0.5)).relu_()).relu_())), ["c"]),
    ],
)  # fmt: skip
def test_layers_that_give_the_outputs(model, found):
    model = model()
    if any(isinstance(m, nn.LazyLinear) for m in model.modules()):
        model(torch.rand(2, 3, 64, 64))
    report = dn.convert(model)
    assert [f.name for f in report.left if f.reason == "gives the outputs"] == found
    assert len(report.converted) == 3 - len(found)
    assert report.notes == ()


def test_they_are_taken_on_request():
    for select in (dn.Select(outputs=True), dn.Select(classifier=True), lambda name, module: True):
        assert len(dn.convert(dense(), select=select).converted) == 3


def test_fixed_layers_are_looked_past():
    """Networks for super-resolution end in a fixed 1×1 convolution that adds the mean of the colours."""
    model = dense(conv(4, 4, 1))
    assert outputs(model, select=dn.Select(kernel_size="any")) == ["5"]
    model = dense(conv(4, 4, 1))
    model[5].requires_grad_(False)
    assert outputs(model, select=dn.Select(kernel_size="any")) == ["4", "5"]
    model = dense(conv(4, 4, 1)).requires_grad_(False)
    assert outputs(model, select=dn.Select(kernel_size="any")) == ["5"]


@pytest.mark.parametrize(("dims", "kind"), [(1, nn.Conv1d), (3, nn.Conv3d)])
def test_other_dimensions(dims, kind):
    model = nn.Sequential(kind(2, 4, 3), nn.ReLU(), kind(4, 4, 3))
    assert outputs(model) == ["2"]


def test_multilayer_perceptrons():
    model = nn.Sequential(nn.Linear(7, 5), nn.ReLU(), nn.Linear(5, 5), nn.Tanh(), nn.Linear(5, 2))
    assert outputs(model, linear=True) == ["4"]


class Traced(nn.Module):
    """Notes everything that is done to it."""

    def __init__(self):
        super().__init__()
        self.layers = dense()
        self.norm = nn.BatchNorm2d(3)
        self.calls = 0
        self.seen: list[torch.Tensor] = []
        self.needs_numbers = False

    def forward(self, x):
        self.calls += 1
        self.seen.append(x)
        if self.needs_numbers and float(x.sum()) > 1e9:
            raise ValueError("too bright")
        torch.rand(1), random.random(), np.random.rand()  # noqa: NPY002
        warnings.warn("a network talks", stacklevel=1)
        return self.layers(F.dropout(self.norm(x), 0.1))


@pytest.mark.parametrize("needs_numbers", [False, True])
@torch.no_grad()
def test_looking_leaves_no_trace(needs_numbers):
    model, hooked = Traced().train(), []
    model.needs_numbers = needs_numbers
    model.layers[0].register_forward_hook(lambda *_: hooked.append(1))
    state = {name: value.clone() for name, value in model.state_dict().items()}
    drawn = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    assert outputs(model, dry_run=True) == ["layers.4"]
    assert torch.equal(torch.get_rng_state(), drawn[0])
    assert (random.getstate(), np.random.get_state()[1].tolist()) == drawn[1:]  # noqa: NPY002
    assert (model.calls, model.seen, hooked) == (0, [], [])
    assert all(m.training for m in model.modules())
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    with torch.inference_mode():
        assert outputs(model, dry_run=True) == ["layers.4"]


class Particular(nn.Module):
    """Takes what nobody would guess."""

    def __init__(self):
        super().__init__()
        self.last, self.first = conv(4, 4), conv(3, 4)

    def forward(self, batch):
        return {"map": self.last(self.first(batch["image"]).relu())}


def test_what_cannot_be_traced_is_said():
    report = dn.convert(Particular())
    assert [f.name for f in report.left] == ["first"]  # the last in the order of the modules
    assert len(report.notes) == 1
    assert "note: outputs could not be traced (" in str(report)
    assert "example_input= would help" in str(report)
    example = {"image": torch.rand(1, 3, 8, 8)}
    report = dn.convert(Particular(), example_input=example)
    assert ([f.name for f in report.left], report.notes) == (["last"], ())


def test_the_reason_is_said_to_its_end():
    class Asking(Particular):
        def forward(self, batch):
            raise RuntimeError(" ".join(["this network takes a dictionary"] * 5) + "\nwith the key 'image'")

    (note,) = dn.convert(Asking()).notes
    assert "RuntimeError: this network takes" in note
    assert "with the key 'image')" in note
    assert "\n" not in note


def test_networks_that_know_their_size():
    model = nn.Sequential(conv(3, 4), nn.ReLU(), nn.Conv2d(4, 2, 56), nn.Flatten(), nn.Linear(2, 3))
    model.image_size = 56
    assert dn.convert(model).notes == ()


def test_networks_that_mix_both_inputs():
    class Pair(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = conv(3, 4), conv(8, 2)

        def forward(self, first, second, scale=2.0):
            return self.b(torch.cat([self.a(first), self.a(second)], 1).relu() * scale)

    assert outputs(Pair()) == ["b"]


def test_weights_used_without_their_layer():
    """As an adapter around a convolution computes with both weights at once."""
    model = three(lambda n, x: n.c(F.conv2d(n.a(x).relu(), n.b.weight + 1, n.b.bias, padding=1).relu()))
    report = dn.convert(model)
    assert [f.name for f in report.converted] == ["a"]
    assert [f.reason for f in report.left] == ["its weight is used without calling it", "gives the outputs"]
    report = dn.convert(model, select=dn.Select(outputs=True))
    assert [f.reason for f in report.left if f.names == ("b",)] == ["its weight is used without calling it"]


def test_parts_of_a_network():
    block = nn.Sequential(conv(3, 8), nn.BatchNorm2d(8), nn.ReLU())
    assert len(dn.convert(block).converted) == 1
    assert dn.convert(conv(3, 8)).converted[0].name == ""
    assert len(dn.convert(nn.ModuleList([conv(3, 8), conv(8, 8)])).converted) == 2


def test_a_dense_network_fits_as_a_plain_one_does():
    x = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    y = 20 * (x.mean(1, keepdim=True) - 0.5)

    def fit(convert):
        torch.manual_seed(0)
        model = nn.Sequential(conv(3, 8), nn.ReLU(), conv(8, 8), nn.ReLU(), conv(8, 1))
        if convert:
            dn.convert(model)
        optimizer = torch.optim.Adam(model.parameters(), 1e-2)
        for _ in range(150):
            optimizer.zero_grad()
            loss = (model(x) - y).square().mean()
            loss.backward()
            optimizer.step()
        return float(loss.detach())

    assert fit(True) < 0.2 * float(y.square().mean())


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("lraspp_mobilenet_v3_large", ["classifier.low_classifier", "classifier.high_classifier"]),
        (
            "ssdlite320_mobilenet_v3_large",
            [f"head.{k}_head.module_list.{i}.1" for k in ("classification", "regression") for i in range(6)],
        ),
        ("fcn_resnet50", ["classifier.4"]),
    ],
)  # fmt: skip
def test_dense_networks_and_detectors_of_torchvision(name, found):
    models = torchvision.models
    torch.set_num_threads(1)
    model = models.get_model(name, weights=None, weights_backbone=None)
    select = dn.Select(kernel_size="any", shortcuts=True, depthwise=True)
    report = dn.convert(model, select=select, dry_run=True)
    assert [f.name for f in report.left] == found


@pytest.mark.parametrize("name", ["Unet", "PSPNet", "MAnet"])
def test_networks_of_segmentation_models(name):
    models = pytest.importorskip("segmentation_models_pytorch")
    model = getattr(models, name)("resnet18", encoder_weights=None)
    assert outputs(model, dry_run=True) == ["segmentation_head.0"]


def test_features_of_timm():
    for options in ({"features_only": True}, {"num_classes": 0}):
        model = timm.create_model("resnet18", **options)
        assert len(dn.convert(model, dry_run=True).converted) == 17
    preactivated = timm.create_model("resnetv2_50", features_only=True)
    assert len(dn.convert(preactivated, dry_run=True).converted) == 17
