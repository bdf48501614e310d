"""Images with masks: layouts, values, names, and what is refused."""

import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from masks import image_of, load, mask_of, write_pair, write_set
from PIL import Image

from decoupled_nets.data import VOID, DataConfig, describe_masks, load_data, load_masks
from decoupled_nets.data.mask_transform import NONE
from decoupled_nets.tasks.segment import Segment, augmentation


def everything(loader):
    images, targets = zip(*loader, strict=True)
    return torch.cat(images), torch.cat(targets)


@pytest.fixture
def root(tmp_path):
    return write_set(tmp_path / "set", {"train": 6, "val": 3, "test": 4})


def layouts(root: Path, kind: str) -> None:
    for split, number in {"train": 5, "val": 2, "test": 3}.items():
        places = {
            "split first": (root / split / "images", root / split / "masks"),
            "split last": (root / "images" / split, root / "masks" / split),
            "side by side": (root / split, root / f"{split}annot"),
            "other names": (root / split / "JPEGImages", root / split / "SegmentationClass"),
            "deeper": (root / "x" / split / "imgs", root / "x" / split / "gt"),
        }[kind]
        for n in range(number):
            write_pair(*places, f"{n}", mask_of(n), suffix="_mask" if kind == "deeper" else "")


@pytest.mark.parametrize("kind", ["split first", "split last", "side by side", "other names", "deeper"])
def test_layouts(kind, tmp_path):
    layouts(tmp_path, kind)
    data = load(tmp_path)
    assert (data.train_size, data.val_size, data.test_size) == (5, 2, 3)
    images, targets = everything(data.test_loader(2))
    assert images.shape == (3, 3, 8, 12)
    assert targets.tolist() == [mask_of(n).tolist() for n in range(3)]
    torch.testing.assert_close(images[:, 0] * 255, 40.0 * targets)


def test_a_folder_without_splits_is_cut(tmp_path):
    for n in range(20):
        write_pair(tmp_path / "images", tmp_path / "masks", str(n), mask_of(n))
    data = load(tmp_path)
    assert (data.train_size, data.val_size, data.test_size) == (14, 2, 4)
    assert "cut out" in str(data.found)


@pytest.mark.parametrize("memory", [0.0, 2.0])
def test_what_is_found_prints_itself(root, memory):
    (root / "train" / "images" / "alone.png").write_bytes((root / "train" / "images" / "00.png").read_bytes())
    (root / "test" / "masks" / "more.png").write_bytes((root / "test" / "masks" / "00.png").read_bytes())
    data = load(root, memory=memory)
    text = str(data.found)
    assert "images without a mask: 1, such as images/alone.png" in text
    assert "masks without an image: 1, such as masks/more.png" in text
    assert "Classes       3: 0, 1, 2" in text
    assert "0 33.3 %, 1 33.3 %, 2 33.3 %; void 0.0 %" in " ".join(text.split())
    assert (data.train_size, data.test_size) == (6, 4)
    assert type(data.found).from_dict(json.loads(json.dumps(data.found.to_dict()))) == data.found


def test_values_names_and_void(tmp_path):
    root = write_set(tmp_path, {"train": 4, "val": 2, "test": 2}, values=(3, 7, 11, VOID))
    data = load(root)
    assert data.classes == ("3", "7", "11")
    targets = everything(data.test_loader(2))[1]
    stored = torch.tensor(np.stack([mask_of(n, values=(0, 1, 2, VOID)) for n in range(2)])).long()
    assert torch.equal(targets, stored)
    assert "void (255) 12.5 %" in " ".join(str(data.found).split())
    data = load(root, void=7)
    assert data.classes == ("3", "11")
    assert set(everything(data.train_loader(4, 0))[1].unique().tolist()) == {0, 1, VOID}
    with pytest.raises(
        ValueError, match=r"have the value 7, and class_names has 4 names, for 0 to 3; .* void=7"
    ):
        load(root, class_names="a,b,c,d")


