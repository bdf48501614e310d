"""One protocol: the same batches to the bit, in memory and streamed; depth, orientation, damaged images."""

from __future__ import annotations

import struct
import traceback
import zlib

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngInfo

from decoupled_nets.data import DataConfig, load_data
from decoupled_nets.data.decode import read_image
from decoupled_nets.data.memory import MemoryStore
from decoupled_nets.data.stream import StreamStore

THREADS = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


def both(root, workers=0, **options):
    """The same data in memory and streamed."""
    in_memory = load_data(DataConfig(str(root), memory=1, workers=workers, **options))
    streamed = load_data(DataConfig(str(root), memory=0, workers=workers, **options))
    assert isinstance(in_memory.train, MemoryStore)
    assert isinstance(streamed.train, StreamStore)
    return in_memory, streamed


def assert_alike(one, two):
    assert (one.mean, one.std, one.image_size) == (two.mean, two.std, two.image_size)
    assert one.found == two.found
    assert one.digest == two.digest
    for loaders in (
        (one.train_loader(4, 7), two.train_loader(4, 7)),
        (one.train_loader(4, 7, rank=1, world_size=2), two.train_loader(4, 7, rank=1, world_size=2)),
        (one.val_loader(4), two.val_loader(4)),
        (one.test_loader(4), two.test_loader(4)),
    ):
        for _ in range(2):
            for (images, labels), (others, other_labels) in zip(*loaders, strict=True):
                assert torch.equal(images, others)
                assert torch.equal(labels, other_labels)
    assert torch.equal(one.test_subset(5)[0], two.test_subset(5)[0])
    assert torch.equal(one.test_image(3)[0], two.test_image(3)[0])


@THREADS
@pytest.mark.parametrize(
    ("sizes", "options", "workers"),
    [
        (((8, 12),), {}, 0),
        (((8, 8),), {}, 0),
        (((8, 8),), {}, 2),
        (((8, 8),), {"image_size": 8}, 0),
        (((8, 8),), {"image_size": 8}, 2),
        (((8, 8),), {"image_size": 16}, 0),
        (((8, 8),), {"image_size": 16}, 2),
        (((20, 12), (16, 24)), {"image_size": 8}, 0),
        (((20, 12), (16, 24)), {"image_size": 8}, 2),
        (((20, 12), (16, 24)), {"image_size": 8, "augment": False}, 0),
        (((20, 12), (16, 24)), {"image_size": 8, "augment": False}, 2),
    ],
)
def test_memory_makes_no_difference(make_folder, sizes, options, workers):
    root = make_folder(("train", "val", "test"), each=6, sizes=sizes, modes=("RGB", "L"))
    assert_alike(*both(root, workers, **options))


def test_memory_makes_no_difference_to_parquet(make_parquet):
    make_parquet()
    assert_alike(*both(make_parquet("test.parquet").parent, image_size=16))


def test_images_of_the_wanted_size_are_shifted_and_others_cropped(make_folder):
    data = load_data(DataConfig(str(make_folder())))
    assert data.found.augmentation.startswith("images as they are; training images shifted")
    assert data.train.images.shape[1:] == (3, 8, 8)
    data = load_data(DataConfig(str(make_folder(root="other")), image_size=14))
    assert data.found.augmentation.startswith(
        "scaled to cover 16×16, the central 14×14; training images a rand"
    )
    assert data.train.images.shape[1:] == (3, 16, 16)
    images, _ = next(iter(data.test_loader(100)))
    assert torch.equal((images * 255).round().byte(), data.test.images[:, :, 1:15, 1:15])


def test_training_crops_come_from_all_over_the_canvas(make_folder):
    root = make_folder(sizes=((32, 32),), each=20)
    data = load_data(DataConfig(str(root), image_size=14, mirror=False))
    canvases = data.train.images.unfold(2, 14, 1).unfold(3, 14, 1)  # (N, C, 3, 3, 14, 14)
    seen = set()
    for images, _ in [batch for _ in range(6) for batch in data.train_loader(4, 0)]:
        for image in (images * 255).round().byte():
            equal = (canvases == image[None, :, None, None]).all(1).all(-1).all(-1)
            seen |= {tuple(place[1:].tolist()) for place in equal.nonzero()}
    assert seen == {(y, x) for y in range(3) for x in range(3)}


def test_large_images_that_are_alike_are_scaled_down_unless_told_otherwise(make_folder):
    root = make_folder(sizes=((520, 600),), each=3, splits=("train", "val", "test"))
    data = load_data(DataConfig(str(root), memory=0, workers=0))
    assert data.image_size == (224, 224)
    assert any("larger than 512 are scaled down" in note for note in data.found.notes)


