"""The section on what networks make of the small maps of a few test images."""

from __future__ import annotations

from collections.abc import Iterator

from .. import figures
from .. import format as fmt
from ..pictures import Picture
from ..results import Results
from ..summary import Row
from . import Content, section


def pictures(results: Results, rows: list[Row]) -> Iterator[Picture]:
    """Image, small map, depth, and of every operator the map with its error below."""
    made = results.examples.get("made")
    if not made or "small" not in results.examples["given"]:
        return
    caption = (
        "The middles of some test images, their small maps, their depth, and what the network of each"
        f" operator makes of it (seed {results.seeds[0]}), with its absolute error below: black is 0, the"
        " brightest of an image is the same for all operators."
    )
    shown = fmt.plural(len(results.examples["given"]["images"]), "test image")
    alternative = f"A grid of {shown} with depth maps and errors of {fmt.listed(list(made))}."
    yield Picture(
        "depths", results.worded(caption), alternative, lambda theme: figures.depths(results, theme)
    )


@section("Depth maps", 25, always=False, figures=("depths",), pictures=pictures)
def depths(content: Content) -> list[str]:
    """The picture."""
    return [content.figure("depths")]
