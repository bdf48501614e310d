"""What ``--model`` names, and which options go with it."""

from __future__ import annotations

import pytest
import timm
import torch
from foreign import TIMM, in_hub_cache, write_code
from torch import nn

import decoupled_nets as dn
from decoupled_nets import _code
from decoupled_nets.compare import CompareConfig
from decoupled_nets.models.sources import Weights, sources
from decoupled_nets.networks import Given, build, form_of, given_weights
from decoupled_nets.training import NetworkConfig, TrainConfig


def kernels(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in network.named_parameters() if p.dim() == 4}


def seeded(config: NetworkConfig, operator: str, in_chans: int = 3, **options) -> nn.Module:
    torch.manual_seed(3)
    return build(config, operator, 5, in_chans, **options)


@pytest.mark.parametrize("name", [TIMM, "torchvision:squeezenet1_1", "code"])
def test_every_operator_starts_from_the_same_weights(name, tmp_path):
    if name == "code":
        path = write_code(tmp_path)
        _code.import_code(path)
        name = f"{path}:small"
    config = NetworkConfig(model=name)
    plain = seeded(config, "conv").eval()
    assert not any(isinstance(m, dn.DecoupledConv2d) for m in plain.modules())
    assert plain(torch.rand(2, 3, 64, 64)).shape == (2, 5)
    converted = seeded(config, "tanh-cos")
    assert any(isinstance(m, dn.DecoupledConv2d) for m in converted.modules())
    ours, theirs = kernels(converted), kernels(plain)
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    # ... and as the library itself draws them.
    if name == TIMM:
        import timm

        torch.manual_seed(3)
        own = kernels(timm.create_model("test_resnet", num_classes=5))
        assert all(torch.equal(own[key], theirs[key]) for key in own)
    if "squeezenet" in name:
        return  # all its 3×3 convolutions change channels
    dynamic = seeded(config, "ddf-add")
    assert {m.combine for m in dynamic.modules() if isinstance(m, dn.DDF2d)} == {"add"}
    before = dict(plain.named_modules())
    kept = [n for n, m in dynamic.named_modules() if type(m) is type(before.get(n)) and hasattr(m, "weight")]
    assert kept
    assert all(torch.equal(dynamic.get_submodule(n).weight, before[n].weight) for n in kept)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("timm:resnet10", r"model timm:resnet10 received \(did you mean resnet10t\?\)"),
        ("timm:hf-hub:user/name", "needed: one of timm.list_models"),
        ("torchvision:resnet17", "unknown torchvision model 'resnet17'"),
        ("torchvision:fcn_resnet50", "unknown torchvision model 'fcn_resnet50'"),
        ("smp:unet:resnet18", "needed: --task segment"),
        ("cnn8", "unknown model 'cnn8'"),
        ("hub:cnn", "model 'hub:cnn' received; needed: one of our own, smp:ARCH:ENCODER, timm:NAME"),
    ],
)
def test_unknown_names(name, message):
    with pytest.raises(ValueError, match=message):
        build(NetworkConfig(model=name), "conv", 3, 3)


def test_classifiers_of_timm_classify_no_pixels():
    with pytest.raises(ValueError, match=r"a classifier; needed: .* smp:unet:tu-NAME"):
        build(NetworkConfig(model=TIMM), "conv", 3, 3, dense=True)


def test_adding_a_library_is_one_file():
    assert {"timm", "torchvision", "smp"} == set(sources())
    assert all(source.form.startswith(f"{name}:") for name, source in sources().items())


@pytest.mark.parametrize(("option", "value"), [("width", 0.5), ("batch_norm", False), ("relu", False)])
@pytest.mark.parametrize("kind", [TrainConfig, CompareConfig])
def test_options_that_others_do_not_have_are_refused(option, value, kind):
    with pytest.raises(
        ValueError, match=f"{option} = {value} received for model {TIMM}; needed: the default"
    ):
        kind.of(model=TIMM, **{option: value})
    assert kind.of(model=TIMM).network.width == 1.0
    assert getattr(kind.of(**{option: value}).network, option) == value


