"""Everything a comparison leaves to look at, written to one folder."""

from __future__ import annotations

from pathlib import Path

from .._files import write_atomically, write_text
from .figures import png
from .page import render
from .pictures import Drawn
from .results import Results
from .sections import pictures
from .summary import summarise


def write_report(results: Results, folder: Path) -> list[Path]:
    """Write ``report.html`` and its figures (light theme, PNG) to `folder`.

    Partial results give a partial report: what was not measured is left out or marked as missing.

    Returns:
        The files written, the page first.
    """
    rows = summarise(results)
    drawn = {
        name: Drawn(picture, {"light": png(picture.draw("light")), "dark": png(picture.draw("dark"))})
        for name, picture in pictures(results, rows).items()
    }
    page = write_text(folder / "report.html", render(results, rows, drawn))
    return [page, *(write_png(folder / f"{name}.png", one.images["light"]) for name, one in drawn.items())]


def write_png(path: Path, image: bytes) -> Path:
    """Write a figure's file."""
    return write_atomically(path, lambda file: file.write(image))
