"""The section on further metrics of the same test images."""

from __future__ import annotations

from .. import markup
from ..tables import class_tables, further_table
from . import Content, section


@section("Further metrics", 40)
def further(content: Content) -> list[str]:
    """A table of single numbers, and one of each metric that has a number a class."""
    every = [further_table(content.results), *class_tables(content.results)]
    return [markup.table(one) for one in every]
