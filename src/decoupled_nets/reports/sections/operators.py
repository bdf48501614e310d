"""The section on the operators themselves."""

from __future__ import annotations

from collections.abc import Iterator

from .. import figures
from .. import format as fmt
from ..figures.operators import known_operators
from ..pictures import Picture
from ..results import Results
from ..summary import Row
from . import Content, section


def pictures(results: Results, rows: list[Row]) -> Iterator[Picture]:
    """Functions of norm and angle, and the response to two-dimensional inputs."""
    # Labels of variants only look like operators.
    labels = any(results.config.get(name) for name in ("variants", "upsamplers"))
    if not labels and known_operators(results.operators):
        yield _functions(results)
        yield _geometry(results)


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


@section("The operators", 90, figures=("functions", "geometry"), pictures=pictures)
def operators(content: Content) -> list[str]:
    """Both pictures."""
    return [content.figure("functions"), content.figure("geometry")]
