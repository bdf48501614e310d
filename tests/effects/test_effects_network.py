"""Every option of the network, by the network that is built."""

from __future__ import annotations

import pytest
import torch
from proofs import proves
from small import classify, images
from torch import nn

from decoupled_nets import DecoupledConv2d, unregister_magnitude
from decoupled_nets.cli import train as command
from decoupled_nets.cli.main import main
from decoupled_nets.training import NetworkConfig, TrainConfig
from decoupled_nets.training.network import build_network


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


@proves(TrainConfig, "operator")
def test_operator():
    assert str(layers(built(), DecoupledConv2d)[0].operator) == "tanh-cos"
    assert str(layers(built(operator="ball-sqcos"), DecoupledConv2d)[0].operator) == "ball-sqcos"
    assert not layers(built(operator="conv"), DecoupledConv2d)
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
