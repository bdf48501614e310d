"""Boxes in JSON files of COCO's form: one file a split, beside the images or in a folder of annotations."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .boxes import Annotated, BoxSet, BoxSplit, Thing, four_numbers, size_told
from .roles import role_of

LAYOUT = "COCO: annotations/*.json, or <split>/_annotations.coco.json (Roboflow)"
_BESIDE = "_annotations.coco.json"
_ORDER = "x, y, width, height"
#: In names of files that are not of instances.
_OTHERS = ("captions", "keypoints", "stuff", "image_info", "panoptic")
_KEYS = int | float | str


def find(root: Path) -> BoxSet | None:
    """The data set of a folder, or of one JSON file; None: there is none of this form.

    Raises:
        FileNotFoundError: images that are listed and not there.
        ValueError: a file that is not as it must be; names it and the object.
    """
    base = root.parent if root.is_file() else root
    splits, notes = [], []
    names: tuple[str, ...] = ()
    first: Path | None = None
    for path, content in _contents(root):
        own, images = _images(path, base, content)
        if first is not None and own != names:
            raise ValueError(
                f"{path} has the classes {own}, unlike {first}, which has {names}; needed: the same in"
                " every file"
            )
        if alike := [name for name, count in Counter(_names(content)).items() if count > 1]:
            notes.append(
                f"{_below(path, base)} has several categories that are called {alike[0]}: they are one class"
            )
        names, first = own, first or path
        place = path.parent.name if path.name == _BESIDE else path.stem
        splits.append(BoxSplit(place if role_of(place) else "all", _below(path, base), images))
    if not splits:
        return None
    if used := _used(splits):
        unused = [name for name in names if name not in used]
        names = tuple(name for name in names if name in used)
        if unused:
            notes.append(f"classes without an object are left out: {', '.join(unused[:20])}")
    return BoxSet(base.as_posix(), "COCO", splits, names, [], notes)


def _contents(root: Path) -> Iterator[tuple[Path, Any]]:
    """The files and what is in them, one after another, each read once: they can be large."""
    if root.is_file():
        yield root, _read(root)
        return
    beside = sorted(root.glob(f"*/{_BESIDE}")) + sorted(root.glob(_BESIDE))
    yield from ((path, _read(path)) for path in beside)
    some = bool(beside)
    for pattern in ("annotations/*.json", "*.json"):
        if not some:
            for path in sorted(root.glob(pattern)):
                if not any(word in path.stem for word in _OTHERS) and _has_boxes(content := _read(path)):
                    some = True
                    yield path, content


def _has_boxes(content: Any) -> bool:
    return isinstance(content, dict) and "annotations" in content


def _used(splits: list[BoxSplit]) -> set[str]:
    return {thing.name for split in splits for image in split.images for thing in image.things}


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is no JSON file ({error}); needed: one of COCO's form") from error


def _below(path: Path, base: Path) -> str:
    return path.relative_to(base).as_posix()


def _images(path: Path, base: Path, content: Any) -> tuple[tuple[str, ...], list[Annotated]]:
    """Names of the classes and images of a file."""
    missing = [key for key in ("images", "annotations", "categories") if not _lists(content, key)]
    if missing:
        raise ValueError(f"{path} has no list {missing[0]!r}; needed: images, annotations and categories")
    for key, member in (("categories", "name"), ("images", "file_name")):
        _check_members(path, key, content[key], member)
    classes = {one["id"]: str(one["name"]) for one in sorted(content["categories"], key=_id)}
    named = [(one["id"], str(one["file_name"]).replace("\\", "/")) for one in content["images"]]
    for what, values in (("id", [i for i, _ in named]), ("file", [f for _, f in named])):
        if again := [value for value, count in Counter(values).items() if count > 1]:
            raise ValueError(f"{path} lists the {what} {again[0]!r} twice; needed: each image once")
    if not named:
        raise ValueError(f"{path} lists no images; needed: some")
    places = _places(path, base, [file for _, file in named])
    found = {
        key: Annotated(places[file], _below(path, base), size=size_told(one.get("height"), one.get("width")))
        for (key, file), one in zip(named, content["images"], strict=True)
    }
    for number, one in enumerate(content["annotations"]):
        if not isinstance(one, dict):
            raise ValueError(
                f"{path}, annotation {number}, is {one!r}; needed: image_id, category_id and bbox"
            )
        where = f"annotation {one.get('id', number)}"
        if not _known(one.get("image_id"), found):
            raise ValueError(
                f"{path}, {where}, is of image {one.get('image_id')!r}; needed: an image that the file lists"
            )
        if not _known(one.get("category_id"), classes):
            raise ValueError(
                f"{path}, {where}, has the category {one.get('category_id')!r}; needed: one of"
                f" {', '.join(map(str, list(classes)[:20]))}"
            )
        x, y, width, height = four_numbers(one.get("bbox"), f"{path}, {where},", _ORDER)
        thing = Thing(
            (x, y, x + width, y + height), classes[one["category_id"]], where, bool(one.get("iscrowd")),
            _area(one.get("area"), f"{path}, {where},"),
        )  # fmt: skip
        found[one["image_id"]].things.append(thing)
    return tuple(dict.fromkeys(classes.values())), list(found.values())


def _area(value: Any, where: str) -> float:
    """That of the object's outline, as the file has it; 0: it has none."""
    if value is None:
        return 0.0
    if not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise ValueError(f"{where} has the area {value!r}; needed: a number from 0 on, or none")
    return float(value)


def _lists(content: Any, key: str) -> bool:
    return isinstance(content, dict) and isinstance(content.get(key), list)


def _known(key: Any, table: Mapping[Any, Any]) -> bool:
    return isinstance(key, _KEYS) and key in table


def _check_members(path: Path, key: str, members: list[Any], wanted: str) -> None:
    """Refuse images or categories that have no id that can be compared, or no name.

    Raises:
        ValueError: names file and number.
    """
    for number, one in enumerate(members):
        if not isinstance(one, dict) or one.get(wanted) is None or not isinstance(one.get("id"), _KEYS):
            raise ValueError(
                f"{path} has {one!r} as number {number} of its {key}; needed: id, a number or a text, and"
                f" {wanted}"
            )
    if len({isinstance(one["id"], str) for one in members}) > 1:
        raise ValueError(f"{path} has numbers and texts as ids of its {key}; needed: one or the other")


def _names(content: Any) -> list[str]:
    return [str(one["name"]) for one in content["categories"]]


def _id(category: dict[str, Any]) -> Any:
    return category["id"]


def _places(path: Path, base: Path, files: list[str]) -> dict[str, str]:
    """Where the images of a file lie below the root: beside it, or in a folder that has them all."""
    split = path.stem.removeprefix("instances_")
    near = [path.parent, base, base / "images", base / split, base / "images" / split]
    there = [place for place in near if (place / files[0]).is_file()]
    if not there:
        raise FileNotFoundError(
            f"{path}: image {files[0]!r} does not exist; needed: images beside the file, in images/ or in"
            f" {split}/"
        )
    if missing := [file for file in files if not (there[0] / file).is_file()]:
        raise FileNotFoundError(
            f"{path}: {len(missing):,} of {len(files):,} images do not exist, such as {missing[0]!r}; needed:"
            f" all of them in {there[0]}"
        )
    return {file: _below(there[0] / file, base) for file in files}
