"""Small sets of images and boxes in four forms of files, made for a test."""

import json

import numpy as np
from PIL import Image

from decoupled_nets.data import DataConfig
from decoupled_nets.tasks import find_task

SIZE = (20, 40)  # H, W
NAMES = ("cat", "dog")


def objects(number: int) -> list[tuple[str, tuple[int, int, int, int]]]:
    """Two an image: a cat on the left, a dog on the right that moves with the image's number."""
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


def edited(name, before, after):
    def edit(root):
        path = root / name
        path.write_text(path.read_text().replace(before, after))

    return edit
