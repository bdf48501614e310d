"""CNN-9 and the registry."""

import pytest
import torch
from torch import nn

import decoupled_nets as dn
from decoupled_nets.models import Convolution, Normalize
from decoupled_nets.ops.decoupled.angle import angles
from decoupled_nets.ops.decoupled.magnitude import magnitudes


def test_layers_are_those_of_the_spec() -> None:
    model = dn.create_model("cnn9", num_classes=100)
    convs = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    assert [(c.in_channels, c.out_channels, c.kernel_size[0]) for c in convs] == [
        (3, 128, 3), (128, 128, 3), (128, 128, 3),
        (128, 192, 3), (192, 192, 3), (192, 192, 3),
        (192, 256, 3), (256, 256, 3), (256, 256, 3),
        (256, 256, 4),
    ]  # fmt: skip
    assert sum(isinstance(m, nn.BatchNorm2d) for m in model.modules()) == 9
    assert sum(isinstance(m, nn.ReLU) for m in model.modules()) == 9
    assert model.head.in_features == 256
    assert model.head.out_features == 100
    assert model.last.padding == (0, 0)


@pytest.mark.parametrize("magnitude", list(magnitudes))
def test_the_twin_starts_from_the_same_weights(magnitude: str) -> None:
    torch.manual_seed(0)
    plain = dn.create_model("cnn9", num_classes=10, width=0.125)
    torch.manual_seed(0)
    twin = dn.create_model("cnn9", num_classes=10, width=0.125, operator=f"{magnitude}-cos")
    theirs = twin.state_dict()
    assert all(torch.equal(value, theirs[key]) for key, value in plain.state_dict().items())
    assert sum(isinstance(m, dn.DecoupledConv2d) for m in twin.modules()) == 10
    x = torch.rand(2, 3, 32, 32)
    assert twin(x).isfinite().all()
    twin(x).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in twin.parameters())


@pytest.mark.parametrize("size", [(25, 25), (28, 28), (32, 32), (33, 47), (64, 64)])
@pytest.mark.parametrize("in_chans", [1, 3])
def test_sizes(size: tuple[int, int], in_chans: int) -> None:
    model = dn.create_model("cnn9", 7, in_chans, operator="tanh-cos", width=0.0625, relu=False)
    assert model(torch.rand(2, in_chans, *size)).shape == (2, 7)


def test_options() -> None:
    model = dn.create_model(
        "cnn9", 10, operator="tanh-cos", radius="learned", weighting="linear", batch_norm=False, relu=False,
        features=2, width=0.25,
    )  # fmt: skip
    layers = [m for m in model.modules() if isinstance(m, dn.DecoupledConv2d)]
    assert all(m.weighting == "linear" and m.relative is None and m.bias is not None for m in layers)
    assert not any(isinstance(m, nn.BatchNorm2d | nn.ReLU) for m in model.modules())
    features = model.forward_features(torch.rand(3, 3, 40, 64))
    assert features.shape == (3, 2, 2, 5)
    torch.testing.assert_close(model.forward_head(features, pre_logits=True), features.mean((2, 3)))


def test_options_of_blocks() -> None:
    model = dn.create_model("cnn9", 10, width=0.0625, activation="prelu", bn_eps=1e-3)
    assert sum(isinstance(m, nn.PReLU) for m in model.modules()) == 9
    assert not any(isinstance(m, nn.ReLU) for m in model.modules())
    assert {m.eps for m in model.modules() if isinstance(m, nn.BatchNorm2d)} == {1e-3}
    x = torch.rand(2, 3, 29, 33)
    torch.manual_seed(0)
    plain = dn.create_model("cnn9", 10, width=0.0625).eval()
    torch.manual_seed(0)
    assert torch.equal(dn.create_model("cnn9", 10, width=0.0625, padding="same_tf").eval()(x), plain(x))
    for options in ({"activation": "gelu"}, {"padding": "valid"}, {"num_classes": -1}):
        for name in ("cnn9", "cifar_vgg11"):
            with pytest.raises(ValueError, match=f"{next(iter(options))} = .* received"):
                dn.create_model(name, **{"width": 0.0625, **options})


