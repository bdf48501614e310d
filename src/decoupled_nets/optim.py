"""Optimisation of decoupled layers (Decoupled Networks, section 4): projection, gradients, a penalty.

An unweighted operator sees a kernel only as ``w/‖w‖``, so its gradient scales with ``1/‖w‖`` and fades as
kernels grow. Weight projection and weighted gradients are the paper's two remedies. Both concern layers
without a weighting; in a weighted one ``‖w‖`` means something, and it is left alone.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from .nn.operator import LEARNED, DecoupledMixin
from .ops.norms import accumulation_dtype, kernel_norm


def decoupled_layers(module: nn.Module) -> Iterator[tuple[str, DecoupledMixin]]:
    """Every decoupled layer in `module`, itself included, with its qualified name; shared layers once."""
    for name, layer in module.named_modules():
        if isinstance(layer, DecoupledMixin):
            yield name, layer


def _unweighted(module: nn.Module) -> list[DecoupledMixin]:
    return [layer for _, layer in decoupled_layers(module) if layer.weighting is None]


@torch.no_grad()
def project_weights_(module: nn.Module) -> nn.Module:
    """Reset every kernel of the unweighted decoupled layers to unit norm: ``w ← w / sqrt(‖w‖² + eps)``.

    The layers' responses stay the same (up to eps); the gradients regain their scale. The released code does
    this every 100 steps.

    Args:
        module: any module; it is changed in place.

    Returns:
        `module`.

    Example:
        >>> import decoupled_nets as dn
        >>> layer = dn.project_weights_(dn.DecoupledConv2d(3, 8, 3))
        >>> layer.weight.flatten(1).norm(dim=1).round(decimals=2).unique()
        tensor([1.], grad_fn=<...>)
    """
    for layer in _unweighted(module):
        layer.weight.div_(_column(kernel_norm(layer.weight, layer.eps), layer.weight))
    return module


def _column(norm: Tensor, weight: Tensor) -> Tensor:
    return norm.to(weight.dtype).view(-1, *[1] * (weight.dim() - 1))


class GradientHooks:
    """What :func:`weighted_gradients` installed; ``remove()`` takes it away again."""

    def __init__(self, handles: list[Any]) -> None:
        self._handles = handles

    def __len__(self) -> int:
        return len(self._handles)

    def remove(self) -> None:
        """Leave gradients as autograd computes them."""
        while self._handles:
            self._handles.pop().remove()


def weighted_gradients(module: nn.Module) -> GradientHooks:
    """Multiply each kernel's gradient by its norm, in every unweighted decoupled layer, from now on.

    The step then no longer depends on how large a kernel has grown. The paper names the method (Table 1)
    without a formula at hand; this one undoes the factor ``1/‖w‖``.

    Args:
        module: any module.

    Returns:
        A handle; its ``remove()`` ends it.

    Example:
        >>> import torch, decoupled_nets as dn
        >>> layer = dn.DecoupledConv2d(3, 8, 3)
        >>> hooks = dn.weighted_gradients(layer)
        >>> layer(torch.rand(1, 3, 8, 8)).sum().backward()
        >>> hooks.remove()
    """
    return GradientHooks([_weight_gradient(layer) for layer in _unweighted(module)])


def _weight_gradient(layer: DecoupledMixin) -> Any:
    # A reference from the weight's hook back to its layer would be a cycle the collector cannot see through.
    reference = weakref.ref(layer)

    def scale(grad: Tensor) -> Tensor | None:
        owner = reference()
        if owner is None:
            return None
        return grad * _column(kernel_norm(owner.weight.detach(), owner.eps), grad)

    return layer.weight.register_hook(scale)


def orthogonality(module: nn.Module) -> Tensor:
    """``½ ‖Ŵ Ŵᵀ − I‖²`` summed over layers and their groups, Ŵ the kernels of a group as unit row vectors.

    Computed in float32 at least, under autocast too. The released code adds 1e-5 times this to the loss.

    Args:
        module: any module with at least one decoupled layer.

    Returns:
        A scalar with gradient.

    Raises:
        ValueError: there is no decoupled layer.
    """
    total: Tensor | None = None
    for _, layer in decoupled_layers(module):
        with torch.autocast(layer.weight.device.type, enabled=False):
            norm = kernel_norm(layer.weight, layer.eps)
            unit = layer.weight.to(norm.dtype).flatten(1) / norm.unsqueeze(1)
            unit = unit.unflatten(0, (getattr(layer, "groups", 1), -1))
            gram = unit @ unit.mT
            identity = torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)
            penalty = 0.5 * (gram - identity).square().sum()
        total = penalty if total is None else total + penalty
    if total is None:
        raise ValueError("a module without decoupled layers received; needed: at least one")
    return total


def total_variation(module: nn.Module) -> Tensor:
    """``Σ |sᵢ₊₁ − sᵢ|`` over the slopes of every learned spline: the second-order total variation TV².

    It is what a piecewise linear function bends in all, so a factor of it drives splines towards few kinks
    (P. Bohra et al., 2020).

    Args:
        module: any module with at least one layer that learns a spline.

    Returns:
        A scalar with gradient.

    Raises:
        ValueError: no layer learns a spline.

    Example:
        >>> import decoupled_nets as dn
        >>> layer = dn.DecoupledConv2d(3, 8, 3, operator=dn.Operator("spline", start="ball-cos"))
        >>> dn.total_variation(layer).round(decimals=3)  # one kink, from a slope of 1 to 0
        tensor(1., grad_fn=<...>)
    """
    bends = []
    for _, layer in decoupled_layers(module):
        for half, parameters in zip(
            layer.operator.learned, (layer.h_parameters, layer.g_parameters), strict=True
        ):
            if half is not None and half.slopes and parameters is not None:
                wide = parameters.to(accumulation_dtype(parameters.dtype))
                bends.append(half.effective(wide, layer.operator.limits).diff().abs().sum())
    if not bends:
        raise ValueError("a module without learned splines received; needed: at least one, spline-cos say")
    return torch.stack(bends).sum()


def operator_parameters(module: nn.Module) -> Iterator[nn.Parameter]:
    """What operators themselves learn: radii, sharpnesses, and the parameters of learned halves."""
    for _, layer in decoupled_layers(module):
        for name in ("radius", "kappa", *LEARNED):
            if isinstance(parameter := getattr(layer, name), nn.Parameter):
                yield parameter


def parameter_groups(
    module: nn.Module, weight_decay: float, *, decay_kernels: bool = False
) -> list[dict[str, Any]]:
    """Two parameter groups for an optimizer: with and without weight decay.

    Without decay: what operators learn (radii, sharpnesses, functions), biases and other vectors (BatchNorm's
    affine parameters, PReLU slopes), and the kernels of unweighted decoupled layers, whose norm means
    nothing.

    Args:
        module: any module.
        weight_decay: for the first group.
        decay_kernels: decay the unweighted decoupled kernels too.

    Returns:
        Groups as ``torch.optim`` takes them; an empty one is left out.

    Example:
        >>> import torch, decoupled_nets as dn
        >>> groups = dn.parameter_groups(dn.DecoupledConv2d(3, 8, 3), weight_decay=5e-4)
        >>> [(len(group["params"]), group["weight_decay"]) for group in groups]
        [(3, 0.0)]
    """
    spared = {id(p) for p in module.parameters() if p.dim() < 2}
    spared |= {id(p) for p in operator_parameters(module)}
    if not decay_kernels:
        spared |= {id(layer.weight) for layer in _unweighted(module)}
    trained = [p for p in module.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if id(p) not in spared], "weight_decay": weight_decay},
        {"params": [p for p in trained if id(p) in spared], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]
