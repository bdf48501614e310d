"""Training loss and the metric on the validation images, epoch by epoch."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from ..results import Epoch, Results, Run
from .style import WIDTH, Theme, ThemeName, label_ends, operator_colours, styled

Curve = NDArray[np.float64]


def curves(results: Results, theme: ThemeName = "light") -> Figure:
    """Two panels: training loss and validation metric by epoch.

    The thick line is the mean over seeds, thin lines are the seeds; from three seeds on a band shows ± one
    standard deviation. A cross marks the last epoch before a run's loss stopped being a number.
    """
    with styled(theme) as look:
        figure = Figure(figsize=(WIDTH, 2.8))
        left, right = figure.subplots(1, 2)
        _panel(left, results, look, lambda epoch: epoch.train_loss)
        left.set_title("Training loss")
        _use_log_scale_if_wide(left)
        _panel(right, results, look, lambda epoch: results.metric.scale * epoch.val)
        right.set_title(f"Validation {results.metric.heading}")
        for axes in (left, right):
            axes.set_xlabel("Epoch")
            axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))
            _label(axes, results, look)
        return figure


def _panel(axes: Axes, results: Results, look: Theme, value: Callable[[Epoch], float]) -> None:
    colours = operator_colours(results.operators, look)
    for operator in results.operators:
        runs = [run for run in results.of(operator) if run.history]
        colour = colours[operator]
        for run in runs:
            epochs, values = _epochs(run), _values(run, value)
            if len(runs) > 1:
                axes.plot(epochs, values, color=colour, linewidth=0.8, alpha=0.55)
            if run.diverged:
                last = max(0, int(np.isnan(_values(run, lambda epoch: epoch.train_loss)).argmax()) - 1)
                axes.plot(epochs[last], values[last], "x", color=colour, markersize=7, markeredgewidth=2)
        if runs:
            _mean_line(axes, runs, value, colour, operator)


def _mean_line(
    axes: Axes, runs: list[Run], value: Callable[[Epoch], float], colour: str, operator: str
) -> None:
    length = min(len(run.history) for run in runs)
    epochs = _epochs(runs[0])[:length]
    values = np.stack([_values(run, value)[:length] for run in runs])
    mean = values.mean(axis=0)
    # A line of one epoch would be invisible.
    marker = "o" if length == 1 else ""
    axes.plot(epochs, mean, color=colour, marker=marker, gid=operator)
    if len(runs) >= 3:
        sd = values.std(axis=0, ddof=1)
        axes.fill_between(epochs, mean - sd, mean + sd, color=colour, alpha=0.15, linewidth=0)


def _label(axes: Axes, results: Results, look: Theme) -> None:
    """Name every mean line at its last finite value."""
    colours = operator_colours(results.operators, look)
    labels = []
    for line in axes.get_lines():
        operator = line.get_gid()
        values = np.asarray(line.get_ydata(), dtype=float)
        finite = values[np.isfinite(values)]
        if operator is not None and len(finite):
            labels.append((operator, float(finite[-1]), colours[operator]))
    label_ends(axes, labels)


def _use_log_scale_if_wide(axes: Axes) -> None:
    # One run that explodes before it stops would otherwise flatten all others.
    values = np.array([y for line in axes.get_lines() for y in np.asarray(line.get_ydata())], dtype=float)
    positive = values[np.isfinite(values) & (values > 0)]
    if len(positive) and positive.max() > 100 * np.median(positive):
        axes.set_yscale("log")


def _epochs(run: Run) -> Curve:
    return np.array([epoch.epoch for epoch in run.history], dtype=float)


def _values(run: Run, value: Callable[[Epoch], float]) -> Curve:
    return np.array([value(epoch) for epoch in run.history], dtype=float)
