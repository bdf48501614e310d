"""The page of corruptions: tables, dots by corruption, curves over severity, and one picture under all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from .._files import write_atomically, write_text
from .._statistics import wilson
from ..reports import format as fmt
from ..reports import markup
from ..reports.figures import png
from ..reports.figures.corruptions import Point, corruption_dots, corruption_grid, severity_curves
from ..reports.page import page
from ..reports.pictures import Drawn, Picture
from .corrupt_tables import lead, share, tables
from .corrupted import CLEAN, Cell, Corrupted, over_seeds

_INTRO = (
    "Each network classifies the same test images, as they are and corrupted. Intervals are of 95 % and cover"
    " another draw of the images; those of differences also other seeds, where several were trained, and"
    " those of accuracies, where three or more were. Numbers hold for these severities and constants alone."
)
_RELATIVE = (
    "The error relative to the first network's takes it in the place that AlexNet has in the published mCE:"
    " errors are summed over severities and divided, then averaged over corruptions; below 100 is better than"
    " the first. Its rise counts only what corruption adds to the error without it. A network may do better"
    " in one and worse in the other: look at the accuracies, too."
)


def write_page(found: Corrupted, folder: Path, example: Callable[[Cell], Tensor]) -> list[Path]:
    """Write ``report.html`` and its figures.

    Args:
        found: what networks made of the images.
        folder: where they go.
        example: an image (C, H, W) by its corruption and severity.

    Returns:
        The files written, the page first.
    """
    drawn = {
        picture.name: Drawn(picture, {"light": png(picture.draw("light")), "dark": png(picture.draw("dark"))})
        for picture in _pictures(found, example)
    }
    accuracy, *others = tables(found)
    sections = [
        markup.section(
            "How much is right", *(markup.warning(f"{note[0].upper()}{note[1:]}.") for note in found.notes),
            markup.paragraph(_INTRO), markup.table(accuracy), markup.figure(drawn["corruptions"]),
            *(markup.table(table) for table in others),
            markup.note(_RELATIVE) if len(found.summaries) > 1 else "",
        ),
        markup.section("Over severity", markup.figure(drawn.get("severity"))),
        markup.section("What the corruptions look like", markup.figure(drawn["images"])),
    ]  # fmt: skip
    text = page(
        f"{fmt.plural(len(found.networks), 'network')} on corrupted images of {found.data['name']}",
        lead(found), _facts(found), [s for s in sections if s],
        found.config.command(found.places, found.published), found.config.flat(),
    )  # fmt: skip
    paths = [write_text(folder / "report.html", text)]
    for name, one in drawn.items():
        light = one.images["light"]
        paths.append(write_atomically(folder / f"{name}.png", lambda file, light=light: file.write(light)))  # type: ignore[misc]
    return paths


def _facts(found: Corrupted) -> dict[str, str]:
    height, width = found.data["image_size"]
    own = found.to_dict()
    whose = {"cifar": "of CIFAR-10-C", "imagenet": "of ImageNet-C"}.get(found.constants, own["constants"])
    return {
        "Networks": ", ".join(network["label"] for network in found.networks),
        "Images": f"{found.images} test images of {found.data['name']}, as many of each class,"
        f" {height} × {width} pixels",
        "Constants": whose,
        "Corruptions": ", ".join(one.title for one in found.kinds),
        "Environment": ", ".join(f"{key} {value}" for key, value in own["environment"].items() if value),
    }


def _pictures(found: Corrupted, example: Callable[[Cell], Tensor]) -> list[Picture]:
    names = list(found.groups)
    dots = {
        one.title: {s.group: Point(s.by[one.name].value, s.by[one.name].low, s.by[one.name].high)
                    for s in found.summaries}
        for one in found.kinds
    }  # fmt: skip
    clean = {s.group: s.clean.value for s in found.summaries}
    said = "; ".join(f"{s.group} {share(s.corrupted)} %, clean {share(s.clean)} %" for s in found.summaries)
    made = [
        Picture(
            "corruptions",
            "Accuracy by corruption: mean over severities, with 95 % intervals over the choice of images and,"
            " of three seeds or more, of seeds. Dashed: without corruption.",
            f"Dot chart of accuracy by corruption. Means: {said}.",
            lambda theme: corruption_dots(dots, clean, theme),
        )
    ]
    if len(found.severities) > 1:
        curves = curves_of(found)
        made.append(
            Picture(
                "severity",
                "Accuracy over severity, 0 being the image as it is; bars: 95 % intervals over the choice of"
                " images (of one network Wilson's) and, of three seeds or more, of seeds.",
                f"Curves of accuracy over severity for {fmt.listed(names)}, one panel a corruption.",
                lambda theme: severity_curves(curves, theme),
            )
        )
    images = {
        one.title: [example((one.name, s)).permute(1, 2, 0).numpy() for s in found.severities]
        for one in found.kinds
    }
    plain = example(CLEAN).permute(1, 2, 0).numpy()
    made.append(
        Picture(
            "images",
            "The first test image under every corruption, one row each, at every severity.",
            f"One image under {fmt.listed([one.title for one in found.kinds])}.",
            lambda theme: corruption_grid(plain, images, found.severities, theme),
        )
    )
    return made


def curves_of(found: Corrupted) -> dict[str, dict[str, list[tuple[int, Point]]]]:
    """Panel to group to severities and accuracies, with intervals of one network or of three and more."""
    right = {g: [found.right(label) for label in labels] for g, labels in found.groups.items()}
    place = {cell: k for k, cell in enumerate(found.cells)}

    def point(group: str, cell: Cell) -> Point:
        if (known := over_seeds(right[group], [place[cell]])) is not None:
            return Point(known.value, known.low, known.high)
        values = [float(table[:, place[cell]].mean()) for table in right[group]]
        ends = wilson(round(values[0] * found.images), found.images) if len(values) == 1 else None
        mean = sum(values) / len(values)
        return Point(mean, ends.low, ends.high) if ends else Point(mean, None, None)

    return {
        one.title: {
            group: [(s, point(group, CLEAN if s == 0 else (one.name, s))) for s in (0, *found.severities)]
            for group in found.groups
        }
        for one in found.kinds
    }
