"""Boxes in files: four forms alike, what follows the images, and what is counted and told."""

import json

import numpy as np
import pytest
import torch
from box_files import NAMES, SIZE, WRITERS, image, load, objects, write_roboflow, write_voc, write_yolo
from PIL import Image

from decoupled_nets.data.box_transform import BoxTransform
from decoupled_nets.tasks import find_task
from decoupled_nets.tasks.detect import augmentation


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