@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_photographs_are_upright(tmp_path, ending, orientation):
    upright = np.zeros((16, 32), dtype=np.uint8)
    upright[:8, :8] = 255
    stored = [upright, upright[:, ::-1], upright[::-1, ::-1], upright[::-1], upright.T]
    stored = [*stored, np.rot90(upright), upright[::-1, ::-1].T, np.rot90(upright, -1)][orientation - 1]
    exif = Image.Exif()
    exif[0x0112] = orientation
    for folder in ("train/a", "train/b", "test/a", "test/b"):
        (tmp_path / folder).mkdir(parents=True)
        for n in range(2):
            path = tmp_path / folder / f"{n}.{ending}"
            Image.fromarray(np.ascontiguousarray(stored)).save(path, exif=exif)
    data = load_data(DataConfig(str(tmp_path), workers=0))
    assert data.found.sizes == [(16, 32)]
    expected = torch.from_numpy(upright / 255).float()
    assert (data.test_image(0)[0] - expected).abs().max() < 0.1
    assert (read_image(path, 1, (16, 32)) - expected).abs().max() < 0.1


def test_the_size_of_a_png_file_is_that_of_its_xmp_orientation(make_folder):
    root = make_folder(sizes=((8, 12),))
    note = '<x:xmpmeta xmlns:x="adobe:ns:meta/"><a tiff:Orientation="6"/></x:xmpmeta>'
    for path in root.rglob("*.png"):
        info = PngInfo()
        info.add_itxt("XML:com.adobe.xmp", note)
        with Image.open(path) as image:
            image.load()
        image.save(path, pnginfo=info)
    data = load_data(DataConfig(str(root), workers=0))
    assert data.image_size == (12, 8)
    with Image.open(root / "test" / "cat" / "00.png") as image:
        upright = np.asarray(ImageOps.exif_transpose(image))
    assert upright.shape[:2] == (12, 8)
    assert np.array_equal(data.test_image(0)[0][0].permute(1, 2, 0).mul(255).round().byte().numpy(), upright)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data:UserWarning")
