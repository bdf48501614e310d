"""Networks that are saved and loaded: ours, timm's and torchvision's, converted and not."""

from __future__ import annotations

import inspect
import json
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from saved_networks import X, check_round_trip, randomized, small
from torch import nn
from torchvision import models

import decoupled_nets as dn
from decoupled_nets.models import PixelNetwork


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"operator": "tanh-cos", "batch_norm": False, "relu": False, "in_chans": 3},
        {"operator": dn.Operator("tanh", "sigmoid", k="learned"), "weighting": "linear"},
        {"operator": "seg-sqcos", "radius": dn.RelativeRadius(decay=0.9, zero_start=True)},
        {"operator": "seg-sqcos", "radius": dn.RelativeRadius(sync=False)},
        {"operator": dn.Operator("seg", beta=0.25), "radius": 0.5},
        {"operator": "test_root-cos", "radius": "learned", "features": 2},
        {
            "operator": dn.Operator(
                "spline", "power", start="seg-sqcos", constraints="bounded", lipschitz=2.0
            ),
            "radius": 3.0,
        },
    ],
)
def test_networks_of_ours(options, tmp_path: Path) -> None:
    model = randomized(dn.create_model("resnet32", 4, **{"width": 1 / 16, **options}))
    config = check_round_trip(model, tmp_path).recipe
    assert config["model"] == "cifar_resnet32"
    assert config["arguments"] == model.recipe["arguments"]


@pytest.mark.parametrize("convert", [False, True])
def test_features_of_networks(convert: bool, tmp_path: Path) -> None:
    for name in ("cifar_vgg11", "ddf_cifar_resnet26"):
        model = dn.create_model(name, width=1 / 16, features_only=True, out_indices=np.array([1, 3]))
        if convert:
            dn.convert(model, "ball-cos")
        check_features(randomized(model), tmp_path / name)


@pytest.mark.parametrize("kind", [None, "dict", "hook", "fx", "getter"])
def test_features_of_timm(kind: str | None, tmp_path: Path) -> None:
    """They know what they were made of, which classes they have or have not."""
    options = {} if kind is None else {"feature_cls": kind}
    model = timm.create_model("resnet10t", features_only=True, out_indices=(1, 2), **options)
    dn.convert(model, select="*conv2")
    check_features(randomized(model), tmp_path)
    arguments = json.loads((tmp_path / "config.json").read_text())["arguments"]
    assert arguments == {"in_chans": 3, "features_only": True, "out_indices": [1, 2], **options}


def check_features(model: nn.Module, folder: Path) -> None:
    dn.save_pretrained(model, folder)
    got, want = dn.from_pretrained(folder)(X), model(X)
    got, want = (list(maps.values()) if isinstance(maps, dict) else maps for maps in (got, want))
    assert len(got) == 2
    for ours, theirs in zip(got, want, strict=True):
        assert torch.equal(ours, theirs)


def test_numbers_of_numpy(tmp_path: Path) -> None:
    """They are written as numbers, in operators and radii, too."""
    f, i = np.float32, np.int64
    model = dn.create_model(
        "resnet32", i(4), i(3), width=f(1 / 16), features=i(2), batch_norm=np.bool_(False),
        operator=dn.Operator("seg", "sigmoid", beta=f(0.25), k=f(0.5)), radius=dn.RelativeRadius(f(0.5)),
    )  # fmt: skip
    check_round_trip(randomized(model), tmp_path / "built")
    model = dn.create_model("resnet18", 4, width=1 / 8)
    dn.convert(model, "ddf", select="stages.1.*", heads=i(2), gain=f(1.5), squeeze_ratio=f(0.5))
    dn.convert(model, dn.Operator("seg", beta=f(0.5)), select="stages.2.*", radius=f(0.5), eps=f(1e-3))
    check_round_trip(randomized(model), tmp_path / "converted")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_types(dtype: torch.dtype, tmp_path: Path) -> None:
    check_round_trip(small(operator="tanh-cos").to(dtype), tmp_path)


