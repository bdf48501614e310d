"""Passes of a network over batches: what its layers give, and what follows from that for others."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ..nn.operator import DecoupledMixin
from .batch_norm import BATCH_NORM, Averaging, Followers
from .inputs import Forward, Outputs, comparable, takes_no_single_input
from .layers import Aim, Calibrating, Moments
from .report import Distance, distance

LONG = 10.0  # seconds from which on progress is shown


@contextmanager
def bare() -> Iterator[None]:
    """Numbers that can be trained on afterwards, and code that sees the hooks: none compiled before."""
    with torch.inference_mode(False), torch.no_grad(), torch.compiler.set_stance("force_eager"):
        yield


@dataclass(frozen=True)
class Run:
    """A network on all batches."""

    forward: Forward
    inputs: list[Any]
    step: Callable[[], None]

    def __call__(self, model: nn.Module) -> Outputs:
        """What it gives for each."""
        outputs = Outputs()
        for batch in self.inputs:
            outputs.add(self.forward(model, batch))
            self.step()
        return outputs


def distance_of(outputs: Outputs, expected: Outputs) -> tuple[Distance, str | None]:
    """How far outputs are from others, or why they cannot be compared."""
    if (reason := comparable(outputs, expected)) is not None:
        return Distance(None, None), reason
    return distance(outputs.values, expected.values), None


def observed(
    model: nn.Module, twins: dict[DecoupledMixin, nn.Module], run: Run
) -> tuple[dict[DecoupledMixin, Moments], Followers, Outputs]:
    """Moments of what the twins of layers give, what takes that, and the network's outputs."""
    moments: dict[DecoupledMixin, Moments] = {}

    def hook(layer: DecoupledMixin) -> Callable[..., None]:
        def observe(module: nn.Module, _: Any, output: torch.Tensor) -> None:
            own = moments.setdefault(layer, Moments())
            own.add(output, module)
            own.remember()

        return observe

    followers = Followers(list(twins.values()))
    with ExitStack() as stack:
        for layer, twin in twins.items():
            stack.callback(twin.register_forward_hook(hook(layer), prepend=True).remove)
        stack.enter_context(followers.watching(model))
        return moments, followers, run(model)


def norms_behind(
    model: nn.Module, plain: nn.Module, twins: dict[DecoupledMixin, nn.Module], followers: Followers
) -> dict[DecoupledMixin, list[tuple[Any, torch.Tensor]]]:
    """The normalisations behind every layer, with the running means that they have in the plain network."""
    names = {module: name for name, module in plain.named_modules()}
    behind = {}
    for layer, twin in twins.items():
        found: list[Any] = followers.of(twin)
        behind[layer] = [(named_in(model, names[norm]), norm.running_mean.clone()) for norm in found]
    return behind


def adjust(
    model: nn.Module,
    wanted: dict[DecoupledMixin, Moments],
    behind: dict[DecoupledMixin, list[tuple[Any, torch.Tensor]]],
    aim: Aim,
    run: Run,
    reset_batch_norm: bool,
) -> dict[DecoupledMixin, Calibrating]:
    """Calibrate layer after layer while the batches pass."""
    anew = [m for m in model.modules() if isinstance(m, BATCH_NORM) and m.track_running_stats]
    anew = anew if reset_batch_norm else []
    with ExitStack() as stack:
        states = {
            layer: Calibrating(layer, moments, aim, behind.get(layer, ()))
            for layer, moments in wanted.items()
        }
        for layer, state in states.items():
            stack.callback(layer.register_forward_pre_hook(state.before, with_kwargs=True).remove)
            # The layer's own response, before others' hooks change it.
            stack.callback(layer.register_forward_hook(state.after, prepend=True).remove)
        for norm in anew:
            averaging = Averaging(norm, lambda: any(state.reached for state in states.values()))
            stack.callback(norm.register_forward_pre_hook(averaging.before).remove)
            stack.callback(averaging.end)
        run(model)
    return states


@contextmanager
def types_explained(model: nn.Module, inputs: list[Any]) -> Iterator[None]:
    """Say so if the number or the type of the inputs may be why a network failed; some do take them."""
    needed = next((p.dtype for p in model.parameters() if p.is_floating_point()), None)
    try:
        yield
    except TypeError as error:
        if (why := takes_no_single_input(model)) is None:
            raise
        raise TypeError(
            f"a network received that does not take the first tensor of a batch alone ({why}); needed: "
            "forward=, such as lambda model, batch: model(*batch)"
        ) from error
    except RuntimeError as error:
        other = next((batch.dtype for batch in inputs if batch.dtype != needed), None)
        if needed is None or other is None:
            raise
        raise TypeError(
            f"batches of {other} received, which the network does not take; needed: {needed}, "
            "normalised as in its training"
        ) from error


@contextmanager
def progress_shown(total: int, label: str) -> Iterator[Callable[[], None]]:
    """A function that counts passes, and shows progress once it will take long."""
    start, done = time.monotonic(), itertools.count(1)
    with ExitStack() as stack:
        shown: list[Any] = []

        def step() -> None:
            n = next(done)
            if shown:
                shown[0].advance()
            elif n < total and (time.monotonic() - start) / n * total > LONG and n >= 2:
                from .._progress import Progress

                shown.append(stack.enter_context(Progress(total, label)))
                shown[0].advance(n)

        yield step


def named_in(reference: nn.Module, name: str) -> nn.Module:
    """A module of the network to start from.

    Raises:
        ValueError: there is none of that name.
    """
    try:
        return reference.get_submodule(name)
    except AttributeError:
        raise ValueError(
            f"reference has no module {name!r}, which the model has; needed: the network as it was before "
            "conversion"
        ) from None