def test_the_command_of_a_comparison_can_be_repeated():
    assert CompareConfig.of(model=TIMM).command == f"decoupled compare --model {TIMM}"
    assert CompareConfig.of(task="segment", model="smp:unet:resnet18").command == (
        "decoupled compare --task segment --model smp:unet:resnet18"
    )
    assert CompareConfig().command == "decoupled compare"
    assert (
        CompareConfig.of(width=0.5, task="segment").command == "decoupled compare --task segment --width 0.5"
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"select": "layer1.*"}, r"select = 'layer1\.\*' received for model cnn9, which is built with its"),
        ({"pretrained": True}, "pretrained = True received for model cnn9; needed: a network of a library"),
        ({"pretrained": True, "weights": "x", "model": TIMM}, "pretrained = True and weights = 'x' received"),
        ({"pretrained": True, "model": "nets.py:small"}, "needed: a network of a library"),
    ],
)
def test_options_that_do_not_go_together(options, message):
    with pytest.raises(ValueError, match=message):
        TrainConfig.of(**options)


def test_select_radius_and_weighting_reach_the_conversion():
    config = NetworkConfig(
        model=TIMM, select="layer2.*,layer3.*,shortcuts,kernel_size=any", radius=2.0, weighting="linear"
    )
    network = seeded(config, "ball-cos")
    layers = {n: m for n, m in network.named_modules() if isinstance(m, dn.DecoupledConv2d)}
    assert {(m.radius, m.weighting) for m in layers.values()} == {(2.0, "linear")}
    assert {name.split(".")[0] for name in layers} == {"layer2", "layer3"}
    assert any("downsample" in name for name in layers)
    with pytest.raises(ValueError, match="has no layer that takes the operator 'ddf'"):
        build(NetworkConfig(model="timm:test_vit"), "ddf", 3, 3)


def test_depth_wise_filters_stand_in_our_own_networks_only():
    with pytest.raises(
        ValueError, match=f"operator 'dw' received for model {TIMM}; needed: 'conv', a decoupled"
    ):
        build(NetworkConfig(model=TIMM), "dw", 3, 3)
    with pytest.raises(ValueError, match="operator 'nothing' received"):
        build(NetworkConfig(model=TIMM), "nothing", 3, 3)


def test_grey_images():
    for name, channels in ((TIMM, 1), ("torchvision:squeezenet1_1", 3)):
        from decoupled_nets.networks import channels_of

        assert channels_of(NetworkConfig(model=name), 1) == channels
        assert channels_of(NetworkConfig(model=name), 3) == 3
        assert channels_of(NetworkConfig(model=name), 1, weights=Weights("w", {}, (0.5,) * 3)) == 3
        assert channels_of(NetworkConfig(model=name), 1, weights=Weights("w", {})) == channels


def test_code_is_called_only_when_its_file_was_imported(tmp_path):
    path = write_code(tmp_path)
    config = NetworkConfig(model=f"{path}:small")
    with pytest.raises(ValueError, match=r"which would be run; needed: --model .*nets\.py:small"):
        build(config, "conv", 3, 3)
    _code.import_code(path)
    assert build(config, "conv", 3, 1)(torch.rand(2, 1, 8, 8)).shape == (2, 3)
    with pytest.raises(ValueError, match=r"needed: a function of nets\.py, which has no large"):
        build(NetworkConfig(model=f"{path}:large"), "conv", 3, 3)
    with pytest.raises(ValueError, match=r"gives a NoneType; needed: an nn\.Module"):
        build(NetworkConfig(model=f"{path}:nothing"), "conv", 3, 3)


def test_a_file_of_the_same_content_elsewhere_will_do(tmp_path):
    path = write_code(tmp_path)
    digest = _code.digest_of_file(path)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    _code.import_code(path.rename(elsewhere / "mine.py"))
    assert build(NetworkConfig(model=f"{path}:small"), "conv", 3, 3, code=digest)
    with pytest.raises(ValueError, match="would be run"):
        build(NetworkConfig(model=f"{path}:small"), "conv", 3, 3, code="0" * 64)


@pytest.mark.parametrize("source", ["ours", "timm", "torchvision"])
def test_a_saved_folder_is_a_model(source, tmp_path):
    import timm
    import torchvision

    model, recipe = {
        "ours": (lambda: dn.create_model("cifar_vgg11", 7, width=1 / 16), None),
        "timm": (lambda: timm.create_model("test_resnet", num_classes=7), None),
        "torchvision": (
            lambda: torchvision.models.squeezenet1_1(num_classes=7),
            {"source": "torchvision", "model": "squeezenet1_1", "arguments": {"num_classes": 7}},
        ),
    }[source]
    folder = dn.save_pretrained(model().eval(), tmp_path / "saved", recipe=recipe)
    assert form_of(str(folder)) == "saved"
    network = build(NetworkConfig(model=str(folder)), "tanh-cos", 5, 3)
    assert network(torch.rand(2, 3, 64, 64)).shape == (2, 5)
    assert any(isinstance(m, dn.DecoupledConv2d) for m in network.modules())
    again = dn.save_pretrained(network.eval(), tmp_path / "again")
    x = torch.rand(2, 3, 64, 64)
    assert torch.equal(dn.from_pretrained(again)(x), network(x))


