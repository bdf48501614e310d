"""Bits, channels and types of depth: as it is stored, written and computed with."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from pairs import depth_of, load, write_set
from PIL import Image

import decoupled_nets as dn
from decoupled_nets.cli.main import main
from decoupled_nets.compare import CompareConfig
from decoupled_nets.data.depth_values import read_depth, stored_depth
from decoupled_nets.models import NetworkConfig
from decoupled_nets.models.joint import JointUpsampler
from decoupled_nets.networks import build_joint
from decoupled_nets.training import TrainConfig

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


@pytest.mark.parametrize(
    ("mode", "kind"), [("L", "u1"), ("LA", "u1"), ("RGB", "u1"), ("RGBA", "u1"), ("I;16", "u2"), ("F", "f4")]
)
def test_what_is_stored_has_its_type(mode, kind, tmp_path):
    """Also where grey is in several channels, of which transparency is none."""
    values = depth_of(0).astype(kind)
    image = Image.fromarray(values)
    path = tmp_path / ("map.tif" if mode == "F" else "map.png")
    (image if image.mode == mode else image.convert(mode)).save(path)
    with Image.open(path) as saved:
        assert saved.mode == mode
    assert stored_depth(path).dtype == np.dtype(kind)
    np.testing.assert_array_equal(stored_depth(path), values)
    assert read_depth(path).dtype == np.float32
    np.testing.assert_array_equal(read_depth(path), values)


@pytest.mark.parametrize(("mode", "bits"), [("L", 8), ("RGB", 8), ("RGBA", 8), ("I;16", 16)])
def test_upsample_writes_as_many_bits_as_the_small_map_has(mode, bits, tmp_path):
    network = build_joint(NetworkConfig(model="joint", width=0.125), "conv", 4, scale=4, offset=1.0)
    saved = dn.save_pretrained(network, tmp_path / "saved")
    Image.new("RGB", (24, 20)).save(tmp_path / "image.png")
    small = Image.fromarray((np.arange(30).reshape(5, 6) + 90).astype(f"u{bits // 8}"))
    (small if small.mode == mode else small.convert(mode)).save(tmp_path / "small.png")
    call = ["upsample", str(tmp_path / "image.png"), str(tmp_path / "small.png"), "--weights", str(saved)]
    assert main(call) == 0
    with Image.open(tmp_path / "small_x4.png") as written:
        assert np.asarray(written).dtype == np.dtype(f"u{bits // 8}")


@pytest.mark.parametrize("precision", ["bf16-true", "16-true"])
def test_weights_and_depth_of_half_precision_are_refused(precision):
    """bfloat16 has 8 digits: of depths up to 4000, every sixteenth."""
    for config in (TrainConfig, CompareConfig):
        message = f"precision = {precision} received for the task depth; needed: 32-true or bf16-mixed"
        with pytest.raises(ValueError, match=message):
            config.of(task="depth", precision=precision)
        assert config.of(task="depth", precision="bf16-mixed").machine.precision == "bf16-mixed"
        assert config.of(task="classify", precision=precision).machine.precision == precision
    dtype = torch.bfloat16 if precision == "bf16-true" else torch.float16
    network, x = JointUpsampler(4, width=0.125).to(dtype), torch.rand(1, 4, 20, 24, dtype=dtype)
    for call in (network, lambda given: network.tiled(given, 8)):
        with pytest.raises(ValueError, match=f"inputs of {dtype} received; needed: float32, as depth has"):
            call(x)
