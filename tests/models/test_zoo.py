"""Every network: any operator, with and without BatchNorm and activation, and timm's manners."""

from __future__ import annotations

import itertools

import pytest
import timm
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

import decoupled_nets as dn
from decoupled_nets.models import ImageNetwork, timm_registry

ALIASES = {"resnet32": "cifar_resnet32", "cifar_cnn9": "cnn9", "vgg16": "imagenet_vgg16"}
#: Every network that is registered; those with dynamic filters are in test_ddf_resnet.py.
NETWORKS = [name for name in dn.list_models() if name not in ALIASES and not name.startswith("ddf_")]
LARGE = [name for name in NETWORKS if name.startswith(("imagenet_", "modified_"))]
SMALL = [name for name in NETWORKS if name not in LARGE]


def size(name: str) -> int:
    return 224 if "imagenet_vgg" in name else 64 if name in LARGE else 28


def make(name: str, **options):
    return dn.create_model(name, **{"num_classes": 5, "width": 1 / 16, **options})


def images(name: str, batch: int = 2) -> torch.Tensor:
    return torch.rand(batch, 3, size(name), size(name))


def convolutions(model: nn.Module) -> list[nn.Conv2d]:
    return [m for m in model.modules() if isinstance(m, nn.Conv2d)]


def test_names() -> None:
    assert {"cnn9", "cifar_resnet32", "imagenet_vgg16"} <= set(NETWORKS)
    assert {"cifar_vgg11", "cifar_cnn9"} <= set(dn.list_models("*cifar*"))
    for alias, name in ALIASES.items():
        assert dn.create_model(alias, width=1 / 16).recipe["model"] == name


@pytest.mark.parametrize(
    "operator", ["tanh-cos", *(pytest.param(name, marks=pytest.mark.sweep) for name in ("conv", "seg-sqcos"))]
)
@pytest.mark.parametrize("name", NETWORKS)
def test_forward_and_backward_are_finite(name: str, operator: str) -> None:
    for batch_norm, relu in itertools.product((True, False), repeat=2):
        model = make(name, operator=operator, batch_norm=batch_norm, relu=relu)
        assert any(isinstance(m, nn.BatchNorm2d) for m in model.modules()) == batch_norm
        hidden = getattr(model, "hidden", ())  # the plain linear layers of VGG keep theirs
        active = [m for m in model.modules() if isinstance(m, nn.ReLU | nn.PReLU) and m not in set(hidden)]
        assert bool(active) == relu
        logits = model(images(name))
        assert logits.shape == (2, 5)
        assert logits.isfinite().all()
        assert logits.std(0).max() > 0 or not batch_norm  # a squared cosine may fade without one
        torch.nn.functional.cross_entropy(logits, torch.tensor([0, 1])).backward()
        for parameter in model.parameters():
            assert parameter.grad is not None
            assert parameter.grad.isfinite().all()


@pytest.mark.parametrize("name", NETWORKS)
def test_the_plain_twin_has_the_same_weights(name: str) -> None:
    torch.manual_seed(0)
    plain = make(name)
    torch.manual_seed(0)
    twin = make(name, operator="tanh-cos")
    theirs = twin.state_dict()
    assert all(torch.equal(value, theirs[key]) for key, value in plain.state_dict().items())
    own = {key.rpartition(".")[2] for key in set(theirs) - set(plain.state_dict())}
    assert own == {"radius", "mean_norm", "num_updates"}


