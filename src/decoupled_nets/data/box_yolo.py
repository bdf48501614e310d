"""Boxes in text files of YOLO's form: one file an image, a line an object, relative to the image's sides."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import yaml

from .box_voc import by_stem
from .boxes import Annotated, BoxSet, BoxSplit, Thing, four_numbers
from .found import LeftOut
from .roles import ROLES, role_of

LAYOUT = "YOLO: images/<split>/ beside labels/<split>/ or <split>/images/ beside <split>/labels/, data.yaml"
_YAML = ("data.yaml", "dataset.yaml")
_ORDER = "centre x, centre y, width, height, as shares of the image's sides"


def find(root: Path) -> BoxSet | None:
    """The data set of a folder; None: there is none of this form.

    Raises:
        ValueError: a file that is not as it must be; names it and the line.
    """
    if not any(any(labels.glob("*.txt")) for _, _, labels in _places(root)) and not _yaml_named(root):
        return None
    path, content = _yaml(root)
    places, notes = _splits(root, path, content)
    if not any(any(labels.glob("*.txt")) for _, _, labels in places):
        return None
    names, points = _names(root, path, content), content.get("kpt_shape") is not None
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
        notes.append("classes are called by their numbers: neither a YAML file nor classes.txt has names")
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


def _yaml_named(root: Path) -> bool:
    return any((root / name).is_file() for name in _YAML)


def _yaml(root: Path) -> tuple[Path | None, dict[str, Any]]:
    """The file that describes the set, and what is in it: `data.yaml`, or the only other that has names.

    Raises:
        ValueError: it is none, or there are several.
    """
    known = next((root / name for name in _YAML if (root / name).is_file()), None)
    if known is not None:
        try:
            content: Any = yaml.safe_load(known.read_text(encoding="utf-8-sig"))
        except yaml.YAMLError as error:
            raise ValueError(f"{known} is no YAML file ({error}); needed: one with names") from error
        return known, content if isinstance(content, dict) else {}
    found = []
    for path in sorted([*root.glob("*.yaml"), *root.glob("*.yml")]):
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
        except (yaml.YAMLError, UnicodeDecodeError):  # of another program
            continue
        if isinstance(content, dict) and "names" in content:
            found.append((path, content))
    if len(found) > 1:
        raise ValueError(
            f"{root} has {found[0][0].name} and {found[1][0].name} with names of classes; needed: one of"
            f" them, or {_YAML[0]}"
        )
    return found[0] if found else (None, {})


def _splits(
    root: Path, path: Path | None, content: dict[str, Any]
) -> tuple[list[tuple[str, Path, Path]], list[str]]:
    """As :func:`_places`, with the folders that the file names first; and what is to be said."""
    named: list[tuple[str, Path, Path]] = []
    notes, places = [], _places(root)
    called = {images: name for name, images, _ in places}
    for role in ROLES:
        if path is None or (told := content.get(role)) is None:
            continue
        images = _folder(root, content.get("path"), told)
        labels = None if images is None else _labels(root, images)
        if images is None or labels is None or not labels.is_dir():
            notes.append(f"{path.name} has {told} for {role}, which is no folder of images with labels here")
        elif any(images == other for _, other, _ in named):
            notes.append(f"{path.name} has {told} for {role} again: it is no split of its own")
        else:
            name = called.get(images, role)
            named.append((name if role_of(name) == role else role, images, labels))
    roles, folders = {role_of(name) for name, *_ in named}, {images for _, images, _ in named}
    others = [one for one in places if role_of(one[0]) not in roles and one[1] not in folders]
    return named + [one for one in others if not named or role_of(one[0])], notes


def _folder(root: Path, base: Any, told: Any) -> Path | None:
    """A folder that a file names, below the root; files say it from elsewhere, too (`../train/images`)."""
    text = told[0] if isinstance(told, list) and len(told) == 1 else told
    if not isinstance(text, str):
        return None
    bare = re.sub(r"^(\.{1,2}/)+", "", text)
    for start in (root / str(base or "."), root):
        for one in (start / text, start / bare):
            plain = Path(os.path.normpath(one))  # links stay what they are called
            if plain.is_dir() and plain.is_relative_to(os.path.normpath(root)):
                return root / plain.relative_to(os.path.normpath(root))
    return None


def _labels(root: Path, images: Path) -> Path:
    """`labels` in the place of the last `images`; without such a part, labels lie beside the images."""
    parts = list(images.relative_to(root).parts)
    if "images" in parts:
        parts[len(parts) - 1 - parts[::-1].index("images")] = "labels"
    return root.joinpath(*parts)


def _names(root: Path, path: Path | None, content: dict[str, Any]) -> tuple[str, ...]:
    """Names of the classes."""
    if path is not None:
        names = content.get("names")
        if isinstance(names, dict):
            names = _in_order(path, names)
        if not isinstance(names, list) or len(set(map(str, names))) != len(names):
            raise ValueError(f"{path} has names = {names!r}; needed: a list of names, each once")
        return tuple(map(str, names))
    listed = next((p for p in (root / "classes.txt", root / "labels" / "classes.txt") if p.is_file()), None)
    lines = [] if listed is None else listed.read_text(encoding="utf-8").split("\n")
    return tuple(line.strip() for line in lines if line.strip())


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
