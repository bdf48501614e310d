"""Depth maps as they are stored: bits, channels and types."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest
from pairs import depth_of, load, write_set

from decoupled_nets.data.depth_values import read_depth

_CHANNELS = {"grey": (0, 1), "grey with alpha": (4, 2), "RGB": (2, 3), "RGBA": (6, 4)}


def png16(path: Path, values: np.ndarray, kind: str) -> Path:
    """A PNG of 16 bits a channel, which Pillow cannot write: all channels alike."""
    code, channels = _CHANNELS[kind]
    height, width = values.shape
    pixels = np.repeat(values[..., None], channels, 2).astype(">u2")

    def chunk(name: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4) + name + data + zlib.crc32(name + data).to_bytes(4)

    header = width.to_bytes(4) + height.to_bytes(4) + bytes([16, code, 0, 0, 0])
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    return path


@pytest.mark.parametrize("kind", ["grey with alpha", "RGB", "RGBA"])
def test_16_bits_in_several_channels_are_refused(kind, tmp_path):
    """Pillow reads their upper 8 bits."""
    values = np.arange(36 * 44).reshape(36, 44) * 10
    np.testing.assert_array_equal(read_depth(png16(tmp_path / "grey.png", values, "grey")), values)
    with pytest.raises(ValueError, match="it has several channels of 16 bits, of which only 8 can be read"):
        read_depth(png16(tmp_path / "deep.png", values, kind))
    root = write_set(tmp_path / "set", {"train": 6, "val": 3, "test": 4})
    png16(root / "val" / "Depth" / "01.png", 100 * depth_of(1), kind)
    with pytest.raises(ValueError, match=r"val/Depth/01\.png: it has several channels of 16 bits"):
        load(root)
