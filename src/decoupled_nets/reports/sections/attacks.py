"""The section on quick attacks."""

from __future__ import annotations

from collections.abc import Iterator

from ...robustness.suites import SUITES
from .. import figures, markup
from .. import format as fmt
from ..pictures import Picture
from ..results import Results
from ..summary import Row, attack_names
from . import Content, section

_WARNING = (
    "A first look, not a claim of robustness: what ATTACKS leave is an upper bound, a stronger attack may"
    " leave far less, and the order of networks may turn round until the end of training. `decoupled attack"
    " FOLDER --suite standard`, with the folder of this comparison, attacks the same networks with the four"
    " attacks of AutoAttack."
)


def pictures(results: Results, rows: list[Row]) -> Iterator[Picture]:
    """The metric without an attack and under each."""
    names, metric = attack_names(rows), results.metric
    if not names:
        return
    caption = (
        f"{metric.capitalised} without an attack and, at most, under"
        f" {fmt.listed([fmt.attack(n) for n in names])}; {_images(results, names)} of the test images are"
        " attacked."
    )
    values = [
        f"{row.operator} "
        + fmt.listed(
            [
                f"at most {fmt.value(value.mean, metric)} {metric.unit} under {fmt.attack(name)}"
                for name, value in row.attacked.items()
            ]
        )
        for row in rows
        if row.attacked
    ]
    alternative = f"Dot chart of {metric.title} under attack: {'; '.join(values)}."
    yield Picture("attacks", caption, alternative, lambda theme: figures.attacks(results, theme))


def _images(results: Results, names: list[str]) -> int:
    """How many images were attacked."""
    return max(
        (run.attacked[n].images for run in results.runs for n in names if n in run.attacked), default=0
    )


@section("Under attack", 50, always=False, figures=("attacks",), pictures=pictures)
def attacks(content: Content) -> list[str]:
    """What was attacked and how, a warning, what the checks say, the picture."""
    known = attack_names(content.rows)
    if not known:
        return []
    results, names = content.results, fmt.listed([fmt.attack(name) for name in known])
    text = (
        f"An attack ({names}) may change an image by at most {fmt.threat(results.threat)}, pixels in [0, 1]."
        f" Accuracy under attack is the share of {_images(results, known)} test images that are still"
        " classified correctly."
    )
    about = [f"{fmt.attack(name)}: {SUITES[name].about}." for name in known if name in SUITES]
    flagged = [
        f"{run.operator}, seed {run.seed} ({', '.join(run.flags)})" for run in results.runs if run.flags
    ]
    doubts = f"Signs that the attacks themselves failed: {'; '.join(flagged)}." if flagged else ""
    warning = markup.warning(_WARNING.replace("ATTACKS", names))
    return [
        warning, markup.paragraph(text), *(markup.paragraph(one) for one in about),
        markup.warning(doubts) if doubts else "", content.figure("attacks"),
    ]  # fmt: skip
