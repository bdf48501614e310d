"""The section on quick attacks."""

from __future__ import annotations

from collections.abc import Iterator

from .. import figures, markup
from .. import format as fmt
from ..pictures import Picture
from ..results import Results
from ..summary import Row, attack_names
from . import Content, section

_WARNING = (
    "A quick look, not a robustness claim: ATTACKS alone do not exclude gradient masking, "
    "which makes a network look robust because its gradients mislead the attack."
)


def pictures(results: Results, rows: list[Row]) -> Iterator[Picture]:
    """The metric without an attack and under each."""
    names, metric = attack_names(rows), results.metric
    if not names:
        return
    caption = (
        f"{metric.capitalised} without an attack and under {fmt.listed([fmt.attack(n) for n in names])}."
    )
    values = [
        f"{row.operator} "
        + fmt.listed(
            [
                f"{fmt.value(value.mean, metric)} {metric.unit} under {fmt.attack(name)}"
                for name, value in row.attacked.items()
            ]
        )
        for row in rows
        if row.attacked
    ]
    alternative = f"Dot chart of {metric.title} under attack: {'; '.join(values)}."
    yield Picture("attacks", caption, alternative, lambda theme: figures.attacks(results, theme))


@section("Under attack", 50, always=False, figures=("attacks",), pictures=pictures)
def attacks(content: Content) -> list[str]:
    """What was attacked and how, a warning, the picture."""
    names = fmt.listed([fmt.attack(name) for name in attack_names(content.rows)])
    if not names:
        return []
    text = (
        f"Each attack ({names}) may change every pixel, in [0, 1], by at most "
        f"{fmt.radius(content.results.attack_radius)}. Accuracy under attack is the share of the attacked "
        "test images still classified correctly."
    )
    warning = markup.warning(_WARNING.replace("ATTACKS", names))
    return [warning, markup.paragraph(text), content.figure("attacks")]
