"""Layers of other people's classes: which are converted, into what, and that trying them leaves no trace."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
import torch.nn.functional as F
from class_cases import NOTHING, X
from foreign_layers import (
    ByProperty,
    Constrained,
    DynamicSame,
    FixedSides,
    Masked,
    Named,
    Noisy,
    OtherMethods,
    OtherwiseInTraining,
    Scaled,
    Standardized,
    StaticSame,
    TwoInputs,
    Wrapper,
)  # fmt: skip
from torch import nn
from torch.nn.utils import parametrizations, prune

import decoupled_nets as dn
from decoupled_nets.conversion.classes import REGISTERED, as_plain
from decoupled_nets.nn import DecoupledConv2dPadded, DecoupledConv2dSame, DecoupledStdConv2d

TWINS = [
    (lambda: OtherMethods(4, 8, 3), dn.DecoupledConv2d),
    (lambda: Wrapper(4, 8, 3, padding=1, padding_mode="reflect"), dn.DecoupledConv2d),
    (lambda: ByProperty(4, 8, 3), dn.DecoupledConv2d),
    (lambda: DynamicSame(4, 8, 3, 2), DecoupledConv2dSame),
    (lambda: DynamicSame(4, 8, (3, 5), 3, dilation=2), DecoupledConv2dSame),
    (lambda: StaticSame(4, 8, 3, 2, image_size=32), DecoupledConv2dPadded),
    (lambda: Standardized(4, 8, 3, 2, 1), DecoupledStdConv2d),
    (lambda: Scaled(4, 8, 3), DecoupledStdConv2d),
]


@pytest.mark.parametrize(("make", "twin"), TWINS)
def test_layers_that_a_twin_can_do(make, twin, near):
    layer = make().eval()
    plain, kept, keys = layer(X), set(vars(layer)), list(layer.state_dict())
    report = dn.convert(layer, **NOTHING)
    assert isinstance(layer, twin)
    assert report.converted[0].became == f"{twin.__name__} linear-cos"
    near(layer(X), plain)
    near(dn.fuse(layer)(X), plain)
    assert dn.fuse(layer) is not layer
    with as_plain([layer]):
        assert torch.equal(layer(X), plain)
    assert layer.eps == 1e-12
    for twin_of_it in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert type(twin_of_it) is type(layer)
        assert torch.equal(twin_of_it(X), layer(X))
    torch.compiler.reset()
    near(torch.compile(layer, fullgraph=True, backend="eager")(X), plain)
    near(torch.export.export(layer, (X,)).module()(X), plain)
    assert dn.revert(layer) == 1
    assert torch.equal(layer(X), plain)
    # Marks of torch.compile, and of pytorch-lightning's wrapper around it where that was imported.
    assert set(vars(layer)) - {"_is_torch_compile", "_compile_kwargs"} == kept
    assert list(layer.state_dict()) == keys


def test_trained_layers_learn_through_their_own_kernel():
    layer = Scaled(4, 8, 3)
    dn.convert(layer, "tanh-cos", weighting="linear")
    layer(X).square().sum().backward()
    assert layer.gain.grad.abs().min() > 0
    weight = layer.effective_weight()
    assert weight.mean((1, 2, 3)).abs().max() < 1e-6
    cosine = F.cosine_similarity(layer.weight.grad.flatten(1), layer.weight.flatten(1))
    assert cosine.abs().max() < 1e-3  # its scale does not matter


LEFT = [
    (lambda: Masked(4, 8, 3), "computes in its own way"),
    (lambda: Noisy(4, 8, 3), "computes in its own way"),
    (lambda: FixedSides(4, 8, 3, 3), "computes in its own way"),
    (lambda: OtherwiseInTraining(4, 8, 3), "computes in its own way"),
    (lambda: Constrained(4, 8, 3), "computes in its own way"),
    (lambda: TwoInputs(4, 8, 3), "forward takes more than one input"),
    (lambda: Named(4, 8, 3), "an attribute 'radius' of its own"),
]


@pytest.mark.parametrize(("make", "reason"), LEFT)
def test_layers_that_no_twin_can_do(make, reason):
    layer = make()
    before = {name: value.clone() for name, value in layer.state_dict().items()}
    report = dn.convert(layer)
    assert reason in report.left[0].reason
    assert type(layer) is type(make())
    assert all(torch.equal(value, before[name]) for name, value in layer.state_dict().items())


def test_trying_leaves_no_trace():
    calls = []
    layer = Noisy(4, 8, 3)
    layer.register_forward_hook(lambda *_: calls.append("hook"))
    layer.weight.grad = torch.ones_like(layer.weight)
    random = torch.get_rng_state()
    dn.convert(layer)
    assert calls == []
    assert layer.count == 0
    assert torch.equal(torch.get_rng_state(), random)
    assert layer.training
    assert (layer.weight.grad == 1).all()


def test_a_layer_of_zeros_is_told_from_others():
    layer = Masked(4, 8, 3)
    nn.init.zeros_(layer.weight)
    assert not dn.convert(layer).converted


def test_layers_without_memory_or_of_other_types_are_tried_too():
    with torch.device("meta"):
        layer = DynamicSame(4, 8, 3, 2)
    assert isinstance(layer, DynamicSame)
    assert dn.convert(layer).converted[0].became.startswith("DecoupledConv2dSame")
    assert isinstance(layer, DynamicSame)
    half = Wrapper(4, 8, 3).bfloat16()
    assert dn.convert(half).converted
    assert half.weight.dtype == torch.bfloat16


def test_other_methods_stay():
    layer = OtherMethods(4, 8, 3)
    dn.convert(layer)
    assert layer.taps == 9
    assert layer.extra_repr().startswith("taps=9")
    layer.reset_parameters()
    assert (layer.weight == 0.5).all()
    assert (layer.radius == 1).all()


@pytest.mark.parametrize("make", [parametrizations.spectral_norm, parametrizations.weight_norm])
def test_parametrised_layers_of_other_classes(make):
    layer = make(DynamicSame(4, 8, 3, 2)).eval()
    plain, state = layer(X), copy.deepcopy(layer.state_dict())
    assert dn.convert(layer).converted
    assert isinstance(layer, DynamicSame | DecoupledConv2dSame)
    layer(X).sum().backward()
    dn.revert(layer)
    assert all(torch.equal(value, state[name]) for name, value in layer.state_dict().items())
    assert torch.equal(layer(X), plain)


def test_pruned_layers_of_other_classes():
    layer = prune.random_unstructured(OtherMethods(4, 8, 3), "weight", 0.5)
    assert dn.convert(layer).converted
    tried = prune.random_unstructured(DynamicSame(4, 8, 3), "weight", 0.5)
    assert dn.convert(tried).converted
    tried(X).sum().backward()
    assert (tried.weight_orig.grad[tried.weight_mask == 0] == 0).all()


class Centred(nn.Conv2d):
    def forward(self, x, scale=1.0):
        return self._conv_forward(x * scale, self.weight - self.weight.mean(), self.bias)


class DecoupledCentred(dn.DecoupledConv2d):
    def effective_weight(self):
        return self.weight - self.weight.mean()


@pytest.fixture
def registered():
    before = dict(REGISTERED)
    yield
    REGISTERED.clear()
    REGISTERED.update(before)


@pytest.mark.usefixtures("registered")
def test_registered_twins(near):
    class OneInput(Centred):
        def forward(self, x):
            return super().forward(x)

    assert "computes in its own way" in dn.convert(OneInput(4, 8, 3)).left[0].reason
    dn.register_twin(Centred, DecoupledCentred)
    layer = OneInput(4, 8, 3)
    plain = layer(X)
    assert dn.convert(layer, **NOTHING).converted[0].became == "DecoupledCentred linear-cos"
    near(layer(X), plain)
    near(layer(X), layer._conv_forward(X, layer.weight - layer.weight.mean(), layer.bias))
    assert isinstance(layer, OneInput)
    dn.revert(layer)
    assert torch.equal(layer(X), plain)
    assert "takes more than one input" in dn.convert(Centred(4, 8, 3)).left[0].reason


@pytest.mark.usefixtures("registered")
def test_a_registered_twin_that_does_something_else_is_not_used():
    dn.register_twin(Masked, DecoupledCentred)
    reason = dn.convert(Masked(4, 8, 3)).left[0].reason
    assert reason.endswith("Masked computes in its own way, and not in that of DecoupledCentred, its twin")


@pytest.mark.parametrize(
    ("cls", "twin", "text"),
    [
        (nn.Conv2d, DecoupledCentred, "needed: a subclass of nn.Conv1d, 2d, 3d or nn.Linear"),
        (nn.ReLU, DecoupledCentred, "needed: a subclass of nn.Conv1d, 2d, 3d or nn.Linear"),
        ("Centred", DecoupledCentred, "needed: a subclass of nn.Conv1d, 2d, 3d or nn.Linear"),
        (Centred, dn.DecoupledConv1d, "needed: a subclass of DecoupledConv2d"),
        (Centred, nn.Conv2d, "needed: a subclass of DecoupledConv2d"),
    ],
)
def test_registration_refuses(cls, twin, text):
    with pytest.raises(TypeError, match=text):
        dn.register_twin(cls, twin)


def test_calibrated_layers_have_their_own_padding(near):
    model = nn.Sequential(
        DynamicSame(4, 8, 3, 2), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(720, 3)
    )
    model.eval()
    dn.convert(model, "tanh-cos")
    report = dn.calibrate(model, [X], radius=16.0)
    assert report.after.error < 0.1 < report.before.error


def test_weights_of_linear_subclasses():
    class Normalised(nn.Linear):
        def forward(self, x):
            return F.linear(x, F.normalize(self.weight), self.bias)

    assert not dn.convert(Normalised(4, 3), linear=True).converted
    assert dn.convert(nn.modules.linear.NonDynamicallyQuantizableLinear(4, 3), linear=True).converted


class SkipsWhatIsEmpty(nn.Conv2d):
    """As partial convolutions do: no output, not even a bias, where there is no input."""

    def forward(self, x):
        filled = F.max_pool2d((x != 0).any(1, keepdim=True).float(), 3, self.stride, self.padding)
        return super().forward(x) * filled


class Clips(nn.Conv2d):
    def forward(self, x):
        return super().forward(x.clamp(-100, 100))


@pytest.mark.parametrize("kind", [SkipsWhatIsEmpty, Clips])
def test_what_a_layer_does_to_zeros_and_large_numbers_is_tried(kind):
    report = dn.convert(nn.Sequential(kind(3, 4, 3, padding=1), nn.BatchNorm2d(4)), dry_run=True)
    assert "computes in its own way" in report.left[0].reason


class Doubled(nn.Conv2d):
    def __call__(self, x):
        return 2 * super().__call__(x)


def test_fuse_leaves_layers_with_a_call_of_their_own():
    model, x = nn.Sequential(Doubled(3, 4, 3), nn.BatchNorm2d(4)).eval(), torch.rand(2, 3, 9, 9)
    assert dn.convert(model).converted
    with pytest.warns(UserWarning, match="has a __call__ of its own"):
        fused = dn.fuse(model)
    assert torch.equal(fused(x), model(x))
