"""DDF networks: counts, what stands in the blocks, timm's options, the registries."""

from __future__ import annotations

import copy

import pytest
import torch
from timm.models.resnet import ResNet
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import decoupled_nets as dn
from decoupled_nets.models.ddf_resnet import VARIANTS
from decoupled_nets.models.layers import BLOCK_OPERATORS
from decoupled_nets.nn.dynamic import DDF_VARIANTS

SMALL = "ddf_cifar_resnet26"


def small(**options) -> nn.Module:
    return dn.create_model(SMALL, 10, **{"width": 0.125, **options})


def parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(
    ("name", "options", "count"),
    [
        ("resnet50", {}, 16_843_748),
        ("resnet50", {"squeeze_ratio": 0.3}, 18_091_484),
        ("resnet50", {"squeeze_ratio": 0.4}, 19_352_663),
        ("resnet50", {"norm": "released"}, 16_843_748),
        ("resnet50", {"norm": "paper"}, 16_843_748 - 9 * 3776 + 2 * 3776 + 2 * 16),
        ("resnet50", {"operator": "conv"}, 25_557_032),
        ("resnet101", {}, 28_146_912),
        ("resnet152", {}, 37_462_900),
    ],
    ids=str,
)
def test_parameter_counts(name, options, count):
    with torch.device("meta"):
        for combine in ("mul", "add"):
            assert parameters(dn.create_model(f"ddf_{combine}_{name}", **options)) == count


def starts(name: str, **options) -> set[tuple[str, str]]:
    with torch.device("meta"):
        layers = dn.create_model(name, **options).modules()
    return {(m.norm, m.init) for m in layers if isinstance(m, dn.DDF2d)}


@pytest.mark.parametrize("name", ["ddf_mul_resnet50", "ddf_resnet18"])
def test_networks_of_the_papers_start_as_the_released_code(name):
    assert starts(name) == {("filter", "random")}
    assert starts(name, norm="paper") == {("paper", "depthwise")}
    assert starts(name, norm="paper", init="random") == {("paper", "random")}
    assert starts(name, operator="ddf-paper") == {("paper", "random")}
    assert starts(name, operator="ddf-batch") == {("batch", "random")}


def test_our_own_network_starts_as_a_depthwise_one():
    """Also once its convolutions are initialised as timm's are."""
    assert starts(SMALL) == {("paper", "depthwise")}
    assert starts(SMALL, operator="ddf-filter") == {("filter", "random")}
    norm = small().layer2[0].conv2.spatial_branch[1]
    assert (norm.scale.tolist(), norm.shift.tolist()) == ([pytest.approx(0.3)], [1.0])


def test_our_reading_of_the_smallest():
    with torch.device("meta"):
        assert round(parameters(dn.create_model("ddf_resnet18")) / 1e6, 2) == 7.69


@pytest.mark.parametrize(("name", "gigas"), [("ddf_mul_resnet50", 2.279), ("ddf_add_resnet101", 4.051)])
def test_multiply_adds_at_224(name, gigas):
    model = dn.create_model(name).eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, 3, 224, 224))
    assert counter.get_total_flops() / 2e9 == pytest.approx(gigas, rel=0.01)


@pytest.mark.parametrize("name", sorted(VARIANTS))
@torch.no_grad()
def test_every_network_is_timms_and_runs(name):
    model = dn.create_model(name, 7, 1).eval()
    assert isinstance(model, ResNet)
    assert model.pretrained_cfg["architecture"] == name
    layers = [m for m in model.modules() if isinstance(m, dn.DDF2d)]
    assert len(layers) == sum(VARIANTS[name].layers) * (2 if name == "ddf_resnet18" else 1)
    assert {m.combine for m in layers} == {VARIANTS[name].combine or "mul"}
    assert model(torch.rand(1, 1, 64, 47)).shape == (1, 7)


