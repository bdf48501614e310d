"""Small data sets on disk."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from layout_cases import picture


@pytest.fixture
def make_folder(tmp_path: Path) -> Callable[..., Path]:
    """Write ``root/<split>/<class>/<n>.png``."""

    def make(
        splits: Sequence[str] = ("train", "test"),
        classes: Sequence[str] = ("cat", "dog"),
        each: int = 10,
        sizes: Sequence[tuple[int, int]] = ((8, 8),),
        modes: Sequence[str] = ("RGB",),
        root: str | Path = "pets",
    ) -> Path:
        root = tmp_path / root
        for split in splits:
            for label, name in enumerate(classes):
                folder = root / split / name
                folder.mkdir(parents=True)
                for n in range(each):
                    image = picture(100 * label + n, sizes[n % len(sizes)], modes[n % len(modes)])
                    image.save(folder / f"{n:02}.png")
        return root

    return make


@pytest.fixture
def tree(tmp_path: Path) -> Callable[..., Path]:
    """Write ``pets/<folder>/<n>.png`` for each folder, other pixels in each."""

    def make(*folders: str, each: int = 10, root: str = "pets") -> Path:
        for k, folder in enumerate(folders):
            place = tmp_path / root / folder
            place.mkdir(parents=True, exist_ok=True)
            for n in range(each):
                picture(1000 * k + n).save(place / f"{n:02}.png")
        return tmp_path / root

    return make


@pytest.fixture
def make_parquet(tmp_path: Path) -> Callable[..., Path]:
    """Write a Parquet file in Hugging Face layout, with three rows in a row group."""

    def make(
        name: str = "train-00000-of-00001.parquet",
        labels: Sequence[object] = (0, 1) * 10,
        classes: Sequence[str] | None = ("cat", "dog"),
        image: str = "img",
        label: str = "label",
    ) -> Path:
        def png(n: int) -> bytes:
            buffer = io.BytesIO()
            picture(n).save(buffer, "png")
            return buffer.getvalue()

        path = tmp_path / "hub" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        images = pa.array([{"bytes": png(n), "path": None} for n in range(len(labels))], kind)
        integers = not any(isinstance(value, str) for value in labels)
        column = pa.array(labels, pa.int64() if integers else pa.string())
        table = pa.table({image: images, label: column})
        if classes is not None:
            features = {label: {"names": list(classes), "_type": "ClassLabel"}, image: {"_type": "Image"}}
            table = table.replace_schema_metadata(
                {"huggingface": json.dumps({"info": {"features": features}})}
            )
        pq.write_table(table, path, row_group_size=3)
        return path

    return make