@pytest.mark.parametrize("name", NETWORKS)
def test_features(name: str) -> None:
    model = make(name, features_only=True)
    x = images(name, 1)
    maps = model(x)
    reductions, channels = model.feature_info.reduction(), model.feature_info.channels()
    assert [m.shape[1] for m in maps] == channels
    assert [-(-size(name) // r) for r in reductions] == [m.shape[2] for m in maps]
    chosen = make(name, features_only=True, out_indices=(0, -1))(x)
    assert [m.shape for m in chosen] == [maps[0].shape, maps[-1].shape]
    assert model.recipe["arguments"]["features_only"]


@pytest.mark.parametrize("name", NETWORKS)
def test_head(name: str) -> None:
    model = make(name, in_chans=1, num_classes=0).eval()
    assert isinstance(model, ImageNetwork)
    x = images(name)[:, :1]
    pooled = model(x)
    features = model.forward_features(x)
    assert features.shape[:2] == (2, model.num_features)
    assert pooled.shape == (2, model.head_hidden_size)
    assert torch.equal(model.forward_head(features, pre_logits=True), pooled)
    model.reset_classifier(3)
    assert model.get_classifier().out_features == model.num_classes == 3
    assert model(x).shape == (2, 3)
    assert model.default_cfg["classifier"] == "head"
    assert model.get_submodule(model.default_cfg["first_conv"]) is convolutions(model)[0]


@pytest.mark.parametrize("name", ["cifar_vgg11", "imagenet_resnet18"])
def test_features_of_two_dimensions(name: str) -> None:
    model = make(name, features=2)
    x = model.forward_features(images(name))
    assert model.forward_head(x, pre_logits=True).shape == (2, 2)
    with pytest.raises(ValueError, match="features = 0 received"):
        make(name, features=0)


@pytest.mark.parametrize("name", NETWORKS)
def test_unsuitable_images(name: str) -> None:
    model = make(name)
    least = model.least_size
    with pytest.raises(
        ValueError, match=rf"images of size \({least - 1}, 300\) received; needed: at least {least}²"
    ):
        model(torch.rand(1, 3, least - 1, 300))
    with pytest.raises(ValueError, match=r"needed: \(B, 3, H, W\)"):
        model(torch.rand(1, 1, 224, 224))
    with pytest.raises(ValueError, match=r"images of shape \(3, 224, 224\) received"):
        model(torch.rand(3, 224, 224))
    assert model.eval()(torch.rand(1, 3, least, least + 3)).shape == (1, 5)


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_can_be_traced(name: str) -> None:
    model = make(name, operator="tanh-cos").eval()
    x = images(name)
    traced = _trace(model)
    torch.testing.assert_close(traced(x), model(x))
    with pytest.raises(ValueError, match="needed"):
        traced(torch.rand(1, 4, 224, 224))


def _trace(model):
    class Tracer(torch.fx.Tracer):
        def is_leaf_module(self, m, name):
            return isinstance(m, nn.Conv2d) or not list(m.children())

    return torch.fx.GraphModule(model, Tracer().trace(model))


@pytest.mark.parametrize("name", NETWORKS)
def test_every_batch_norm_is_fused(name: str) -> None:
    """But those behind plain shortcuts."""
    model = make(name, operator="ball-cos").eval()
    fused = dn.fuse(model)
    left = [n for n, m in fused.named_modules() if isinstance(m, nn.BatchNorm2d)]
    assert all("shortcut" in n for n in left)
    x = images(name)
    torch.testing.assert_close(fused(x), model(x), atol=1e-4, rtol=1e-4)


def test_options_that_are_none() -> None:
    with pytest.raises(ValueError, match=r"padding = 'same' received"):
        make("resnet18", padding="same")
    with pytest.raises(ValueError, match=r"width = 0\.001 received"):
        make("googlenet", width=0.001)
    with pytest.raises(TypeError, match="depth"):
        make("vgg11", depth=3)


def test_recipes_name_the_network_and_the_options_given() -> None:
    model = dn.models.cifar_vgg11(num_classes=3, operator="tanh-cos", width=0.125)
    arguments = {"num_classes": 3, "operator": "tanh-cos", "width": 0.125}
    assert model.recipe == {"model": "cifar_vgg11", "arguments": arguments}


@pytest.mark.parametrize("name", NETWORKS)
def test_timm_creates_them(name: str) -> None:
    dn.register_timm()
    model = timm.create_model(name, num_classes=4, width=1 / 16, operator="tanh-cos")
    assert model(images(name)).shape == (2, 4)
    expected = 224 if name in LARGE else 32
    assert timm.data.resolve_data_config(model=model)["input_size"] == (3, expected, expected)
    maps = timm.create_model(name, width=1 / 16, features_only=True, out_indices=(1,))(images(name))
    assert len(maps) == 1
    theirs = timm.create_model("resnet18")
    assert type(theirs).__module__ == "timm.models.resnet"


@pytest.mark.parametrize("name", dn.list_models())
def test_timm_knows_the_size_of_image_that_a_network_is_for(name: str) -> None:
    with torch.device("meta"):
        own = dn.create_model(name, width=1 / 8).pretrained_cfg
    dn.register_timm()
    assert timm_registry.default_cfgs[name]["input_size"] == own["input_size"]


@pytest.mark.parametrize("name", [name for name in NETWORKS if "imagenet_vgg" not in name])
def test_dropout_stands_before_the_classifier(name: str) -> None:
    """In training features are dropped, in evaluation none."""
    model = make(name, drop_rate=0.75)
    x = torch.rand(64, model.num_features, 1, 1) + 1
    dropped = (model.train().forward_head(x, pre_logits=True) == 0).float().mean()
    kept = (model.eval().forward_head(x, pre_logits=True) == 0).float().mean()
    assert float(dropped) > float(kept) + 0.3


@pytest.mark.parametrize("name", ["imagenet_vgg11", "imagenet_vgg16"])
def test_dropout_of_large_vggs_stands_behind_their_hidden_layers_alone(name: str) -> None:
    model = make(name, drop_rate=0.75)
    assert [m.p for m in model.modules() if isinstance(m, nn.Dropout) and m.p] == [0.75, 0.75]
    assert [type(m) for m in model.hidden][2::3] == [nn.Dropout, nn.Dropout]
    seen = model.train().forward_head(torch.ones(64, model.num_features, 7, 7), pre_logits=True)
    kept = model.eval().forward_head(torch.ones(64, model.num_features, 7, 7), pre_logits=True)
    # One of four is kept, of those that the activation leaves; a second dropout would leave one of sixteen.
    assert (seen != 0).float().mean() / (kept != 0).float().mean() == pytest.approx(0.25, abs=0.1)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_new_classifier_has_the_type_of_the_network(name: str) -> None:
    model = make(name).double()
    model.reset_classifier(3)
    assert {p.dtype for p in model.parameters()} == {torch.float64}
    assert model.eval()(images(name, 1).double()).shape == (1, 3)


@pytest.mark.parametrize("name", NETWORKS)
def test_epsilon_of_batch_norms(name: str) -> None:
    norms = [m for m in make(name, bn_eps=0.125).modules() if isinstance(m, nn.BatchNorm2d)]
    assert norms
    assert {m.eps for m in norms} == {0.125}


def test_what_a_network_knows_of_itself_goes_before_timms_configuration() -> None:
    given = {"classifier": "theirs", "input_size": (3, 5, 5), "crop_pct": 0.5, "tag": "kept"}
    cfg = make("cnn9", pretrained_cfg=given, pretrained_cfg_overlay={"crop_pct": 0.75}).pretrained_cfg
    assert (cfg["classifier"], cfg["input_size"]) == ("head", (3, 32, 32))
    assert (cfg["crop_pct"], cfg["tag"]) == (0.75, "kept")


class Convolutions(TorchDispatchMode):
    """Counts convolutions, forward ones and those of the backward pass apart."""

    def __init__(self) -> None:
        super().__init__()
        self.counts = {"convolution": 0, "convolution_backward": 0}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        if name in self.counts:
            self.counts[name] += 1
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("batch_norm", [True, False])
def test_no_activation_costs_the_backward_pass_a_convolution(batch_norm: bool) -> None:
    """One in place right behind a convolution without a bias would: its output is lost."""
    counts = []
    for operator in ("conv", "tanh-cos"):
        model = make("cifar_vgg11", operator=operator, batch_norm=batch_norm)
        with Convolutions() as counted:
            model(images("cifar_vgg11")).sum().backward()
        counts.append(counted.counts)
    assert counts[0] == counts[1]
    assert counts[0]["convolution"] > 0


@pytest.mark.parametrize("name", ["tahn-cos", "plain", "conv2d"])
def test_where_conv_is_allowed_errors_name_it(name: str) -> None:
    with pytest.raises(ValueError, match=r"'conv' is plain convolution, .* 'dw', 'ddf'"):
        dn.create_model("cnn9", operator=name)
    with pytest.raises(ValueError) as layer:  # noqa: PT011
        dn.DecoupledConv2d(3, 4, 3, operator=name)
    assert "'conv'" not in str(layer.value)
