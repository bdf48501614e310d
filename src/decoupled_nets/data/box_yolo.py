"""Boxes in text files of YOLO's form: one file an image, a line an object, relative to the image's sides."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from .box_voc import by_stem
from .boxes import Annotated, BoxSet, BoxSplit, Thing, four_numbers
from .found import LeftOut
from .roles import role_of

LAYOUT = "YOLO: images/<split>/ beside labels/<split>/ or <split>/images/ beside <split>/labels/, data.yaml"
_ORDER = "centre x, centre y, width, height, as shares of the image's sides"


def find(root: Path) -> BoxSet | None:
    """The data set of a folder; None: there is none of this form.

    Raises:
        ValueError: a file that is not as it must be; names it and the line.
    """
    places = list(_places(root))
    if not places:
        return None
    names, notes = _names(root)
    splits, left = [], []
    for name, images, labels in places:
        files, texts = by_stem(images), {path.stem: path for path in sorted(labels.glob("*.txt"))}
        texts.pop("classes", None)
        found = []
        for stem, file in files.items():
            own = texts.get(stem)
            source = (own or labels / f"{stem}.txt").relative_to(root).as_posix()
            things = [] if own is None else _read(own, names)
            found.append(
                Annotated((images / file).relative_to(root).as_posix(), source, things, relative=True)
            )
        unused = sorted(texts.keys() - files.keys())
        if unused:
            left.append(LeftOut("label files without an image", len(unused), f"{unused[0]}.txt"))
        splits.append(BoxSplit(name, f"{images.relative_to(root).as_posix()}/", found))
    if not names:
        numbers = {int(t.name) for s in splits for image in s.images for t in image.things}
        names = tuple(map(str, range(max(numbers, default=0) + 1)))
        notes.append("classes are called by their numbers: there is neither data.yaml nor classes.txt")
    return BoxSet(root.as_posix(), "YOLO", splits, names, left, notes)


def _places(root: Path) -> list[tuple[str, Path, Path]]:
    """Name, folder of images and folder of labels of each split."""
    images, labels = root / "images", root / "labels"
    found = []
    if images.is_dir() and labels.is_dir():
        inner = [one for one in sorted(images.iterdir()) if one.is_dir() and (labels / one.name).is_dir()]
        found = [(one.name, one, labels / one.name) for one in inner] or [("all", images, labels)]
    for one in sorted(root.iterdir()):
        if one.is_dir() and role_of(one.name) and (one / "images").is_dir() and (one / "labels").is_dir():
            found.append((one.name, one / "images", one / "labels"))
    return [place for place in found if any(place[2].glob("*.txt"))]


def _names(root: Path) -> tuple[tuple[str, ...], list[str]]:
    path = next((p for p in (root / "data.yaml", root / "dataset.yaml") if p.is_file()), None)
    if path is not None:
        try:
            content: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
        except yaml.YAMLError as error:
            raise ValueError(f"{path} is no YAML file ({error}); needed: one with names") from error
        names = content.get("names") if isinstance(content, dict) else None
        if isinstance(names, dict):
            names = [names[key] for key in sorted(names)]
        if not isinstance(names, list) or len(set(map(str, names))) != len(names):
            raise ValueError(f"{path} has names = {names!r}; needed: a list of names, each once")
        return tuple(map(str, names)), []
    listed = next((p for p in (root / "classes.txt", root / "labels" / "classes.txt") if p.is_file()), None)
    lines = [] if listed is None else listed.read_text(encoding="utf-8").split("\n")
    return tuple(line.strip() for line in lines if line.strip()), []


def _read(path: Path, names: tuple[str, ...]) -> list[Thing]:
    things = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        words, where = line.split(), f"line {number}"
        if not words:
            continue
        if not words[0].isdigit() or (names and int(words[0]) >= len(names)):
            most = f"0 to {len(names) - 1}" if names else "a whole number from 0"
            raise ValueError(f"{path}, {where}, has the class {words[0]}; needed: {most}")
        if len(words) > 6:  # outlines: the box is what encloses them
            points = [float(word) for word in words[1:]]
            x, y = points[0::2], points[1::2]
            box = (min(x), min(y), max(x), max(y))
        else:
            cx, cy, w, h = four_numbers(words[1:5], f"{path}, {where},", _ORDER)
            if max(cx, cy, w, h) > 2:
                raise ValueError(f"{path}, {where}, has the box {words[1:5]}; needed: {_ORDER}")
            box = (cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2)
        things.append(Thing(box, names[int(words[0])] if names else words[0], where))
    return things
