"""The section on the operators themselves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from .. import figures
from .. import format as fmt
from ..figures.operators import known_operators
from ..pictures import Picture
from ..results import Results
from ..summary import Row
from . import Content, section


def pictures(results: Results, rows: list[Row]) -> Iterator[Picture]:
    """Functions of norm and angle, and the response to two-dimensional inputs."""
    names = drawn(results)
    if known_operators(names.values()):
        yield functions_of(names, _whose(names) if results.kind != "operator" else "")
        yield geometry_of(names)


def drawn(results: Results) -> dict[str, str]:
    """By label the operators that there is something to see of: those compared, or those of variants."""
    if results.kind == "operator":
        return {name: name for name in results.operators}
    # Labels only look like operators.
    found = {label: results.built_with[label] for label in results.operators if label in results.built_with}
    return found if len(set(found.values())) > 1 else {}


def _whose(names: Mapping[str, str]) -> str:
    """Which variants have which operator."""
    owners: dict[str, list[str]] = {}
    for label, operator in names.items():
        owners.setdefault(operator, []).append(label)
    words = [f"{operator} (of {fmt.listed(labels)})" for operator, labels in owners.items()]
    return f" The operators of the variants are {fmt.listed(words)}."


def functions_of(names: Mapping[str, str], whose: str = "") -> Picture:
    """The functions h and g of operators, by the labels whose colours they get."""
    operators = known_operators(names.values()).values()
    magnitudes = list(dict.fromkeys(operator.magnitude for operator in operators))
    angles = list(dict.fromkeys(operator.angle for operator in operators))
    caption = (
        "A decoupled operator is the product of a magnitude function h of the patch norm and an angular "
        "function g of the angle between patch and kernel. Dashed: the plain convolution with a kernel of "
        f"norm 1, whose g is the cosine. Dotted: the radius ρ.{whose}"
    )
    alternative = f"Curves of h for {fmt.listed(magnitudes)}, and of g for {fmt.listed(angles)}."
    return Picture("functions", caption, alternative, lambda theme: figures.functions(names, theme))


def geometry_of(names: Mapping[str, str]) -> Picture:
    """What they answer to inputs of two dimensions."""
    caption = (
        "What each operator answers to a two-dimensional input x with the kernel w = (1, 0) and radius 1."
    )
    shown = list(known_operators(names.values()))
    alternative = f"Heat maps with contours of f(w, x) for the inner product, {fmt.listed(shown)}."
    return Picture("geometry", caption, alternative, lambda theme: figures.operator_geometry(names, theme))


@section("The operators", 90, figures=("functions", "geometry"), pictures=pictures)
def operators(content: Content) -> list[str]:
    """Both pictures."""
    return [content.figure("functions"), content.figure("geometry")]
