"""Weights into a network: what fits, what does not, and why."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor, nn

from ..models.sources import Weights
from ..nn.operator import LEARNED, DecoupledMixin

#: What wrappers, trainers and this package put before a network's own names.
PREFIXES = ("module.", "model.", "network.", "_orig_mod.")
#: The least share of a network's parameters that has to be found.
LEAST = 0.5
_SHOWN = 4
_OF_OPERATORS = ("radius", "mean_norm", "num_updates", "kappa", "scale", *LEARNED)
_NORMALISATION = re.compile(r"(^|\.)normalize\.(mean|std)$")


@dataclass(frozen=True)
class Loaded:
    """What of given weights is in a network now, and what is not.

    Attributes:
        label: What was given.
        loaded: How many tensors fit.
        parameters: How many numbers of the network's parameters they are.
        of: How many numbers the parameters have.
        missing: Names that the network has and the weights have not; they are new.
        unexpected: Names that the weights have and the network has not.
        other_shape: Names with the network's shape and the weights'; they are new.
    """

    label: str
    loaded: int
    parameters: int
    of: int
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    other_shape: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...]

    def __str__(self) -> str:
        """A few lines."""
        share = 100 * self.parameters / max(self.of, 1)
        lines = [
            f"Weights       {self.label}: {self.loaded} tensors, {share:.1f} % of {self.of:,} parameters"
        ]
        shapes = [f"{name} ({_by(now)}, there {_by(there)})" for name, now, there in self.other_shape]
        rows = (("new, other shape there", shapes), ("new, missing there", self.missing),
                ("not used, unknown here", self.unexpected))  # fmt: skip
        lines += [f"              {what}: {_listed(names)}" for what, names in rows if names]
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        plain = asdict(self)
        plain["other_shape"] = [
            {"name": name, "shape": list(now), "there": list(there)} for name, now, there in self.other_shape
        ]
        return {name: list(value) if isinstance(value, tuple) else value for name, value in plain.items()}


def _by(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape)) or "one number"


def _listed(names: Any) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


@dataclass(frozen=True)
class Match:
    """Which of given weights fit a network, by name and shape; nothing is changed yet."""

    fits: dict[str, Tensor]
    report: Loaded

    @property
    def enough(self) -> bool:
        """Whether at least half of the parameters are there."""
        return bool(self.fits) and self.report.parameters >= LEAST * self.report.of

    def put(self, network: nn.Module) -> Loaded:
        """Copy what fits; the rest of the network stays as it is.

        Raises:
            ValueError: less than half of the parameters are there; the network is left as it was.
        """
        if not self.enough:
            raise ValueError(
                f"weights that do not fit received; needed: those of this network, at least half of it\n"
                f"{self.report}"
            )
        self._copy(network)
        return self.report

    def put_beside(self, network: nn.Module, before: Loaded) -> Loaded:
        """Copy what fits of parts that came later, however little; the report of it all.

        Args:
            network: has the parts.
            before: the report of the same weights in the rest; it stays if they know nothing of the parts.
        """
        there = {*self.fits, *(name for name, *_ in self.report.other_shape)}
        if not there:
            return before
        self._copy(network)
        there |= {_bare(name) for name in there}
        return Loaded(
            before.label, before.loaded + self.report.loaded,
            before.parameters + self.report.parameters, before.of + self.report.of,
            before.missing + self.report.missing,
            tuple(name for name in before.unexpected if name not in there),
            before.other_shape + self.report.other_shape,
        )  # fmt: skip

    def _copy(self, network: nn.Module) -> None:
        # A decoupled layer makes room for its scale only if it gets one together with the rest.
        network.load_state_dict({**network.state_dict(), **self.fits}, strict=True)


def match(
    network: nn.Module, weights: Weights, *, leave: Iterable[str] = (), only: Iterable[str] | None = None
) -> Match:
    """Find what fits.

    Args:
        network: has the names and shapes.
        weights: their names may have prefixes that wrappers gave them.
        leave: names that are to be left as they are.
        only: names that it is all about; None: all.
    """
    state = {name: value for name, value in network.state_dict().items() if isinstance(value, Tensor)}
    expected, left = {**_scales(network), **state}, set(leave)
    asked = set(expected if only is None else only)
    left |= set(expected) - asked
    given = _named(weights, set(expected))
    known = {name: tensor for name, tensor in given.items() if name in expected and name not in left}
    fits = {name: tensor for name, tensor in known.items() if tensor.shape == expected[name].shape}
    shapes = {name: (tuple(expected[name].shape), tuple(tensor.shape)) for name, tensor in known.items()}
    sizes = {
        name: parameter.numel()
        for name, parameter in network.named_parameters()
        if name.startswith(weights.part) and name in asked
    }
    report = Loaded(
        weights.label, len(fits), sum(sizes[name] for name in fits if name in sizes), sum(sizes.values()),
        tuple(name for name in state if name not in known and name in asked),
        tuple(name for name in given if name not in expected),
        tuple((name, *shapes[name]) for name in known if name not in fits),
    )  # fmt: skip
    return Match(fits, report)


def operators_own(network: nn.Module) -> set[str]:
    """Names in the state of decoupled layers that plain layers have not."""
    return {
        f"{name}.{own}".lstrip(".")
        for name, module in network.named_modules()
        if isinstance(module, DecoupledMixin)
        for own in _OF_OPERATORS
        if isinstance(getattr(module, own, None), Tensor)
    }


def _scales(network: nn.Module) -> dict[str, Tensor]:
    """What calibration adds to the state of decoupled layers."""
    return {
        f"{name}.scale".lstrip("."): module.weight.new_empty(module.weight.shape[0])
        for name, module in network.named_modules()
        if isinstance(module, DecoupledMixin)
    }


def _bare(name: str) -> str:
    """A name without anything that a wrapper could have given it."""
    while name.startswith(PREFIXES):
        name = name.partition(".")[2]
    return name


def _named(weights: Weights, expected: set[str]) -> dict[str, Tensor]:
    """The tensors by the network's own names, without the normalisation that may go with them."""
    found = {}
    for name, tensor in weights.state.items():
        if _NORMALISATION.search(name) and name not in expected:
            continue
        while name not in expected and name.startswith(PREFIXES):
            name = name.partition(".")[2]
        if name != "n_averaged":  # of torch's AveragedModel: how many were averaged
            found[name] = tensor
    return found
