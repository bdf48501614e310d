"""Which layers give a network's outputs, read from the graph that autograd keeps of one run.

What a layer gives is a prediction if it reaches the outputs with no layer of learned weights and no
normalisation in between: activations, resizing, reshaping, sums and concatenations may follow. If it is used
further, too, it is a prediction as long as it is used as it is (an hourglass's first map of joints), and a
feature if that goes through a normalisation or a rectifier (a backbone's map of every stage).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

LAYERS = (_ConvNd, nn.Linear, nn.Bilinear)
_NORMALISES = re.compile(r"(Batch|Group|Layer|Instance|R[Mm][Ss]|Rms)_?Norm")
_RECTIFIES = re.compile(r"(Relu|Gelu|Silu|Elu|Hardswish|Hardtanh|Softplus|Mish|PreluKernel)Backward")
_CONTRACTS = re.compile(r"Convolution|[Mm]m(Backward|$)|Linear|Conv\dd")


class Run:
    """The calls of a network's layers during one run, and what came of them."""

    def __init__(self, model: nn.Module) -> None:
        self.calls: dict[Any, set[nn.Module]] = defaultdict(set)
        self.layers = [m for m in model.modules() if isinstance(m, LAYERS)]
        self.called: set[nn.Module] = set()
        self._parameters = {id(p) for p in model.parameters()}
        self._handles = [layer.register_forward_hook(self._hook) for layer in self.layers]

    def _hook(self, layer: nn.Module, _: Any, output: Any) -> None:
        self.called.add(layer)
        if isinstance(output, Tensor) and output.grad_fn is not None:
            self.calls[output.grad_fn].add(layer)

    def close(self) -> None:
        """Take the hooks away."""
        for handle in self._handles:
            handle.remove()

    def predictions(self, outputs: Any, inputs: Any, fixed: Collection[nn.Module] = ()) -> set[nn.Module]:
        """Layers that give the outputs, or something that leads nowhere, as what is detached for a decision.

        Args:
            outputs: whatever the network gave.
            inputs: whatever it was given.
            fixed: layers that are not learned, such as a shift to the mean of colours: one looks past them.
        """
        ends = [t.grad_fn for t in tensors(outputs) if t.grad_fn is not None]
        nodes = _reachable([*ends, *self.calls], _sources)
        norms = {node for node in nodes if _NORMALISES.search(node.name())}
        stops = {node for node, layers in self.calls.items() if layers - set(fixed)}
        stops |= norms | self._functional(nodes, inputs)

        def taken_up_by(later: Iterable[Any]) -> set[Any]:
            start = [source for node in later for source in _sources(node)]
            return _reachable(start, lambda node: () if node in stops else _sources(node))

        given = _reachable(ends, lambda node: () if node in stops else _sources(node))
        used = taken_up_by(stops)
        # Maps of features that are handed out on the way are no predictions.
        hidden = taken_up_by(norms | {node for node in used if _RECTIFIES.search(node.name())})
        predicted = (given - hidden) | (set(self.calls) - used)
        return {layer for node in predicted for layer in self.calls.get(node, ())}

    def used_by_weight(self, outputs: Any) -> set[nn.Module]:
        """Layers that were not called, though their weight has a part in the outputs."""
        ends = [t.grad_fn for t in tensors(outputs) if t.grad_fn is not None]
        used = {id(v) for n in _reachable(ends, _sources) if (v := getattr(n, "variable", None)) is not None}
        silent = [layer for layer in self.layers if layer not in self.called]
        return {m for m in silent if any(id(p) in used for p in m.parameters() if p.dim() > 1)}

    def _functional(self, nodes: set[Any], inputs: Any) -> set[Any]:
        """Products of what came from the input with weights, made without calling a layer."""
        given = {t.grad_fn for t in tensors(inputs)}
        from_input: dict[Any, bool] = {}
        from_weight: dict[Any, bool] = {}
        for node in _bottom_up(nodes):
            variable = id(getattr(node, "variable", None))
            sources = _sources(node)
            from_input[node] = node in given or any(from_input[s] for s in sources)
            from_weight[node] = variable in self._parameters or any(from_weight[s] for s in sources)
        return {
            node
            for node in nodes
            if _CONTRACTS.search(node.name())
            and from_input[node]
            and any(from_weight[s] and not from_input[s] for s in _sources(node))
            and not self.calls.get(node)
        }


def _sources(node: Any) -> list[Any]:
    return [source for source, _ in node.next_functions if source is not None]


def _reachable(start: Iterable[Any], after: Callable[[Any], Iterable[Any]]) -> set[Any]:
    seen: set[Any] = set()
    todo = list(start)
    while todo:
        if (node := todo.pop()) not in seen:
            seen.add(node)
            todo.extend(after(node))
    return seen


def _bottom_up(nodes: set[Any]) -> Iterator[Any]:
    """Every node after those it comes from."""
    done: set[Any] = set()
    for root in nodes:
        stack = [(root, False)]
        while stack:
            node, ready = stack.pop()
            if ready:
                yield node
            elif node not in done:
                done.add(node)
                stack.append((node, True))
                stack.extend((source, False) for source in _sources(node) if source not in done)


def tensors(value: Any, seen: set[int] | None = None) -> Iterator[Tensor]:
    """Tensors in whatever a network takes or gives: tuples, dictionaries, objects."""
    seen = set() if seen is None else seen
    if isinstance(value, Tensor):
        yield value
        return
    if id(value) in seen or isinstance(value, str | bytes | int | float | type | nn.Module):
        return
    seen.add(id(value))
    parts: Iterable[Any] = ()
    if isinstance(value, Mapping):
        parts = value.values()
    elif isinstance(value, list | tuple | set):
        parts = value
    else:
        slots = [name for kind in type(value).__mro__ for name in getattr(kind, "__slots__", ())]
        parts = [*getattr(value, "__dict__", {}).values(), *(getattr(value, n, None) for n in slots)]
    for part in list(parts):
        yield from tensors(part, seen)
