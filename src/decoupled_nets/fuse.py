"""``decoupled_nets.fuse``: a network for inference, with its decoupled layers computed ahead."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator
from typing import Any

import torch
from torch import fx, nn

from .nn.conv import DecoupledConv1d, DecoupledConv2d, DecoupledConv3d, DecoupledLinear
from .nn.fused import FusedDecoupledConv, FusedDecoupledLinear

_CONVOLUTIONS = (DecoupledConv1d, DecoupledConv2d, DecoupledConv3d)
_LAYERS = (*_CONVOLUTIONS, DecoupledLinear)
_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


def fuse(model: nn.Module, inplace: bool = False) -> nn.Module:
    """Fold what does not depend on the input into the decoupled layers: equal outputs, less to compute.

    Kernels are divided by their norms once, radii become constants, and a BatchNorm that alone takes a
    convolution's output becomes the convolution's scale and bias. BatchNorms are found by tracing with
    ``torch.fx``, the network as a whole or, where its code cannot be traced, part by part; those not found
    stay as they are. Layers with hooks of their own stay too.

    Args:
        model: a network, or a single layer, in evaluation mode.
        inplace: change `model` itself instead of a copy.

    Returns:
        The network for inference. Its decoupled layers hold buffers, no parameters.

    Raises:
        ValueError: the model is in training mode.

    Example:
        >>> import torch, decoupled_nets as dn
        >>> block = torch.nn.Sequential(dn.DecoupledConv2d(3, 8, 3), torch.nn.BatchNorm2d(8)).eval()
        >>> x = torch.rand(2, 3, 9, 9)
        >>> torch.allclose(dn.fuse(block)(x), block(x), atol=1e-5)
        True
    """
    if any(m.training for m in model.modules() if isinstance(m, _LAYERS)):
        raise ValueError("a model in training mode received, model.eval() needed: fusing keeps evaluation")
    model = model if inplace else copy.deepcopy(model)
    norms = dict(_followers(model))
    replacements: dict[nn.Module, nn.Module] = {}
    for module in model.modules():
        if isinstance(module, _LAYERS) and not _has_hooks(module):
            norm = norms.get(module)
            replacements[module] = _fused(module, norm)
            if norm is not None:
                replacements[norm] = _what_remains(norm)
    for parent in list(model.modules()):
        for name, child in parent._modules.items():
            if child in replacements:
                setattr(parent, name, replacements[child])
    return replacements.get(model, model)


def _has_hooks(module: nn.Module) -> bool:
    every = (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks)
    return any(every) or bool(module._backward_pre_hooks)


@torch.no_grad()
def _fused(layer: Any, norm: Any) -> nn.Module:
    if isinstance(layer, DecoupledLinear):
        return FusedDecoupledLinear(layer)
    if norm is None:
        return FusedDecoupledConv(layer)
    scale = (norm.running_var.double() + norm.eps).rsqrt()
    if norm.weight is not None:
        scale = scale * norm.weight.double()
    shift = -norm.running_mean.double() * scale
    if norm.bias is not None:
        shift = shift + norm.bias.double()
    return FusedDecoupledConv(layer, scale, shift)


def _what_remains(norm: Any) -> nn.Module:
    """What a norm does beside normalising: timm's also drop and activate."""
    return nn.Identity() if type(norm) in _BATCH_NORMS else nn.Sequential(norm.drop, norm.act)


def _foldable(norm: Any) -> bool:
    known = type(norm) in _BATCH_NORMS or type(norm).__name__ == "BatchNormAct2d"
    return known and not norm.training and norm.running_var is not None and not _has_hooks(norm)


class _Tracer(fx.Tracer):
    """Looks into containers only; what a layer does inside is not asked."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        leaf = isinstance(m, (*_LAYERS, *_BATCH_NORMS)) or not any(m.children())
        return leaf or super().is_leaf_module(m, module_qualified_name)


def _followers(model: nn.Module) -> Iterator[tuple[nn.Module, nn.Module]]:
    """Convolutions with the BatchNorm that alone takes their output."""
    names = Counter(module for _, module in model.named_modules(remove_duplicate=False))
    for convolution, norm in _pairs(model):
        if names[convolution] == names[norm] == 1 and _foldable(norm):
            yield convolution, norm


def _pairs(model: nn.Module) -> Iterator[tuple[nn.Module, nn.Module]]:
    if not any(isinstance(m, _CONVOLUTIONS) for m in model.modules()) or isinstance(model, _LAYERS):
        return
    try:
        graph = _Tracer().trace(model)
    except Exception:  # whatever a network's own code does with what is not a tensor
        for child in model.children():
            yield from _pairs(child)
        return
    calls = {node: model.get_submodule(str(node.target)) for node in graph.nodes if node.op == "call_module"}
    times = Counter(calls.values())
    for node, module in calls.items():
        source = node.args[0] if node.args else None
        if not isinstance(source, fx.Node) or source not in calls or len(source.users) > 1:
            continue
        convolution = calls[source]
        if isinstance(convolution, _CONVOLUTIONS) and times[convolution] == times[module] == 1:
            yield convolution, module
