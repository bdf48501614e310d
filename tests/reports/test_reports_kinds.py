"""Variants and upsamplers are called what they are, and the operators of variants are drawn."""

from __future__ import annotations

import pytest
from report_cases import make_results

from decoupled_nets.reports import figures
from decoupled_nets.reports.page import render
from decoupled_nets.reports.results import Results
from decoupled_nets.reports.sections import pictures
from decoupled_nets.reports.summary import lead, summarise
from decoupled_nets.reports.tables import tables

LABELS = ["conv", "tanh-cos", "sharp", "seg-sqcos"]


def variants(**operators: str) -> Results:
    """Four variants; `conv` and the others are labels here, with the operators given."""
    built = dict(zip(LABELS, operators.values(), strict=True))
    results = make_results(operators=["conv", "tanh-cos", "ball-cos", "seg-sqcos"])
    text = results.to_json().replace('"ball-cos"', '"sharp"')
    found = Results.from_json(text)
    found.config = {**found.config, "variants": "conv: ; tanh-cos: ; sharp: ; seg-sqcos: "}
    found.built_with = built
    return found


@pytest.mark.parametrize(
    ("config", "kind"),
    [({}, "operator"), ({"variants": "a: ; b: "}, "variant"), ({"upsamplers": "own,ddf"}, "upsampler")],
)
def test_rows_are_called_what_they_are(config: dict, kind: str) -> None:
    results = make_results()
    results.config = {**results.config, **config}
    rows = summarise(results)
    assert {one.header[0] for one in tables(rows)} == {kind.capitalize()}
    assert f"the highest of the 3 {kind}s compared with it" in lead(rows)
    page = render(results, rows, {})
    assert f"hold for all {kind}s at once" in page
    assert f"<dt>{kind.capitalize()}s</dt>" in page
    for other in {"Operator", "Variant", "Upsampler"} - {kind.capitalize()}:
        assert f'<th scope="col">{other}</th>' not in page
    alone = summarise(make_results(operators=["conv"]))
    alone[0] = type(alone[0])(**{**vars(alone[0]), "kind": kind})
    assert f"No other {kind} has finished yet." in lead(alone)


def test_operators_of_variants_are_drawn_if_they_differ() -> None:
    found = variants(a="conv", b="ball-cos", c="ball-cos", d="tanh-linear")
    drawn = pictures(found, summarise(found))
    picture = drawn["functions"]
    assert (
        "conv (of conv), ball-cos (of tanh-cos and sharp) and tanh-linear (of seg-sqcos)" in picture.caption
    )
    assert picture.alternative == "Curves of h for ball and tanh, and of g for cos and linear."
    left, _ = picture.draw("light").axes
    colour = {text.get_text(): text.get_color() for text in left.texts}
    look = figures.style.THEMES["light"]
    # The label's colour where one variant has the operator, else none of them.
    assert colour == {"ball": look.ink, "tanh": look.series[2], "conv": look.baseline}
    titles = [axes.get_title(loc="left") for axes in drawn["geometry"].draw("light").axes]
    assert titles[:3] == ["inner product", "ball-cos", "tanh-linear"]


def test_what_all_have_in_common_is_not_drawn() -> None:
    found = variants(a="ball-cos", b="ball-cos", c="ball-cos", d="ball-cos")
    assert "functions" not in pictures(found, summarise(found))
    old = variants(a="conv", b="ball-cos", c="tanh-cos", d="conv")
    old.built_with = {}  # as written before it was noted
    assert "functions" not in pictures(old, summarise(old))


def test_the_operators_of_variants_are_kept() -> None:
    found = variants(a="conv", b="ball-cos", c="tanh-cos", d="conv")
    assert Results.from_json(found.to_json()).built_with == found.built_with
