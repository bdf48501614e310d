"""Images that cannot be read are found together, and counted."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from decoupled_nets.data import DataConfig, load_data


def damaged(root: Path, keep: int) -> list[Path]:
    """Cut off twelve training images behind `keep` bytes: in the header, or in the pixels."""
    paths = sorted((root / "train").rglob("*.png"))[:12]
    for path in paths:
        path.write_bytes(path.read_bytes()[:keep])
    return paths


@pytest.mark.parametrize("keep", [3, 150])
def test_up_to_ten_are_listed(make_folder: Callable[..., Path], keep: int) -> None:
    root = make_folder(("train", "val", "test"))
    paths = damaged(root, keep)
    with pytest.raises(ValueError, match=r"12 images cannot be read; needed: ") as caught:
        load_data(DataConfig(str(root)))
    _, *lines = str(caught.value).splitlines()
    assert [str(path) in line for path, line in zip(paths, lines, strict=False)] == [True] * 10 + [False]
    assert lines[10:] == ["  and 2 more"]


def test_one_is_told_as_before(make_folder: Callable[..., Path]) -> None:
    root = make_folder()
    path = root / "train" / "dog" / "03.png"
    path.write_bytes(path.read_bytes()[:150])
    with pytest.raises(ValueError, match=re.escape(f"cannot read the image {path}: ")) as caught:
        load_data(DataConfig(str(root)))
    assert "images cannot be read" not in str(caught.value)


def test_streamed_batches_list_their_own(make_folder: Callable[..., Path]) -> None:
    root = make_folder()
    data = load_data(DataConfig(str(root), memory=0, workers=0, image_size=8))
    damaged(root, 150)
    with pytest.raises(ValueError, match=r"\d+ images cannot be read; needed: ") as caught:
        list(data.train_loader(20, 0))
    count = int(str(caught.value).split()[0])
    assert 2 <= count <= 12
    assert str(caught.value).count("cannot read the image") == min(count, 10)