def kinds_of(network: nn.Module) -> set[str]:
    """What the convolutions larger than 1×1 are."""
    return {
        str(m.operator) if isinstance(m, dn.DecoupledConv2d) else "conv"
        for m in network.modules()
        if isinstance(m, nn.Conv2d) and max(m.kernel_size) > 1
    }


@pytest.mark.parametrize("made", ["built", "converted"])
@pytest.mark.parametrize("operator", ["conv", "ball-cos", "tanh-cos"])
def test_a_saved_decoupled_network_gets_the_operator_that_is_asked_for(made, operator, tmp_path):
    torch.manual_seed(1)
    if made == "built":
        model = dn.create_model("cnn9", 5, 3, width=1 / 16, operator="tanh-cos").eval()
    else:
        model = timm.create_model("test_resnet", num_classes=5).eval()
        dn.convert(model, "tanh-cos", radius=2.0)
    folder = dn.save_pretrained(model, tmp_path / "saved")
    config = NetworkConfig(model=str(folder))
    weights = given_weights(config)
    assert weights.operator == "tanh-cos"
    network = build(config, operator, 5, 3, given=(given := Given(weights))).eval()
    assert kinds_of(network) == {operator}
    assert kernels(network).keys() == kernels(model).keys()
    assert all(torch.equal(value, kernels(network)[name]) for name, value in kernels(model).items())
    x = torch.rand(2, 3, 32, 32)
    assert given.as_saved == given.own_operator == (operator == "tanh-cos")
    if operator == "tanh-cos":
        assert torch.equal(network(x), model(x))
    elif operator == "conv":
        dn.revert(model)
        assert torch.equal(network(x), model(x))
    else:
        assert given.loaded.missing == ()
        assert given.conversion.converted
    again = dn.save_pretrained(network, tmp_path / "again")
    assert torch.equal(dn.from_pretrained(again)(x), network(x))


@pytest.mark.parametrize("made", ["built", "converted"])
def test_saved_dynamic_filters_have_no_plain_kernels_to_go_back_to(made, tmp_path):
    if made == "built":
        model = dn.create_model("ddf_cifar_resnet26", 5, 3, width=1 / 16, operator="ddf-add").eval()
    else:
        model = timm.create_model("test_resnet", num_classes=5).eval()
        dn.convert(model, "ddf-add", mix_channels=True)
    config = NetworkConfig(model=str(dn.save_pretrained(model, tmp_path / "saved")))
    given = Given(given_weights(config))
    x = torch.rand(2, 3, 32, 32)
    assert torch.equal(build(config, "ddf-add", 5, 3, given=given).eval()(x), model(x))
    for operator in ("conv", "tanh-cos", "ddf"):
        with pytest.raises(ValueError, match=r"a network with ddf-add, which has no plain .*: 'ddf-add'"):
            build(config, operator, 5, 3, given=Given(given_weights(config)))


def test_a_saved_folder_beside_has_a_name_that_stays_one(tmp_path, monkeypatch):
    dn.save_pretrained(dn.create_model("cifar_vgg11", 7, width=1 / 16).eval(), tmp_path / "mine")
    monkeypatch.chdir(tmp_path)
    assert TrainConfig.of(model="mine").network.model == "./mine"
    with pytest.raises(FileNotFoundError, match=r"there is no folder \./yours"):
        build(NetworkConfig(model="./yours"), "conv", 3, 3)


def test_a_network_of_the_hub_comes_from_the_cache(tmp_path, monkeypatch):
    import json

    from safetensors.torch import load_file

    folder = dn.save_pretrained(dn.create_model("cifar_vgg11", 7, width=1 / 16).eval(), tmp_path / "saved")
    config = NetworkConfig(model="user/name")
    with pytest.raises(
        ValueError, match=r"user/name is no folder here, .* needed: a folder, or download=True"
    ):
        build(config, "conv", 5, 3)
    files = {
        "config.json": json.loads((folder / "config.json").read_text()),
        "model.safetensors": load_file(folder / "model.safetensors"),
    }
    in_hub_cache(tmp_path / "hub", "user/name", files, monkeypatch)
    assert build(config, "conv", 5, 3)(torch.rand(1, 3, 32, 32)).shape == (1, 5)
