"""One look for all figures: colours, type, and labels that stand beside what they name."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

ThemeName = Literal["light", "dark"]
BASELINE = "conv"
FONT = "DejaVu Sans"  # comes with matplotlib
WIDTH = 6.0  # inches; type of 10 points is 16 px high in a figure shown at 700 px, 8 px on a phone
DPI = 200


@dataclass(frozen=True)
class Theme:
    """The colours of a figure: `series` tells operators apart, `classes` the classes of a data set."""

    background: str
    ink: str
    quiet: str
    grid: str
    baseline: str
    positive: str
    negative: str
    series: tuple[str, ...]
    classes: tuple[str, ...]


# `series` follows Okabe and Ito, `classes` Paul Tol's "muted" scheme: both are safe for colour-blind readers;
# the shades are shifted so that each is legible as text on its background.
THEMES: dict[ThemeName, Theme] = {
    "light": Theme(
        background="#ffffff",
        ink="#1d2329",
        quiet="#5c6670",
        grid="#e4e7eb",
        baseline="#3d444c",
        positive="#0068a8",
        negative="#c24e00",
        series=("#0068a8", "#c94f00", "#008a63", "#a8487f", "#6b5bb5", "#a87000", "#2f8fc0"),
        classes=(
            *("#332288", "#88ccee", "#44aa99", "#117733", "#999933"),
            *("#ddbb44", "#cc6677", "#882255", "#aa4499", "#8a8f96"),
        ),
    ),
    "dark": Theme(
        background="#14181d",
        ink="#e8ebee",
        quiet="#a3adb8",
        grid="#2a3038",
        baseline="#c3cad1",
        positive="#4fa8e6",
        negative="#f08543",
        series=("#5ab0e8", "#ff8f52", "#34c99b", "#e79bc8", "#b5a8f5", "#efb840", "#9ad4fa"),
        classes=(
            *("#8577ee", "#88ccee", "#44aa99", "#3f9d5a", "#b5b544"),
            *("#ecd27a", "#e07a8b", "#c04a86", "#cc77c0", "#c9ced4"),
        ),
    ),
}


@contextmanager
def styled(theme: ThemeName) -> Iterator[Theme]:
    """Draw inside this block: what is made in it has the look of `theme`.

    Raises:
        ValueError: there is no such theme.
    """
    if theme not in THEMES:
        raise ValueError(f"theme = {theme!r} received; needed: 'light' or 'dark'")
    look = THEMES[theme]
    with mpl.rc_context(_parameters(look)):
        yield look


def operator_colours(operators: Sequence[str], theme: Theme) -> dict[str, str]:
    """A colour per operator by its place in the list; the plain convolution is grey wherever it stands."""
    decoupled = [name for name in operators if name != BASELINE]
    colours = {name: theme.series[i % len(theme.series)] for i, name in enumerate(decoupled)}
    return {name: colours.get(name, theme.baseline) for name in operators}


def label_ends(axes: Axes, labels: Sequence[tuple[str, float, str]]) -> None:
    """Write each (text, height, colour) to the right of the axes at its height, none over another.

    The heights are data; limits and scale of the axes have to be final.
    """
    axes.get_ylim()  # settles the limits, which the transform below only reads
    to_axes = axes.transScale + axes.transLimits
    shares = [min(max(float(to_axes.transform((0.0, height))[1]), 0.0), 1.0) for _, height, _ in labels]
    figure = axes.get_figure(root=True)
    assert figure is not None
    # The axes take about three quarters of the figure's height.
    gap = 1.25 * float(mpl.rcParams["font.size"]) / (0.75 * 72 * figure.get_figheight())
    for (text, _, colour), share in zip(labels, separated(shares, gap, 0.0, 1.0), strict=True):
        axes.text(1.02, share, text, color=colour, transform=axes.transAxes, va="center", parse_math=False)


def heading_size(width: float, headings: Iterable[str]) -> float:
    """Points in which the longest heading fits over a panel of this width in inches."""
    longest = max(map(len, headings))
    return min(9.5, 72 * width / (0.72 * longest))  # a bold letter is about that much of its size wide


def separated(values: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """The positions nearest to `values`, in the same order, with at least `gap` between any two.

    Least squares under an order, by pooling adjacent violators. All stay within `low` and `high`; when there
    is no room for that they begin at `low`.

    >>> separated([0.0, 0.0, 5.0], 1.0, -9.0, 9.0)
    [-0.5, 0.5, 5.0]
    >>> separated([0.0, 0.0, 5.0], 1.0, 0.0, 5.0)
    [0.0, 1.0, 5.0]
    """
    order = sorted(range(len(values)), key=lambda i: values[i])
    pools: list[list[float]] = []
    for rank, index in enumerate(order):
        pools.append([values[index] - rank * gap])
        while len(pools) > 1 and _mean(pools[-2]) > _mean(pools[-1]):
            last = pools.pop()
            pools[-1] += last
    highest = high - (len(values) - 1) * gap
    levels = [max(low, min(highest, _mean(pool))) for pool in pools for _ in pool]
    positions = dict(zip(order, (level + rank * gap for rank, level in enumerate(levels)), strict=True))
    return [positions[i] for i in range(len(values))]


def grid(panels: int, most: int) -> tuple[int, int]:
    """Rows and columns for small multiples: as few rows as fit with `most` columns, evenly filled."""
    rows = -(-panels // most)
    return rows, -(-panels // rows)


def png(figure: Figure) -> bytes:
    """The figure as a PNG of 1200 pixels' width."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=DPI, metadata={"Software": None})
    return file.getvalue()


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _parameters(look: Theme) -> Any:
    return {
        "figure.facecolor": look.background,
        "figure.constrained_layout.use": True,
        "savefig.facecolor": look.background,
        "font.family": FONT,
        "font.size": 10,
        "text.color": look.ink,
        "axes.facecolor": look.background,
        "axes.edgecolor": look.quiet,
        "axes.labelcolor": look.quiet,
        "axes.labelsize": 9.5,
        "axes.titlesize": 10.5,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "axes.titlepad": 8,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.linewidth": 0.8,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": look.grid,
        "grid.linewidth": 0.8,
        "xtick.color": look.quiet,
        "ytick.color": look.quiet,
        "xtick.labelsize": 9,
        "ytick.labelsize": 9,
        "xtick.major.size": 0,
        "ytick.major.size": 0,
        "lines.linewidth": 2.0,
        "lines.solid_capstyle": "round",
        "legend.frameon": False,
        "legend.fontsize": 9.5,
        "legend.handletextpad": 0.5,
    }