@pytest.mark.parametrize("operator", ["ddf", "dw", "tanh-cos"])
def test_strides_and_dilations_are_those_of_the_convolutions(operator):
    kind = dn.DDF2d if operator == "ddf" else nn.Conv2d
    with torch.device("meta"):
        for stride in (8, 16, 32):
            ours, plain = (
                dn.create_model("ddf_mul_resnet50", operator=name, output_stride=stride)
                for name in (operator, "conv")
            )
            layers = {name: m for name, m in ours.named_modules() if name.endswith("conv2")}
            assert len(layers) == 16
            for name, layer in layers.items():
                conv = plain.get_submodule(name)
                assert isinstance(layer, kind)
                assert (layer.stride, layer.dilation) == (conv.stride, conv.dilation)
                assert (layer.channels if operator == "ddf" else layer.in_channels) == conv.in_channels


@torch.no_grad()
@pytest.mark.parametrize("operator", ["conv", "dw", "tanh-cos", *DDF_VARIANTS])
def test_networks_differ_in_the_spatial_convolution_only(operator):
    torch.manual_seed(1)
    plain = small(operator="conv").state_dict()
    torch.manual_seed(1)
    other = small(operator=operator)
    assert other.eval()(torch.rand(2, 3, 32, 32)).isfinite().all()
    own = [name for name in other.state_dict() if "conv2" in name]
    shared = {name: value for name, value in other.state_dict().items() if name not in own}
    assert all(torch.equal(value, plain[name]) for name, value in shared.items())
    assert set(plain) - set(shared) == {name for name in plain if "conv2" in name}
    if operator == "tanh-cos":
        assert torch.equal(other.layer1[0].conv2.weight, plain["layer1.0.conv2.weight"])
    if operator in DDF_VARIANTS:
        layer = other.layer1[0].conv2
        assert all(getattr(layer, name) == value for name, value in DDF_VARIANTS[operator].items())


@torch.no_grad()
@pytest.mark.parametrize("operator", ["dw", "ddf", "conv", "tanh-cos"])
def test_basic_blocks_mix_channels_behind_what_keeps_them_apart(operator):
    model = dn.create_model("ddf_resnet18", 5, operator=operator, width=0.125)
    assert isinstance(model.layer2[0].conv1, nn.Sequential) == (operator in ("dw", "ddf"))
    assert model.eval()(torch.rand(1, 3, 64, 64)).shape == (1, 5)


@pytest.mark.parametrize("operator", ["dw", "ddf", "ddf-add"])
def test_trains(operator):
    model = small(operator=operator, drop_path_rate=0.1)
    x, labels = torch.rand(16, 3, 32, 32), torch.arange(16) % 10
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(15):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), labels)
        loss.backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


