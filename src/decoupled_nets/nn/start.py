"""What dynamic filters start as: a depth-wise convolution that the image modulates, or random filters."""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from .filter_norm import FilterNorm, Norm

Init = Literal["depthwise", "random"]
#: How far the spatial filters lie around their mean at the start, in parts of a channel filter's tap.
MODULATION = 0.3
#: Taps of a kernel that differ by less than this, in parts of their size, are taken to be alike.
_ALIKE = 1e-3


def chosen_init(init: Init | None, norm: Norm, branches: str) -> Init:
    """The start of a layer that was asked for, or that its form allows.

    Raises:
        ValueError: there is no such start, or the layer's filters cannot have it.
    """
    if init is not None and init not in get_args(Init):
        raise ValueError(f"init = {init!r} received; needed: None or one of {get_args(Init)}")
    possible = norm == "paper" and branches != "spatial"
    if init == "depthwise" and not possible:
        raise ValueError(
            f"init = 'depthwise' with norm = {norm!r} and branches = {branches!r} received; needed: norm = "
            "'paper', which has a shift, and a channel branch"
        )
    return init or ("depthwise" if possible else "random")


@torch.no_grad()
def start_depthwise(spatial: nn.Sequential | None, combine: str, gain: float) -> None:
    """Let the spatial filters start around the one that leaves channel filters as they are.

    Args:
        spatial: the spatial branch; None: there is none, and nothing to be done.
        combine: ``"mul"``: taps start at 1 ± 0.3; ``"add"``: at 0 ± 0.3 of a channel filter's.
        gain: root sum of squares of a channel filter.
    """
    if spatial is None:
        return
    norm = _norm_of(spatial)
    alone = 1.0 if combine == "mul" else gain / math.sqrt(norm.taps)
    nn.init.constant_(_parameter(norm.scale), MODULATION * alone)
    nn.init.constant_(_parameter(norm.shift), 1.0 if combine == "mul" else 0.0)


@torch.no_grad()
def start_from_kernel(
    spatial: nn.Sequential | None, channel: nn.Sequential, kernel: Tensor, combine: str
) -> None:
    """Let channel filters start as a depth-wise kernel, whatever the image, and spatial ones without effect.

    The squeeze layers do not reach the filters until their last weights, now zero, are learned; those have a
    gradient from the first step on, like the spatial branch's scale. A kernel of zeros starts as a random one
    of scale 0.

    Args:
        spatial: the spatial branch, or None.
        channel: the channel branch, whose last part is a :class:`FilterNorm` with a shift.
        kernel: (C, 1, kh, kw) or (C, kh, kw).
        combine: how the two are combined.
    """
    norm, last = _norm_of(channel), channel[3]
    assert isinstance(last, nn.Conv2d)
    assert last.bias is not None
    taps = kernel.detach().reshape(norm.filters, norm.taps).double()
    mean = taps.mean(1, keepdim=True)
    # The branch gives filters of deviation 1: only then is the norm's epsilon small beside them.
    least = _ALIKE * taps.square().mean(1, keepdim=True).sqrt()
    size = torch.maximum((taps - mean).square().mean(1, keepdim=True).sqrt(), least)
    unit = (taps - mean) / size.clamp(min=torch.finfo(kernel.dtype).tiny)
    if bool((blank := size == 0).any()):  # its scale of 0 and a bias of 0 would wait for each other for ever
        unit = torch.where(blank, torch.randn_like(unit), unit)
    nn.init.zeros_(last.weight)
    last.bias.copy_(unit.flatten())
    _parameter(norm.scale).copy_((size * (unit.square().mean(1, keepdim=True) + norm.eps).sqrt()).flatten())
    _parameter(norm.shift).copy_(mean.flatten())
    if spatial is not None:
        beside = _norm_of(spatial)
        nn.init.zeros_(_parameter(beside.scale))
        nn.init.constant_(_parameter(beside.shift), 1.0 if combine == "mul" else 0.0)


def separable(weight: Tensor, groups: int = 1) -> tuple[Tensor, Tensor]:
    """The depth-wise kernel and the 1×1 kernel behind it that are nearest to a dense kernel.

    Nearest in the sum of squares: for every input channel the first pair of singular vectors of its kernels,
    one row an output.

    Args:
        weight: (O, I / groups, kh, kw).
        groups: of the convolution.

    Returns:
        (I, 1, kh, kw) and (O, I, 1, 1), zeros between groups.
    """
    outputs, inside, kh, kw = weight.shape
    wide = weight.detach().double().unflatten(0, (groups, outputs // groups))  # (groups, O', I', kh, kw)
    rows = wide.permute(0, 2, 1, 3, 4).flatten(3)  # (groups, I', O', T)
    left, size, right = torch.linalg.svd(rows, full_matrices=False)
    root = size[..., :1].sqrt()
    depthwise = (right[..., 0, :] * root).reshape(groups * inside, 1, kh, kw)
    mixing = (left[..., 0] * root).transpose(1, 2)  # (groups, O', I')
    dense = torch.block_diag(*mixing).reshape(outputs, groups * inside, 1, 1)
    return depthwise.to(weight.dtype), dense.to(weight.dtype)


def _norm_of(branch: nn.Sequential) -> FilterNorm:
    norm = branch[-1]
    assert isinstance(norm, FilterNorm)
    return norm


def _parameter(parameter: nn.Parameter | None) -> nn.Parameter:
    assert parameter is not None
    return parameter
