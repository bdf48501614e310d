"""``decoupled_nets.fuse``: a network for inference, with its decoupled layers computed ahead."""

from __future__ import annotations

import copy
import inspect
import sys
import warnings
from collections import Counter
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from .nn.conv import DecoupledLinear, _DecoupledConv
from .nn.fused import FusedDecoupledConv, FusedDecoupledLinear

_LAYERS = (_DecoupledConv, DecoupledLinear)
_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
#: Hooks of torch's that make a weight before every call, and do nothing else.
_WEIGHT_HOOKS = (BasePruningMethod, SpectralNorm, WeightNorm)


def fuse(model: nn.Module, inplace: bool = False) -> nn.Module:
    """Fold what does not depend on the input into the decoupled layers: equal outputs, less to compute.

    Kernel norms are computed once, radii become constants, and a BatchNorm that alone takes a convolution's
    output becomes the convolution's scale and bias. Weights that are pruned, parametrised or standardised are
    taken as they are in use. BatchNorms are found by tracing with ``torch.fx``; those whose place depends on
    an optional argument stay as they are. Layers with hooks or with a ``forward`` of their own stay, too, and
    all BatchNorms of a network that cannot be traced: a warning names them. torch's own
    ``fuse_conv_bn_eval`` takes no decoupled layer.

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
        raise ValueError(
            "a model in training mode received; needed: model.eval(), because fusing keeps what it computes "
            "then"
        )
    model = model if inplace else copy.deepcopy(model, _copies_of_results(model))
    _make_weights(model)
    left: dict[nn.Module, str] = {}
    norms = _norms_to_fold(model, left)
    replacements: dict[nn.Module, nn.Module] = {}
    for module in model.modules():
        if not isinstance(module, _LAYERS):
            continue
        if (reason := _why_special(module, *_LAYERS)) is not None:
            left[module] = reason
            continue
        norm = norms.get(module)
        replacements[module] = _fused(module, norm)
        if norm is not None:
            replacements[norm] = _what_remains(norm)
    _tell(model, left)
    for parent in list(model.modules()):
        for name, child in parent._modules.items():
            if child in replacements:
                setattr(parent, name, replacements[child])
    return replacements.get(model, model)


def _copies_of_results(model: nn.Module) -> dict[int, Any]:
    """Copies of tensors that were computed, which a deep copy refuses: weights that hooks have made."""
    found = [value for module in model.modules() for value in vars(module).values()]
    return {id(t): t.detach().clone() for t in found if isinstance(t, Tensor) and not t.is_leaf}


@torch.no_grad()
def _make_weights(model: nn.Module) -> None:
    """Let the hooks of pruning and normalisation make their weights once, as a call would."""
    for module in model.modules():
        for hook in module._forward_pre_hooks.values():
            if isinstance(hook, _WEIGHT_HOOKS):
                hook(module, ())


def _why_special(module: nn.Module, *kinds: type[nn.Module]) -> str | None:
    """Why a module does something else than one of `kinds`, or None."""
    before = [h for h in module._forward_pre_hooks.values() if not isinstance(h, _WEIGHT_HOOKS)]
    if any((before, module._forward_hooks, module._backward_hooks, module._backward_pre_hooks)):
        return "has hooks (remove them before)"
    if type(module).__call__ is not nn.Module.__call__:
        return "has a __call__ of its own"
    if "forward" in module.__dict__ or type(module).forward not in [kind.forward for kind in kinds]:
        return "has a forward of its own"
    return None


def _tell(model: nn.Module, left: dict[nn.Module, str]) -> None:
    """Warn of what stays as it is, by name."""
    names = {module: name for name, module in model.named_modules()}
    what = [f"{names[m] or 'the whole'} ({type(m).__name__}), which {why}" for m, why in left.items()]
    if what:
        more = f"; and {len(what) - 5} more" if len(what) > 5 else ""
        warnings.warn(f"fuse leaves as they are: {'; '.join(what[:5])}{more}", stacklevel=3)


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


def _why_not_folded(norm: Any) -> str | None:
    """Why a BatchNorm cannot be a convolution's scale and bias, or None."""
    if norm.training:
        return "is in training mode"
    if norm.running_var is None:
        return "keeps no running averages"
    return _why_special(norm, *_BATCH_NORMS, *_timm_norms())


class _Tracer(fx.Tracer):
    """Looks into containers only; what a layer does inside is not asked."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        leaf = isinstance(m, _BATCH_NORMS) or not any(m.children())
        return leaf or super().is_leaf_module(m, module_qualified_name)


def _norms_to_fold(model: nn.Module, left: dict[nn.Module, str]) -> dict[nn.Module, nn.Module]:
    """Convolutions with the BatchNorm that alone takes their output; why others are left goes to `left`."""
    kinds = (*_BATCH_NORMS, *_timm_norms())
    modules = list(model.modules())
    if isinstance(model, _LAYERS) or not all(
        any(isinstance(m, kind) for m in modules) for kind in (_DecoupledConv, kinds)
    ):
        return {}
    # Tracing runs the network's own code, which may leave something behind: it runs on a copy, without hooks.
    twin = copy.deepcopy(model, {**_copies_of_results(model), **{id(p): p for p in model.parameters()}})
    for module in twin.modules():
        for hooks in (module._forward_hooks, module._forward_pre_hooks):
            hooks.clear()
    parameters = inspect.signature(twin.forward).parameters.values()
    defaults = {p.name: p.default for p in parameters if p.default is not p.empty}
    # "if mask is None" takes one branch by the default and the other by a stand-in: a pair has to be in both.
    try:
        found = _pairs(twin, {})
        if defaults:
            found &= _pairs(twin, defaults)
    except Exception as error:  # whatever a network's own code does with what is not a tensor
        reason = " ".join(str(error).split())[:200]
        warnings.warn(f"fuse leaves all BatchNorms, as the network cannot be traced: {reason}", stacklevel=3)
        return {}
    names = Counter(module for _, module in model.named_modules(remove_duplicate=False))
    pairs = [(model.get_submodule(conv), model.get_submodule(norm)) for conv, norm in found]
    pairs = [(c, n) for c, n in pairs if names[c] == names[n] == 1 and isinstance(n, kinds)]
    reasons = {norm: _why_not_folded(norm) for _, norm in pairs}
    left.update({norm: why for norm, why in reasons.items() if why is not None})
    return {conv: norm for conv, norm in pairs if reasons[norm] is None}


def _pairs(model: nn.Module, concrete: dict[str, Any]) -> set[tuple[str, str]]:
    """Names of convolutions, and of the modules that alone take their output.

    Raises:
        Exception: of whatever kind; the network cannot be traced.
    """
    graph = _Tracer().trace(model, concrete)
    calls = {node: str(node.target) for node in graph.nodes if node.op == "call_module"}
    times = Counter(model.get_submodule(name) for name in calls.values())
    pairs = set()
    for node, name in calls.items():
        source = node.args[0] if node.args else None
        if not isinstance(source, fx.Node) or source not in calls or len(source.users) > 1:
            continue
        both = [model.get_submodule(n) for n in (calls[source], name)]
        if isinstance(both[0], _DecoupledConv) and all(times[m] == 1 for m in both):
            pairs.add((calls[source], name))
    return pairs
