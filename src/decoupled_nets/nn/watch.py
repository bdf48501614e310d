"""What decoupled layers compute with, seen while a network runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from ..ops.decoupled.call import ConvCall, Operands
from .operator import DecoupledMixin

Note = Callable[[str, DecoupledMixin, ConvCall, Operands], None]


@contextmanager
def watched(layers: Mapping[str, DecoupledMixin], note: Note) -> Iterator[None]:
    """While it lasts, `note(name, layer, call, operands)` is called before every response of these layers.

    The operands have the norms of their patches.
    """
    for name, layer in layers.items():

        def noting(
            call: ConvCall,
            operands: Operands,
            name: str = name,
            layer: DecoupledMixin = layer,
            own: Any = layer._respond,
        ) -> Tensor:
            note(name, layer, call, operands)
            response: Tensor = own(call, operands)
            return response

        layer._respond = noting  # type: ignore[method-assign]
    try:
        yield
    finally:
        for layer in layers.values():
            del layer._respond
