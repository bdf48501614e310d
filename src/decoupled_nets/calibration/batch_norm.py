"""BatchNorms behind decoupled layers: they take a shift of the mean, or average anew."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

BATCH_NORM = nn.modules.batchnorm._BatchNorm


class Followers:
    """While a network runs: which normalisation takes what which layer gives, and nothing else.

    A shift of its running mean is then a bias of that layer.
    """

    def __init__(self, layers: Sequence[nn.Module]) -> None:
        self._given: dict[nn.Module, Callable[[], Tensor | None]] = {}
        self._layers = layers
        self._sources: dict[nn.Module, set[nn.Module | None]] = {}

    @contextmanager
    def watching(self, model: nn.Module) -> Iterator[None]:
        """Watch it run."""
        norms = [m for m in model.modules() if isinstance(getattr(m, "running_mean", None), Tensor)]
        handles = [layer.register_forward_hook(self._gave, prepend=True) for layer in self._layers]
        handles += [norm.register_forward_pre_hook(self._takes) for norm in norms]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _gave(self, layer: nn.Module, _: Any, output: Tensor) -> None:
        self._given[layer] = weakref.ref(output)

    def _takes(self, norm: nn.Module, args: tuple[Any, ...]) -> None:
        source = next((k for k, given in self._given.items() if args and given() is args[0]), None)
        self._sources.setdefault(norm, set()).add(source)

    def of(self, layer: nn.Module) -> list[nn.Module]:
        """Those behind a layer."""
        return [norm for norm, sources in self._sources.items() if sources == {layer}]


class Averaging:
    """One BatchNorm while batches pass: averages anew, unless it computes before every decoupled layer."""

    def __init__(self, norm: Any, reached: Callable[[], bool]) -> None:
        self.norm, self.reached, self.momentum = norm, reached, norm.momentum
        self.anew: bool | None = None

    def before(self, norm: Any, args: tuple[Any, ...]) -> None:
        """Begin, the first time, and use the batch's own statistics."""
        if self.anew is None:
            self.anew = self.reached()
            if self.anew:
                norm.reset_running_stats()
                norm.momentum = None  # the average over all batches
        if self.anew:
            norm.train()

    def end(self) -> None:
        """Leave it in evaluation, with the momentum it had."""
        self.norm.momentum = self.momentum
        self.norm.eval()
