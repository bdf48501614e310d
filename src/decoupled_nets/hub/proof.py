"""The proof that what was written leads back to the network: both compute the same on a random batch."""

from __future__ import annotations

import copy
import dataclasses
import random
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import zip_longest
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from ..nn.operator import DecoupledMixin
from .inputs import candidates

#: Evaluation as it is; then both with the same noise on their weights, so that no branch is silent because it
#: starts at zero.
_RUNS = ("evaluation", "training", "evaluation")
_TOLERANCE = 1e-5
_HOOKS = ("_forward_pre_hooks", "_forward_hooks")
Rebuild = Callable[[], nn.Module]
#: What a module is given or gives: its name, which of the two, the values.
Event = tuple[str, str, Any]


def prove(model: nn.Module, rebuild: Rebuild, recipe: dict[str, Any], example_input: Any = None) -> None:
    """Compare a network with what is built from its files, in evaluation and in training mode.

    Copies of both compute on the processor, in float32 at least; the network itself is not run.

    Args:
        model: the network.
        rebuild: builds it anew, weights included.
        recipe: says how large its inputs are, where the network does not.
        example_input: an input, or a tuple of inputs; made at random if there is none.

    Raises:
        ValueError: the two differ, or no input for the network could be made.
    """
    with _undisturbed():
        pair = _pair(model, rebuild)
        _tell_of_hooks(model, pair[0])
        inputs = _inputs(pair[0], recipe, example_input)
        for number, mode in enumerate(_RUNS):
            outputs = [_run(network, inputs, number) for network in pair]
            states = [network.state_dict() for network in pair]
            if _same(*outputs) and _same(*states):
                continue
            place = _place(_pair(model, rebuild), inputs, number)
            raise ValueError(
                f"the network is not what its name and options build: in {mode} mode it computes something "
                f"else{place}; it was changed by hand, or built with options that no module shows, such as "
                "drop_rate, global_pool or transform_input; needed: recipe= with them"
            )


def _pair(model: nn.Module, rebuild: Rebuild) -> tuple[nn.Module, nn.Module]:
    """Copies that can be run without anyone's noticing."""
    try:
        twin = _copy(model)
    except Exception as error:  # of whatever a network keeps in itself
        raise ValueError(
            f"the network cannot be copied, to be compared with what its files lead to: {error}"
        ) from error
    again = _copy(rebuild())
    known = dict(again.named_modules())
    for name, module in twin.named_modules():
        for kind in _HOOKS:  # hooks that the network is built with are a part of it; others come and go
            hooks, built = getattr(module, kind), getattr(known.get(name), kind, {})
            for key in list(hooks)[len(built) :]:
                del hooks[key]
    return twin, again


def _copy(model: nn.Module) -> nn.Module:
    memo: dict[int, Any] = {}
    for module in model.modules():
        for tensor in (*module._parameters.values(), *module._buffers.values(), *vars(module).values()):
            if isinstance(tensor, Tensor) and id(tensor) not in memo:
                plain = _plain(tensor)
                memo[id(tensor)] = nn.Parameter(plain, False) if isinstance(tensor, nn.Parameter) else plain
    twin = copy.deepcopy(model, memo)
    for module in twin.modules():  # other processes take no part
        if isinstance(module, DecoupledMixin) and module.relative is not None:
            module.relative = dataclasses.replace(module.relative, sync=False)
    return twin


def _plain(value: Any) -> Any:
    """A tensor's copy on the processor, in a type that has all operations there."""
    if not isinstance(value, Tensor):
        return value
    plain = value.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
    return plain.float() if plain.dtype in (torch.float16, torch.bfloat16) else plain


def _tell_of_hooks(model: nn.Module, twin: nn.Module) -> None:
    kept = dict(twin.named_modules())
    names = [
        repr(name or "the network")
        for name, module in model.named_modules()
        if any(len(getattr(module, kind)) > len(getattr(kept[name], kind)) for kind in _HOOKS)
    ]
    if names:
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        warnings.warn(
            f"hooks are not saved: those of {', '.join(names[:3])}{more} are left out", stacklevel=5
        )


def _inputs(network: nn.Module, recipe: dict[str, Any], example_input: Any) -> tuple[Any, ...]:
    if example_input is not None:
        given = example_input if isinstance(example_input, tuple) else (example_input,)
        return tree_map(_plain, given)
    failure: Any = "it is not known how large its images are"
    for inputs in candidates(network, recipe):
        try:
            _forward(copy.deepcopy(network).train(), inputs)  # what training takes, evaluation takes, too
            return inputs
        except Exception as error:  # whatever a network says to an input that it cannot take
            failure = " ".join(str(error).split())[:200] or type(error).__name__
    raise ValueError(
        "no input could be made to compare the network with what its files lead to, in training mode and in "
        f"evaluation ({failure}); needed: example_input=, a tensor or a tuple of what the network takes"
    )


