"""Configurations made of parts, and the flat names that their fields have for users.

A configuration holds dataclasses (data, network, ...) as fields. A command line, a YAML file and a checkpoint
name every field alone: ``lr`` stands for ``config.optim.lr``. No two parts have a field of the same name.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from functools import cache
from types import MappingProxyType
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from .recipes import recipe

T = TypeVar("T")


def parts(kind: type) -> Mapping[str, type]:
    """The fields of a configuration that are dataclasses themselves, by name."""
    return _parts(kind)


def owners(kind: type) -> Mapping[str, type]:
    """The dataclass that each flat name is a field of: a part, or the configuration itself."""
    return _owners(kind)


# Evaluating annotations takes a millisecond, and a comparison of many runs asks hundreds of times.
@cache
def _parts(kind: type) -> Mapping[str, type]:
    hints = get_type_hints(kind)
    named = {f.name: hints[f.name] for f in dataclasses.fields(kind)}
    return MappingProxyType(
        {n: hint for n, hint in named.items() if dataclasses.is_dataclass(hint) and isinstance(hint, type)}
    )


@cache
def _owners(kind: type) -> Mapping[str, type]:
    inner, found = parts(kind), dict[str, type]()
    for field in dataclasses.fields(kind):
        names = (
            [f.name for f in dataclasses.fields(inner[field.name])] if field.name in inner else [field.name]
        )
        found.update(dict.fromkeys(names, inner.get(field.name, kind)))
    return MappingProxyType(found)


def defaults(kind: type) -> dict[str, Any]:
    """The default of every flat name that has one."""
    found: dict[str, Any] = {}
    for field in dataclasses.fields(kind):
        if field.default is not dataclasses.MISSING:
            found[field.name] = field.default
        elif field.default_factory is not dataclasses.MISSING:
            found.update(flat(field.default_factory()))
    return found


def check_choices(config: Any) -> None:
    """Refuse what is none of the choices that a dataclass's fields have by their types, ``Literal[...]``.

    Raises:
        ValueError: names the field and its choices.
    """
    for name, (choices, others) in _choices(type(config)).items():  # type: ignore[arg-type]
        value = getattr(config, name)
        if value in choices or (others and not isinstance(value, str)):
            continue
        number = "a number or " if others else ""
        known = ", ".join(choice for choice in choices if choice is not None)
        raise ValueError(f"{name} = {value!r} received; needed: {number}one of {known}")


@cache
def _choices(kind: type) -> dict[str, tuple[tuple[Any, ...], bool]]:
    """The choices of each field that has some, None among them, and whether it may also be a number."""
    found = {}
    for name, hint in get_type_hints(kind).items():
        members = (hint,) if get_origin(hint) is Literal else get_args(hint)
        texts = [choice for m in members if get_origin(m) is Literal for choice in get_args(m)]
        if texts:
            choices = (*texts, *((None,) if type(None) in members else ()))
            found[name] = (choices, bool({int, float} & set(members)))
    return found


def flat(config: Any) -> dict[str, Any]:
    """Every field by its flat name, in the order of the fields."""
    inner, found = parts(type(config)), {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        found.update(flat(value) if field.name in inner else {field.name: value})
    return found


def from_flat(kind: type[T], options: Mapping[str, Any]) -> T:
    """The inverse of :func:`flat`; what is not given is the recipe's, if one is named, or has its default.

    Raises:
        TypeError: a name is no field.
        ValueError: a value is out of range.
    """
    known = owners(kind)
    options = {**recipe_options(kind, options.get("recipe")), **options}
    if strange := [name for name in options if name not in known]:
        raise TypeError(f"{kind.__name__} has no option {strange[0]!r}; known: {', '.join(known)}")
    given: dict[str, Any] = {}
    for field in dataclasses.fields(kind):  # type: ignore[arg-type]
        part = parts(kind).get(field.name)
        if part is None:
            given.update({field.name: options[field.name]} if field.name in options else {})
            continue
        own = {f.name: options[f.name] for f in dataclasses.fields(part) if f.name in options}
        assert field.default_factory is not dataclasses.MISSING
        given[field.name] = dataclasses.replace(field.default_factory(), **own)
    return kind(**given)


def recipe_options(kind: type, name: str | None) -> dict[str, Any]:
    """What the recipe of that name says of the fields of a configuration; nothing without a name.

    Raises:
        ValueError: there is no such recipe.
    """
    known = owners(kind)
    return {field: value for field, value in recipe(name).items() if field in known} if name else {}


def words_of(options: Mapping[str, Any], usual: Mapping[str, Any], always: Sequence[str] = ()) -> list[str]:
    """The words of a command line for the options that differ from the usual ones.

    Args:
        options: by their flat names.
        usual: their defaults.
        always: options that are named even so.
    """
    words = []
    for name, value in options.items():
        if value == usual[name] and name not in always:
            continue
        option = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{option}" if value else f"--no-{option}")
        else:
            words += [f"--{option}", str(value)]
    return words


class Flat:
    """What a configuration of parts offers beside its fields."""

    @classmethod
    def of(cls: type[T], **options: Any) -> T:
        """The configuration with these fields, by their flat names: ``TrainConfig.of(lr=0.1, width=0.5)``.

        A ``recipe`` among them stands for its options; what is given beside it goes before it.
        """
        return from_flat(cls, options)

    def flat(self) -> dict[str, Any]:
        """Every field by its flat name."""
        return flat(self)
