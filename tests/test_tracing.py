"""Symbolic tracing of networks and layers, which sees a decoupled layer as it sees one of torch.nn's."""

from __future__ import annotations

import copy

import pytest
import torch
import torchvision
from timm.models._features_fx import FeatureGraphNet
from torch import fx, nn
from torchvision.models.feature_extraction import create_feature_extractor, get_graph_node_names

import decoupled_nets as dn
from decoupled_nets.nn import DecoupledConv2dSame, DecoupledStdConv2d, SamePad2d
from decoupled_nets.nn.layer import Layer

X = torch.rand(2, 3, 64, 64)


def calls(traced: fx.GraphModule) -> list[str]:
    """The layers of this package that a graph calls."""
    names = [str(node.target) for node in traced.graph.nodes if node.op == "call_module"]
    return [name for name in names if isinstance(traced.get_submodule(name), Layer)]


def layers(model: nn.Module) -> list[str]:
    """Those that a network has, without the parts of others."""
    found = [name for name, module in model.named_modules() if isinstance(module, Layer)]
    return [name for name in found if not any(name.startswith(f"{other}.") for other in found)]


@pytest.mark.parametrize("name", dn.list_models())
def test_networks(name: str) -> None:
    """As they are, and fused if there is something to fuse."""
    operator = "ddf" if name.startswith("ddf") else "tanh-cos"
    plain = dn.create_model(name, 4, operator=operator, width=1 / 16).eval()
    size = 224 if name.startswith("imagenet_vgg") else 32
    x = torch.rand(1, 3, size, size)
    for model in (plain, dn.fuse(plain)) if operator == "tanh-cos" else (plain,):
        traced = fx.symbolic_trace(model)
        assert sorted(calls(traced)) == sorted(layers(model))
        assert torch.equal(traced(x), model(x))


@pytest.mark.parametrize("name", ["cnn9", "cifar_googlenet", "ddf_cifar_resnet26"])
def test_networks_that_give_features(name: str) -> None:
    options = {} if name.startswith("ddf") else {"operator": "tanh-cos"}
    model = dn.create_model(name, 4, width=1 / 16, features_only=True, **options).eval()
    for got, want in zip(fx.symbolic_trace(model)(X), model(X), strict=True):
        assert torch.equal(got, want)


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("operator", ["tanh-cos", "ddf"])
def test_features_of_converted_networks(operator: str, fused: bool) -> None:
    model = torchvision.models.resnet18(num_classes=4).eval()
    dn.convert(model, operator)
    model = dn.fuse(model) if fused else model
    seen = {}
    for name in ("layer1.0.conv1", "layer3"):
        model.get_submodule(name).register_forward_hook(
            lambda m, args, out, name=name: seen.update({name: out})
        )
    model(X)
    # The extractor copies the network, hooks and all.
    want = copy.copy(seen)
    for module in model.modules():
        module._forward_hooks.clear()
    features = create_feature_extractor(model, {"layer1.0.conv1": "a", "layer3": "b"})(X)
    assert torch.equal(features["a"], want["layer1.0.conv1"])
    assert torch.equal(features["b"], want["layer3"])
    assert "layer1.0.conv1" in get_graph_node_names(model)[1]


def test_feature_networks_of_timm() -> None:
    import timm

    model = timm.create_model("tf_mobilenetv3_small_minimal_100", num_classes=4).eval()
    report = dn.convert(model, select=lambda name, module: True)
    assert any("Same" in str(fate.became) for fate in report.converted)
    want = model.forward_intermediates(X, indices=[1, 2], intermediates_only=True)
    for got, wanted in zip(FeatureGraphNet(model, (1, 2))(X), want, strict=True):
        assert torch.equal(got, wanted)


