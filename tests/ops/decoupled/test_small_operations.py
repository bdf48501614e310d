"""How many operations a layer needs beside its convolution: on a card each is a launch, or two."""

from __future__ import annotations

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import decoupled_nets as dn
from decoupled_nets.ops import backend
from decoupled_nets.ops.decoupled.reference import decoupled_conv_reference

pytestmark = pytest.mark.skipif(not backend.status.loaded, reason="the binary was not built")
#: What moves nothing.
VIEWS = ("detach", "view", "expand", "unsqueeze", "squeeze", "transpose", "permute", "alias", "t")
#: The convolution and the epilogue, and what only a processor is asked.
BESIDE = (
    "convolution", "convolution_backward", "epilogue_", "epilogue_backward", "max", "_local_scalar_dense",
)  # fmt: skip


class Counted(TorchDispatchMode):
    """The names of the operations within."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function._schema.name.partition("::")[2]
        if name not in VIEWS:
            self.names.append(name)
        return function(*args, **(kwargs or {}))


def small_operations(layer, x):
    """Of a training step, beside the convolution and the epilogue: forward, and backward."""
    with Counted() as forward:
        out = layer(x)
    grad = torch.randn_like(out)
    with Counted() as backward:
        out.backward(grad)
    return [[name for name in one.names if name not in BESIDE] for one in (forward, backward)]


@pytest.mark.parametrize("last", [False, True], ids=["first", "last"])
@pytest.mark.parametrize(
    ("radius", "forward", "backward"),
    [
        ("relative", 16, 10),
        (dn.RelativeRadius(zero_start=True), 11, 10),
        ("learned", 5, 5),
        (2.0, 4, 2),
    ],
)
def test_small_operations_are_few(radius, forward, backward, last):
    """The norms of patches and of kernels are two of them, each way; `new_empty` is the version counter's."""
    layer = dn.DecoupledConv2d(8, 16, 3, padding=1, bias=False, radius=radius)
    x = torch.randn(2, 8, 9, 9)
    if last:
        layer, x = (
            layer.to(memory_format=torch.channels_last),
            x.contiguous(memory_format=torch.channels_last),
        )
    found = small_operations(layer, x.requires_grad_())
    assert (found[0].count("patch_norm"), found[1].count("patch_norm_backward_")) == (2, 2)
    assert len(found[0]) <= forward, found[0]
    assert len(found[1]) <= backward, found[1]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("layout", ["first", "last", "neither"])
def test_kernel_norms_and_their_gradient_are_the_reference(near, layout, dtype):
    weight = torch.randn(6, 4, 3, 2, dtype=torch.float64).to(dtype)
    if layout == "last":
        weight = weight.contiguous(memory_format=torch.channels_last)
    if layout == "neither":
        weight = torch.randn(6, 4, 3, 4, dtype=torch.float64).to(dtype)[..., ::2]
    layer = dn.DecoupledConv2d(4, 6, (3, 2), bias=False, radius=2.0, weighting="linear", dtype=dtype)
    layer.weight = torch.nn.Parameter(weight)
    x = torch.randn(2, 4, 7, 6, dtype=torch.float64).to(dtype)
    exact = weight.detach().double().requires_grad_()
    out = layer(x)
    expected = decoupled_conv_reference(x.double(), exact, None, radius=2.0, weighting="linear")
    near(out, expected, dtype)
    grad = torch.randn_like(out)
    out.backward(grad)
    (wanted,) = torch.autograd.grad(expected, exact, grad.double())
    near(layer.weight.grad, wanted, dtype)
