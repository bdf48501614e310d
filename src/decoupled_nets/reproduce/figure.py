"""The picture of a reproduction: the paper's differences and ours."""

from __future__ import annotations

import textwrap

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ..reports.figures.style import WIDTH, Theme, ThemeName, styled
from .reproduction import Reproduction
from .shown import in_words, said
from .verdict import Word

_LABEL = 32  # characters of a line beside the axes


def differences(found: Reproduction, theme: ThemeName = "light") -> Figure:
    """One row for each hypothesis that compares two cells: the paper's difference, ours and its interval."""
    shown = [
        one
        for one in found.verdicts
        if one.hypothesis.direction != "does not converge" and not (one.paper is None and one.mean is None)
    ]
    with styled(theme) as look:
        figure = Figure(figsize=(WIDTH, 1.3 + 0.44 * len(shown)))
        axes = figure.subplots()
        axes.set_yticks(
            range(len(shown)),
            [textwrap.fill(said(found, one), _LABEL) for one in shown],
            fontsize=8,
            parse_math=False,
        )
        axes.set_ylim(len(shown) - 0.5, -0.5)
        axes.grid(False, axis="y")
        axes.spines["left"].set_visible(False)
        axes.axvline(0, color=look.quiet, linewidth=1, linestyle=(0, (4, 3)), zorder=0)
        for y, one in enumerate(shown):
            colour = _colour(one.word, look)
            if one.paper is not None:
                axes.plot(one.paper, y, "D", color=look.quiet, markerfacecolor="none", markersize=7)
            if one.interval is not None:
                axes.plot(one.interval, [y, y], color=colour, linewidth=2.5)
            if one.mean is not None:
                axes.plot(one.mean, y, "o", color=colour, markersize=7)
            axes.text(
                1.02, y, one.word, transform=axes.get_yaxis_transform(), va="center_baseline", color=look.ink,
                fontsize=9,
            )  # fmt: skip
        axes.set_xlabel(f"by how much the first cell is better, in {in_words(found)}")
        marks = [
            Line2D([], [], marker="D", linestyle="", color=look.quiet, markerfacecolor="none", label="paper"),
            Line2D([], [], marker="o", color=look.ink, label="ours, simultaneous 95 % interval"),
        ][0 if any(one.paper is not None for one in shown) else 1 :]
        axes.legend(
            handles=marks, loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False, fontsize=9
        )
        return figure


def _colour(word: Word, look: Theme) -> str:
    return {"holds": look.positive, "fails": look.negative}.get(word, look.ink)