def _run(network: nn.Module, inputs: tuple[Any, ...], number: int) -> Any:
    """What a network gives in the run of that number; both networks draw the same random numbers."""
    if number == 1:
        _wake(network)
    network.train(_RUNS[number] == "training")
    try:
        return _forward(network, inputs)
    except Exception as error:  # of the user's example, or of the network that was built
        raise ValueError(f"the network fails in {_RUNS[number]} mode on the input given: {error}") from error


def _forward(network: nn.Module, inputs: tuple[Any, ...]) -> Any:
    torch.manual_seed(0)
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 (what a network may draw from, not us)
    return network(*tree_map(lambda x: x.clone() if isinstance(x, Tensor) else x, inputs))


def _wake(network: nn.Module) -> None:
    generator = torch.Generator("cpu").manual_seed(0)
    for parameter in network.parameters():
        if parameter.is_floating_point():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float32)
            parameter.add_(noise.to(parameter.dtype) * (0.1 * parameter.abs().mean() + 0.01))


def _place(pair: tuple[nn.Module, nn.Module], inputs: tuple[Any, ...], number: int) -> str:
    """Where two networks part in the run of that number, in words."""
    traces: list[list[Event]] = []
    for network in pair:
        for before in range(number):
            _run(network, inputs, before)
        traces.append([])
        _record(network, traces[-1])
        _run(network, inputs, number)
    for ours, built in zip_longest(*traces):
        if ours is None or built is None or ours[:2] != built[:2]:
            return f", first at {_odd_call(traces, ours, built)}"
        name, what, values = ours
        if not _same(values, built[2]):
            at = f"the module {name!r}" if name else "the end, behind its modules"
            return f", first at {at}, which {what} something else" if name else f", first at {at}"
    return ", first in the averages that it keeps"


def _odd_call(traces: list[list[Event]], ours: Event | None, built: Event | None) -> str:
    """The module that one of two networks calls where the other calls another, in words."""
    called = [{name for name, *_ in trace} for trace in traces]
    for event, others in ((ours, called[1]), (built, called[0])):
        if event is not None and event[0] not in others:
            return f"the module {event[0]!r}, which only one of the two calls"
    name = next((event[0] for event in (ours, built) if event is not None and event[0]), "")
    return f"the module {name!r}, which the two call in another order"


def _record(network: nn.Module, trace: list[Event]) -> None:
    """Note what every module is given and gives, in the order of the calls."""

    def copied(values: Any) -> list[Any]:
        return [v.clone() if isinstance(v, Tensor) else v for v in tree_leaves(values)]

    for name, module in network.named_modules():
        if name:
            module.register_forward_pre_hook(
                lambda _, args, kwargs, name=name: trace.append((name, "is given", copied((args, kwargs)))),
                with_kwargs=True,
            )
        module.register_forward_hook(
            lambda _, args, out, name=name: trace.append((name, "gives", copied(out)))
        )


def _same(ours: Any, built: Any) -> bool:
    """Whether two outputs are alike to rounding: tensors in structures, dataclasses or objects."""
    left, right = (tree_leaves(_opened(value)) for value in (ours, built))
    return len(left) == len(right) and all(map(_alike, left, right))


def _opened(value: Any) -> Any:
    """Mappings and dataclasses, which not every version of torch looks into, as dictionaries."""
    if hasattr(value, "__dataclass_fields__"):
        return {name: getattr(value, name) for name in value.__dataclass_fields__}
    return dict(value) if hasattr(value, "keys") and hasattr(value, "__getitem__") else value


def _alike(ours: Any, built: Any) -> bool:
    if not isinstance(ours, Tensor) or not isinstance(built, Tensor):
        simple = isinstance(ours, bool | int | float | str | None)
        return type(ours) is type(built) and (not simple or ours == built)
    if ours.shape != built.shape or ours.dtype != built.dtype:
        return False
    if torch.equal(ours, built):
        return True
    if not ours.is_floating_point():
        return False
    largest = ours[ours.isfinite()].abs().max() if ours.isfinite().any() else ours.new_zeros(())
    return torch.allclose(ours, built, rtol=0, atol=_TOLERANCE * float(largest), equal_nan=True)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Whatever networks draw, on one processor, without gradients; random numbers go on as they were."""
    drawn = random.getstate(), np.random.get_state()  # noqa: NPY002
    try:
        with (
            torch.random.fork_rng(devices=[]),
            torch.device("cpu"),
            torch.autocast("cpu", enabled=False),
            torch.no_grad(),
        ):
            yield
    finally:
        random.setstate(drawn[0])
        np.random.set_state(drawn[1])  # noqa: NPY002
