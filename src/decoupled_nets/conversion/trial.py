"""Whether a decoupled twin does what a layer does: both are tried on copies, and compared."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from .classes import (
    BUILT_IN,
    REGISTERED,
    STATE,
    TWINS,
    base_of,
    computes_as_its_base,
    parametrizations_in_evaluation,
    plain_class,
    put_on,
    set_aside,
)
from .copies import bare_copy, unnoticed

_TOLERANCE = 1e-3


def find_twin(module: Any) -> tuple[Any, str | None]:
    """The twin of a layer, or None with the reason why it has none.

    A class that defines nothing anew that decides what is computed has the twin of its base. Of other classes
    the twins that may do are tried: with an operator that takes nothing apart, one has to give what the layer
    gives, in both modes and for several sizes of input.
    """
    kind: Any = plain_class(module)
    base = base_of(kind)
    registered = next((REGISTERED[c] for c in kind.__mro__ if c in REGISTERED), None)
    own_way = f"{kind.__module__}.{kind.__qualname__} computes in its own way"
    if base is None:
        return None, own_way
    if registered is None and computes_as_its_base(kind):
        return TWINS[base], None
    if len(inspect.signature(kind.forward).parameters) != 2:
        return None, f"{own_way}: its forward takes more than one input"
    candidates = [registered] if registered else [twin for twin in BUILT_IN if issubclass(twin, TWINS[base])]
    candidates = [twin for twin in candidates if _attributes_fit(module, twin)]
    try:
        tried = _Tried(module)
        found = next((twin for twin in candidates if tried.agrees(twin)), None)
    except Exception as error:  # whatever somebody else's code does with numbers it did not expect
        return None, f"{own_way}: tried, it raised {type(error).__name__}"
    if found is None and registered is not None:
        return None, f"{own_way}, and not in that of {registered.__name__}, its twin"
    return found, None if found else own_way


def taken(module: Any, twin: type) -> str | None:
    """The first attribute of a layer whose name its twin needs for something else."""
    aside = [name for name in set_aside(twin) if name in module.__dict__]
    names = [name for name in STATE if name not in aside]
    return next((name for name in (*names, "plain_state") if hasattr(module, name)), None)


def _attributes_fit(module: Any, twin: type) -> bool:
    return taken(module, twin) is None


class _Tried:
    """A layer with random weights, in front of random inputs, and what it gives."""

    def __init__(self, module: nn.Module) -> None:
        self.layer = module
        self.inputs = list(_inputs(module))
        self.wanted = self._outputs(self._copy())

    def agrees(self, twin: type) -> bool:
        """Whether the twin gives the same, with an operator that takes nothing apart."""
        layer: Any = self._copy()
        put_on(layer, twin)
        with parametrizations_in_evaluation(layer):
            layer._init_operator("linear-cos", "relative", "linear", 1e-12)
        try:
            found = self._outputs(layer)
        except Exception:  # it lacks what this twin is made for
            return False
        return all(map(_close, found, self.wanted))

    def _copy(self) -> nn.Module:
        """Always with the same weights; theirs may be all zeros, or on no device at all."""
        generator = torch.Generator().manual_seed(0)

        def drawn(tensor: Tensor) -> Tensor:
            if id(tensor) not in buffers and tensor.is_floating_point():
                return torch.randn(tensor.shape, generator=generator)
            copy = tensor.cpu().clone()
            return copy.float() if copy.is_floating_point() else copy

        buffers = {id(b) for b in self.layer.buffers()}
        copy, _ = bare_copy(self.layer, drawn)
        return copy

    @torch.no_grad()
    def _outputs(self, layer: nn.Module) -> list[Any]:
        with unnoticed(torch.device("cpu")):
            return [layer.train(mode)(x.clone()) for mode in (False, True) for x in self.inputs]


def _inputs(module: Any) -> Iterator[Tensor]:
    """Inputs of as many sizes as the stride has remainders; one with zeros, one with a large number."""
    generator = torch.Generator().manual_seed(1)
    if isinstance(module, nn.Linear):
        yield 3 * torch.randn(4, module.in_features, generator=generator)
        return
    padding = [0] if isinstance(module.padding, str) else module.padding
    spans = [d * (k - 1) + 1 for d, k in zip(module.dilation, module.kernel_size, strict=True)]
    least = max(itertools.chain(spans, (2 * p + 1 for p in padding))) + 1
    x = torch.empty(0)
    for more in range(min(max(module.stride), 4) + 1):
        size = [least + more + i for i in range(len(spans))]
        x = 3 * torch.randn(2, module.in_channels, *size, generator=generator)
        yield x
    yield x * torch.tensor([0.0, 1.0]).view(2, *[1] * (x.dim() - 1))  # as layers see that skip what is empty
    large = x.clone()
    large.view(-1)[x.numel() // 2] = 1e4
    yield large


def _close(found: Any, wanted: Any) -> bool:
    if not isinstance(found, Tensor) or not isinstance(wanted, Tensor) or found.shape != wanted.shape:
        return False
    scale = float(wanted.abs().max()) if wanted.numel() else 0.0
    return scale > 0 and float((found - wanted).abs().max()) < _TOLERANCE * scale