def test_classifier() -> None:
    model = dn.create_model("cnn9", 0, width=0.125, drop_rate=0.5)
    x = torch.rand(2, 3, 32, 32)
    assert model.eval()(x).shape == (2, 32)
    model.reset_classifier(5)
    assert model.get_classifier().out_features == model.num_classes == 5
    assert torch.equal(model(x), model(x))
    model.train()
    assert not torch.equal(model(x), model(x))


@pytest.mark.parametrize("magnitude", list(magnitudes))
@pytest.mark.parametrize("angle", list(angles))
@pytest.mark.filterwarnings("ignore:radius = 'learned' is ignored")
def test_responses_before_a_batch_norm_start_with_unit_variance(magnitude: str, angle: str) -> None:
    for radius in ("relative", "learned", 5.0) if magnitudes[magnitude].uses_radius else ("relative",):
        operator = Convolution(f"{magnitude}-{angle}", radius).unit_variance(9 * 16)
        layer = operator(16, 64, 3, bias=False)
        assert layer(torch.randn(8, 16, 12, 12)).std().item() == pytest.approx(1.0, abs=0.15), radius


def test_where_constants_are_scaled() -> None:
    model = dn.create_model("cnn9", 10, operator="sphere-cos")
    assert model.last.operator.alpha == pytest.approx(64.0, rel=0.01)  # sqrt(16 * 256)
    assert model.stages[1][3].operator.alpha == pytest.approx((9 * 192) ** 0.5, rel=0.01)
    bare = dn.create_model("cnn9", 10, operator="sphere-cos", batch_norm=False)
    assert bare.last.operator.alpha == pytest.approx(64.0, rel=0.01)
    assert bare.stages[1][2].operator.alpha == 1.0
    linear = dn.create_model("cnn9", 10, operator="linear-cos")
    assert linear.stages[1][3].operator.alpha == pytest.approx(1.0, rel=0.01)


@torch.no_grad()
@pytest.mark.parametrize("operator", ["conv", "tanh-cos", "tanh-sqcos"])
def test_batch_norm_statistics_settle_as_soon_as_the_plain_ones(operator: str) -> None:
    """A running variance starts at 1; a response far below it would be lost in evaluation."""
    model = dn.create_model("cnn9", 10, operator=operator, width=0.125)
    x = torch.rand(32, 3, 32, 32)
    for _ in range(60):
        trained = model(x)
    gap = (model.eval()(x) - trained).std() / trained.std()
    assert gap.item() < 0.1


def test_errors() -> None:
    with pytest.raises(ValueError, match=r"unknown model 'cnn8' \(did you mean 'cnn9'\?\)"):
        dn.create_model("cnn8")
    with pytest.raises(ValueError, match=r"images of size \(24, 30\) received; needed: at least 25²"):
        dn.create_model("cnn9", 10, width=0.1)(torch.rand(1, 3, 24, 30))
    with pytest.raises(ValueError, match=r"width = 0\.001"):
        dn.create_model("cnn9", width=0.001)
    with pytest.raises(ValueError, match="unknown magnitude"):
        Convolution("tan-cos")


def test_list_models_takes_a_pattern() -> None:
    assert "cnn9" in dn.list_models()
    assert dn.list_models("no-such-*") == []


def test_normalize() -> None:
    images = torch.rand(4, 3, 5, 5)
    mean, std = images.mean((0, 2, 3)), images.std((0, 2, 3))
    out = Normalize(mean.tolist(), std.tolist())(images)
    torch.testing.assert_close(out.mean((0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(out.std((0, 2, 3)), torch.ones(3))
    with pytest.raises(ValueError, match="and positive std"):
        Normalize([0.5], [0.0])


def test_options_that_a_learned_operator_lacks_are_told_without_other_convolutions():
    for operator, also in (("sphere-cose", True), ("spline-cos+monotne", False), ("power@tanh-foo", False)):
        with pytest.raises(ValueError, match=r"needed|known") as told:
            dn.create_model("cnn9", 3, operator=operator)
        assert ("is plain convolution" in str(told.value)) == also