def test_normalisation_belongs_to_the_network(tmp_path: Path) -> None:
    inner = small(operator="tanh-cos")
    model = PixelNetwork(inner, [0.4, 0.5, 0.6], [0.2, 0.2, 0.3])
    check_round_trip(model.eval(), tmp_path)


def test_converted_networks(tmp_path: Path) -> None:
    model = dn.create_model("resnet18", 4, width=1 / 16)
    dn.convert(model, "tanh-cos", select=["stages.1", "stages.2"], weighting="linear")
    dn.convert(model, dn.Operator("seg", beta=0.25), select="stages.4.*", radius=0.5)
    check_round_trip(randomized(model), tmp_path / "plain")
    changes = json.loads((tmp_path / "plain" / "config.json").read_text())["converted"]
    assert [(c["operator"]["magnitude"], len(c["layers"])) for c in changes] == [("tanh", 8), ("seg", 4)]

    twin = dn.create_model("resnet18", 4, width=1 / 16, operator="tanh-cos")
    dn.revert(twin.stages[1])
    dn.revert(twin.stages[2])
    dn.convert(twin, "ball-cos", select="stages.2.*")
    check_round_trip(randomized(twin), tmp_path / "twin")
    assert len(json.loads((tmp_path / "twin" / "config.json").read_text())["reverted"]) == 4


def test_converted_models_of_timm(tmp_path: Path) -> None:
    model = timm.create_model("resnet18", num_classes=3, in_chans=3)
    dn.convert(model, "tanh-cos")
    check_round_trip(randomized(model), tmp_path)
    odd = timm.create_model("resnet18", num_classes=3, stem_type="deep")
    with pytest.raises(ValueError, match=r"not what its name and options build .*needed: recipe= with them"):
        dn.save_pretrained(odd, tmp_path)
    arguments = {"num_classes": 3, "stem_type": "deep"}
    recipe = {"source": "timm", "model": "resnet18", "arguments": arguments}
    check_round_trip(odd.eval(), tmp_path, recipe=recipe)


@pytest.mark.parametrize("name", ["squeezenet1_1", "googlenet"])
def test_converted_models_of_torchvision(name: str, tmp_path: Path) -> None:
    options = {"aux_logits": False, "init_weights": False} if name == "googlenet" else {}
    model = models.get_model(name, num_classes=3, **options)
    with pytest.raises(ValueError, match=r"unknown origin received.*recipe="):
        dn.save_pretrained(model, tmp_path)
    dn.convert(model, "ball-cos")
    recipe = {"source": "torchvision", "model": name, "arguments": {"num_classes": 3, **options}}
    check_round_trip(randomized(model), tmp_path, recipe=recipe)


def test_compiled_parts(tmp_path: Path) -> None:
    """torch.compile puts a module of its own around what it is given, and a prefix before its names."""
    model = randomized(small(operator="tanh-cos"))
    expected, names = model(X), list(model.state_dict())
    parts = dict(model.named_children())
    for name, part in parts.items():
        setattr(model, name, torch.compile(part, backend="eager"))
    compiled = dict(model.named_children())
    again = dn.from_pretrained(dn.save_pretrained(torch.compile(model, backend="eager"), tmp_path))
    assert list(again.state_dict()) == names
    assert torch.equal(again(X), expected)
    assert dict(model.named_children()) == compiled
    assert not set(compiled.values()) & set(parts.values())


def test_calibrated_layers(tmp_path: Path) -> None:
    model = small(operator="tanh-cos")
    for module in model.modules():
        if isinstance(module, dn.DecoupledConv2d):
            module.scale = torch.rand(module.out_channels)
    check_round_trip(model, tmp_path)


