"""Which options are of use for which kind of data."""

from __future__ import annotations

from dataclasses import fields
from typing import Literal

from .config import DataConfig

Kind = Literal["labels", "masks", "boxes", "depth"]
_WORDS: dict[Kind, tuple[str, str]] = {  # in words, and the task that has it
    "labels": ("images with one label", "classify"),
    "masks": ("masks", "segment"),
    "boxes": ("boxes", "detect"),
    "depth": ("depth maps", "depth"),
}
#: Options that only some kinds of data have a use for; the others are for all.
ONLY_FOR: dict[str, tuple[Kind, ...]] = {
    **dict.fromkeys(("color_jitter", "randaugment", "random_erasing", "sampling"), ("labels",)),
    "label_column": ("labels",),
    **dict.fromkeys(("mask_column", "class_names", "void"), ("masks",)),
    **dict.fromkeys(("scale", "degradation", "crop", "crops", "tile"), ("depth",)),
    "image_column": ("labels", "masks"),
    **dict.fromkeys(("image_size", "pixel_range", "data_root", "download"), ("labels", "masks", "boxes")),
}  # fmt: skip


def check_used(config: DataConfig, kind: Kind) -> None:
    """Refuse options that are of no use for such data.

    Raises:
        ValueError: there is one that was changed.
    """
    for field in fields(config):
        value, kinds = getattr(config, field.name), ONLY_FOR.get(field.name, (kind,))
        if kind in kinds or value == field.default:
            continue
        words, tasks = zip(*(_WORDS[one] for one in kinds), strict=True)
        usual = "no such option" if field.default is None else field.default
        raise ValueError(
            f"{field.name} = {value} received, which is of use for {_listed(words, 'and')} only, not for"
            f" {_WORDS[kind][0]}; needed: {usual}, or task={_listed(tasks, 'or')}"
        )


def _listed(words: tuple[str, ...], last: str) -> str:
    return f" {last} ".join(filter(None, [", ".join(words[:-1]), words[-1]]))
