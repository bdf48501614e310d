"""How a network upsamples, as a part of its recipe."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from torch import nn

from ..conversion.answers import PLAN, Answer, Plan, is_answering, put_answers

_KEYS = {"upsampler", "channels", "scale_factor", "guidance_channels", "mode"}


def answers_of(name: str, module: nn.Module) -> dict[str, Any]:
    """What answers the calls of a module, as JSON values.

    Raises:
        ValueError: an upsampler has no name.
    """
    plan: Plan = module.__dict__[PLAN]
    for answer in plan.answers:
        if not isinstance(answer.upsampler, str):
            raise ValueError(
                f"the module {name!r} upsamples by {answer.upsampler!r}, which has no name; needed: one "
                "that register_upsampler has given one"
            )
    return {"module": name, "calls": [None if call is None else asdict(call) for call in plan.calls]}


def answer_again(network: nn.Module, change: Any) -> None:
    """Let a module's calls be answered as a recipe has it.

    Raises:
        ValueError: the recipe is malformed, or the network has no such module.
    """
    calls = change.get("calls") if isinstance(change, dict) else None
    named = isinstance(change, dict) and isinstance(change.get("module"), str)
    if not named or not isinstance(calls, list) or not all(map(_is_call, calls)) or not any(calls):
        raise ValueError(f"upsampling = {change!r} received; needed: a module and what answers its calls")
    known = dict(network.named_modules())
    module = known.get(change["module"])
    if module is None or is_answering(module):
        raise ValueError(
            f"upsampling of {change['module']!r} received; needed: a module of the network, and once"
        )
    answers = tuple(None if call is None else Answer(**call) for call in calls)
    put_answers(module, Plan(change["module"] or "the network", answers))


def _is_call(call: Any) -> bool:
    if call is None:
        return True
    # What was saved before modes were kept has none.
    return isinstance(call, dict) and {*call, "mode"} == _KEYS and isinstance(call.get("upsampler"), str)
