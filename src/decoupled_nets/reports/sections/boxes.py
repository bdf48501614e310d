"""The section on the boxes that networks find in a few test images."""

from __future__ import annotations

from collections.abc import Iterator

from .. import figures
from .. import format as fmt
from ..pictures import Picture
from ..results import Results
from ..summary import Row
from . import Content, section


def pictures(results: Results, rows: list[Row]) -> Iterator[Picture]:
    """Images with their objects and with what is found, side by side."""
    made = results.examples.get("made")
    if not made:
        return
    caption = (
        "Some test images, chosen at random, with the boxes of their objects, and with those that the network"
        f" of each operator finds with a score of one half or more (seed {results.seeds[0]})."
    )
    shown = fmt.plural(len(results.examples["given"]["images"]), "test image")
    alternative = f"A grid of {shown} with the true boxes, and the boxes of {fmt.listed(list(made))}."
    yield Picture("boxes", results.worded(caption), alternative, lambda theme: figures.boxes(results, theme))


@section("Boxes", 25, always=False, figures=("boxes",), pictures=pictures)
def boxes(content: Content) -> list[str]:
    """The picture."""
    return [content.figure("boxes")]