def test_damaged_exif_data_is_passed_over(tmp_path):
    Image.new("RGB", (8, 16), "red").save(tmp_path / "x.jpg", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    assert read_image(tmp_path / "x.jpg", 3, (16, 8)).shape == (3, 16, 8)


@pytest.fixture
def deep(tmp_path):
    """Write grey images of a kind: `low` for one class, `high` for the other, in each split."""

    def make(kind, low, high, splits=("train", "test"), ending="tif", each=4):
        for split in splits:
            for name, value in (("dark", low), ("bright", high)):
                folder = tmp_path / "deep" / split / name
                folder.mkdir(parents=True, exist_ok=True)
                for n in range(each):
                    pixels = np.full((8, 8), value, dtype=kind)
                    pixels[0, 0] += n
                    Image.fromarray(pixels).save(folder / f"{n}.{ending}")
        return tmp_path / "deep"

    return make


@pytest.mark.parametrize(
    ("kind", "low", "high", "bits", "ending"),
    [(np.uint16, 0, 180, 16, "tif"), (np.uint16, 100, 4000, 16, "png"), (np.uint16, 0, 60000, 16, "png"),
     (np.int32, -10, 255, 32, "tif"), (np.float32, 0.25, 50.5, 32, "tif")],
)  # fmt: skip
def test_deep_images_keep_their_information(deep, kind, low, high, bits, ending):
    root = deep(kind, low, high, ending=ending)
    data, streamed = both(root)
    assert_alike(data, streamed)
    assert data.train.images.dtype == torch.float32
    assert (data.found.bits, data.in_chans) == (bits, 1)
    assert data.found.pixel_range == pytest.approx((low, high + 3), abs=1)
    assert any("become 0 to 1, values beyond are clipped" in note for note in data.found.notes)
    images, labels = next(iter(data.test_loader(8)))
    assert images[labels == 0].mean() - images[labels == 1].mean() > 0.2
    assert images.unique().numel() > 4
    assert 0 <= images.min() < images.max() <= 1


def test_values_beyond_the_training_range_are_clipped_and_a_range_can_be_given(deep):
    root = deep(np.uint16, 100, 200)
    Image.fromarray(np.full((8, 8), 5000, dtype=np.uint16)).save(root / "test" / "dark" / "9.tif")
    images, labels = next(iter(load_data(DataConfig(str(root))).test_loader(99)))
    assert images[labels == 1][-1].unique().tolist() == [1]
    data = load_data(DataConfig(str(root), pixel_range=(0, 10000)))
    images, labels = next(iter(data.test_loader(99)))
    assert images[labels == 1][-1].unique().tolist() == [0.5]
    assert data.found.pixel_range == (0, 10000)


def test_deep_images_of_one_value_are_refused(deep):
    with pytest.raises(ValueError, match=r"every pixel of the training images is 7, as in .*tif"):
        load_data(DataConfig(str(deep(np.uint16, 7, 7, each=1, splits=("train", "val", "test")))))


def test_pixels_that_are_no_numbers_are_refused(deep):
    root = deep(np.float32, 0, 1)
    Image.fromarray(np.full((8, 8), np.nan, dtype=np.float32)).save(root / "train" / "dark" / "0.tif")
    with pytest.raises(ValueError, match=r"train/dark/0.tif: a pixel is NaN or infinite"):
        load_data(DataConfig(str(root)))


def test_depths_are_not_mixed_in_silence(deep, monkeypatch):
    root = deep(np.uint16, 0, 1000, splits=("train", "val", "test"))
    Image.fromarray(np.full((8, 8), 128, dtype=np.uint8)).save(root / "test" / "dark" / "3.tif")
    with pytest.raises(ValueError, match=r"dark/3.tif has 8 bits a pixel and .* more; needed: images of one"):
        load_data(DataConfig(str(root)))
    data = load_data(DataConfig(str(root), pixel_range=(0, 1000)))
    assert "8-bit images among deeper ones: 0 to 255 become 0 to 1" in data.found.notes
    assert data.test_image(7)[0].unique().tolist() == [pytest.approx(128 / 255)]
    monkeypatch.setattr("decoupled_nets.data.image_data._PROBE", 2)
    (root / "test" / "dark" / "3.tif").rename(root / "test" / "dark" / "1.tif")  # not among those looked at
    for memory in (1, 0):
        with pytest.raises(ValueError, match=r"dark/1.tif: it has 8 bits a pixel, others have more"):
            list(load_data(DataConfig(str(root), memory=memory, workers=0)).test_loader(8))


@pytest.mark.parametrize("memory", [1, 0])
def test_a_deep_image_among_8_bit_ones_is_never_black(make_folder, monkeypatch, memory):
    monkeypatch.setattr("decoupled_nets.data.image_data._PROBE", 2)
    root = make_folder(("train", "val", "test"))
    Image.fromarray(np.full((8, 8), 200, dtype=np.uint16)).save(root / "test" / "cat" / "05.png")
    with pytest.raises(ValueError, match=r"cat/05.png: it has 16 or 32 bits a pixel, while .* pixel_range"):
        list(load_data(DataConfig(str(root), memory=memory, workers=0)).test_loader(8))


def test_16_bit_colours_are_told_of(make_folder):
    def chunk(kind, content):
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 16, 2, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress((b"\0" + bytes(6 * 8)) * 8))
    root = make_folder()
    (root / "train" / "cat" / "00.png").write_bytes(b"\x89PNG\r\n\x1a\n" + head + body + chunk(b"IEND", b""))
    notes = load_data(DataConfig(str(root))).found.notes
    assert any(
        note.startswith("16-bit colours are read as 8 bits") and "cat/00.png" in note for note in notes
    )


def test_a_range_for_8_bit_images_is_told_of(make_folder):
    data = load_data(DataConfig(str(make_folder()), pixel_range=(0, 100)))
    assert "pixel_range is ignored: the images have 8 bits" in data.found.notes


@THREADS
@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_image_is_one_line_with_its_traceback_as_the_cause(make_folder, workers):
    root = make_folder(("train", "val", "test"))
    data = load_data(DataConfig(str(root), memory=0, workers=workers, image_size=8))
    path = root / "test" / "cat" / "03.png"
    path.write_bytes(path.read_bytes()[:150])
    with pytest.raises(ValueError, match=r"cannot read the image .*test/cat/03.png: .*") as caught:
        list(data.test_loader(4))
    assert len(str(caught.value).splitlines()) == 1
    assert "Traceback" in str(caught.value.__cause__)
    traceback.clear_frames(caught.tb)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"test/cat/03.png") as caught:
        list(data.test_loader(4))
    assert len(str(caught.value).splitlines()) == 1
    traceback.clear_frames(caught.tb)


def test_test_images_by_number(make_folder):
    data = load_data(DataConfig(str(make_folder())))
    images, labels = next(iter(data.test_loader(20)))
    for index in (0, 7, 19):
        image, label = data.test_image(index)
        assert torch.equal(image, images[index : index + 1])
        assert label == labels[index]
    for index in (20, -1):
        with pytest.raises(ValueError, match=rf"test image {index} received; needed: 0 to 19"):
            data.test_image(index)
