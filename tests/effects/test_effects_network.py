"""Every option of the network, by the network that is built."""

from __future__ import annotations

import pytest
import timm
import torch
from proofs import proves
from small import classify, images
from torch import nn

import decoupled_nets as dn
from decoupled_nets import DDF2d, DecoupledConv2d, _code, unregister_magnitude
from decoupled_nets.cli import train as command
from decoupled_nets.cli.main import main
from decoupled_nets.compare import CompareConfig
from decoupled_nets.training import NetworkConfig, TrainConfig
from decoupled_nets.training.network import build_network
from decoupled_nets.training.start import begin


def built(**options) -> nn.Module:
    config = TrainConfig.of(**{"width": 1 / 16, **options})
    return build_network(classify(), config.network, config.operator, images()).network


def layers(network: nn.Module, kind: type) -> list:
    return [module for module in network.modules() if isinstance(module, kind)]


@proves(NetworkConfig, "model")
def test_model():
    assert type(built()).__name__ == "CNN9"
    assert type(built(model="cifar_vgg11")).__name__ == "VGG"


@proves(NetworkConfig, "width")
@pytest.mark.parametrize("width", [1 / 16, 1 / 8])
def test_width(width):
    assert layers(built(width=width), nn.Conv2d)[0].out_channels == 128 * width


@proves(NetworkConfig, "batch_norm")
def test_batch_norm():
    assert len(layers(built(), nn.BatchNorm2d)) == 9
    assert not layers(built(batch_norm=False), nn.BatchNorm2d)


@proves(NetworkConfig, "relu")
def test_relu():
    assert len(layers(built(), nn.ReLU)) == 9
    assert not layers(built(relu=False), nn.ReLU)


@proves(NetworkConfig, "features")
def test_features():
    assert layers(built(), nn.Linear)[-1].in_features == 256 / 16
    assert layers(built(features=2), nn.Linear)[-1].in_features == 2
    refused = {"timm:resnet18": "only our own networks", "unet": "no layer before a classifier"}
    for model, said in refused.items():
        with pytest.raises(ValueError, match=f"features = 2 received for model {model}.*{said}"):
            TrainConfig.of(task="segment" if model == "unet" else "classify", model=model, features=2)
    with pytest.raises(ValueError, match="features = 0 received; needed: at least 1"):
        NetworkConfig(features=0)


@proves(NetworkConfig, "radius")
def test_radius():
    relative, learned, number = (
        layers(built(radius=radius), DecoupledConv2d)[1] for radius in ("relative", "learned", 0.5)
    )
    assert relative.relative is not None
    assert isinstance(relative.radius, nn.Parameter)
    assert learned.relative is None
    assert isinstance(learned.radius, nn.Parameter)
    assert number.radius == 0.5
    x, outputs = torch.rand(1, 3, 32, 32), []
    for radius in (0.5, 5.0):
        torch.manual_seed(0)
        with torch.no_grad():
            outputs.append(built(radius=radius).eval()(x))
    assert not torch.equal(*outputs)


@proves(NetworkConfig, "weighting")
@pytest.mark.parametrize("weighting", [None, "linear", "product", "separate"])
def test_weighting(weighting):
    layer = layers(built(weighting=weighting), DecoupledConv2d)[1].eval()
    x = torch.rand(1, layer.in_channels, 8, 8)
    with torch.no_grad():
        before = layer(x)
        layer.weight.mul_(2)
        ratio = float(layer(x).norm() / before.norm())
    assert ratio == pytest.approx(1, abs=1e-3) if weighting is None else ratio > 1.05


def hidden(network: nn.Module) -> list[int]:
    """Hidden channels of the channel branches."""
    return [layer.channel_branch[1].out_channels for layer in layers(network, DDF2d)]


