"""DDF2d: what is refused, and numbers of other libraries."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import decoupled_nets as dn


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channels": 0}, "channels = 0 received; needed: at least 1"),
        ({"heads": 4}, "heads = 4 received; needed: a divisor of the 6 channels"),
        ({"squeeze_ratio": 0}, "squeeze_ratio = 0 received; needed: a positive number"),
        ({"squeeze_ratio": float("inf")}, "squeeze_ratio = inf received; needed: a positive number"),
        ({"combine": "max"}, "combine = 'max' received"),
        ({"norm": "layer"}, "norm = 'layer' received"),
        ({"branches": "none"}, "branches = 'none' received"),
        ({"kernel_size": 2}, "kernel_size = 2 received; needed: an odd number or a pair of odd numbers"),
        (
            {"kernel_size": 3.0},
            r"kernel_size = 3\.0 received; needed: an odd number or a pair of odd numbers",
        ),
        ({"kernel_size": (3, 5.0)}, r"kernel_size = \(3, 5\.0\) received"),
        ({"kernel_size": "33"}, "kernel_size = '33' received"),
        ({"kernel_size": 1}, "filters of one tap received"),
        ({"kernel_size": 1, "norm": "filter"}, "filters of one tap received"),
        ({"stride": 0}, "stride 0 received; needed: at least 1"),
        ({"dilation": (1, 2, 3)}, "dilation with 3 entries received; needed: 2"),
    ],
)
def test_refusals(options, message):
    with pytest.raises(ValueError, match=message):
        dn.DDF2d(**{"channels": 6, **options})


def test_inputs_that_do_not_fit():
    layer = dn.DDF2d(6)
    with pytest.raises(ValueError, match=r"input of shape \(2, 5, 4, 4\) received; needed: \(B, 6, H, W\)"):
        layer(torch.randn(2, 5, 4, 4))
    with pytest.raises(ValueError, match=r"input of shape \(2, 6, 0, 4\) received"):
        layer(torch.randn(2, 6, 0, 4))
    with pytest.raises(TypeError, match=r"input of type torch\.int64 received"):
        layer(torch.ones(2, 6, 4, 4, dtype=torch.long))


@pytest.mark.parametrize("branch", ["spatial_branch", "channel_branch"])
@pytest.mark.parametrize("make", [dn.DDF2d, dn.DDFUpsample])
def test_a_part_left_on_meta_is_named(make, branch):
    """A plain convolution would answer with memory that nobody wrote."""
    layer = make(4)
    for part in getattr(layer, branch):
        if not list(part.parameters()):
            continue
        part.to("meta")
        with pytest.raises(ValueError, match=r"on device meta received; needed: cpu, where input is"):
            layer(torch.rand(1, 4, 6, 6))
        part.to_empty(device="cpu")


NUMBERS = [np.int64, np.int32, torch.tensor]


@pytest.mark.parametrize("number", NUMBERS)
def test_whole_numbers_of_other_libraries_become_pythons(number):
    layers = [
        dn.DDF2d(number(4), number(3), number(2), number(1), number(2)),
        dn.DDF2d(4, (number(3), number(5)), [number(1), number(2)]),
        dn.DDFUpsample(number(4), number(2), number(3), number(3), dilation=number(1), heads=number(2)),
        dn.FilterNorm(number(4), number(3)),
        dn.DecoupledConv2d(number(4), number(6), number(3), number(2), number(1), number(1), number(2)),
        dn.DecoupledConv2d(4, 6, (number(3), 1), padding=(1, number(2))),
        dn.DecoupledLinear(number(4), number(6)),
    ]
    for layer in layers:
        for name, value in vars(layer).items():
            for entry in value if isinstance(value, tuple) else (value,):
                assert not isinstance(entry, torch.Tensor | np.generic), name
    x, window = torch.rand(2, 4, 6, 6), torch.rand(2, 4, 3, 3)
    out = dn.functional.ddf(x, window, torch.rand(2, 9, 3, 3), stride=number(2), dilation=(number(1), 2))
    assert out.shape == (2, 4, 3, 3)
    assert layers[0](torch.rand(1, 4, 6, 6)).shape == (1, 4, 3, 3)
    assert layers[4](torch.rand(1, 4, 6, 6)).shape == (1, 6, 3, 3)


def test_real_numbers_of_other_libraries():
    assert dn.DecoupledConv2d(3, 4, 3, radius=np.float32(2.0)).radius == 2.0
    assert type(dn.Operator("tanh", "sigmoid", k=np.float32(0.5)).k) is float
    with pytest.raises(ValueError, match=r"radius = True received"):
        dn.DecoupledConv2d(3, 4, 3, radius=True)
    for size in (3.0, np.float64(3), np.int64(4), True + 1):
        with pytest.raises(ValueError, match=r"kernel_size = .* received; needed: an odd number"):
            dn.DDF2d(4, size)
    for scale in (2.0, np.float64(2), True, np.int64(0)):
        with pytest.raises(ValueError, match=r"scale_factor = .* received; needed: a whole number"):
            dn.DDFUpsample(4, scale)
