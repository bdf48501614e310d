"""Boxes in files: three forms alike, and what is not as it must be."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from decoupled_nets.data import DataConfig, box_coco
from decoupled_nets.data.box_transform import BoxTransform
from decoupled_nets.data.boxes import four_numbers
from decoupled_nets.tasks import find_task
from decoupled_nets.tasks.detect import augmentation

SIZE = (20, 40)  # H, W
#: Two objects an image: a cat on the left, a dog on the right that moves with the image's number.
NAMES = ("cat", "dog")


def objects(number: int) -> list[tuple[str, tuple[int, int, int, int]]]:
    return [("cat", (2, 3, 12, 13)), ("dog", (20, 4, 30 + number, 16))]


def image(path, size=SIZE, mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(256, size=(*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).convert(mode).save(path)


def write_voc(root, splits=("train", "val", "test")):
    for split in splits:
        (root / "ImageSets/Main").mkdir(parents=True, exist_ok=True)
        (root / "Annotations").mkdir(exist_ok=True)
        stems = [f"{split}{k}" for k in range(4)]
        (root / f"ImageSets/Main/{split}.txt").write_text("\n".join(stems))
        for k, stem in enumerate(stems):
            image(root / f"JPEGImages/{stem}.png")
            inner = "".join(
                f"<object><name>{name}</name><bndbox><xmin>{a}</xmin><ymin>{b}</ymin><xmax>{c}</xmax>"
                f"<ymax>{d}</ymax></bndbox></object>"
                for name, (a, b, c, d) in objects(k)
            )
            (root / f"Annotations/{stem}.xml").write_text(f"<annotation>{inner}</annotation>")


def coco(split: str) -> dict:
    boxes = [(k, *one) for k in range(4) for one in objects(k)]
    return {
        "categories": [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}, {"id": 0, "name": "animals"}],
        "images": [{"id": 10 + k, "file_name": f"{split}{k}.png"} for k in range(4)],
        "annotations": [
            {"id": n, "image_id": 10 + k, "category_id": {"dog": 7, "cat": 3}[name], "iscrowd": 0,
             "bbox": [a, b, c - a, d - b]}
            for n, (k, name, (a, b, c, d)) in enumerate(boxes)
        ],
    }  # fmt: skip


def write_roboflow(root, change=lambda content: None):
    for split in ("train", "valid", "test"):
        content = coco(split)
        if split == "train":
            change(content)
        for k in range(4):
            image(root / split / f"{split}{k}.png")
        (root / split / "_annotations.coco.json").write_text(json.dumps(content))


def write_coco(root):
    for split in ("train", "val", "test"):
        for k in range(4):
            image(root / split / f"{split}{k}.png")
        (root / "annotations").mkdir(exist_ok=True)
        (root / f"annotations/instances_{split}.json").write_text(json.dumps(coco(split)))


def write_yolo(root):
    for split in ("train", "val", "test"):
        (root / "labels" / split).mkdir(parents=True)
        for k in range(4):
            image(root / "images" / split / f"{k}.png")
            lines = [
                f"{NAMES.index(name)} {(a + c) / 80} {(b + d) / 40} {(c - a) / 40} {(d - b) / 20}"
                for name, (a, b, c, d) in objects(k)
            ]
            (root / "labels" / split / f"{k}.txt").write_text("\n".join(lines))
    (root / "data.yaml").write_text("names: {0: cat, 1: dog}")


WRITERS = {"voc": write_voc, "roboflow": write_roboflow, "coco": write_coco, "yolo": write_yolo}


def load(root, **options):
    return find_task("detect").load(DataConfig(data=str(root), workers=0, **options))


@pytest.mark.parametrize("memory", [2.0, 0.0])
@pytest.mark.parametrize("form", WRITERS)
def test_every_form_gives_the_same(form, memory, tmp_path):
    WRITERS[form](tmp_path)
    data = load(tmp_path, memory=memory)
    assert data.classes == NAMES
    assert (data.train_size, data.val_size, data.test_size, data.image_size) == (4, 4, 4, SIZE)
    images, truth = next(iter(data.test_loader(4)))
    assert images.shape == (4, 3, *SIZE)
    for k, rows in enumerate(truth):
        expected = [[*box, float(NAMES.index(name)), 0.0, 0.0] for name, box in objects(k)]
        torch.testing.assert_close(rows, torch.tensor(expected), atol=1e-4, rtol=0)
    assert "objects in the training images: cat 4, dog 4" in data.found.notes


def test_objects_are_counted_without_their_images(tmp_path):
    write_yolo(tmp_path)
    data = load(tmp_path, memory=0.0)
    for path in tmp_path.rglob("*.png"):
        path.unlink()
    assert find_task("detect")(data.classes).class_counts(data).tolist() == [4, 4]


def test_boxes_follow_their_images(tmp_path):
    for split in ("train", "test"):
        pixels = np.zeros((30, 60, 3), dtype=np.uint8)
        pixels[6:18, 12:36] = 255
        (tmp_path / split).mkdir()
        Image.fromarray(pixels).save(tmp_path / split / "a.png")
        Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 0, 2))).save(tmp_path / split / "b.png")
        boxes = [[12, 6, 24, 12], [6, 12, 12, 24]]
        content = {
            "categories": [{"id": 1, "name": "light"}],
            "images": [{"id": k, "file_name": f"{name}.png"} for k, name in enumerate("ab")],
            "annotations": [
                {"id": k, "image_id": k, "category_id": 1, "bbox": b} for k, b in enumerate(boxes)
            ],
        }
        (tmp_path / split / "_annotations.coco.json").write_text(json.dumps(content))
    data = load(tmp_path, image_size=120, val_size=1)
    assert data.image_size == (120, 120)
    seen = set()
    for epoch in range(12):
        loader = data.train_loader(1, 0)
        loader.set_epoch(epoch)
        for images, truth in loader:
            (x1, y1, x2, y2), kind = truth[0, 0, :4].tolist(), int(truth[0, 0, 4])
            bright = images[0].mean(0) > 0.4
            if kind < 0:  # it lies outside what is cut
                assert bright.sum(0).max() <= 2 or bright.sum(1).max() <= 2
                continue
            ys, xs = bright.any(1).nonzero().flatten(), bright.any(0).nonzero().flatten()
            found = torch.tensor([xs[0], ys[0], xs[-1] + 1, ys[-1] + 1]).float()
            torch.testing.assert_close(found, torch.tensor([x1, y1, x2, y2]), atol=2.0, rtol=0)
            assert kind == 0
            seen.add((x1, y1, x2, y2))
    assert len(seen) > 6
    again = [truth for _, truth in data.train_loader(1, 0)]
    assert all(torch.equal(a, b) for a, b in zip(again, [t for _, t in data.train_loader(1, 0)], strict=True))
    other = [truth for _, truth in data.train_loader(1, 1)]
    assert not all(torch.equal(a, b) for a, b in zip(again, other, strict=True))


def test_objects_become_smaller_and_larger():
    """And what is cut away is no object: boxes lie around what can be seen."""
    size, box = (60, 80), torch.tensor([[30.0, 20, 60, 44, 1, 0, 500], [0, 0, 10, 10, 0, 0, 0]])
    image = torch.full((1, 3, *size), 0.3)
    image[..., 20:44, 30:60] = 1.0
    given = augmentation(size, mirror=False)
    transform = BoxTransform(3, size, True, False, augmentation=given)
    seeds = torch.arange(60)
    images, truth = transform.augmented(image.expand(60, -1, -1, -1), box.expand(60, -1, -1), seeds)
    assert images.shape == (60, 3, *size)
    seen = []
    for pixels, rows in zip(images, truth, strict=True):
        bright = pixels.mean(0) > 0.55 * pixels.max()
        (found,) = rows[rows[:, 4] == 1]
        ys, xs = bright.any(1).nonzero().flatten(), bright.any(0).nonzero().flatten()
        around = torch.tensor([xs[0], ys[0], xs[-1] + 1, ys[-1] + 1]).float()
        torch.testing.assert_close(found[:4], around, atol=1.5, rtol=0)
        assert found[6] == 0
        seen.append(float(found[2] - found[0]) / 30)
        other = rows[rows[:, 4] == 0]
        assert (other[:, 2:4] - other[:, :2] >= 1).all()
    seen = torch.tensor(seen)
    for changed_so in (seen > 1.05, seen < 0.95, (seen - 1).abs() < 1e-4):
        assert 0.12 < changed_so.float().mean() < 0.5
    assert 1.3 < seen.max() < 1.54
    assert 0.65 < seen.min() < 0.8
    lost = (truth[:, :, 4] == 0).sum(1) == 0  # the one in the corner is cut away at times
    assert 0 < lost.sum() < 30
    assert "half as large again" in given.words


def test_crowds_empty_images_and_boxes_beyond_the_image(tmp_path):
    def change(content):
        content["annotations"][0]["iscrowd"] = 1
        content["annotations"][1]["bbox"] = [20, 4, 100, 12]
        content["annotations"] = [one for one in content["annotations"] if one["image_id"] != 12]

    write_roboflow(tmp_path, change)
    data = load(tmp_path)
    _, truth = data.train_subset(4)
    crowds, empty = truth[..., 5].sum(), (truth[..., 4] < 0).all(1).sum()
    assert (int(crowds), int(empty)) == (1, 1)
    assert [20.0, 4.0, 40.0, 16.0, 1.0, 0.0, 0.0] in truth.reshape(-1, 7).tolist()
    notes = " ".join(data.found.notes)
    assert find_task("detect")(data.classes).class_counts(data).tolist() == [2, 3]
    for words in (
        "cat 2, dog 3",
        "1 of them crowds",
        "1 images without objects",
        "1 boxes reach beyond",
        "left out: animals",
    ):
        assert words in notes, words


def test_areas_of_coco_follow_their_images(tmp_path):
    """The areas of the outlines, in pixels of the image as the network is given it."""

    def change(content):
        content["annotations"][0]["area"] = 30.5
        content["annotations"][1]["area"] = 0

    write_roboflow(tmp_path, change)
    for size, factor in ((40, 1), (80, 4)):
        _, truth = load(tmp_path, image_size=size).train_subset(4)
        assert truth[0, :2, 6].tolist() == [30.5 * factor, 0.0]
        assert truth[1:, :, 6].abs().sum() == 0


def test_few_boxes_without_area_are_dropped_and_told(tmp_path):
    def change(content):
        content["annotations"] += [
            {"id": 100 + k, "image_id": 10, "category_id": 3, "bbox": [1, 1, 5 if k else 0, 5]}
            for k in range(200)
        ]

    write_roboflow(tmp_path, change)
    (left,) = [one for one in load(tmp_path).found.left_out if "without area" in one.reason]
    assert (left.count, left.example) == (1, "train/_annotations.coco.json, annotation 100")


@pytest.mark.parametrize("mode", ["L", "I;16"])
def test_grey_and_deep_images(mode, tmp_path):
    write_yolo(tmp_path)
    for path in tmp_path.rglob("*.png"):
        array = np.asarray(Image.open(path).convert("L"))
        Image.fromarray(array if mode == "L" else array.astype(np.uint16) * 100).save(path)
    data = load(tmp_path, image_size=80)
    images, truth = data.train_subset(4)
    assert images.shape == (4, 1, 40, 80)
    assert 0 <= images.min() < 0.25 < 0.7 < images.max() <= 1
    torch.testing.assert_close(truth[0, 0], torch.tensor([4.0, 6, 24, 26, 0, 0, 0]), atol=1e-4, rtol=0)


def changed(**changes):
    def change(content):
        content["annotations"][1].update(changes)

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (changed(bbox=[20, 4, 0, 5]), r"1 of 24 boxes have no area .* annotation 1; needed: at most 1 %"),
        (changed(bbox=[20, 4]), r"annotation 1, has the box \[20, 4\]; needed: four numbers, x, y, width"),
        (changed(bbox=[20, 4, float("nan"), 4]), "needed: four finite numbers"),
        (changed(area="1"), "annotation 1, has the area '1'; needed: a number from 0 on, or none"),
        (changed(area=-1), "annotation 1, has the area -1; needed"),
        (changed(image_id=99), "annotation 1, is of image 99; needed: an image that the file lists"),
        (changed(category_id=99), "annotation 1, has the category 99; needed: one of 0, 3, 7"),
        (lambda c: c["images"].append(c["images"][0]), "lists the id 10 twice; needed: each image once"),
        (lambda c: c["images"].append({"id": 1, "file_name": "x.png"}), "1 of 5 images do not exist, such"),
        (lambda c: c.update(images=[]), "lists no images"),
        (lambda c: c.pop("categories"), "has no list 'categories'; needed: images, annotations and"),
        (lambda c: c["categories"].pop(0), "annotation 1, has the category 7"),
        (lambda c: c["annotations"].append(3), "annotation 8, is 3; needed: image_id, category_id and bbox"),
        (changed(image_id=[10]), r"annotation 1, is of image \[10\]; needed: an image that the file lists"),
        (changed(category_id={}), "annotation 1, has the category {}; needed: one of 0, 3, 7"),
        (lambda c: c["categories"].append({"id": "x", "name": "x"}), "numbers and texts as ids of its cat"),
        (lambda c: c["categories"].append({"id": 9}), "as number 3 of its categories; needed: id, a number"),
        (lambda c: c["images"].append(5), "has 5 as number 4 of its images; needed: .* and file_name"),
        (lambda c: c["images"].append({"id": None, "file_name": "x"}), "as number 4 of its images; needed"),
        (
            lambda c: [one.update(iscrowd=1) for one in c["annotations"]],
            "has no object in the training images that is no crowd; needed: some, as crowds neither train",
        ),
    ],
)  # fmt: skip
def test_bad_coco(change, message, tmp_path):
    write_roboflow(tmp_path, change)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        load(tmp_path)


def test_a_mark_before_the_text_and_categories_of_one_name(tmp_path):
    def change(content):
        content["categories"][1]["name"] = "dog"

    write_roboflow(tmp_path, change)
    for path in tmp_path.rglob("*.json"):
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content), encoding="utf-8-sig")
    data = load(tmp_path)
    assert data.classes == ("dog",)
    told = "train/_annotations.coco.json has several categories that are called dog: they are one class"
    assert told in data.found.notes


@pytest.mark.parametrize("form", ["coco", "roboflow"])
def test_every_file_is_read_once(form, tmp_path, monkeypatch):
    WRITERS[form](tmp_path)
    if form == "coco":
        (tmp_path / "annotations/captions_train.json").write_text("[]")
    read, texts = box_coco.json.loads, []
    monkeypatch.setattr(box_coco.json, "loads", lambda text: texts.append(text) or read(text))
    assert box_coco.find(tmp_path) is not None
    assert len(texts) == 3


def edited(name, before, after):
    def edit(root):
        path = root / name
        path.write_text(path.read_text().replace(before, after))

    return edit


@pytest.mark.parametrize(
    ("form", "edit", "message"),
    [
        ("voc", edited("Annotations/test1.xml", "dog", "cow"), "test1.xml, object 2, is of the class 'cow'"),
        ("voc", edited("Annotations/train0.xml", "<ymax>13", "<ymax>x"), "object 1, has the box"),
        ("voc", edited("Annotations/train0.xml", "<name>cat</name>", ""), "object 1, has no name or no"),
        ("voc", edited("Annotations/train0.xml", "</annotation>", ""), "train0.xml is no XML file"),
        ("voc", lambda r: (r / "JPEGImages/val1.png").unlink(), "val.txt: 1 of 4 images have no image"),
        ("voc", lambda r: (r / "Annotations/val1.xml").unlink(), "1 of 4 images have no annotation file"),
        ("voc", lambda r: image(r / "JPEGImages/val1.jpg"), "val1.jpg and val1.png; needed: one image"),
        ("yolo", edited("labels/train/0.txt", "1 0.", "5 0."), "0.txt, line 2, has the class 5; needed: 0"),
        ("yolo", edited("labels/train/0.txt", "1 0.", "1 x0."), "line 2, has the box .* four numbers"),
        ("yolo", edited("labels/train/0.txt", "1 0.", "1 320."), "as shares of the image's sides"),
        ("yolo", edited("data.yaml", "{0: cat, 1: dog}", "2"), "has names = 2; needed: a list of names"),
        ("yolo", edited("data.yaml", "{0: cat, 1: dog}", "{1: cat, 2: dog}"), "classes 1, 2; needed: of 0"),
        ("yolo", edited("data.yaml", "{0: cat, 1: dog}", "{0: cat, x: dog}"), "classes 0, x; needed: of 0"),
        ("yolo", edited("data.yaml", "{0: cat, 1: dog}", "{0: cat, '0': dog}"), "classes 0, 0; needed: of 0"),
        ("yolo", edited("labels/val/0.txt", "1 0.", "1 0.5 0.5 2 0."), "line 2, has 7 numbers that are"),
        ("yolo", edited("labels/val/0.txt", "1 0.", "1 0.5 0.5 2 0 0."), "kpt_shape in data.yaml"),
        ("yolo", edited("labels/val/0.txt", "1 0.", "1 0.5 0.5 0.1 0."), "has 7 numbers that are no outline"),
        ("yolo", edited("labels/val/0.txt", "1 0.", "1 0.5 0.5 0 x 0."), "has 8 numbers that are no outline"),
        ("coco", edited("annotations/instances_test.json", "}", "", ), "is no JSON file"),
    ],
)  # fmt: skip
def test_bad_files(form, edit, message, tmp_path):
    WRITERS[form](tmp_path)
    edit(tmp_path)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        load(tmp_path)


def test_what_is_no_data_set_of_boxes(tmp_path):
    with pytest.raises(ValueError, match="has no boxes of a known form; needed: COCO"):
        load(tmp_path)
    with pytest.raises(FileNotFoundError, match="does not exist; needed: a folder with boxes"):
        load(tmp_path / "nothing")
    with pytest.raises(ValueError, match="void = 3 received for boxes; needed: no such option"):
        load(tmp_path, void=3)
    with pytest.raises(ValueError, match="needed: four numbers, a, b"):
        four_numbers(None, "x", "a, b")


def test_what_is_left_out_and_named_by_numbers(tmp_path):
    write_voc(tmp_path / "voc")
    image(tmp_path / "voc/JPEGImages/alone.png")
    write_yolo(tmp_path / "yolo")
    (tmp_path / "yolo/data.yaml").unlink()
    (tmp_path / "yolo/labels/train/9.txt").write_text("0 0.5 0.5 0.1 0.1")
    voc, yolo = (load(tmp_path / name).found for name in ("voc", "yolo"))
    assert [(one.count, one.example) for one in voc.left_out] == [(1, "alone")]
    assert [(one.count, one.example) for one in yolo.left_out] == [(1, "9.txt")]
    assert yolo.classes == ["0", "1"]
    assert any("called by their numbers" in note for note in yolo.notes)


def test_yolo_names_are_at_their_numbers(tmp_path):
    write_yolo(tmp_path)
    names = [*NAMES, *(f"kind {number}" for number in range(2, 11))]
    quoted = ", ".join(f"'{number}': {name}" for number, name in reversed(list(enumerate(names))))
    (tmp_path / "data.yaml").write_text(f"names: {{{quoted}}}")
    assert load(tmp_path).classes == tuple(names)


def test_yolo_names_and_folders_of_any_yaml(tmp_path):
    write_yolo(tmp_path)
    (tmp_path / "data.yaml").unlink()
    (tmp_path / "hyp.yaml").write_text("lr0: 0.01")
    for split, other in (("train", "first"), ("val", "second"), ("test", "third")):
        for kind in ("images", "labels"):
            (tmp_path / kind / split).rename(tmp_path / kind / other)
    told = tmp_path / "cells.yaml"
    told.write_text(
        "path: ../datasets/cells\ntrain: images/first\nval: ../images/second\ntest: [images/third]\n"
        "names: [cat, dog]"
    )
    data = load(tmp_path)
    assert data.classes == NAMES
    sources = [split.source for split in data.found.splits]
    assert sources == ["images/first/", "images/second/", "images/third/"]
    told.write_text("train: images/first\nval: images/first\ntest: lists/test.txt\nnames: [cat, dog]")
    notes = load(tmp_path, val_size=1, test_size=1).found.notes
    assert "cells.yaml has images/first for val again: it is no split of its own" in notes
    assert "cells.yaml has lists/test.txt for test, which is no folder of images with labels here" in notes
    (tmp_path / "more.yml").write_text("names: [a, b]")
    with pytest.raises(ValueError, match=r"cells.yaml and more.yml with names of classes; needed: one"):
        load(tmp_path)


def test_yolo_splits_keep_the_names_of_their_folders(tmp_path):
    """Which options name: `valid`, though the file says `val`."""
    write_yolo(tmp_path)
    for split, other in (("train", "train"), ("val", "valid"), ("test", "test")):
        (tmp_path / other).mkdir()
        for kind in ("images", "labels"):
            (tmp_path / kind / split).rename(tmp_path / other / kind)
    lines = "train: ../train/images\nval: ../valid/images\nnames: [cat, dog]"
    (tmp_path / "data.yaml").write_text(lines)
    found = load(tmp_path, val_split="valid").found
    assert [split.source for split in found.splits] == ["train/images/", "valid/images/", "test/images/"]
    assert not any("data.yaml has" in note for note in found.notes)


def test_yolo_outlines_and_key_points(tmp_path):
    write_yolo(tmp_path)
    path = tmp_path / "labels/test/0.txt"
    path.write_text("0 0.1 0.2 0.5 0.3 0.4 0.8")
    expected = torch.tensor([4.0, 4, 20, 16, 0, 0, 0])
    torch.testing.assert_close(load(tmp_path).test_subset(4)[1][0, 0], expected, atol=1e-4, rtol=0)
    # Two key points, of which one is seen (2) and one is not labelled (0).
    path.write_text("0 0.3 0.5 0.4 0.6 0.9 0.9 2 0 0 0")
    (tmp_path / "data.yaml").write_text("names: [cat, dog]\nkpt_shape: [2, 3]")
    torch.testing.assert_close(load(tmp_path).test_subset(4)[1][0, 0], expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("inside", [True, False])
def test_yolo_splits_without_labels(inside, tmp_path):
    write_yolo(tmp_path)
    if not inside:
        for split in ("train", "val", "test"):
            (tmp_path / split).mkdir()
            for kind in ("images", "labels"):
                (tmp_path / kind / split).rename(tmp_path / split / kind)
    images, labels = ("images/val", "labels/val") if inside else ("val/images", "val/labels")
    for path in (tmp_path / labels).iterdir():
        path.unlink()
    data = load(tmp_path)
    assert (data.train_size, data.val_size, data.test_size) == (4, 4, 4)
    assert "4 images without objects are kept: there is nothing to find in them" in data.found.notes
    (tmp_path / labels).rmdir()
    told = f"{images}/ is left out: there is no {labels}/ (an empty one says that no image has objects)"
    found = load(tmp_path, val_size=1)
    assert (found.train_size, found.val_size, found.test_size) == (3, 1, 4)
    assert told in found.found.notes
    assert not any("is left out: there" in note for note in data.found.notes)


def sized(form, root, height, width):
    """The first training image's size as the files say it."""
    if form == "voc":
        told = f"<size><width>{width}</width><height>{height}</height></size><object><name>cat"
        edited("Annotations/train0.xml", "<object><name>cat", told)(root)
        return "JPEGImages/train0.png"
    path = root / "train/_annotations.coco.json"
    content = json.loads(path.read_text())
    content["images"][0].update(height=height, width=width)
    path.write_text(json.dumps(content))
    return "train/train0.png"


