"""``dn.convert`` and ``dn.revert``: what a layer keeps, what is left, and what is refused."""

from __future__ import annotations

import copy
import pickle
import warnings

import pytest
import torch
from torch import fx, nn
from torch.nn.utils import parametrizations, parametrize, prune

import decoupled_nets as dn
from decoupled_nets.conversion import Conversion


def network() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, padding_mode="reflect"),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, stride=2, groups=2, bias=False),
        nn.Flatten(),
        nn.Linear(8 * 9, 5),
    )


X = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(3))


def reasons(report) -> dict[str, str]:
    return {fate.name: fate.reason for fate in report.left}


@pytest.mark.parametrize(
    "operator", ["tanh-cos", "seg-sigmoid", "sphere-linear", dn.Operator("mix", alpha=2.0)]
)
@pytest.mark.parametrize("training", [True, False])
def test_there_and_back(operator, training):
    model = network().train(training)
    state = {key: value.clone() for key, value in model.state_dict().items()}
    plain = copy.deepcopy(model).eval()(X)
    weights = list(model.parameters())
    report = dn.convert(model, operator)
    assert [fate.name for fate in report.converted] == ["0", "3"]
    assert [p for p in model.parameters() if any(p is w for w in weights)] == weights
    assert all(m.training == training for m in model.modules())
    assert str(model[0].operator) == str(operator)
    out = copy.deepcopy(model).eval()(X)
    assert out.isfinite().all()
    assert not torch.equal(out, plain)
    assert dn.revert(model) == 2
    assert type(model[0]) is type(model[3]) is nn.Conv2d
    assert list(model.state_dict()) == list(state)
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert torch.equal(model.eval()(X), plain)
    assert vars(model[0]).keys() == vars(nn.Conv2d(1, 1, 1)).keys()


def test_a_converted_layer_is_the_decoupled_one():
    layer = dn.DecoupledConv2d(3, 4, 3, operator="ball-cos", radius="learned", weighting="linear", eps=1e-3)
    model = nn.Conv2d(3, 4, 3)
    model.load_state_dict({"weight": layer.weight, "bias": layer.bias})
    dn.convert(model, "ball-cos", radius="learned", weighting="linear", eps=1e-3)
    assert repr(model) == repr(layer)
    assert model.load_state_dict(layer.state_dict()) == ([], [])
    assert torch.equal(model(X), layer(X))
    assert isinstance(pickle.loads(pickle.dumps(model)), dn.DecoupledConv2d)
    assert dn.revert(layer) == 1
    assert type(layer) is nn.Conv2d


@pytest.mark.parametrize("kind", [nn.Conv1d, nn.Conv3d, nn.Linear])
def test_other_dimensions(kind):
    layer = kind(3, 4) if kind is nn.Linear else kind(3, 4, 3)
    report = dn.convert(layer, linear=True)
    assert report.converted[0].name == ""
    assert type(layer).__name__ == f"Decoupled{kind.__name__}"
    assert "the network itself" in str(report)


def test_state_dict_and_random_state():
    first, second = network(), network()
    before = torch.get_rng_state()
    dn.convert(first)
    assert torch.equal(torch.get_rng_state(), before)
    dn.convert(second)
    first(X)
    assert second.load_state_dict(first.state_dict()) == ([], [])
    assert torch.equal(first.eval()(X), second.eval()(X))


def test_device_dtype_and_frozen_layers():
    with torch.device("meta"):
        model = network().double()
    model[3].requires_grad_(False)
    dn.convert(model)
    assert model[0].radius.device.type == "meta"
    assert model[0].radius.dtype == torch.float64
    assert model[0].radius.requires_grad
    assert not model[3].radius.requires_grad


def test_shared_modules_stay_shared():
    layer = nn.Conv2d(3, 3, 3, padding=1)
    model = nn.ModuleDict({"a": layer, "b": nn.Sequential(layer)})
    keeper = [layer]
    report = dn.convert(model)
    assert report.converted[0].names == ("a", "b.0")
    assert model["a"] is model["b"][0] is keeper[0]
    assert isinstance(keeper[0], dn.DecoupledConv2d)


