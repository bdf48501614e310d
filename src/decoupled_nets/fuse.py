"""``decoupled_nets.fuse``: a network for inference, with its decoupled layers computed ahead."""

from __future__ import annotations

import copy
import inspect
import sys
from collections import Counter
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

    Kernel norms are computed once, radii become constants, and a BatchNorm that alone takes a convolution's
    output becomes the convolution's scale and bias. BatchNorms are found by tracing with ``torch.fx``; where
    a network's code cannot be traced, or does one thing or another by an optional argument, they stay as they
    are. So do layers with hooks or with a ``forward`` of their own.

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
    norms = _norms_to_fold(model)
    replacements: dict[nn.Module, nn.Module] = {}
    for module in model.modules():
        if isinstance(module, _LAYERS) and _is_ordinary(module, *_LAYERS):
            norm = norms.get(module)
            replacements[module] = _fused(module, norm)
            if norm is not None:
                replacements[norm] = _what_remains(norm)
    for parent in list(model.modules()):
        for name, child in parent._modules.items():
            if child in replacements:
                setattr(parent, name, replacements[child])
    return replacements.get(model, model)


def _is_ordinary(module: nn.Module, *kinds: type[nn.Module]) -> bool:
    """Whether it does what one of `kinds` does, no more: no hooks, no ``forward`` of its own."""
    hooks = (
        module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks,
    )  # fmt: skip
    own = "forward" in module.__dict__ or type(module).forward not in [kind.forward for kind in kinds]
    return not own and not any(hooks)


@torch.no_grad()
def _fused(layer: Any, norm: Any) -> nn.Module:
    if isinstance(layer, DecoupledLinear):
        return FusedDecoupledLinear(layer)
    if norm is None:
        return FusedDecoupledConv(layer)

    def wide(x: torch.Tensor) -> torch.Tensor:
        return x.cpu().double()  # not every device has float64

    scale = (wide(norm.running_var) + norm.eps).rsqrt()
    if norm.weight is not None:
        scale = scale * wide(norm.weight)
    shift = -wide(norm.running_mean) * scale
    if norm.bias is not None:
        shift = shift + wide(norm.bias)
    dtype = torch.float64 if layer.weight.dtype == torch.float64 else torch.float32
    to = {"device": layer.weight.device, "dtype": dtype}
    return FusedDecoupledConv(layer, scale.to(**to), shift.to(**to))


def _timm_norms() -> tuple[type[nn.Module], ...]:
    """The BatchNorm with an activation, of timm, if it is in use."""
    layers = sys.modules.get("timm.layers")
    return () if layers is None else (layers.BatchNormAct2d,)


def _what_remains(norm: Any) -> nn.Module:
    """What a norm does beside normalising: timm's also drop and activate."""
    if not isinstance(norm, _timm_norms()):
        return nn.Identity()
    parts: Any = norm
    return nn.Sequential(parts.drop, parts.act)


def _foldable(norm: Any) -> bool:
    known = isinstance(norm, (*_BATCH_NORMS, *_timm_norms()))
    ordinary = known and _is_ordinary(norm, *_BATCH_NORMS, *_timm_norms())
    return ordinary and not norm.training and norm.running_var is not None


class _Tracer(fx.Tracer):
    """Looks into containers only; what a layer does inside is not asked."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        leaf = isinstance(m, (*_LAYERS, *_BATCH_NORMS)) or not any(m.children())
        return leaf or super().is_leaf_module(m, module_qualified_name)


def _norms_to_fold(model: nn.Module) -> dict[nn.Module, nn.Module]:
    """Convolutions with the BatchNorm that alone takes their output."""
    if isinstance(model, _LAYERS) or not any(isinstance(m, _CONVOLUTIONS) for m in model.modules()):
        return {}
    # Tracing runs the network's own code, which may leave something behind: it runs on a copy, without hooks.
    twin = copy.deepcopy(model, {id(p): p for p in model.parameters()})
    for module in twin.modules():
        for hooks in (module._forward_hooks, module._forward_pre_hooks):
            hooks.clear()
    parameters = inspect.signature(twin.forward).parameters.values()
    defaults = {p.name: p.default for p in parameters if p.default is not p.empty}
    # "if mask is None" takes one branch by the default and the other by a stand-in: a pair has to be in both.
    found = _pairs(twin, {})
    if defaults:
        found &= _pairs(twin, defaults)
    names = Counter(module for _, module in model.named_modules(remove_duplicate=False))
    pairs = [(model.get_submodule(conv), model.get_submodule(norm)) for conv, norm in found]
    return {conv: norm for conv, norm in pairs if names[conv] == names[norm] == 1 and _foldable(norm)}


def _pairs(model: nn.Module, concrete: dict[str, Any]) -> set[tuple[str, str]]:
    """Names of convolutions, and of the modules that alone take their output; none if tracing fails."""
    try:
        graph = _Tracer().trace(model, concrete)
    except Exception:  # whatever a network's own code does with what is not a tensor
        return set()
    calls = {node: str(node.target) for node in graph.nodes if node.op == "call_module"}
    times = Counter(model.get_submodule(name) for name in calls.values())
    pairs = set()
    for node, name in calls.items():
        source = node.args[0] if node.args else None
        if not isinstance(source, fx.Node) or source not in calls or len(source.users) > 1:
            continue
        both = [model.get_submodule(n) for n in (calls[source], name)]
        if isinstance(both[0], _CONVOLUTIONS) and all(times[m] == 1 for m in both):
            pairs.add((calls[source], name))
    return pairs
