"""Small data on disk, and a batch of small images."""

from __future__ import annotations

import pytest
from grey_images import write
from small import images


@pytest.fixture
def root(tmp_path):
    return write(tmp_path / "pets", {"train": 20, "val": 4, "test": 4})


@pytest.fixture
def batch():
    return next(iter(images().train_loader(8, 0)))