def test_hooks_stay():
    model, seen = network(), []
    model[0].register_forward_pre_hook(lambda module, args: seen.append("before"))
    model[0].register_forward_hook(lambda module, args, out: seen.append(type(module).__name__))
    dn.convert(model)
    model(X)
    assert seen == ["before", "DecoupledConv2d"]
    dn.revert(model)
    model(X)
    assert seen[3] == "Conv2d"


@pytest.mark.parametrize("parametrization", [parametrizations.spectral_norm, parametrizations.weight_norm])
def test_parametrized_weights_stay_parametrized(near, parametrization):
    model = parametrization(nn.Conv2d(3, 4, 3))
    plain, state = copy.deepcopy(model).eval()(X), copy.deepcopy(model.state_dict())
    dn.convert(model)
    assert isinstance(model, dn.DecoupledConv2d)
    assert parametrize.is_parametrized(model, "weight")
    model(X).sum().backward()
    original = next(p for name, p in model.named_parameters() if "original" in name)
    assert original.grad.abs().max() > 0
    dn.revert(model)
    model.load_state_dict(state)
    assert torch.equal(model.eval()(X), plain)
    assert type(model).__bases__ == (nn.Conv2d,)
    dn.convert(model)
    weight = model.weight.detach()
    parametrize.remove_parametrizations(model, "weight")
    assert type(model) is dn.DecoupledConv2d
    near(model.weight, weight)


def test_hooks_that_make_the_weight_stay():
    model = prune.random_unstructured(nn.Conv2d(3, 4, 3), "weight", 0.5)
    dn.convert(model)
    model(X).sum().backward()
    assert (model.weight_orig.grad[model.weight_mask == 0] == 0).all()
    prune.remove(model, "weight")
    dn.revert(model)


def test_what_cannot_be_converted_is_reported():
    replaced = nn.Conv2d(3, 3, 3)
    replaced.forward = lambda x: x
    named = nn.Conv2d(3, 3, 3)
    named.radius = 3
    model = nn.ModuleDict(
        {
            "transposed": nn.ConvTranspose2d(3, 3, 3),
            "replaced": replaced,
            "named": named,
            "complex": nn.Conv2d(3, 3, 3, dtype=torch.complex64),
            "attention": nn.MultiheadAttention(4, 2),
            "decoupled": dn.DecoupledConv2d(3, 3, 3),
        }
    )
    report = dn.convert(model, linear=True)
    assert not report.converted
    assert reasons(report) == {
        "transposed": "transposed",
        "replaced": "its forward was replaced on the object itself",
        "named": "it has an attribute 'radius' of its own",
        "complex": "its weight is of type torch.complex64",
        "attention.out_proj": "MultiheadAttention computes with its weight itself",
        "decoupled": "decoupled already",
    }


def test_scripted_modules_are_left():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit is deprecated, and its modules are still about
        model = torch.jit.script(network())
    report = dn.convert(model)
    assert set(reasons(report).values()) == {"compiled by torch.jit"}
    assert reasons(report).keys() == {"0", "3"}


def test_traced_graphs_and_compiled_models():
    model = network().eval()
    plain = model(X)
    for wrapped in (fx.symbolic_trace(model), torch.compile(model, backend="eager")):
        assert torch.equal(wrapped(X), plain)
        assert [fate.name for fate in dn.convert(wrapped, select="0").converted] == ["0"]
        assert not torch.equal(wrapped(X), plain)
        dn.revert(wrapped)
        assert torch.equal(wrapped(X), plain)


def test_lazy_layers_are_refused_until_they_are_not():
    model = nn.Sequential(nn.LazyConv2d(4, 3), nn.BatchNorm2d(4), nn.ReLU())
    with pytest.raises(
        ValueError, match="'0' is a lazy module, without weights yet; needed: one run of the network"
    ):
        dn.convert(model)
    model(X)
    assert len(dn.convert(model).converted) == 1


