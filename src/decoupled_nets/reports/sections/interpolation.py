"""The section on what is had without training: interpolation, which a network has to beat."""

from __future__ import annotations

import html

from .. import markup
from ..untrained import no_better, untrained_tables
from . import Content, section


@section("Without training", 22, always=False)
def interpolation(content: Content) -> list[str]:
    """A table, and the networks that did no better."""
    parts = [markup.table(one) for one in untrained_tables(content.results)]
    if parts and (text := no_better(content.results)):
        parts.append(f'<p class="warning">{html.escape(text)}</p>')
    return parts
