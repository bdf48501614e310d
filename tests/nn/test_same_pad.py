"""TensorFlow's SAME padding."""

from __future__ import annotations

import pytest
import timm.layers
import torch
from torch import nn

import decoupled_nets as dn
from decoupled_nets.nn import DecoupledConv2dSame, SamePad2d


@pytest.mark.parametrize("size", [(8, 8), (7, 9), (6, 11), (1, 2)])
@pytest.mark.parametrize(("kernel", "stride"), [(3, 2), (7, 2), (1, 2), (3, 1), (5, 3), (2, 3)])
def test_it_is_timm_s(size: tuple[int, int], kernel: int, stride: int) -> None:
    layers = timm.layers
    x = torch.randn(2, 3, *size)
    padded = SamePad2d(kernel, stride)(x)
    assert torch.equal(padded, layers.pad_same(x, [kernel, kernel], [stride, stride]))
    conv = nn.Conv2d(3, 4, kernel, stride)
    assert conv(padded).shape[2:] == tuple(-(-n // stride) for n in size)


@pytest.mark.parametrize("operator", ["conv", "tanh-cos"])
def test_even_sizes_are_padded_at_the_end(operator: str) -> None:
    """With a stride of 2 the windows start one pixel later than with padding=1."""
    model = dn.create_model("modified_resnet18", width=1 / 32, operator=operator).eval()
    down = model.stages[2][0]
    assert isinstance(down[0], SamePad2d)
    conv = down[1]
    x = torch.randn(1, conv.in_channels, 8, 8)
    moved = torch.nn.functional.pad(x, (0, 1, 0, 1))
    assert torch.equal(conv(down[0](x)), conv(moved))
    other = dn.create_model("modified_resnet18", width=1 / 32, operator=operator, padding="symmetric").eval()
    assert not any(isinstance(m, SamePad2d) for m in other.modules())
    assert other.stages[2][0][0].padding == (1, 1)


def test_maxima_ignore_the_padding() -> None:
    pool = nn.Sequential(SamePad2d(3, 2, value=float("-inf")), nn.MaxPool2d(3, 2))
    x = -torch.rand(1, 1, 6, 6) - 1
    assert pool(x).shape == (1, 1, 3, 3)
    assert pool(x).isfinite().all()


def test_sizes_stay_open_in_an_exported_program() -> None:
    layer = nn.Sequential(SamePad2d(3, 2), nn.Conv2d(3, 4, 3, 2))
    sizes = {2: torch.export.Dim("h", min=3), 3: torch.export.Dim("w", min=3)}
    program = torch.export.export(layer, (torch.rand(1, 3, 8, 8),), dynamic_shapes=(sizes,)).module()
    for size in [(8, 8), (9, 8), (5, 12)]:
        x = torch.rand(1, 3, *size)
        torch.testing.assert_close(program(x), layer(x))


def test_errors() -> None:
    with pytest.raises(ValueError, match="stride = 0 received"):
        SamePad2d(3, 0)


@pytest.mark.parametrize("size", [5, 6, 7, 8])
@pytest.mark.parametrize(("kernel", "stride"), [(1, 2), (1, 3), (2, 3), (3, 2)])
def test_a_decoupled_layer_pads_as_timm_s(size: int, kernel: int, stride: int) -> None:
    """Where the stride exceeds the kernel nothing is missing, and nothing is cut off."""
    x = torch.randn(2, 3, size, size + 1)
    layer = DecoupledConv2dSame(
        3, 4, kernel, stride, operator=dn.Operator("linear", "cos"), weighting="linear", eps=1e-12
    )
    plain = timm.layers.Conv2dSame(3, 4, kernel, stride)
    plain.load_state_dict({"weight": layer.weight, "bias": layer.bias})
    torch.testing.assert_close(layer(x), plain(x), rtol=1e-4, atol=1e-4)
