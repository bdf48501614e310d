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
    places = _places(root)
    if not any(any(labels.glob("*.txt")) for _, _, labels in places):
        return None
    names, notes, points = _described(root)
    notes += _without_labels(root)
    splits, left = [], []
    for name, images, labels in places:
        files, texts = by_stem(images), {path.stem: path for path in sorted(labels.glob("*.txt"))}
        texts.pop("classes", None)
        found = []
        for stem, file in files.items():
            own = texts.get(stem)
            source = (own or labels / f"{stem}.txt").relative_to(root).as_posix()
            things = [] if own is None else _read(own, names, points)
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
    return found


def _without_labels(root: Path) -> list[str]:
    """Splits that are not used, in words: they have images, and no folder for labels."""
    places = [(one.name, one, root / "labels" / one.name) for one in sorted((root / "images").glob("*/"))]
    places += [(one.name, one / "images", one / "labels") for one in sorted(root.glob("*/"))]
    return [
        f"{images.relative_to(root).as_posix()}/ is left out: there is no"
        f" {labels.relative_to(root).as_posix()}/ (an empty one says that no image has objects)"
        for name, images, labels in places
        if role_of(name) and images.is_dir() and not labels.is_dir()
    ]


def _described(root: Path) -> tuple[tuple[str, ...], list[str], bool]:
    """Names of the classes, what is to be said, and whether lines end in key points."""
    path = next((p for p in (root / "data.yaml", root / "dataset.yaml") if p.is_file()), None)
    if path is not None:
        try:
            content: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
        except yaml.YAMLError as error:
            raise ValueError(f"{path} is no YAML file ({error}); needed: one with names") from error
        names = content.get("names") if isinstance(content, dict) else None
        if isinstance(names, dict):
            names = _in_order(path, names)
        if not isinstance(names, list) or len(set(map(str, names))) != len(names):
            raise ValueError(f"{path} has names = {names!r}; needed: a list of names, each once")
        return tuple(map(str, names)), [], content.get("kpt_shape") is not None
    listed = next((p for p in (root / "classes.txt", root / "labels" / "classes.txt") if p.is_file()), None)
    lines = [] if listed is None else listed.read_text(encoding="utf-8").split("\n")
    return tuple(line.strip() for line in lines if line.strip()), [], False


def _in_order(path: Path, names: dict[Any, Any]) -> list[Any]:
    """Names by the numbers that they stand at."""
    numbered = {int(key): name for key, name in names.items() if str(key).isdecimal()}
    if len(numbered) != len(names) or sorted(numbered) != list(range(len(names))):
        raise ValueError(
            f"{path} has names of the classes {', '.join(map(str, list(names)[:20]))}; needed: of 0 to"
            f" {len(names) - 1}, as label files count them"
        )
    return [numbered[number] for number in range(len(numbered))]


def _read(path: Path, names: tuple[str, ...], points: bool) -> list[Thing]:
    things = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        words, where = line.split(), f"line {number}"
        if not words:
            continue
        if not words[0].isdigit() or (names and int(words[0]) >= len(names)):
            most = f"0 to {len(names) - 1}" if names else "a whole number from 0"
            raise ValueError(f"{path}, {where}, has the class {words[0]}; needed: {most}")
        if len(words) > 6 and not points:
            box = _around(words[1:], f"{path}, {where},")
        else:
            cx, cy, w, h = four_numbers(words[1:5], f"{path}, {where},", _ORDER)
            if max(cx, cy, w, h) > 2:
                raise ValueError(f"{path}, {where}, has the box {words[1:5]}; needed: {_ORDER}")
            box = (cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2)
        things.append(Thing(box, names[int(words[0])] if names else words[0], where))
    return things


def _around(words: list[str], where: str) -> tuple[float, float, float, float]:
    """The box that encloses an outline."""
    try:
        sides = [float(word) for word in words]
    except ValueError:
        sides = []
    # Shares of an image are rounded in their files.
    if len(sides) % 2 or not sides or not all(-1e-6 <= side <= 1 + 1e-6 for side in sides):
        raise ValueError(
            f"{where} has {len(words)} numbers that are no outline; needed: pairs of x and y from 0 to 1; for"
            " key points behind a box, kpt_shape in data.yaml"
        )
    x, y = sides[0::2], sides[1::2]
    return min(x), min(y), max(x), max(y)
