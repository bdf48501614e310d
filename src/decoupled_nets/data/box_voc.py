"""Boxes in XML files of PASCAL VOC's form: one file an image."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from .boxes import Annotated, BoxSet, BoxSplit, Thing, four_numbers, size_told
from .found import LeftOut
from .roles import role_of
from .scan import image_extensions

LAYOUT = "VOC: Annotations/*.xml, JPEGImages/ and ImageSets/Main/{train,val,test}.txt"
_SIDES = ("xmin", "ymin", "xmax", "ymax")


def find(root: Path) -> BoxSet | None:
    """The data set of a folder; None: there is none of this form.

    Raises:
        FileNotFoundError: images or annotations that are listed and not there.
        ValueError: a file that is not as it must be; names it and the object.
    """
    annotations, images = root / "Annotations", root / "JPEGImages"
    if not (annotations.is_dir() and images.is_dir()):
        return None
    files = by_stem(images)
    xml = {path.stem: path for path in sorted(annotations.glob("*.xml"))}
    left = [
        LeftOut(why, len(some), some[0])
        for why, some in (
            ("images without an annotation file", sorted(files.keys() - xml.keys())),
            ("annotation files without an image", sorted(xml.keys() - files.keys())),
        )
        if some
    ]
    splits = []
    for name, source, stems in _splits(root, sorted(files.keys() & xml.keys())):
        gone = [s for s in stems if s not in files or s not in xml]
        if gone:
            lacks = "image" if gone[0] not in files else "annotation file"
            raise FileNotFoundError(
                f"{root / source}: {len(gone):,} of {len(stems):,} images have no {lacks}, such as"
                f" {gone[0]!r}; needed: JPEGImages/ and Annotations/ with a file of each name"
            )
        splits.append(BoxSplit(name, source, [_read(xml[s], f"JPEGImages/{files[s]}", root) for s in stems]))
    first = next((split for split in splits if role_of(split.name) == "train"), splits[0])
    names = sorted({thing.name for image in first.images for thing in image.things})
    return BoxSet(root.as_posix(), "VOC", splits, tuple(names), left)


def by_stem(folder: Path) -> dict[str, str]:
    """Names of the image files of a folder by their names without the ending.

    Raises:
        ValueError: two differ by their endings only.
    """
    found: dict[str, str] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in image_extensions():
            if path.stem in found:
                raise ValueError(
                    f"{folder} has {found[path.stem]} and {path.name}; needed: one image of each name, as"
                    " annotations are found by it"
                )
            found[path.stem] = path.name
    return found


def _splits(root: Path, stems: list[str]) -> list[tuple[str, str, list[str]]]:
    """Name, source and images of each split; `trainval` only where there is no `train`."""
    lists = {path.stem: path for path in sorted((root / "ImageSets" / "Main").glob("*.txt"))}
    named: list[str] = [name for name in ("train", "val", "test") if name in lists]
    if "train" not in named and "trainval" in lists:
        named.insert(0, "trainval")
    if not named:
        return [("all", "Annotations/", stems)]
    return [
        (name, f"ImageSets/Main/{name}.txt", [line.split()[0] for line in text.splitlines() if line.split()])
        for name in named
        for text in [lists[name].read_text(encoding="utf-8")]
    ]


def _read(path: Path, image: str, root: Path) -> Annotated:
    source = path.relative_to(root).as_posix()
    try:
        tree = ElementTree.parse(path).getroot()
    except ElementTree.ParseError as error:
        raise ValueError(f"{path} is no XML file ({error}); needed: one of VOC's form") from error
    things = []
    for number, one in enumerate(tree.iter("object"), 1):
        where = f"object {number}"
        name, box = one.findtext("name"), one.find("bndbox")
        if not name or box is None:
            raise ValueError(f"{path}, {where}, has no name or no bndbox; needed: both")
        sides = [box.findtext(side) for side in _SIDES]
        things.append(Thing(four_numbers(sides, f"{path}, {where},", ", ".join(_SIDES)), name.strip(), where))
    size = size_told(tree.findtext("size/height"), tree.findtext("size/width"))
    return Annotated(image, source, things, size=size)