@torch.no_grad()
@pytest.mark.parametrize("size", [(32, 32), (28, 28), (33, 47)])
def test_small_images(size):
    model = small(in_chans=1, features=2).eval()
    x = torch.rand(3, 1, *size)
    features = model.forward_features(x)
    assert features.shape[2:] == tuple(-(-n // 8) for n in size)
    assert model.forward_head(features, pre_logits=True).shape == (3, 2)
    assert model(x).shape == (3, 10)
    model.reset_classifier(4)
    assert model(x).shape == (3, 4)


@torch.no_grad()
@pytest.mark.parametrize("pooling", ["avg", "max", "catavgmax"])
def test_a_layer_before_the_classifier_behind_any_pooling(pooling):
    model = small(features=2, global_pool=pooling).eval()
    x = torch.rand(2, 3, 32, 32)
    assert model(x).shape == (2, 10)
    assert model.forward_features(x).shape[1] == model.num_features == 256
    assert (model.head_hidden_size, model.fc.in_features) == (2, 2)
    neck = model.neck
    model.reset_classifier(4)
    assert model(x).shape == (2, 4)
    assert model.neck is neck
    model.reset_classifier(0, "catavgmax")
    assert model(x).shape == (2, 2)
    model.prune_intermediate_layers(2)
    assert model(x).shape == model.forward_intermediates(x)[0].shape


@torch.no_grad()
def test_no_activation_and_no_classifier():
    model = small(relu=False).eval()
    assert not any(
        isinstance(m, nn.ReLU) for name, m in model.named_modules() if "channel_branch" not in name
    )
    assert dn.create_model(SMALL, 0, width=0.125).eval()(torch.rand(1, 3, 32, 32)).shape == (1, 256)


def test_compiles_and_copies():
    torch._dynamo.reset()
    model = small().eval()
    x = torch.rand(2, 3, 32, 32)
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    with torch.no_grad():
        torch.testing.assert_close(compiled(x), model(x))
        torch.testing.assert_close(copy.deepcopy(model)(x), model(x))
    torch._dynamo.reset()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_norm": False}, "batch_norm = False received; needed: batch_norm = True"),
        ({"width": 0.001}, r"width = 0\.001"),
        ({"features": 0}, "features = 0 received"),
        ({"operator": "tan-cos"}, "unknown magnitude"),
        ({"operator": "ddf-max"}, "unknown magnitude 'ddf'"),
        ({"heads": 7}, "heads = 7 received"),
        ({"cardinality": 4}, "cardinality = 4 received; needed: equal numbers and cardinality = 1"),
        ({"block_reduce_first": 2, "operator": "dw"}, "a convolution of 4 to 8 channels, .* operator 'dw'"),
        ({"operator": "ddf-batch", "norm": "paper"}, "norm = 'paper' received; needed: norm = 'batch' or"),
        (
            {"operator": "ddf-spatial", "branches": "channel"},
            "'channel' received; needed: branches = 'spatial'",
        ),
        ({"relu": False, "act_layer": "gelu"}, "relu = False and act_layer = 'gelu' received"),
        ({"features": 2, "global_pool": ""}, "features = 2 and global_pool = '' received; needed: a pooling"),
        ({"stem_type": "deep"}, "stem_type = 'deep' received; needed: '' for ddf_cifar_resnet26"),
        ({"replace_stem_pool": True}, "replace_stem_pool = True received; needed: False"),
    ],
)
def test_refusals(options, message):
    with pytest.raises(ValueError, match=message):
        small(**options)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("ddf_mul_resnet50", {"operator": "ddf-add"}, "combine = 'mul' of the network's name received"),
        ("ddf_resnet18", {"cardinality": 2}, "cardinality = 2 received; needed: 1 for ddf_resnet18"),
        ("ddf_resnet18", {"base_width": 32}, "base_width = 32 received; needed: 64 for ddf_resnet18"),
    ],
)
def test_options_that_an_architecture_leaves_no_choice_of(name, options, message):
    with pytest.raises(ValueError, match=message), torch.device("meta"):
        dn.create_model(name, **options)


def test_the_operators_own_options_may_be_repeated():
    layer = small(operator="ddf-batch", norm="batch", branches="both").layer1[0].conv2
    assert layer.norm == "batch"


def test_timms_widths_and_groups_reach_what_can_have_them():
    assert small(base_width=32).layer1[0].conv2.channels == 4
    assert small(operator="tanh-cos", cardinality=4, base_width=16).layer1[0].conv2.groups == 4


@pytest.mark.parametrize(
    ("options", "ignored"),
    [
        ({"operator": "conv", "norm": "paper"}, "norm"),
        ({"operator": "dw", "heads": 2, "branches": "spatial"}, "heads, branches"),
        ({"operator": "tanh-cos", "squeeze_ratio": 0.5}, "squeeze_ratio"),
        ({"operator": "ddf-spatial", "squeeze_ratio": 0.5}, "squeeze_ratio"),
        ({"branches": "channel", "heads": 2}, "heads"),
    ],
)
def test_options_that_the_operator_has_no_use_for_warn_once(options, ignored):
    operator = options.get("operator", "ddf")
    with pytest.warns(UserWarning, match=f"operator '{operator}' ignores {ignored}$") as caught:
        small(**options)
    assert len(caught) == 1


@pytest.mark.parametrize("operator", BLOCK_OPERATORS)
def test_other_networks_say_which_ones_take_them(operator):
    with pytest.raises(ValueError, match=rf"operator '{operator}' received.*\(ddf_cifar_resnet26\)"):
        dn.create_model("cnn9", operator=operator)