@proves(NetworkConfig, "squeeze_ratio")
@pytest.mark.parametrize(
    "options",
    [
        {"model": "ddf_cifar_resnet26", "width": 1 / 4, "operator": "ddf"},
        {"model": "ddf_cifar_resnet26", "width": 1 / 4, "operator": "ddf-paper"},
        {"model": "timm:test_resnet", "width": 1, "operator": "ddf"},  # converted
    ],
)
def test_squeeze_ratio(options):
    usual, wide = built(**options), built(**options, squeeze_ratio=0.5)
    channels = [layer.channels for layer in layers(wide, DDF2d)]
    assert max(channels) >= 32
    assert hidden(usual) == [max(1, int(0.2 * c)) for c in channels]
    assert hidden(wide) == [max(1, c // 2) for c in channels]


def test_a_squeeze_ratio_is_refused_where_nothing_is_squeezed(tmp_path):
    for operator in ("conv", "tanh-cos", "dw", "ddf-spatial"):
        options = {"model": "ddf_cifar_resnet26", "squeeze_ratio": 0.3}
        with pytest.raises(ValueError, match=f"squeeze_ratio = 0.3 received for {operator}; needed: dynamic"):
            TrainConfig.of(**options, operator=operator)
    with pytest.raises(ValueError, match=r"squeeze_ratio = 0\.3 received for conv, log-cos; needed: dynamic"):
        CompareConfig.of(squeeze_ratio=0.3, operators="conv,log-cos")
    with pytest.raises(ValueError, match=r"squeeze_ratio = 0\.3 received for conv"):
        CompareConfig.of(variants="a: operator=conv squeeze_ratio=0.3; b: operator=conv")
    with pytest.raises(ValueError, match="squeeze_ratio = 0 received; needed: a positive number"):
        NetworkConfig(squeeze_ratio=0)
    dn.save_pretrained(dn.create_model("ddf_cifar_resnet26", width=1 / 16), tmp_path)
    with pytest.raises(ValueError, match="which was saved with ddf; needed: none"):
        built(model=str(tmp_path), width=1, operator="ddf", squeeze_ratio=0.3)


def test_a_comparison_squeezes_those_that_have_something_to_squeeze():
    config = CompareConfig.of(model="ddf_cifar_resnet26", operators="conv,ddf", squeeze_ratio=0.3)
    ratios = [config.run(name, 0).network.squeeze_ratio for name in config.names]
    assert ratios == [None, 0.3]


@proves(TrainConfig, "operator")
def test_operator():
    assert str(layers(built(), DecoupledConv2d)[0].operator) == "tanh-cos"
    assert str(layers(built(operator="ball-sqcos"), DecoupledConv2d)[0].operator) == "ball-sqcos"
    assert not layers(built(operator="conv"), DecoupledConv2d)
    held = layers(built(operator="spline-cos+monotone+groups=2"), DecoupledConv2d)[0]
    assert held.h_parameters.shape == (2, 16)
    size = torch.linspace(0.01, 4, 50)[:, None]
    with torch.no_grad():
        held.h_parameters.fill_(-1.0)
        assert (held.h(size, 1.0) == 0).all()
    assert TrainConfig.of(model="ddf_mul_resnet50").operator == "ddf"


@proves(NetworkConfig, "plugin")
def test_plugin(tmp_path, monkeypatch):
    path = tmp_path / "mine.py"
    path.write_text(
        "import decoupled_nets as dn\n"
        "dn.register_magnitude('of_mine', lambda norm, radius, alpha, beta: alpha * norm / radius)\n"
    )
    seen = []
    monkeypatch.setattr(
        command, "train", lambda config, *args, **more: seen.append(built(operator=config.operator))
    )
    arguments = ["train", "--operator", "of_mine-cos", "--out", str(tmp_path / "run")]
    assert main(arguments) == 2
    try:
        with pytest.raises(AttributeError):  # of the task that is not trained
            main([*arguments, "--plugin", str(path)])
    finally:
        unregister_magnitude("of_mine")
    assert str(layers(seen[0], DecoupledConv2d)[0].operator) == "of_mine-cos"


def begun(**options):
    config = TrainConfig.of(**{"model": "timm:test_resnet", **options})
    torch.manual_seed(0)
    return begin(classify(), config, images())


@proves(NetworkConfig, "select")
def test_select():
    names = {
        select: {
            n.split(".")[0] for n, m in begun(select=select).network.network.named_modules() if is_one(m)
        }
        for select in (None, "layer2.*", "stages=3,stages=4")
    }
    assert names["layer2.*"] == {"layer2"}
    assert names["stages=3,stages=4"] == {"layer3", "layer4"}
    assert names[None] > names["layer2.*"] | names["stages=3,stages=4"]


def is_one(module: nn.Module) -> bool:
    return isinstance(module, DecoupledConv2d)


@proves(NetworkConfig, "weights")
def test_weights(tmp_path):
    torch.manual_seed(7)
    state = timm.create_model("test_resnet", num_classes=4).state_dict()
    torch.save(state, tmp_path / "w.pth")
    loaded, new = (begun(weights=path).network.network for path in (str(tmp_path / "w.pth"), None))
    assert torch.equal(loaded.layer1[0].conv1.weight, state["layer1.0.conv1.weight"])
    assert not torch.equal(new.layer1[0].conv1.weight, state["layer1.0.conv1.weight"])


@proves(NetworkConfig, "pretrained")
def test_pretrained(monkeypatch):
    """timm is asked for its weights; tests/networks has them in its cache."""
    made, asked = timm.create_model, []
    torch.manual_seed(7)
    own = made("test_resnet")

    def create(name, pretrained=False, **options):
        asked.append(pretrained)
        return own if pretrained else made(name, **options)

    monkeypatch.setattr(timm, "create_model", create)
    network = begun(pretrained=True, operator="conv").network
    assert asked.count(True) == 1
    assert torch.equal(network.network.layer1[0].conv1.weight, own.layer1[0].conv1.weight)
    assert network.normalize.mean.flatten().tolist() == [0.5] * 3
    assert not torch.equal(begun(operator="conv").network.normalize.mean, network.normalize.mean)


@proves(NetworkConfig, "start")
def test_start():
    calibrated, converted, usual = (begun(start=start) for start in ("calibrated", "converted", None))
    assert calibrated.start["how"] == "calibrated"
    assert converted.start["how"] == usual.start["how"] == "converted"
    scales = [
        [m.scale is not None for m in one.network.modules() if is_one(m)] for one in (calibrated, converted)
    ]
    assert all(scales[0])
    assert not any(scales[1])


@proves(NetworkConfig, "model")
def test_code_is_run_only_if_the_command_line_names_it(tmp_path, monkeypatch, capsys):
    path = tmp_path / "nets.py"
    path.write_text(
        f"import pathlib\npathlib.Path({str(tmp_path / 'ran')!r}).touch()\n"
        "from torch import nn\n"
        "def small(num_classes, in_chans):\n"
        "    return nn.Sequential(nn.Conv2d(in_chans, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(),\n"
        "                         nn.Linear(4, num_classes))\n"
    )
    options = tmp_path / "options.yaml"
    options.write_text(f"model: {path}:small\n")
    other = tmp_path / "other.py"
    other.write_text("")
    small = ["--data", "synthetic", "--train-size", "16", "--val-size", "8", "--test-size", "8"]
    train = ["train", "--epochs", "1", "--operator", "conv", "--out", str(tmp_path / "run"), *small]
    refusals = (
        [*train, "--config", str(options)],
        # ... nor if it names another, which the file then replaces
        [*train, "--model", f"{other}:small", "--config", str(options)],
        [*train, f"--model={other}:small", "--config", str(options)],
        ["compare", "--config", str(options), "--out", str(tmp_path / "compare"), *small],
    )
    for argv in refusals:
        assert main(argv) == 2
        assert (
            f"names the model '{path}:small', which would be run; needed: --model" in capsys.readouterr().err
        )
    assert not (tmp_path / "ran").exists()
    assert main([*train, "--model", f"{path}:small"]) == 0
    assert (tmp_path / "ran").exists()
    assert main(["train", "--resume", "--out", str(tmp_path / "run")]) == 2
    assert main(["train", "--resume", "--out", str(tmp_path / "run"), "--model", f"{path}:small"]) == 0
    checkpoint, file = str(tmp_path / "run" / "best.ckpt"), str(tmp_path / "net.pt2")
    monkeypatch.setattr(_code, "_imported", {})
    export = ["export", checkpoint, "--format", "pt2", "--out", file, "--no-dynamic-size"]
    assert main(export) == 2
    assert "--plugin nets.py on one that reads its checkpoint" in capsys.readouterr().err
    assert main([*export, "--plugin", str(path)]) == 0
    path.write_text(path.read_text() + "# changed\n")
    assert main(["train", "--resume", "--out", str(tmp_path / "run"), "--model", f"{path}:small"]) == 2
    assert "model: its code is not what it was then" in capsys.readouterr().err
