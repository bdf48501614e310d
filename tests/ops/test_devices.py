"""Tensors on another device, meta included: refused by functions and ops, by name."""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial

import pytest
import torch

from decoupled_nets import functional
from decoupled_nets.ops import backend

PATHS = {"kernels": nullcontext, "composed": partial(backend.use_backend, "composed")}


def conv_tensors():
    per_kernel = ("bias", "radius", "alpha", "scale", "kernel_norm")
    made = {"input": torch.rand(2, 4, 5, 5), "weight": torch.rand(6, 4, 3, 3)}
    return {**made, **{name: torch.rand(6) + 0.5 for name in per_kernel}}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("stray", list(conv_tensors())[1:])
@pytest.mark.parametrize("linear", [False, True])
def test_decoupled(stray, path, linear):
    tensors = conv_tensors()
    if linear:
        tensors |= {"input": torch.rand(2, 4), "weight": torch.rand(6, 4)}
    tensors[stray] = tensors[stray].to("meta")
    function = functional.decoupled_linear if linear else functional.decoupled_conv2d
    with PATHS[path](), pytest.raises(ValueError, match=f"{stray} on device meta received; needed: cpu"):
        function(**tensors, operator="tanh-cos")


def test_an_input_on_meta_beside_others_and_all_of_them():
    tensors = conv_tensors()
    with pytest.raises(ValueError, match="weight on device cpu received; needed: meta, where input is"):
        functional.decoupled_conv2d(**{**tensors, "input": tensors["input"].to("meta")})
    # One number may stay where it is, as in torch.
    everything = {name: tensor.to("meta") for name, tensor in tensors.items()}
    out = functional.decoupled_conv2d(**{**everything, "alpha": torch.tensor(2.0)})
    assert out.shape == (2, 6, 3, 3)
    assert out.is_meta


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("stray", ["channel_filter", "spatial_filter"])
def test_dynamic_filters(stray, path):
    tensors = {"channel_filter": torch.rand(2, 4, 3, 3), "spatial_filter": torch.rand(2, 9, 5, 5)}
    tensors[stray] = tensors[stray].to("meta")
    with PATHS[path](), pytest.raises(ValueError, match=f"{stray} on device meta received; needed: cpu"):
        functional.ddf(torch.rand(2, 4, 5, 5), **tensors)


def every_op():
    """Calls of all ops with the names of their tensors."""
    z, norm, channels = torch.rand(2, 6, 3, 3), torch.rand(2, 1, 3, 3) + 1, torch.rand(6) + 0.5
    x, windows = torch.rand(2, 4, 5, 5), ([3, 3], [1, 1], [0] * 4, [1, 1])
    each = {"kernel_norm": channels, "gain": channels, "radius": channels}
    operator = (None, None, "tanh", "cos", 1.0, 1.0)
    filters = {"input": x, "channel_filter": torch.rand(2, 4, 3, 3), "spatial_filter": torch.rand(2, 9, 5, 5)}
    form = ([1, 1], [1, 1], "mul")
    return {
        "patch_norm_backward": ({"grad": norm, "input": x, "norm": norm}, windows),
        "patch_norm_backward_": ({"grad_input": x, "grad": norm, "input": x, "norm": norm}, windows),
        "epilogue": ({"z": z, "norm": norm, **each, "bias": channels}, operator),
        "epilogue_": ({"z": z, "norm": norm, **each, "bias": channels}, operator),
        "epilogue_backward": ({"grad": z, "value": z, "norm": norm, **each}, (*operator, False)),
        "ddf": (filters, form),
        "ddf_backward": ({"grad": x, **filters}, form),
    }


@pytest.mark.skipif(not backend.status.loaded, reason="the binary was not built")
@pytest.mark.parametrize(("name", "stray"), [(name, key) for name, (t, _) in every_op().items() for key in t])
def test_ops(name, stray):
    tensors, form = every_op()[name]
    op = getattr(torch.ops.decoupled_nets, name)
    op(*(t.clone() for t in tensors.values()), *form)
    tensors[stray] = tensors[stray].to("meta")
    with pytest.raises(ValueError, match=r"on device (meta|cpu) received; needed: (cpu|meta)"):
        op(*tensors.values(), *form)
