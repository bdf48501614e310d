"""What is measured is right, and a wrong layer is not measured."""

import pytest
import torch
from torch import nn

import decoupled_nets as dn
from decoupled_nets._measure import kept_bytes
from decoupled_nets.bench.cases import LayerCase, NetworkCase
from decoupled_nets.bench.check import check
from decoupled_nets.bench.grids import GRIDS
from decoupled_nets.bench.paths import PATHS, Reference, Released, replaced

EAGER = [path for path in PATHS if path != "compiled"]
CASES = [
    LayerCase(2, 4, 6, 8),
    LayerCase(2, 4, 6, 8, kernel=1, padding=0, input_gradient=False),
    LayerCase(2, 4, 8, 9, stride=2, groups=2),
    LayerCase(2, 4, 6, 8, memory_format="channels_last", training=False),
    LayerCase(2, 4, 6, 8, dtype="bfloat16"),
    NetworkCase("cnn9", 2, 0.03),
]


class Changed(nn.Module):
    def __init__(self, layer, change):
        super().__init__()
        self.layer, self.change = layer, change

    def forward(self, x):
        return self.change(self.layer(x))


@pytest.mark.parametrize("operator", ["tanh-cos", "ball-sqcos", "mix-sigmoid"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_path_is_right_in_every_geometry(case, operator):
    for radius in ("learned", "relative"):
        if radius == "learned" and operator == "mix-sigmoid":
            continue  # has none
        own = case.build(operator, radius)
        for path in EAGER:
            check(PATHS[path](own), own, case)
            assert own.training == case.training


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_wrong_response_is_caught(case):
    own = case.build("tanh-cos", "learned")
    wrong = Changed(own, lambda y: 1.1 * y)
    with pytest.raises(AssertionError, match="response is wrong"):
        check(wrong, own, case)


def test_a_wrong_gradient_is_caught():
    own = CASES[0].build("tanh-cos", "learned")
    wrong = Changed(own, lambda y: 2 * y - y.detach())
    with pytest.raises(AssertionError, match="gradient of shape"):
        check(wrong, own, CASES[0])


def test_the_case_decides_type_format_and_geometry():
    case = CASES[3]
    assert case.input().is_contiguous(memory_format=torch.channels_last)
    assert not case.build("conv", "learned").weight.is_contiguous()
    assert CASES[4].build("ball-cos", "learned")(CASES[4].input()).dtype == torch.bfloat16
    assert CASES[2].build("conv", "learned")(CASES[2].input()).shape == (2, 8, 5, 5)
    for case in CASES[:-1]:
        layer, x = case.build("conv", "learned"), case.small_input()
        assert x.shape[0] == 2
        assert min(layer(x).shape[2:]) >= 3


def test_paths_of_layers_with_bias_and_padding(near):
    network = dn.create_model("cnn9", 5, operator="tanh-cos", width=0.03, batch_norm=False).eval()
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.normal_(layer.bias)
    x = torch.randn(1, 3, 25, 25)
    near(replaced(network, Released)(x), network(x))
    near(replaced(network, Reference).double()(x.double()), network(x).double(), dtype=torch.float32)
    assert not any(isinstance(m, Released) for m in network.modules())  # a copy was changed


@pytest.mark.parametrize("width", [0.001, 0.1, 1.0])
@pytest.mark.parametrize("grid", GRIDS)
def test_layers_of_the_grids_exist(grid, width):
    cases = GRIDS[grid](8, width)
    assert cases
    for case in cases:
        assert case.operations > 0
        if isinstance(case, LayerCase):
            with torch.device("meta"):
                layer = case.build("conv", "learned")
                assert layer(case.input().to("meta")).shape[1] == case.out_channels
    assert len(GRIDS["cnn9"](8, width)) == 9
    assert all(case.batch == 1 and not case.training for case in GRIDS["batch1"](8, width))


def test_operations_are_counted_as_torch_does():
    from torch.utils.flop_counter import FlopCounterMode

    for case in CASES[:4]:
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            case.build("conv", "learned")(case.input())
        assert counter.get_total_flops() == case.operations


def test_memory_kept_is_input_and_output():
    case = CASES[0]
    layer, x = case.build("conv", "learned"), case.input()
    assert kept_bytes(layer, x) == 4 * (x.numel() + layer(x).numel())
