"""Layers and weight counts: of the released code where it gives them, else of the networks' own sources."""

from __future__ import annotations

import pytest
import torch
import torchvision
from torch import nn

import decoupled_nets as dn


def on_meta(name: str, **options) -> nn.Module:
    with torch.device("meta"):
        return dn.create_model(name, **options)


def convolutions(model: nn.Module) -> list[nn.Conv2d]:
    return [m for m in model.modules() if isinstance(m, nn.Conv2d)]


def weights(layers: list[nn.Conv2d]) -> int:
    return sum(layer.weight.numel() for layer in layers)


def parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def shapes(model: nn.Module) -> list[tuple[int, ...]]:
    """Of everything with weights, in order; a linear layer as the convolution that it is."""
    found = []
    for m in model.modules():
        if isinstance(m, nn.Conv2d | nn.Linear):
            found.append((m.weight.shape[0], m.weight[0].numel()))
    return found


@pytest.mark.parametrize("operator", ["conv", "tanh-cos"])
def test_resnet32(operator: str) -> None:
    model = on_meta("resnet32", num_classes=100, operator=operator)
    convs = [c for c in convolutions(model) if c.kernel_size == (3, 3)]
    assert len(convs) == 31
    assert weights(convs) == 16_591_392  # 16.6M by the spec
    assert all(isinstance(c, dn.DecoupledConv2d) == (operator != "conv") for c in convs)
    assert all(c.bias is None for c in convs)
    plain = [c for c in convolutions(model) if c.kernel_size == (1, 1)]
    assert [(type(c), c.in_channels, c.out_channels, c.stride) for c in plain] == [
        (nn.Conv2d, 96, 192, (2, 2)), (nn.Conv2d, 192, 384, (2, 2))
    ]  # fmt: skip
    assert not any(isinstance(m, nn.ReLU) for m in model.stages[0])
    assert sum(isinstance(m, nn.ReLU) for m in model.modules()) == 30
    assert type(model.head) is nn.Linear
    assert {m.eps for m in model.modules() if isinstance(m, nn.BatchNorm2d)} == {1e-3}


@pytest.mark.parametrize("operator", ["conv", "tanh-cos"])
def test_modified_resnet18(operator: str) -> None:
    model = on_meta("modified_resnet18", operator=operator)
    convs = convolutions(model)
    assert len(convs) == 18
    assert weights(convs) == 41_896_320  # 41.9M by the spec
    assert all(isinstance(c, dn.DecoupledConv2d) == (operator != "conv") for c in convs)
    assert [c.out_channels for c in convs] == [128] * 3 + [256] * 5 + [512] * 7 + [1024] * 3
    assert [i for i, c in enumerate(convs) if c.stride == (2, 2)] == [0, 3, 8, 15]
    slopes = [m for m in model.modules() if isinstance(m, nn.PReLU)]
    assert len(slopes) == 18 - 7
    assert [m.num_parameters for m in slopes] == [128] * 2 + [256] * 3 + [512] * 4 + [1024] * 2
    assert all(
        not list(m.second[-1].parameters()) or isinstance(m.second[-1], nn.BatchNorm2d) for m in units(model)
    )
    assert all(len(m.activation) == 0 and isinstance(m.shortcut, nn.Identity) for m in units(model))
    assert not any(isinstance(m, nn.ReLU) for m in model.modules())


def units(model: nn.Module) -> list:
    return [m for m in model.modules() if type(m).__name__ == "Unit"]


def test_slopes_start_at_zero() -> None:
    model = dn.create_model("modified_resnet18", width=1 / 32)
    assert all(not m.weight.any() for m in model.modules() if isinstance(m, nn.PReLU))


@pytest.mark.parametrize("name", ["vgg11", "vgg16"])
@pytest.mark.parametrize("batch_norm", [False, True])
def test_vgg_is_torchvision_s(name: str, batch_norm: bool) -> None:
    models = torchvision.models
    ours = on_meta(name, operator="tanh-cos", batch_norm=batch_norm)
    with torch.device("meta"):
        theirs = models.get_model(f"{name}_bn" if batch_norm else name, init_weights=False)
    assert shapes(ours) == shapes(theirs)
    radii = sum(m.radius.numel() for m in ours.modules() if isinstance(m, dn.DecoupledConv2d))
    # Theirs has biases in front of BatchNorm: as many as ours has radii.
    assert parameters(ours) == parameters(theirs) + (0 if batch_norm else radii)
    assert sum(isinstance(m, dn.DecoupledConv2d) for m in ours.modules()) == {"vgg11": 8, "vgg16": 13}[name]


def test_resnet18_is_torchvision_s() -> None:
    models = torchvision.models
    ours = dn.create_model("resnet18", num_classes=10).eval()
    theirs = models.resnet18(num_classes=10).eval()
    assert parameters(ours) == parameters(theirs)
    mine, other = ours.state_dict(), theirs.state_dict()
    theirs.load_state_dict(dict(zip(other, mine.values(), strict=True)))
    x = torch.rand(2, 3, 64, 64)
    torch.testing.assert_close(ours(x), theirs(x), atol=1e-4, rtol=1e-4)
    twin = on_meta("resnet18", operator="tanh-cos")
    plain = [c for c in convolutions(twin) if not isinstance(c, dn.DecoupledConv2d)]
    assert [c.kernel_size for c in plain] == [(1, 1)] * 3


def test_googlenet() -> None:
    plain = on_meta("googlenet", batch_norm=False)
    assert parameters(plain) == 6_998_552  # of Caffe's model without auxiliary classifiers
    twin = on_meta("googlenet", operator="tanh-cos")
    assert sum(isinstance(m, dn.DecoupledConv2d) for m in twin.modules()) == len(convolutions(twin)) == 57
    models = torchvision.models
    with torch.device("meta"):
        theirs = models.googlenet(aux_logits=False, init_weights=False)
    # torchvision's 5×5 convolutions are 3×3; with theirs 5×5 the two are one network.
    fives = [c for c in convolutions(twin) if c.kernel_size == (5, 5)]
    assert len(fives) == 9
    assert weights(convolutions(twin)) - weights(fives) * 16 // 25 == weights(convolutions(theirs))


def test_small_networks() -> None:
    assert len(convolutions(on_meta("cifar_vgg11"))) == 8
    vgg = on_meta("cifar_vgg16", num_classes=10)
    assert len(convolutions(vgg)) == 13
    assert parameters(vgg) == 14_724_042
    assert len(convolutions(on_meta("cifar_googlenet"))) == 1 + 9 * 6


def test_what_is_scaled_without_batch_norm() -> None:
    vgg = dn.create_model("cifar_vgg11", operator="sphere-cos", batch_norm=False, width=0.125)
    alphas = [c.operator.alpha for c in convolutions(vgg)]
    assert alphas[:-1] == [1.0] * 7
    assert alphas[-1] == pytest.approx((9 * 64) ** 0.5, rel=0.02)
    resnet = dn.create_model("resnet18", operator="sphere-cos", batch_norm=False, width=0.125)
    assert all(u.first[0].operator.alpha == 1.0 and u.second[0].operator.alpha > 5 for u in units(resnet))
    google = dn.create_model("cifar_googlenet", operator="sphere-cos", batch_norm=False, width=0.125)
    scaled = [c for c in convolutions(google) if c.operator.alpha > 1]
    assert len(scaled) == 4
    assert sum(c.out_channels for c in scaled) == google.num_features