def test_names_from_an_option_or_a_file(root, tmp_path):
    assert load(root, class_names="sky, road ,tree").classes == ("sky", "road", "tree")
    (root / "classes.txt").write_text("one\ntwo\n\nthree\n")
    data = load(root)
    assert data.classes == ("one", "two", "three")
    assert "those in classes.txt" in " ".join(str(data.found).split())
    (tmp_path / "others.txt").write_text("x\ny\nz\nnever\n")
    assert load(root, class_names=str(tmp_path / "others.txt")).classes == ("x", "y", "z", "never")
    with pytest.raises(ValueError, match="each name once"):
        load(root, class_names="a,a,b")


def test_0_and_255_alone_are_two_classes(tmp_path):
    data = load(write_set(tmp_path, {"train": 4, "val": 2, "test": 2}, values=(0, 255)))
    assert data.classes == ("0", "255")
    assert set(everything(data.test_loader(2))[1].unique().tolist()) == {0, 1}


def test_a_palette_gives_its_numbers_and_colours_are_refused(root):
    path = root / "test" / "masks" / "00.png"
    indexed = Image.fromarray(mask_of(0), mode=None).convert("P")
    indexed.putpalette([200, 10, 10, 10, 200, 10, 10, 10, 200] + [0] * 759)
    indexed.save(path)
    if np.array_equal(np.asarray(Image.open(path)), mask_of(0)):
        assert everything(load(root).test_loader(4))[1][0].tolist() == mask_of(0).tolist()
    Image.merge("RGB", [Image.fromarray(mask_of(0))] * 3).save(path)  # grey, in three channels
    assert everything(load(root).test_loader(4))[1][0].tolist() == mask_of(0).tolist()
    image_of(mask_of(0)).save(path)
    with pytest.raises(ValueError, match=r"masks/00\.png: it has colours"):
        load(root)
    Image.fromarray(mask_of(0)).save(path, "JPEG")
    with pytest.raises(ValueError, match=r"masks/00\.png: it is a JPEG"):
        load(root)


@pytest.mark.parametrize("memory", [0.0, 2.0])
def test_bad_masks_are_named(root, memory):
    path = root / "test" / "masks" / "01.png"
    Image.fromarray(mask_of(0, (8, 13))).save(path)
    with pytest.raises(ValueError, match=r"masks/01\.png: it has 8×13 pixels and its image 8×12"):
        everything(load(root, memory=memory).test_loader(4))
    Image.fromarray(mask_of(0, values=(0, 1, 5))).save(path)
    with pytest.raises(ValueError, match=r"masks/01\.png: it has the value 5; needed: 0, 1, 2, or void=5"):
        everything(load(root, memory=memory).test_loader(4))


