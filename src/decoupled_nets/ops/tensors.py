"""What the operations share: devices, memory formats, and derivatives of composed functions."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

MaybeTensor = Tensor | None


def check_devices(**tensors: Tensor | None) -> None:
    """All tensors on the device of the first; as in torch, a single number may stay on the processor.

    Raises:
        ValueError: one is on another device.
    """
    (name, first), *others = tensors.items()
    assert first is not None
    for other, tensor in others:
        if tensor is None or tensor.device == first.device:
            continue
        if tensor.dim() or tensor.device.type != "cpu":
            raise ValueError(
                f"{other} on device {tensor.device} received; needed: {first.device}, where {name} is"
            )


def readable(x: Tensor) -> Tensor:
    """`x` as the kernels read it: itself if contiguous or channels_last, else a contiguous copy."""
    last = x.movedim(1, -1)
    return x if x.is_contiguous() or last.is_contiguous() else x.contiguous()


def arranged(x: Tensor, like: Tensor) -> Tensor:
    """`x` in the memory format in which the kernels answer to `like`."""
    if like.is_contiguous() or not like.movedim(1, -1).is_contiguous():
        return x.contiguous()
    return x.movedim(1, -1).contiguous().movedim(-1, 1)


def gradients(
    fn: Callable[..., Tensor], inputs: tuple[MaybeTensor, ...], grad: Tensor
) -> tuple[MaybeTensor, ...]:
    """Differentiable gradients of ``fn(*inputs)``; None for those of `inputs` that do not require one."""
    with torch.enable_grad():
        # Nodes of their own: one input may have been computed from another, and that is not our part.
        own = [None if x is None else x.view_as(x) for x in inputs]
        out = fn(*own)
    wanted = [x for x in own if x is not None and x.requires_grad]
    found = iter(torch.autograd.grad(out, wanted, grad, create_graph=True, allow_unused=True))
    return tuple(next(found) if x is not None and x.requires_grad else None for x in inputs)
