"""Pieces of the page's HTML; every text is escaped."""

from __future__ import annotations

import base64
import html
import struct

from .pictures import Drawn
from .tables import Table, as_html


def section(heading: str, *parts: str) -> str:
    """A section, or nothing when all its parts are empty."""
    body = "\n".join(part for part in parts if part)
    return f"<section>\n<h2>{html.escape(heading)}</h2>\n{body}\n</section>" if body else ""


def paragraph(text: str) -> str:
    """A paragraph."""
    return f"<p>{html.escape(text)}</p>"


def note(text: str) -> str:
    """A paragraph in small print."""
    return f'<p class="note">{html.escape(text)}</p>'


def warning(text: str) -> str:
    """A paragraph that stands out."""
    return f'<p class="warning">{html.escape(text)}</p>'


def items(pairs: list[tuple[str, str]]) -> str:
    """A list of terms, set in bold, and what is said of each."""
    lines = "\n".join(
        f"<li><strong>{html.escape(term)}</strong>: {html.escape(text)}</li>" for term, text in pairs
    )
    return f"<ul>\n{lines}\n</ul>" if pairs else ""


def terms(pairs: list[tuple[str, str]]) -> str:
    """Terms and their descriptions."""
    lines = "\n".join(f"<dt>{html.escape(term)}</dt><dd>{html.escape(text)}</dd>" for term, text in pairs)
    return f"<dl>\n{lines}\n</dl>"


def table(content: Table) -> str:
    """A table in a box that scrolls sideways, also by keyboard, so that the page itself never does."""
    label = html.escape(content.caption)
    box = f'<div class="scroll" tabindex="0" role="region" aria-label="{label}">'
    return f"{box}{as_html(content)}</div>" if content.rows else ""


def figure(drawn: Drawn | None) -> str:
    """A picture with its caption, in the theme of the reader."""
    if drawn is None:
        return ""
    light, dark = (base64.b64encode(drawn.images[theme]).decode() for theme in ("light", "dark"))
    # Width and height stand in a PNG's first chunk; given here, the page does not jump while it loads.
    width, height = struct.unpack(">II", drawn.images["light"][16:24])
    picture = (
        f'<picture><source media="(prefers-color-scheme: dark)" srcset="data:image/png;base64,{dark}">'
        f'<img src="data:image/png;base64,{light}" width="{width}" height="{height}" '
        f'alt="{html.escape(drawn.picture.alternative)}"></picture>'
    )
    caption = html.escape(drawn.picture.caption)
    return f"<figure>\n{picture}\n<figcaption>{caption}</figcaption>\n</figure>"
