"""The section on convergence and cost."""

from __future__ import annotations

from collections.abc import Iterator

from .. import figures, markup
from .. import format as fmt
from ..pictures import Picture
from ..results import Results
from ..summary import Row
from ..tables import cost_table
from . import Content, section

_NOTE = (
    "Epochs to BASELINE's best: the first epoch with at least the best validation METRIC that BASELINE had "
    "with the same seed, averaged over the seeds that got there. Step time: that of a training step, with "
    "the loss, precision and update of the training, divided by BASELINE's, measured in turns; median and "
    "quartiles over rounds. Peak memory: the most tensor memory that one training step allocates."
)


def pictures(results: Results, rows: list[Row]) -> Iterator[Picture]:
    """Training loss and the metric, epoch by epoch."""
    if not any(run.history for row in rows for run in results.of(row.operator)):
        return
    metric = results.metric
    several = max(row.seeds for row in rows)
    caption = f"Training loss and validation {metric.title} after each epoch."
    if several > 1:
        caption += " Thick lines are means over seeds, thin lines single seeds."
    if several > 2:
        caption += " The band is ± one standard deviation."
    if any(row.diverged for row in rows):
        caption += " A cross marks the last epoch before a loss stopped being a number."
    finals = [
        f"{row.operator} reaches {fmt.spread(row.score, metric)} {metric.unit} on the test images"
        for row in rows
        if row.score is not None
    ]
    alternative = (
        f"Line charts of training loss and validation {metric.title} by epoch: {fmt.listed(finals)}."
    )
    yield Picture("curves", caption, alternative, lambda theme: figures.curves(results, theme))


@section("Convergence and cost", 30, figures=("curves",), pictures=pictures)
def convergence(content: Content) -> list[str]:
    """Curves, and a table of epochs, times and memory."""
    rows = content.rows
    if not rows:
        return []
    words = _NOTE.replace("BASELINE", rows[0].operator).replace("METRIC", content.results.metric.title)
    return [content.figure("curves"), markup.table(cost_table(rows)), markup.note(words)]