def test_dynamic_filters(tmp_path: Path) -> None:
    """With every option, so that none is forgotten."""
    options = {
        "heads": 2, "squeeze_ratio": 0.5, "combine": "add", "norm": "filter", "branches": "spatial",
        "gain": 1.25, "init": "random",
    }  # fmt: skip
    beyond = {"self", "channels", "kernel_size", "stride", "dilation", "bias", "device", "dtype"}
    assert set(options) == set(inspect.signature(dn.DDF2d.__init__).parameters) - beyond
    for name, value in options.items():
        model = dn.create_model("resnet18", 4, width=1 / 8)
        dn.convert(model, "ddf", mix_channels=True, select="stages.1.*", **{name: value})
        check_round_trip(randomized(model), tmp_path / name)
        change = json.loads((tmp_path / name / "config.json").read_text())["converted"][0]
        assert change[name] == value


def test_dynamic_filters_in_the_place_of_biased_and_of_dense_layers(tmp_path: Path) -> None:
    model = timm.create_model("test_convnext", num_classes=4)
    chosen = lambda name, module: getattr(module, "kernel_size", 0) == (7, 7)  # noqa: E731
    assert dn.convert(model, "ddf", select=chosen).converted
    check_round_trip(randomized(model), tmp_path / "depthwise")
    model = dn.create_model("resnet18", 4, width=1 / 8)
    assert dn.convert(model, "ddf", mix_channels="dense", select="stages.1.*").converted
    check_round_trip(randomized(model), tmp_path / "dense")


def test_shared_layers(tmp_path: Path) -> None:
    model = small()
    dn.save_pretrained(model, tmp_path)
    model.stages[0][0][0].weight.data = model.stages[0][0][0].weight.data[:1].expand(4, 3, 3, 3)
    dn.save_pretrained(model, tmp_path)
    assert torch.equal(dn.from_pretrained(tmp_path)(X), model(X))


def test_new_classifiers(tmp_path: Path) -> None:
    for name in ("cifar_vgg11", "cifar_resnet32", "cnn9"):
        model = dn.create_model(name, 4, width=1 / 16).to(torch.float64)
        model.reset_classifier(7, "avg")
        assert model.get_classifier().weight.dtype == torch.float64
        again = check_round_trip(randomized(model), tmp_path / name)
        assert again.num_classes == again.recipe["arguments"]["num_classes"] == 7
        with pytest.raises(ValueError, match="global_pool = 'max' received"):
            model.reset_classifier(7, "max")
        with pytest.raises(ValueError, match="num_classes = -1 received"):
            model.reset_classifier(-1)


def test_new_classifiers_of_residual_networks(tmp_path: Path) -> None:
    model = dn.create_model("ddf_cifar_resnet26", 4, width=1 / 16, features=2)
    model.reset_classifier(7)
    check_round_trip(randomized(model), tmp_path / "classes")
    model.reset_classifier(5, "max")
    again = check_round_trip(randomized(model), tmp_path / "pooling")
    assert again.recipe["arguments"] == {**model.recipe["arguments"], "num_classes": 5, "global_pool": "max"}
    model.reset_classifier(0, "")
    assert check_round_trip(randomized(model), tmp_path / "map").neck_features is None


def test_compiled_networks_are_saved_without_the_compiler(tmp_path: Path) -> None:
    model = small(operator="tanh-cos")
    dn.save_pretrained(torch.compile(model, backend="eager"), tmp_path)
    assert torch.equal(dn.from_pretrained(tmp_path)(X), model(X))


@pytest.mark.long
def test_video_networks_of_torchvision(tmp_path: Path) -> None:
    """Clips to compare them on are made, as images are."""
    model = models.video.mc3_18(weights=None, num_classes=3)
    dn.convert(model, "tanh-cos", select="layer1.*")
    recipe = {"source": "torchvision", "model": "mc3_18", "arguments": {"num_classes": 3}}
    dn.save_pretrained(randomized(model), tmp_path, recipe=recipe)
    clip = torch.rand(1, 3, 4, 16, 16)
    assert torch.equal(dn.from_pretrained(tmp_path)(clip), model(clip))
