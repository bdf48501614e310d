"""The section on the data: what was found where the user pointed, and what was left out."""

from __future__ import annotations

from ...data.found import Found
from .. import markup
from ..tables import Table
from . import Content, section


@section("Data", 10)
def data(content: Content) -> list[str]:
    """A table of splits, and what was decided."""
    if "found" not in content.results.data:
        return []
    found = Found.from_dict(content.results.data["found"])
    head, *rows = (list(row) for row in found.table())
    return [markup.table(Table(found.name, head, rows)), markup.terms(found.details())]