def test_what_is_no_set_of_masks(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere does not exist"):
        load("nowhere")
    write_pair(tmp_path / "images", tmp_path / "others", "a", mask_of(0))
    with pytest.raises(ValueError, match="no folder of images beside one of masks; needed: <split>/images/"):
        load(tmp_path)
    (tmp_path / "others").rename(tmp_path / "masks")
    (tmp_path / "masks" / "a.png").rename(tmp_path / "masks" / "b.png")
    with pytest.raises(ValueError, match=r"no two files of the same name, such as a and b"):
        load(tmp_path)
    write_set(tmp_path / "flat", {"train": 3, "val": 2, "test": 2}, values=(1,))
    with pytest.raises(ValueError, match=r"have 1 classes \(1\); needed: 2 to 255"):
        load(tmp_path / "flat")


def test_classification_does_not_take_images_and_masks_for_classes(root):
    with pytest.raises(
        ValueError, match=r"test holds images/, masks/: .* needed: task=segment, or train_split"
    ):
        load_data(DataConfig(data=str(root)))
    with pytest.raises(ValueError, match="void = 3 received, which is of use for masks only"):
        load_data(DataConfig(data="synthetic", void=3))


def test_parquet(tmp_path):
    def encoded(image: Image.Image) -> dict[str, object]:
        file = io.BytesIO()
        image.save(file, "PNG")
        return {"bytes": file.getvalue(), "path": None}

    for split, number in {"train": 5, "validation": 2, "test": 3}.items():
        masks = [mask_of(n) for n in range(number)]
        table = pa.table(
            {
                "photo": [encoded(image_of(mask)) for mask in masks],
                "label": [encoded(Image.fromarray(mask)) for mask in masks],
                "again": [encoded(Image.fromarray(2 - mask)) for mask in masks],
            }
        )
        pq.write_table(table, tmp_path / f"{split}-00000-of-00001.parquet")
    with pytest.raises(ValueError, match="photo, again could hold the images"):
        load(tmp_path)
    data = load(tmp_path, image_column="photo")
    assert (data.train_size, data.val_size, data.test_size) == (5, 2, 3)
    images, targets = everything(data.test_loader(2))
    torch.testing.assert_close(images[:, 0] * 255, 40.0 * targets)
    other = load(tmp_path, image_column="photo", mask_column="again")
    assert torch.equal(everything(other.test_loader(2))[1], 2 - targets)


def test_images_and_masks_are_brought_to_a_size_together(tmp_path):
    for n in range(9):
        mask = mask_of(n, (16 + n, 40), values=(0, 2))
        write_pair(tmp_path / "images", tmp_path / "masks", str(n), mask)
    images, targets = everything(load(tmp_path, image_size=12, class_names="a,b,c").test_loader(4))
    assert images.shape[2:] == targets.shape[1:] == (12, 12)
    assert set(targets.unique().tolist()) == {0, 2}  # between two classes is no third one
    assert ((images[:, 0] * 255 / 40).round() == targets).float().mean() > 0.7


@pytest.mark.parametrize("memory", [0.0, 2.0])
def test_masks_move_with_their_images(root, memory):
    config = DataConfig(data=str(root), workers=0, memory=memory)
    data = load_masks(config, augmentation)
    batches = {seed: everything(data.train_loader(3, seed)) for seed in (0, 1)}
    again = everything(data.train_loader(3, 0))
    assert all(map(torch.equal, batches[0], again))
    assert not torch.equal(batches[0][1], batches[1][1])
    images, targets = batches[0]
    red = images[:, 0] - images[:, 2]  # jitter scales both, and contrast shifts neither's order
    means = [float(red[targets == k].mean()) for k in (0, 1, 2)]
    assert means[0] < means[1] < means[2]
    stored = torch.stack([torch.tensor(mask_of(n)) for n in range(6)])
    assert not any(torch.equal(target, mask.long()) for target in targets for mask in stored[:1])


def test_where_the_images_are_kept_makes_no_difference(root):
    one, other = (
        everything(
            load_masks(DataConfig(data=str(root), workers=0, memory=memory), augmentation).train_loader(3, 5)
        )
        for memory in (0.0, 2.0)
    )
    assert all(map(torch.equal, one, other))


def test_each_process_sees_its_part(root):
    data = load_masks(DataConfig(data=str(root), workers=0), augmentation)
    whole = next(iter(data.train_loader(4, 0)))
    parts = [next(iter(data.train_loader(4, 0, rank=rank, world_size=2))) for rank in (0, 1)]
    for k in (0, 1):
        assert torch.equal(torch.cat([part[k] for part in parts]), whole[k])


def test_augmentation_leaves_the_generators_alone(root):
    data = load_masks(DataConfig(data=str(root), workers=0), augmentation)
    before = torch.get_rng_state()
    list(data.train_loader(3, 0))
    assert torch.equal(before, torch.get_rng_state())


def test_the_digest_tells_other_masks(root):
    before = load(root).digest
    (root / "train" / "masks" / "00.png").write_bytes(
        (root / "train" / "masks" / "00.png").read_bytes() + b"\0"
    )
    assert load(root).digest != before


def test_description_is_that_of_the_loaded_data(root):
    config = DataConfig(data=str(root), workers=0)
    assert describe_masks(config, augmentation) == load_masks(config, augmentation).found
    assert Segment.describe(config) == Segment.load(config).found
    assert "mirrored" not in str(Segment.describe(DataConfig(data=str(root), mirror=False)))
    assert NONE.words in describe_masks(config, lambda size, mirror: NONE).augmentation
