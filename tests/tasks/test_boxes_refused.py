"""Files of boxes that are not as they must be, and how that is said."""

import json

import numpy as np
import pytest
from box_files import SIZE, WRITERS, edited, image, load, write_roboflow
from PIL import Image

from decoupled_nets.data import DataConfig, box_coco
from decoupled_nets.data.boxes import four_numbers
from decoupled_nets.tasks import find_task


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
    with pytest.raises(ValueError, match="void = 3 received, which is of use for masks only, not for boxes"):
        load(tmp_path, void=3)
    with pytest.raises(ValueError, match="needed: four numbers, a, b"):
        four_numbers(None, "x", "a, b")


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
