"""The page of a reproduction."""

from __future__ import annotations

from pathlib import Path

from .._files import write_text
from ..evaluation.targets import COMPARISON
from ..reports import format as fmt
from ..reports import markup
from ..reports.figures import png
from ..reports.page import page
from ..reports.pictures import Drawn, Picture
from ..reports.report import write_png
from ..reports.sections.tuning import EDGE
from .figure import differences
from .metrics import METRICS
from .reproduction import FEW, RESULTS, Reproduction
from .shown import figures, said, title, trials, verdicts

_NOTE = (
    "Differences say by how much the first cell of a hypothesis is better. Ours are of test images, paired by"
    " seed and image, with intervals that hold at once, in 95 of 100 cases, for all hypotheses on the same"
    " images. A hypothesis holds if its interval lies on the side that it names; it fails if the interval"
    " lies on the other side, or within MARGIN of 0; else it is undecided, and the verdict says which"
    " difference this design could have seen."
)
_ALIKE = " That one is as good as another holds if the interval lies within MARGIN of 0, and fails beyond."
_RELATIVE = (
    " Figures are in the unit of the data, the paper's and ours in other ones: so differences are in percent"
    " of the worse of both figures."
)
_RUNS = (
    " The mean over the epochs is of validation images, and one number a run: its differences are paired by"
    " seed, and their intervals cover another draw of seeds alone."
)
_TUNED = (
    "Chosen: the best on validation images of the settings that every cell was tried with, from seeds that no"
    " other run has; no trial read the test images. Ours, differences and verdicts are with what was chosen;"
    " intervals do not cover another choice. Untuned: with the options that all cells share; whether a cell"
    " converges is judged with these."
)
_DIRECTIONS = (
    "Paper and ours differ in data, size and length of the training: what can be compared are directions, not"
    " figures."
)


def write_page(found: Reproduction, folder: Path) -> list[Path]:
    """Write ``report.html`` and its figure.

    Returns:
        The files written, the page first.
    """
    drawn, pictures = _drawn(found), [_in_both(picture) for picture in found.pictures]
    note, tried = _note(found), trials(found)
    sections = [
        markup.section(
            "What is said to hold",
            markup.paragraph(found.table.claims),
            markup.table(verdicts(found)) if found.verdicts else "",
            markup.figure(drawn),
            markup.note(note) if found.data else "",
        ),
        markup.section("The figure", *(markup.figure(one) for one in pictures)),
        markup.section(
            "The table",
            markup.table(figures(found)),
            markup.note(_training(found)) if found.data else "",
            markup.table(tried) if tried is not None else "",
            markup.note(_TUNED) if found.chosen else "",
            markup.warning(EDGE.replace("NAMES", fmt.listed(found.edge))) if found.edge else "",
            markup.warning(f"Training had not flattened: {fmt.listed(found.unsettled)}.")
            if found.unsettled
            else "",
            markup.warning(f"Checks of the attacks speak up: {'; '.join(found.flags)}.")
            if found.flags
            else "",
            markup.note(found.table.notes) if found.table.notes else "",
        ),
    ]
    text = page(
        title(found), lead(found), found.facts, [s for s in sections if s], found.command,
        found.configuration,
    )  # fmt: skip
    paths = [write_text(folder / "report.html", text), folder / RESULTS]
    paths += [
        write_png(folder / f"{one.picture.name}.png", one.images["light"])
        for one in [*pictures, *([] if drawn is None else [drawn])]
    ]
    return [*paths, *(path for path in [folder / COMPARISON / "report.html"] if path.exists())]


def _note(found: Reproduction) -> str:
    """How verdicts come about."""
    margin = f"{found.margin:g} {'of the unit of the data' if found.reported.relative else 'points'}"
    alike = any(one.hypothesis.direction == "alike" for one in found.verdicts)
    text = _NOTE + (_ALIKE if alike else "") + (_RELATIVE if found.reported.relative else "")
    text += _RUNS if any(METRICS[one.hypothesis.metric].kept == "runs" for one in found.verdicts) else ""
    return text.replace("MARGIN", margin)


def _training(found: Reproduction) -> str:
    """What can be compared, and how far training had gone."""
    kind = found.reported
    known = any(one.accuracy is not None for one in found.trainings.values())
    name = "accuracy" if known else kind.short
    most = "1 %" if kind.relative else "one point"
    fitted = "its accuracy on training images is above 99 %, or " if known else ""
    return (
        f"{_DIRECTIONS} Training had flattened where {fitted}the last quarter changed the {name} on"
        f" validation images by at most {most}; that says nothing of fewer than {FEW} epochs."
    )


def lead(found: Reproduction) -> str:
    """The verdicts in a sentence."""
    if not found.verdicts:
        return f"{found.table.source}. Nothing in it is judged."
    words = [one.word for one in found.verdicts]
    counts = [(words.count(w), w) for w in ("holds", "fails", "undecided", "not made") if w in words]
    counted = fmt.listed([f"{number} {word}" for number, word in counts])
    number = len(words)
    hypotheses = "1 hypothesis" if number == 1 else f"{number} hypotheses"
    return f"Of {hypotheses} on {found.table.source}: {counted}. Scale: {found.scale}."


def _drawn(found: Reproduction) -> Drawn | None:
    if not found.data or not any(one.mean is not None for one in found.verdicts):
        return None
    caption = "The paper's differences (open) and ours with simultaneous 95 % intervals."
    if all(one.paper is None for one in found.verdicts):
        caption = "Our differences with simultaneous 95 % intervals; the paper has no figures."
    words = [f"{said(found, one)}: {one.word}" for one in found.verdicts if one.hypothesis.against]
    picture = Picture(
        "differences", caption, f"Dot chart of differences: {fmt.listed(words)}.",
        lambda theme: differences(found, theme),
    )  # fmt: skip
    return _in_both(picture)


def _in_both(picture: Picture) -> Drawn:
    return Drawn(picture, {"light": png(picture.draw("light")), "dark": png(picture.draw("dark"))})