CASES = [
    (dn.DecoupledConv1d(3, 4, 3, padding_mode="reflect", padding=1), (torch.rand(2, 3, 9),)),
    (dn.DecoupledConv2d(3, 4, 3, padding="same"), (X,)),
    (dn.DecoupledConv3d(3, 4, 1), (torch.rand(2, 3, 4, 5, 6),)),
    (dn.DecoupledLinear(64, 4), (X,)),
    (DecoupledConv2dSame(3, 4, 3, 2), (X,)),
    (DecoupledStdConv2d(3, 4, 3), (X,)),
    (dn.fuse(dn.DecoupledConv2d(3, 4, 3).eval()), (X,)),
    (dn.fuse(dn.DecoupledLinear(64, 4).eval()), (X,)),
    (dn.DDF2d(3), (X,)),
    (dn.DDFUpsample(3), (X,)),
    (dn.DDFUpsample(3, guidance_channels=3), (X, X)),
    (dn.FilterNorm(3, 1), (X,)),
    (SamePad2d(1, 3), (X,)),
]


class Around(nn.Module):
    """Calls a layer by position or by name."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: torch.Tensor, y: torch.Tensor | None = None) -> torch.Tensor:
        guided = isinstance(self.layer, dn.DDFUpsample) and self.layer.guidance_channels
        return self.layer(x, guidance=y) if guided else self.layer(input=x) if self.named else self.layer(x)

    named = False


@pytest.mark.parametrize(("layer", "inputs"), CASES, ids=lambda c: type(c).__name__)
def test_layers(layer: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
    """Alone, and in a network."""
    layer = layer.eval()
    for model in (layer, Around(layer).eval()):
        traced = fx.symbolic_trace(model)
        assert calls(traced) == ["layer"]
        assert torch.equal(traced(*inputs), layer(*inputs))
        assert not traced.training
    # A graph that was traced is traced again, and copied.
    assert torch.equal(copy.deepcopy(fx.symbolic_trace(traced))(*inputs), layer(*inputs))


def test_calls_by_name() -> None:
    model = Around(dn.DecoupledConv2d(3, 4, 3).eval())
    model.named = True
    assert torch.equal(fx.symbolic_trace(model)(X), model(X))


class Threefold(dn.DecoupledConv2d):
    """A forward of one's own."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return 3 * super().forward(input)


def test_layers_of_ones_own() -> None:
    layer = Threefold(3, 4, 3).eval()
    for model in (layer, nn.Sequential(layer)):
        assert torch.equal(fx.symbolic_trace(model)(X), layer(X))


def test_hooks_run_when_the_graph_does() -> None:
    layer = dn.DecoupledConv2d(3, 4, 3).eval()
    seen: list[object] = []
    layer.register_forward_pre_hook(lambda m, args: seen.append(args))
    layer.register_forward_hook(lambda m, args, out: 2 * out)
    traced = fx.symbolic_trace(nn.Sequential(layer))
    assert not seen
    assert torch.equal(traced(X), layer(X))


def test_training_goes_on_in_the_graph() -> None:
    model = nn.Sequential(dn.DecoupledConv2d(3, 4, 3))
    traced, before = fx.symbolic_trace(model), model[0].mean_norm.clone()
    traced(X).sum().backward()
    assert model[0].radius.grad is not None
    assert not torch.equal(model[0].mean_norm, before)


def test_quantisers_see_a_layer_of_its_own_kind() -> None:
    """torch's tools for plain convolutions leave decoupled ones alone."""
    from torch.ao.quantization import fuse_modules

    model = nn.Sequential(dn.DecoupledConv2d(3, 4, 3), nn.BatchNorm2d(4)).eval()
    with pytest.raises(AssertionError, match="did not find fuser method"):
        fuse_modules(model, [["0", "1"]])


@pytest.mark.parametrize(("layer", "inputs"), CASES, ids=lambda c: type(c).__name__)
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning", "ignore:.*torch.jit:FutureWarning")
def test_the_script_compiler_is_told_what_to_do_instead(layer: nn.Module, inputs: tuple) -> None:
    for model in (layer, nn.Sequential(nn.Sequential(layer))):
        with pytest.raises(TypeError, match=rf"{type(layer).__name__} received by torch\.jit\.script.*trace"):
            torch.jit.script(model)


def test_compiled_layers_have_no_breaks() -> None:
    model = nn.Sequential(dn.DecoupledConv2d(3, 4, 3), dn.DDF2d(4), dn.DDFUpsample(4)).eval()
    model[0].register_forward_hook(lambda m, args, out: 2 * out)  # so that a call is more than forward
    assert torch._dynamo.explain(model)(X).graph_break_count == 0
