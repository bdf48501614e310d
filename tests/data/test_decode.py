"""Every kind of pixel Pillow knows becomes 8-bit grey or RGB."""

from __future__ import annotations

import io
import zlib

import numpy as np
import pytest
from PIL import Image

from decoupled_nets.data.decode import decoded, header, scaled


def reopened(image: Image.Image, **options: object) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "png", **options)
    return Image.open(buffer)


def test_8_bits_stay():
    for mode, shape in (("L", (2, 3)), ("RGB", (2, 3, 3))):
        pixels = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
        image = decoded(reopened(Image.fromarray(pixels)))
        assert image.mode == mode
        assert np.array_equal(image, pixels)


def late(chunk: bytes, data: bytes) -> Image.Image:
    """A PNG file of 3×5 pixels with a chunk behind the pixels."""
    buffer = io.BytesIO()
    Image.new("L", (5, 3)).save(buffer, "png")
    raw = buffer.getvalue()
    end = raw.index(b"IEND") - 4
    packed = len(data).to_bytes(4) + chunk + data + zlib.crc32(chunk + data).to_bytes(4)
    return Image.open(io.BytesIO(raw[:end] + packed + raw[end:]))


def test_orientation_behind_the_pixels():
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = late(b"eXIf", exif.tobytes()[6:])
    assert header(turned).size == (5, 3)
    assert decoded(turned).size == (3, 5)
    text = b'XML:com.adobe.xmp\0\0\0\0\0<x tiff:Orientation="6"/>'
    assert header(late(b"iTXt", text)).size == (5, 3)
    assert decoded(late(b"iTXt", text)).size == (3, 5)
    for chunk, data in ((b"tEXt", b"Comment\0none"), (b"tIME", bytes(7))):
        assert header(late(chunk, data)).size == (3, 5)


def test_pixels_are_not_decoded_for_an_orientation(monkeypatch: pytest.MonkeyPatch):
    image = late(b"tIME", bytes(7))
    monkeypatch.setattr(type(image), "load", None)
    assert header(image).size == (3, 5)


def test_16_bit_grey_keeps_its_values():
    image = reopened(Image.fromarray(np.array([[0, 256, 65535]], dtype=np.uint16)))
    assert (header(image).channels, header(image).bits) == (1, 16)
    assert np.asarray(decoded(image)).tolist() == [[0, 256, 65535]]


def test_one_bit():
    image = decoded(reopened(Image.fromarray(np.array([[True, False]]))))
    assert (image.mode, np.asarray(image).tolist()) == ("L", [[255, 0]])


def test_palette_becomes_rgb():
    image = reopened(Image.new("RGB", (2, 2), (10, 200, 30)).convert("P", palette=Image.Palette.ADAPTIVE))
    assert image.mode == "P"
    assert np.asarray(decoded(image))[0, 0].tolist() == [10, 200, 30]


@pytest.mark.parametrize(
    ("image", "options", "expected"),
    [
        (Image.new("RGBA", (1, 1), (0, 0, 0, 0)), {}, [255, 255, 255]),
        (Image.new("RGBA", (1, 1), (10, 20, 30, 255)), {}, [10, 20, 30]),
        (Image.new("LA", (1, 1), (0, 0)), {}, 255),
        (Image.new("RGB", (1, 1), (1, 2, 3)), {"transparency": (1, 2, 3)}, [255, 255, 255]),
        (Image.new("P", (1, 1), 0), {"transparency": b"\0"}, [255, 255, 255]),
    ],
)
def test_transparent_is_white(image, options, expected):
    assert np.asarray(decoded(reopened(image, **options)))[0, 0].tolist() == expected


def test_cmyk_becomes_rgb():
    image = decoded(Image.new("CMYK", (1, 1), (0, 255, 255, 0)))
    assert np.asarray(image)[0, 0].tolist() == [255, 0, 0]


def test_deep_pixels_are_mapped_by_their_range():
    image = decoded(Image.fromarray(np.array([[-5, 0, 5, 10, 20]], dtype=np.float32)))
    assert np.asarray(scaled(image, (0, 10))).tolist() == [[0, 0, 0.5, 1, 1]]
    with pytest.raises(ValueError, match=r"16 or 32 bits a pixel, while the images looked at first have 8"):
        scaled(image, None)
    with pytest.raises(ValueError, match=r"NaN or infinite"):
        scaled(Image.fromarray(np.array([[np.nan]], dtype=np.float32)), (0, 1))
