"""The section on single classes: how well each is recognised, and what it is taken for."""

from __future__ import annotations

import math
from collections.abc import Iterator

from .. import figures, markup
from .. import format as fmt
from ..classes import ClassScore, class_names, class_scores, frequent_confusions
from ..pictures import Picture
from ..results import Results
from ..summary import Row
from ..tables import Table
from . import Content, section

_MOST_ROWS = 30  # classes in a table
_MOST_CONFUSED = 15  # pairs, where there are too many classes for a picture


def pictures(results: Results, rows: list[Row]) -> Iterator[Picture]:
    """The matrices of all operators, where the classes are few enough to be seen."""
    shown, classes = _measured(results), class_names(results)
    if not shown or len(classes) > figures.MOST_CONFUSED_CLASSES:
        return
    caption = (
        "Of the test images of each class (rows), how many are taken for each class (columns), in percent of"
        f" the row{_seeds(results)}."
    )
    worst = [
        f"{operator}: {name} for {other}, {100 * share:.0f} %"
        for operator in shown
        for name, other, share, _ in frequent_confusions(results, operator, 1)
    ]
    alternative = f"Confusion matrices of {fmt.listed(shown)}. Most frequent: {'; '.join(worst) or 'none'}."
    yield Picture("confusion", caption, alternative, lambda theme: figures.confusion(results, shown, theme))


@section("Classes", 42, always=False, figures=("confusion",), pictures=pictures)
def classes(content: Content) -> list[str]:
    """The picture, or a table in its place, and a table of each operator's scores."""
    results = content.results
    shown = _measured(results)
    parts = [content.figure("confusion")]
    if "confusion" not in content.drawn:
        parts += [markup.table(_confused(results, operator)) for operator in shown]
    return parts + [markup.table(class_table(results, operator)) for operator in shown]


def class_table(results: Results, operator: str) -> Table:
    """Precision, recall, F1 and number of images: a row a class, the worst ones where there are many."""
    scores = class_scores(results, operator)
    which = "each class"
    if len(scores) > _MOST_ROWS:
        which = f"the {_MOST_ROWS} of {len(scores)} classes with the lowest F1"
        scores = sorted(scores, key=_f1)[:_MOST_ROWS]
    cells = [
        [score.name, *map(_percent, (score.precision, score.recall, score.f1)), f"{score.images:,.0f}"]
        for score in scores
    ]
    header = ["Class", "Precision, %", "Recall, %", "F1, %", "Test images"]
    return Table(f"{operator}: {which}{_seeds(results)}", header, cells)


def _confused(results: Results, operator: str) -> Table:
    cells = [
        [name, other, _percent(share)]
        for name, other, share, _ in frequent_confusions(results, operator, _MOST_CONFUSED)
    ]
    header = ["Class", "Taken for", "Share of its images, %"]
    return Table(f"{operator}: most frequent confusions{_seeds(results)}", header, cells)


def _measured(results: Results) -> list[str]:
    return [operator for operator in results.operators if class_scores(results, operator)]


def _f1(score: ClassScore) -> float:
    return score.f1 if math.isfinite(score.f1) else 2.0


def _percent(share: float) -> str:
    return f"{100 * share:.1f}" if math.isfinite(share) else fmt.MISSING


def _seeds(results: Results) -> str:
    return ", all seeds together" if len(results.seeds) > 1 else ""
