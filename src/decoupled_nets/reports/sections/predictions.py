"""The section on what networks make of a few test images."""

from __future__ import annotations

from collections.abc import Iterator

from .. import figures
from .. import format as fmt
from ..pictures import Picture
from ..results import Results
from ..summary import Row
from . import Content, section


def pictures(results: Results, rows: list[Row]) -> Iterator[Picture]:
    """Images, masks and predictions side by side."""
    made = results.examples.get("made")
    if not made:
        return
    caption = (
        "Some test images, chosen at random, their masks, and what the network of each operator makes of"
        f" them (seed {results.seeds[0]})."
    )
    shown = fmt.plural(len(results.examples["given"]["images"]), "test image")
    alternative = f"A grid of {shown} with masks, and the predictions of {fmt.listed(list(made))}."
    yield Picture(
        "predictions", results.worded(caption), alternative, lambda theme: figures.predictions(results, theme)
    )


@section("Predictions", 25, always=False, figures=("predictions",), pictures=pictures)
def predictions(content: Content) -> list[str]:
    """The picture."""
    return [content.figure("predictions")]
