"""Small data on disk."""

from __future__ import annotations

import pytest
from grey_images import write


@pytest.fixture
def root(tmp_path):
    return write(tmp_path / "pets", {"train": 20, "val": 4, "test": 4})