@pytest.mark.parametrize("form", ["voc", "roboflow"])
def test_sizes_in_files_are_those_of_the_images(form, tmp_path):
    for number, size in enumerate([(20, 40), (0, 0), ("", ""), (40, 20), (20, 80)]):
        root = tmp_path / str(number)
        WRITERS[form](root)
        file = sized(form, root, *size)
        if number < 3:
            assert load(root).train_size == 4
            continue
        source = "Annotations/train0.xml" if form == "voc" else "train/_annotations.coco.json"
        told = "×".join(map(str, size))
        with pytest.raises(ValueError, match=f"{source} has {told} pixels for {file}, which has 20×40"):
            load(root)


@pytest.mark.parametrize("form", ["voc", "roboflow"])
def test_sizes_of_turned_images_are_as_shown(form, tmp_path):
    for number, size in enumerate([(20, 40), (40, 20)]):
        root = tmp_path / str(number)
        WRITERS[form](root)
        file = sized(form, root, *size)
        exif = Image.Exif()
        exif[0x0112] = 6  # to be turned by a quarter
        Image.fromarray(np.zeros((40, 20, 3), dtype=np.uint8)).save(root / file, exif=exif)
        if number == 0:
            assert load(root).image_size == SIZE
        else:
            with pytest.raises(ValueError, match=r"has 40×20 pixels for .*, which has 20×40 as it is shown"):
                load(root)


def test_options_of_depth_maps_are_refused():
    with pytest.raises(ValueError, match=r"scale = 8 received"):
        find_task("detect").describe(DataConfig(data="synthetic", scale=8))
