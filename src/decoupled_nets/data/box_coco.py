"""Boxes in JSON files of COCO's form: one file a split, beside the images or in a folder of annotations."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from .boxes import Annotated, BoxSet, BoxSplit, Thing, four_numbers, size_told
from .roles import role_of

LAYOUT = "COCO: annotations/*.json, or <split>/_annotations.coco.json (Roboflow)"
_BESIDE = "_annotations.coco.json"
_ORDER = "x, y, width, height"


def find(root: Path) -> BoxSet | None:
    """The data set of a folder, or of one JSON file; None: there is none of this form.

    Raises:
        FileNotFoundError: images that are listed and not there.
        ValueError: a file that is not as it must be; names it and the object.
    """
    base, files = (root.parent, [root]) if root.is_file() else (root, _files(root))
    splits, notes = [], []
    names: tuple[str, ...] = ()
    for path in files:
        content = _read(path)
        own, images = _images(path, base, content)
        if names and own != names:
            raise ValueError(
                f"{path} has the classes {own}, unlike {files[0]}, which has {names}; needed: the same in"
                " every file"
            )
        names = own
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


def _files(root: Path) -> list[Path]:
    beside = sorted(root.glob(f"*/{_BESIDE}")) + sorted(root.glob(_BESIDE))
    inside = [path for path in sorted(root.glob("annotations/*.json")) if _has_boxes(path)]
    return beside or inside or [path for path in sorted(root.glob("*.json")) if _has_boxes(path)]


def _has_boxes(path: Path) -> bool:
    """Whether it is a file of instances, rather than of captions or key points."""
    if any(word in path.stem for word in ("captions", "keypoints", "stuff", "image_info", "panoptic")):
        return False
    content = _read(path)
    return isinstance(content, dict) and "annotations" in content


def _used(splits: list[BoxSplit]) -> set[str]:
    return {thing.name for split in splits for image in split.images for thing in image.things}


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is no JSON file ({error}); needed: one of COCO's form") from error


def _below(path: Path, base: Path) -> str:
    return path.relative_to(base).as_posix()


def _images(path: Path, base: Path, content: Any) -> tuple[tuple[str, ...], list[Annotated]]:
    """Names of the classes and images of a file."""
    missing = [key for key in ("images", "annotations", "categories") if not _lists(content, key)]
    if missing:
        raise ValueError(f"{path} has no list {missing[0]!r}; needed: images, annotations and categories")
    try:
        classes = {one["id"]: str(one["name"]) for one in sorted(content["categories"], key=_id)}
        named = [(one["id"], str(one["file_name"]).replace("\\", "/")) for one in content["images"]]
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path} has an image or a category without {error}; needed: id and name") from error
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
        where = f"annotation {one.get('id', number)}"
        if one.get("image_id") not in found:
            raise ValueError(
                f"{path}, {where}, is of image {one.get('image_id')!r}; needed: an image that the file lists"
            )
        if one.get("category_id") not in classes:
            raise ValueError(
                f"{path}, {where}, has the category {one.get('category_id')!r}; needed: one of"
                f" {', '.join(map(str, list(classes)[:20]))}"
            )
        x, y, width, height = four_numbers(one.get("bbox"), f"{path}, {where},", _ORDER)
        thing = Thing(
            (x, y, x + width, y + height), classes[one["category_id"]], where, bool(one.get("iscrowd"))
        )
        found[one["image_id"]].things.append(thing)
    return tuple(dict.fromkeys(classes.values())), list(found.values())


def _lists(content: Any, key: str) -> bool:
    return isinstance(content, dict) and isinstance(content.get(key), list)


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
