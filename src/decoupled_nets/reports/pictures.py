"""Which pictures a set of results gives, with the words that stand below and in place of each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from matplotlib.figure import Figure

from . import figures
from . import format as fmt
from .figures.operators import known_operators
from .figures.style import ThemeName
from .results import Results
from .summary import Row, attack_names

#: Every picture's name, whether a set of results has it or not.
FIGURES = ("curves", "accuracy", "attacks", "features", "functions", "geometry")


@dataclass(frozen=True)
class Picture:
    """A figure with its file name (without suffix), caption and alternative text."""

    name: str
    caption: str
    alternative: str
    draw: Callable[[ThemeName], Figure]


def pictures(results: Results, rows: list[Row]) -> dict[str, Picture]:
    """The pictures that these results have the data for, by name."""
    found = []
    if any(run.history for row in rows for run in results.of(row.operator)):
        found.append(_curves(results, rows))
    if any(row.accuracy for row in rows):
        found.append(_accuracy(results, rows))
    if attack_names(rows):
        found.append(_attacks(results, rows))
    if results.features:
        found.append(_features(results))
    if known_operators(results.operators):
        found += [_functions(results), _geometry(results)]
    return {picture.name: picture for picture in found}


def _curves(results: Results, rows: list[Row]) -> Picture:
    several = max(row.seeds for row in rows)
    caption = "Training loss and validation accuracy after each epoch."
    if several > 1:
        caption += " Thick lines are means over seeds, thin lines single seeds."
    if several > 2:
        caption += " The band is ± one standard deviation."
    if any(row.diverged for row in rows):
        caption += " A cross marks the last epoch before a loss stopped being a number."
    finals = [
        f"{row.operator} reaches {fmt.percent_spread(row.accuracy)} % on the test images"
        for row in rows
        if row.accuracy is not None
    ]
    alternative = f"Line charts of training loss and validation accuracy by epoch: {fmt.listed(finals)}."
    return Picture("curves", caption, alternative, lambda theme: figures.curves(results, theme))


def _accuracy(results: Results, rows: list[Row]) -> Picture:
    caption = "Test accuracy. "
    if any(row.seeds > 1 for row in rows):
        caption += "Dots are means over seeds, lines ± one standard deviation, ticks single seeds. "
    else:
        caption += "Dots are single runs, lines their 95 % Wilson intervals. "
    caption += f"The dashed line is {rows[0].operator}; the axis does not start at 0."
    values = [
        f"{row.operator} {fmt.percent_spread(row.accuracy)} %" for row in rows if row.accuracy is not None
    ]
    alternative = f"Dot chart of test accuracy with intervals: {fmt.listed(values)}."
    return Picture("accuracy", caption, alternative, lambda theme: figures.accuracy(results, theme))


def _attacks(results: Results, rows: list[Row]) -> Picture:
    names = attack_names(rows)
    caption = f"Accuracy without an attack and under {fmt.listed([fmt.attack(n) for n in names])}."
    values = [
        f"{row.operator} "
        + fmt.listed(
            [f"{fmt.percent(value.mean)} % under {fmt.attack(name)}" for name, value in row.attacked.items()]
        )
        for row in rows
        if row.attacked
    ]
    alternative = f"Dot chart of accuracy under attack: {'; '.join(values)}."
    return Picture("attacks", caption, alternative, lambda theme: figures.attacks(results, theme))


def _features(results: Results) -> Picture:
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
    return Picture("features", caption, alternative, lambda theme: figures.features(results, theme))


def _functions(results: Results) -> Picture:
    operators = known_operators(results.operators).values()
    magnitudes = list(dict.fromkeys(operator.magnitude for operator in operators))
    angles = list(dict.fromkeys(operator.angle for operator in operators))
    caption = (
        "A decoupled operator is the product of a magnitude function h of the patch norm and an angular "
        "function g of the angle between patch and kernel. Dashed: the plain convolution with a kernel of "
        "norm 1, whose g is the cosine. Dotted: the radius ρ."
    )
    alternative = f"Curves of h for {fmt.listed(magnitudes)}, and of g for {fmt.listed(angles)}."
    return Picture(
        "functions", caption, alternative, lambda theme: figures.functions(results.operators, theme)
    )


def _geometry(results: Results) -> Picture:
    names = list(known_operators(results.operators))
    caption = (
        "What each operator answers to a two-dimensional input x with the kernel w = (1, 0) and radius 1."
    )
    alternative = f"Heat maps with contours of f(w, x) for the inner product, {fmt.listed(names)}."
    return Picture(
        "geometry", caption, alternative, lambda theme: figures.operator_geometry(results.operators, theme)
    )