def test_wrapped_models_are_refused():
    wrapped = nn.DataParallel(network())
    with pytest.raises(ValueError, match="convert it first, then wrap it"):
        dn.convert(wrapped)
    dn.convert(wrapped.module)
    with pytest.raises(ValueError, match="revert it first, then wrap it"):
        dn.revert(wrapped)
    assert dn.revert(wrapped.module) == 2


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"operator": "tanh-none"}, ValueError, "none"),
        ({"radius": -1.0}, ValueError, "radius"),
        ({"weighting": "all"}, ValueError, "weighting"),
        ({"heads": 2}, TypeError, "heads"),
        ({"select": 3}, TypeError, "int received"),
    ],
)
def test_errors_leave_the_model(options, error, text):
    model = network()
    with pytest.raises(error, match=text):
        dn.convert(model, **options)
    assert type(model[0]) is nn.Conv2d


class _Refusing(nn.Sequential):
    def forward(self, x):
        if isinstance(self[0], dn.DecoupledConv2d):
            raise RuntimeError("in the middle")
        return super().forward(x)


def test_a_failure_on_the_way_is_undone():
    """The converted network is run, to count its flops, and may not be able to."""
    model = _Refusing(*network())
    before = model.state_dict()
    with pytest.raises(RuntimeError, match="in the middle"):
        dn.convert(model, example_input=X)
    assert [type(model[i]) for i in (0, 3)] == [nn.Conv2d, nn.Conv2d]
    assert model.state_dict().keys() == before.keys()


class _Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.images, self.others = nn.Conv2d(3, 8, 3), nn.Conv2d(3, 8, 3)
        self.head = nn.Conv2d(8, 2, 1)

    def forward(self, images, others):
        return self.head(self.images(images) + self.others(others))


def test_a_network_of_two_inputs():
    one = torch.rand(1, 3, 8, 8)
    model = _Two()
    with pytest.raises(ValueError, match=r"argument: 'others'\); needed: an input .* or a tuple of all its"):
        dn.convert(model, example_input=one)
    assert type(model.images) is nn.Conv2d
    assert dn.convert(model, example_input=(one, one)).flops is not None


def test_ignored_settings_warn_once():
    with pytest.warns(UserWarning, match="radius = 2.0 is ignored") as seen:
        dn.convert(network(), "sphere-cos", radius=2.0)
    assert len(seen) == 1


def test_dry_run_and_report():
    model = network()
    modes = [m.training for m in model.modules()]
    report = dn.convert(model, dry_run=True, example_input=X)
    assert type(model[0]) is nn.Conv2d
    assert [m.training for m in model.modules()] == modes
    total = sum(p.numel() for p in model.parameters())
    assert report.parameters == (total, total + 16)
    assert report.flops[1] >= report.flops[0] > 0
    assert str(report).startswith("2 layers would be converted, 0 left\nlayers  was         became")
    real = dn.convert(model, example_input=(X,))
    assert (real.fates, real.parameters, real.flops) == (report.fates, report.parameters, report.flops)
    assert sum(p.numel() for p in model.parameters()) == total + 16
    assert "there is no convolution" in str(dn.convert(nn.ReLU()))


def test_a_conversion_of_nothing_says_so():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 64, 2))
    assert "0 layers converted, 1 left\nthe selection takes none of them\n" in str(dn.convert(model))
    nothing = dn.convert(network(), select=lambda name, module: False)
    assert "the selection takes none of them" in str(nothing)
    model[0].forward = lambda x: x
    report = dn.convert(model, select=dn.Select(kernel_size=1))
    assert "the selection takes 1 layers, which had to be left" in str(report)
    assert "the selection" not in str(dn.convert(network()))


def test_a_layer_that_was_compiled_can_be_made_plain():
    layer, x = dn.DecoupledConv2d(3, 8, 3), torch.rand(2, 3, 9, 9)
    layer.compile(backend="eager")
    layer(x)
    dn.revert(layer)
    assert torch.equal(layer(x), nn.functional.conv2d(x, layer.weight, layer.bias))


def test_changes_are_in_percent_of_what_was_before():
    text = str(Conversion((), (2000, 3000), (4000, 1000), notes=("one", "two")))
    assert "parameters: 2,000 before, 3,000 after (+50.00 %)" in text
    assert "flops: 4,000 before, 1,000 after (-75.00 %)" in text
    assert "note: one\nnote: two\n" in text
    assert "flops" not in str(Conversion((), (0, 0)))
