"""The page of an attack: tables, curves over the radius, attacked pictures, and what the checks say."""

from __future__ import annotations

import html
from pathlib import Path

import numpy as np
from torch import Tensor

from .._files import write_text
from ..reports import format as fmt
from ..reports import markup
from ..reports.figures import png
from ..reports.figures.attacked import attacked_images, radius_curves
from ..reports.page import page
from ..reports.pictures import Drawn, Picture
from ..reports.report import write_png
from ..reports.tables import Table
from ..robustness import Threat
from ..robustness.suites import suite_named
from .attack_tables import lead, tables, warnings
from .attacks import Attacks
from .record import Record

_PICTURES = 4
_MOST_SHOWN = 4
_INTRO = (
    "An image stands if no attack of the suite changed its class within the radius. Attacks give upper"
    " bounds: a stronger one may leave less, never more. Networks are compared on the same images."
)


def write_page(found: Attacks, folder: Path, images: Tensor) -> list[Path]:
    """Write ``report.html`` and its figures.

    Args:
        found: the attacks.
        folder: where they go.
        images: (n, C, H, W), the images as they are.

    Returns:
        The files written, the page first.
    """
    drawn = {
        picture.name: Drawn(picture, {"light": png(picture.draw("light")), "dark": png(picture.draw("dark"))})
        for picture in _pictures(found, images)
    }
    threat = Threat.parse(found.config.threat)
    sections = [
        markup.section(
            "What stands", *(markup.warning(text) for text in warnings(found)), markup.paragraph(_INTRO),
            markup.paragraph(f"Suite {found.config.suite}: {suite_named(found.config.suite).about}."),
            *(markup.table(table) for table in tables(found)),
        ),
        markup.section("Over the radius", markup.figure(drawn.get("radius"))),
        markup.section("Attacked images", markup.figure(drawn.get("attacked"))),
        markup.section("Could the attacks have failed?", *(_checks(record) for record in found.records)),
        markup.section("What it took", markup.table(_spent(found))),
    ]  # fmt: skip
    text = page(
        f"{fmt.plural(len(found.records), 'network')} under attack, {threat}, on {found.data['name']}",
        lead(found), _facts(found), [s for s in sections if s], found.config.command(found.places),
        found.config.flat(),
    )  # fmt: skip
    paths = [write_text(folder / "report.html", text)]
    for name, one in drawn.items():
        paths.append(write_png(folder / f"{name}.png", one.images["light"]))
    return paths


def _facts(found: Attacks) -> dict[str, str]:
    height, width = found.data["image_size"]
    own = found.to_dict()["environment"]
    return {
        "Networks": ", ".join(record.label for record in found.records),
        "Images": f"{found.data['images']} test images of {found.data['name']}, as many of each class,"
        f" {height} × {width} pixels",
        "Threat": f"{Threat.parse(found.config.threat)}, pixels in [0, 1]",
        "Environment": ", ".join(f"{key} {value}" for key, value in own.items() if value),
    }


def _pictures(found: Attacks, images: Tensor) -> list[Picture]:
    made = []
    threat = Threat.parse(found.config.threat)
    if all("nearest" in record.rows for record in found.records):
        nearest = {
            name: [np.array(r.rows["nearest"], dtype=float) for r in records]
            for name, records in found.groups.items()
        }
        made.append(
            Picture(
                "radius",
                f"Accuracy at most by the largest change allowed: the share of {found.data['images']} images"
                f" whose smallest change, found by FMN or by the suite, is larger. Dashed: {threat}. Thin"
                " lines: seeds.",
                f"Curves of accuracy over the radius for {fmt.listed(list(nearest))}.",
                lambda theme: radius_curves(nearest, threat.radius, threat.norm, theme),
            )
        )
    shown = [records[0] for records in found.groups.values()][:_MOST_SHOWN]
    places = _worth_seeing(shown)
    if places:
        given = images[places].cpu().numpy()
        changed = {record.label: record.changed[places].cpu().numpy() for record in shown}
        classes = [str(found.data["classes"][shown[0].rows["label"][place]]) for place in places]
        titles = {record.label: [_said(found, record, place) for place in places] for record in shown}
        made.append(
            Picture(
                "attacked",
                "Test images, and for each network the attacked image and the change (grey: none; scaled to"
                " be seen). Below: what the network takes it for, or that it stands.",
                f"Attacked images of {fmt.listed([r.label for r in shown])}.",
                lambda theme: attacked_images(given, classes, changed, titles, theme),
            )
        )
    return made


def _worth_seeing(records: list[Record]) -> list[int]:
    """Images that all classify as they are, of several classes; broken ones first."""
    right = np.all([record.rows["clean"] for record in records], axis=0)
    standing = np.sum([record.rows["robust"] for record in records], axis=0)
    labels = records[0].rows["label"]
    chosen: list[int] = []
    for place in sorted(np.flatnonzero(right).tolist(), key=lambda i: (int(standing[i]), i)):
        if labels[place] not in [labels[i] for i in chosen]:
            chosen.append(place)
    return chosen[:_PICTURES]


def _said(found: Attacks, record: Record, place: int) -> str:
    if record.rows["robust"][place]:
        return "stands"
    return str(found.data["classes"][record.rows["attacked_prediction"][place]])


def _checks(record: Record) -> str:
    rows = [
        [check["name"], "speaks up" if check["flag"] else "ok", check["text"]]
        for check in record.summary["checks"]
    ]
    text = markup.paragraph(record.summary["verdict"])
    table = markup.table(Table(record.label, ["Check", "", "Seen"], rows))
    heading = f"<summary>{html.escape(record.label)}: {_short(record)}</summary>"
    return f"<details>\n{heading}\n{text}\n{table}\n</details>"


def _short(record: Record) -> str:
    flags = [check["name"] for check in record.summary["checks"] if check["flag"]]
    return html.escape(f"signs of failure: {', '.join(flags)}" if flags else "no sign of masking")


def _spent(found: Attacks) -> Table:
    header = ["Network", "Attack", "Seen", "Broken", "Forward passes", "Gradients", "Seconds"]
    rows = [
        [record.label, a["title"], fmt.count(a["seen"]), fmt.count(a["broken"]), fmt.count(a["forwards"]),
         fmt.count(a["backwards"]), f"{a['seconds']:.1f}"]
        for record in found.records for a in record.summary["attacks"]
    ]  # fmt: skip
    return Table("Passes through the network and time, by attack", header, rows)
