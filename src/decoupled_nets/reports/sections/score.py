"""The section on the score: the metric of every operator, and what the difference can bear."""

from __future__ import annotations

from collections.abc import Iterator

from .. import figures, markup
from .. import format as fmt
from ..pictures import Picture
from ..results import Results
from ..summary import Row
from ..tables import score_table
from . import Content, section

_NOTE = (
    "The test score is that of the network after the last epoch; the test images are read once, then, and "
    "nothing is chosen by them. ± is the standard deviation over seeds. The interval is INTERVAL "
    "for the first seed's run alone: it covers the choice of test images, not that of the seed. "
    "Differences are taken seed by seed; their ± is the standard error. They are not corrected for comparing "
    "several operators."
)
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


@section("Score", 20, figures=("score",), pictures=pictures)
def score(content: Content) -> list[str]:
    """A table, the verdicts, the picture."""
    rows = content.rows
    verdicts = markup.items([(row.label, f"{row.verdict}.") for row in rows[1:]])
    return [
        markup.table(score_table(rows)),
        markup.paragraph(f"Against {rows[0].operator}:") if verdicts else "",
        verdicts,
        markup.note(_NOTE.replace("INTERVAL", _INTERVALS[content.results.interval])),
        content.figure("score"),
    ]
