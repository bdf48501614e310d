"""What a comparison sets side by side: operators, or variants that differ in any options of a training."""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal, get_args, get_origin, get_type_hints

from .._code import names_code
from .._options import owners
from .._registry import unknown
from ..models import NetworkConfig
from ..networks import form_of
from ..training import AdversarialConfig, OptimConfig, TrainConfig

#: What all runs of a comparison share beside data and machine: what a result belongs to is noted once.
_SHARED = ("plugin", "weights")
OWN_WAY = "own"
_LABEL = re.compile(r"[\w.+-]+")


@dataclass(frozen=True)
class Variant:
    """One of the things compared.

    Attributes:
        label: What tables call it.
        options: What its runs change of the comparison's options, by their flat names; `operator` is one.
        plain: Whether it is an operator and no more, whose folders are called by it alone.
    """

    label: str
    options: dict[str, Any] = field(default_factory=dict)
    plain: bool = False

    @property
    def place(self) -> str:
        """The beginning of its folders' names: the label and the options, so that both have to agree."""
        if self.plain:
            return self.label
        place = "-".join([self.label, *(f"{name}={value}" for name, value in self.options.items())])
        named = re.sub(r"[^\w.,=+-]", "_", place)
        return place if named == place else f"{named}-{digest_of(place)}"


def digest_of(text: str) -> str:
    """A few characters that stand for a text in a folder's name."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def of_operators(names: list[str]) -> list[Variant]:
    """Operators as variants."""
    return [Variant(name, {"operator": name}, plain=True) for name in names]


def of_upsamplers(names: list[str], operator: str) -> list[Variant]:
    """Upsamplers as variants of a network with one operator; `own` is the network's own way."""
    return [
        Variant(name, {"operator": operator, "upsample": None if name == OWN_WAY else name}) for name in names
    ]


def variants(text: str) -> list[Variant]:
    """The variants that a text names.

    Args:
        text: ``plain: ; projected: project_every=100``: labels, each with its options. `operator` comes
            first in all of them, also where it is not given.

    Raises:
        ValueError: a label is missing, strange or there twice; an option is none that may differ, or its
            value is not of its kind.

    Example:
        >>> variants("conv: operator=conv; projected: operator=tanh-cos project-every=100")[1].options
        {'operator': 'tanh-cos', 'project_every': 100}
    """
    return list(_variants(text))


@cache
def _variants(text: str) -> tuple[Variant, ...]:
    found = []
    for part in filter(str.strip, text.split(";")):
        label, colon, words = part.partition(":")
        if not (colon and _LABEL.fullmatch(label.strip())):
            raise ValueError(
                f"variants = {part.strip()!r} received; needed: a label of letters, digits and .+-_, a colon"
                " and options, as in projected: project_every=100"
            )
        found.append(Variant(label.strip(), _options(words)))
    labels = [one.label for one in found]
    if len(set(labels)) != len(labels):
        raise ValueError(f"variants = {text!r} received; needed: each label once")
    return tuple(found)


def spelled(chosen: Mapping[str, Mapping[str, Any]]) -> str:
    """The text that :func:`variants` reads, from labels and their options."""
    return "; ".join(
        f"{label}: {' '.join(f'{n}={_word(v)}' for n, v in own.items())}".rstrip()
        for label, own in chosen.items()
    )


def _word(value: Any) -> str:
    return shlex.quote(
        "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    )


def _options(text: str) -> dict[str, Any]:
    options: dict[str, Any] = {"operator": ""}
    for word in shlex.split(text):
        name, equals, value = word.partition("=")
        name = name.removeprefix("--").replace("-", "_")
        if not equals:
            raise ValueError(
                f"variants: {word!r} received; needed: an option and its value, as in project_every=100"
            )
        check_may_differ(name)
        options[name] = value_of("variants", name, value)
    if names_code(model := options.get("model")) or (model and form_of(model) == "saved"):
        raise ValueError(
            f"variants: model = {model} received; needed: a network of ours or of a library, as code and"
            " saved weights are the same for all runs of a comparison"
        )
    return options


def check_may_differ(name: str) -> None:
    """Refuse what cannot differ between the runs of a comparison.

    Raises:
        ValueError: it is none of the options of network, optimisation and adversarial training.
    """
    if name not in _may_differ():
        raise ValueError(unknown("option of a variant", name, list(_may_differ())))


@cache
def _may_differ() -> tuple[str, ...]:
    return tuple(
        option
        for option, owner in owners(TrainConfig).items()
        if option == "operator"
        or (owner in (NetworkConfig, OptimConfig, AdversarialConfig) and option not in _SHARED)
    )


def value_of(what: str, name: str, text: str) -> Any:
    """A value in the kind of its option.

    Args:
        what: the option that holds it, for messages.
        name: of the option.
        text: the value as typed.

    Raises:
        ValueError: it is of another kind.
    """
    owner = owners(TrainConfig)[name]
    hint = get_type_hints(owner)[name]
    members = [hint] if get_origin(hint) is Literal or isinstance(hint, type) else list(get_args(hint))
    if type(None) in members and text.lower() in ("none", "null"):
        return None
    words: list[str] = []
    for member in members:
        if get_origin(member) is Literal:
            if text in get_args(member):
                return text
            words.append(f"one of {', '.join(str(choice) for choice in get_args(member))}")
            continue
        if member is type(None):
            continue
        try:
            return {"true": True, "false": False}[text.lower()] if member is bool else member(text)
        except (ValueError, KeyError):
            words.append({bool: "true or false", int: "a whole number", float: "a number"}[member])
    raise ValueError(f"{what}: {name} = {text!r} received; needed: {' or '.join(words)}")
