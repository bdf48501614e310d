"""The section on two-dimensional features."""

from __future__ import annotations

from collections.abc import Iterator

from .. import figures
from .. import format as fmt
from ..pictures import Picture
from ..results import Results
from ..summary import Row
from . import Content, section


def pictures(results: Results, rows: list[Row]) -> Iterator[Picture]:
    """One panel an operator."""
    if not results.features:
        return
    caption = (
        "Features of the validation images in a network of the same kind whose last feature layer has two "
        "dimensions; one colour per class, lines through the origin, that network's validation accuracy at "
        "the top right. Scales differ between panels."
    )
    classes = len(results.data.get("classes", []))
    if classes > figures.MOST_CLASSES:
        caption += f" Only the first {figures.MOST_CLASSES} of {classes} classes are drawn."
    names = fmt.listed([one.operator for one in results.features])
    alternative = f"Scatter plots of two-dimensional features, one panel each for {names}, coloured by class."
    yield Picture("features", caption, alternative, lambda theme: figures.features(results, theme))


@section("Features in two dimensions", 60, always=False, figures=("features",), pictures=pictures)
def features(content: Content) -> list[str]:
    """The picture."""
    return [content.figure("features")]
