"""Every option of the data that is for masks, by the targets that come out."""

from __future__ import annotations

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from proofs import proves

from decoupled_nets.data import VOID, DataConfig
from decoupled_nets.tasks import find_task

VALUES = (0, 1, 2)


@pytest.fixture
def root(tmp_path):
    """Three splits of four images with two columns of masks, the second the other way round."""

    def column(values: list[np.ndarray]) -> list[dict[str, object]]:
        cells = []
        for value in values:
            Image.fromarray(value).save(file := io.BytesIO(), "PNG")
            cells.append({"bytes": file.getvalue(), "path": None})
        return cells

    for split in ("train", "validation", "test"):
        masks = [np.repeat(np.array([VALUES], dtype=np.uint8), 8, 0).repeat(4, 1) for _ in range(4)]
        images = [np.stack([60 * mask] * 3, -1).astype(np.uint8) for mask in masks]
        table = {"image": column(images), "mask": column(masks), "inverse": column([2 - m for m in masks])}
        pq.write_table(pa.table(table), tmp_path / f"{split}.parquet")
    return tmp_path


def loaded(root, **options):
    data = find_task("segment").load(DataConfig(data=str(root), workers=0, augment=False, **options))
    return data, next(iter(data.test_loader(4)))[1]


@proves(DataConfig, "mask_column")
def test_mask_column(root):
    _, plain = loaded(root)
    _, other = loaded(root, mask_column="inverse")
    assert torch.equal(other, 2 - plain)
    with pytest.raises(ValueError, match="has no column 'nothing'"):
        loaded(root, mask_column="nothing")


@proves(DataConfig, "class_names")
def test_class_names(root):
    assert loaded(root)[0].classes == ("0", "1", "2")
    assert loaded(root, class_names="sky,tree,road")[0].classes == ("sky", "tree", "road")


@proves(DataConfig, "void")
def test_void(root):
    assert set(loaded(root)[1].unique().tolist()) == {0, 1, 2}
    data, targets = loaded(root, void=1)
    assert data.classes == ("0", "2")
    assert set(targets.unique().tolist()) == {0, 1, VOID}
