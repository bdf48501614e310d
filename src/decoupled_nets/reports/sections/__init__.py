"""The sections of the page, one file each; every file here is found.

A file has a function with :func:`section`, from the results to parts of HTML: what has nothing to show gives
none, and is left out. Its pictures come from a function beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache

from ..._discover import modules_of
from .. import markup
from ..pictures import Drawn, Picture
from ..results import Results
from ..summary import Row


@dataclass(frozen=True)
class Content:
    """What a section is made of: results, a row of statements per operator, drawn pictures by name."""

    results: Results
    rows: list[Row]
    drawn: Mapping[str, Drawn]

    def figure(self, name: str) -> str:
        """A picture as HTML; empty where there is none of that name."""
        return markup.figure(self.drawn.get(name))


Body = Callable[[Content], list[str]]
Pictures = Callable[[Results, list[Row]], Iterator[Picture]]


@dataclass(frozen=True)
class Section:
    """A section of the page.

    Attributes:
        name: Name of its file; what `Task.sections` calls it.
        heading: On the page.
        place: Sections stand in the order of these numbers.
        always: Whether every task has it, or only those that name it.
        figures: Names of the pictures that it may have.
        pictures: The pictures that these results have the data for.
        body: Its parts; all empty: it is left out.
    """

    name: str
    heading: str
    place: int
    always: bool
    figures: tuple[str, ...]
    pictures: Pictures
    body: Body


_FOUND: dict[str, Section] = {}


def _none(results: Results, rows: list[Row]) -> Iterator[Picture]:
    return iter(())


def section(
    heading: str,
    place: int,
    *,
    always: bool = True,
    figures: tuple[str, ...] = (),
    pictures: Pictures = _none,
) -> Callable[[Body], Body]:
    """Decorator: have the page show what a function gives; the arguments are those of :class:`Section`."""

    def noted(body: Body) -> Body:
        name = body.__module__.rpartition(".")[2]
        _FOUND[name] = Section(name, heading, place, always, figures, pictures, body)
        return body

    return noted


@cache
def every_section() -> tuple[Section, ...]:
    """All sections, in their order."""
    modules_of(__name__)
    return tuple(sorted(_FOUND.values(), key=lambda one: (one.place, one.name)))


def sections_of(results: Results) -> list[Section]:
    """The sections that the page of these results may have."""
    return [one for one in every_section() if one.always or one.name in results.sections]


def figure_names() -> list[str]:
    """Names of the pictures of all sections, whether a set of results has them or not."""
    return [name for one in every_section() for name in one.figures]


def pictures(results: Results, rows: list[Row]) -> dict[str, Picture]:
    """The pictures that these results have the data for, by name."""
    found = [picture for one in sections_of(results) for picture in one.pictures(results, rows)]
    return {picture.name: picture for picture in found}
