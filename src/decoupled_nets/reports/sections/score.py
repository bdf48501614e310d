"""The section on the score: the metric of every operator, and what the difference can bear."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from .. import figures, markup
from .. import format as fmt
from ..figures.operators import known_operators
from ..pictures import Picture
from ..results import Results
from ..summary import Row, adversarial, flattened
from ..tables import difference_table, score_table
from . import Content, section

_NOTE = (
    "The test score is that of the network after EPOCH; the test images are read once, then, and "
    "nothing is chosen by them. ± is the standard deviation over seeds. The interval is INTERVAL "
    "for the first seed's run alone: it covers the choice of test images, not that of the seed."
)
_DECIDED = (
    "Differences are taken seed by seed and image by image. Their intervals cover another draw of seeds and "
    "of test images (crossed bootstrap, with Student's t for few seeds), and hold for all operators at once "
    "in 95 of 100 cases. An interval on one side of 0 says better or worse; one within ± MARGIN says alike; "
    "all else is undecided. Could see: the difference that a comparison of this size finds in 80 of 100 "
    "cases."
)
_ALIKE = (
    "NAMES differ in their angle alone. Behind the first layer the cosines of trained networks are small, "
    "and there linear, cos and sigmoid are one straight line but for a factor: only the first layer, and "
    "the factor, tell them apart (docs/deciding.md has the figures)."
)
_STRAIGHT = ("linear", "cos", "sigmoid")  # near a cosine of 0
_INTERVALS = {"wilson": "Wilson's", "bootstrap": "from 1,000 resamples of the test images (bootstrap)"}


def pictures(results: Results, rows: list[Row]) -> Iterator[Picture]:
    """The metric per operator, with intervals."""
    if not any(row.score for row in rows):
        return
    metric = results.metric
    caption = f"Test {metric.title}. "
    if any(row.seeds > 1 for row in rows):
        caption += "Dots are means over seeds, lines ± one standard deviation, ticks single seeds. "
    else:
        caption += f"Dots are single runs, lines their 95 % {figures.INTERVALS[results.interval]}s. "
    caption += f"The dashed line is {rows[0].operator}; the axis does not start at 0."
    values = [
        f"{row.operator} {fmt.spread(row.score, metric)} {metric.unit}"
        for row in rows
        if row.score is not None
    ]
    alternative = f"Dot chart of test {metric.title} with intervals: {fmt.listed(values)}."
    yield Picture("score", caption, alternative, lambda theme: figures.score(results, theme))
    decided = [row for row in rows if row.decided is not None and row.decided.interval is not None]
    if decided:
        yield _differences(results, rows[0].operator, decided)


def _differences(results: Results, baseline: str, decided: list[Row]) -> Picture:
    caption = (
        f"Differences from {baseline} with intervals that hold at once; thin: one difference a seed. "
        f"Shaded: up to {fmt.size(results.margin, results.metric)} either way, which counts as alike."
    )
    alternative = "Dot chart of differences: " + fmt.listed(
        [f"{row.operator} {row.verdict}" for row in decided]
    )
    return Picture(
        "differences", caption, f"{alternative}.", lambda theme: figures.differences(results, theme)
    )


def alike(operators: Sequence[str]) -> str:
    """A note on operators that are nearly the same function; empty without such."""
    groups: dict[Any, list[str]] = {}
    for name, operator in known_operators(operators).items():
        if operator.angle in _STRAIGHT:
            groups.setdefault(operator.magnitude, []).append(name)
    names = [fmt.listed(group) for group in groups.values() if len(group) > 1]
    return _ALIKE.replace("NAMES", ", and ".join(names)) if names else ""


@section("Score", 20, figures=("score", "differences"), pictures=pictures)
def score(content: Content) -> list[str]:
    """Tables, the verdicts, the pictures."""
    rows, results = content.rows, content.results
    verdicts = markup.items([(row.label, f"{row.verdict}.") for row in rows[1:]])
    decided, rest, same = difference_table(rows), flattened(results, rows), alike(results.operators)
    attacked = adversarial(results)
    epoch = "the epoch that was chosen on validation images" if attacked else "the last epoch"
    words = _DECIDED.replace("MARGIN", fmt.size(results.margin, results.metric))
    return [
        markup.table(score_table(rows)),
        markup.note(_NOTE.replace("INTERVAL", _INTERVALS[results.interval]).replace("EPOCH", epoch)),
        markup.paragraph(attacked) if attacked else "",
        content.figure("score"),
        markup.paragraph(f"Against {rows[0].operator}:") if verdicts else "",
        verdicts,
        markup.paragraph(rest) if rest else "",
        markup.table(decided),
        markup.note(results.worded(words)) if decided.rows else "",
        content.figure("differences"),
        markup.note(same) if same else "",
    ]
