"""Options of the data that only some tasks have a use for."""

from __future__ import annotations

import dataclasses
import re

import pytest

from decoupled_nets.data import DataConfig
from decoupled_nets.data.used import ONLY_FOR
from decoupled_nets.tasks import find_task, tasks

_TASKS = {"labels": "classify", "masks": "segment", "boxes": "detect", "depth": "depth"}
_OTHER = {
    "color_jitter": 0.2, "randaugment": 3, "random_erasing": 0.5, "sampling": "balanced", "label_column": "x",
    "mask_column": "x", "class_names": "a,b", "void": 3, "scale": 8, "degradation": "area", "crop": 32,
    "crops": 2, "tile": 128, "image_column": "x", "image_size": 32, "pixel_range": (0.0, 9.0),
    "data_root": "x", "download": True,
}  # fmt: skip


@pytest.mark.parametrize("name", ONLY_FOR)
@pytest.mark.parametrize("kind", _TASKS)
def test_what_is_of_no_use_is_refused(name, kind):
    if kind in ONLY_FOR[name]:
        return
    (usual,) = (field.default for field in dataclasses.fields(DataConfig) if field.name == name)
    message = re.escape(f"{name} = {_OTHER[name]} received, which is of use for ") + ".* only, not for .*"
    needed = "no such option" if usual is None else usual
    task = find_task(_TASKS[kind])
    for call in (task.describe, task.load):
        with pytest.raises(
            ValueError, match=f"{message}; needed: {needed}, or task={_TASKS[ONLY_FOR[name][0]]}"
        ):
            call(DataConfig(data="synthetic", **{name: _OTHER[name]}))


def test_several_tasks_are_listed():
    with pytest.raises(
        ValueError, match="for images with one label, masks and boxes only, not for depth maps"
    ):
        find_task("depth").describe(DataConfig(image_size=32))
    with pytest.raises(ValueError, match=r"or task=classify or segment$"):
        find_task("detect").describe(DataConfig(image_column="x"))


def test_tasks_say_the_same_of_them():
    """What only some tasks take of the data is of use for them and for no others."""
    names = {field.name for field in dataclasses.fields(DataConfig)}
    assert names >= set(ONLY_FOR)
    taken = {name: {task for task, kind in tasks().items() if name in kind.takes} for name in names}
    for name, some in taken.items():
        if some:
            assert {_TASKS[kind] for kind in ONLY_FOR.get(name, _TASKS)} == some, name
