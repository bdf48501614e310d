"""Average precision of ours beside that of faster-coco-eval, and of resampled images."""

import numpy as np
import pytest
import torch

from decoupled_nets.tasks import _matching, find_task, further_metrics
from decoupled_nets.tasks._matching import AREAS, THRESHOLDS, AveragePrecision, matched, mean

CLASSES = 3


def random_set(seed: int, images: int = 12, boxes: int = 30, objects: int = 8):
    """Objects of all sizes, crowds among them, and boxes that are mostly near to one."""
    rng = torch.Generator().manual_seed(seed)

    def corners(n):
        start = 200 * torch.rand(n, 2, generator=rng)
        return torch.cat([start, start + 1 + 150 * torch.rand(n, 2, generator=rng) ** 2], 1)

    found, truth = torch.zeros(images, boxes, 6), torch.zeros(images, objects, 6)
    for k in range(images):
        n = int(torch.randint(objects + 1, (), generator=rng))
        truth[k, :, :4], truth[k, :, 4] = corners(objects), torch.randint(CLASSES, (objects,), generator=rng)
        truth[k, :, 5] = torch.rand(objects, generator=rng) < 0.15
        truth[k, n:, 4] = -1
        which = torch.randint(objects, (boxes,), generator=rng)
        near = truth[k, which, :4] + 4 * torch.randn(boxes, 4, generator=rng)
        near[:, 2:] = near[:, 2:].maximum(near[:, :2] + 1)
        far = torch.rand(boxes, generator=rng) < 0.3
        found[k, :, :4] = torch.where(far[:, None], corners(boxes), near)
        found[k, :, 4] = torch.rand(boxes, generator=rng)
        guess = torch.randint(CLASSES, (boxes,), generator=rng)
        found[k, :, 5] = torch.where(
            torch.rand(boxes, generator=rng) < 0.8, truth[k, which, 4].clamp(min=0), guess
        )
        found[k, int(torch.randint(boxes + 1, (), generator=rng)) :, 5] = -1
    return found, truth


def by_library(found, truth, areas=None, **options):
    pytest.importorskip("faster_coco_eval")
    from torchmetrics.detection import MeanAveragePrecision

    # Its own defaults are of single precision, which moves a recall of exactly 0.29 to the other side.
    recalls = np.linspace(0, 1, 101).tolist()
    metric = MeanAveragePrecision(
        backend="faster_coco_eval", iou_thresholds=list(THRESHOLDS), rec_thresholds=recalls, **options
    )
    metric.warn_on_many_detections = False  # all of them count, a hundred a class
    boxes, objects = [rows[rows[:, 5] >= 0] for rows in found], [rows[rows[:, 4] >= 0] for rows in truth]
    areas = torch.zeros(truth.shape[:2]) if areas is None else areas
    own = [rows[kind[:, 4] >= 0] for rows, kind in zip(areas, truth, strict=True)]
    metric.update(
        [{"boxes": b[:, :4], "scores": b[:, 4], "labels": b[:, 5].long()} for b in boxes],
        [
            {"boxes": o[:, :4], "labels": o[:, 4].long(), "iscrowd": o[:, 5].long(), "area": a}
            for o, a in zip(objects, own, strict=True)
        ],
    )
    return metric.compute()


@pytest.mark.parametrize("seed", range(6))
def test_it_is_that_of_the_library(seed):
    found, truth = random_set(seed)
    table = AveragePrecision(matched(found, truth, CLASSES), CLASSES).table()
    theirs = by_library(found, truth, class_metrics=True)
    ours = {
        "map": table[:, 0], "map_50": table[0, 0], "map_75": table[THRESHOLDS.index(0.75), 0],
        **{f"map_{name}": table[:, k] for k, name in enumerate(AREAS) if k},
    }  # fmt: skip
    assert 0.01 < mean(table[:, 0]) < 0.95
    for name, part in ours.items():
        assert np.nan_to_num(mean(part), nan=-1) == pytest.approx(float(theirs[name]), abs=1e-6), name
    for k, value in zip(theirs["classes"].tolist(), theirs["map_per_class"].tolist(), strict=True):
        assert np.nan_to_num(mean(table[:, 0, k]), nan=-1) == pytest.approx(value, abs=1e-6)


def test_a_hundred_boxes_of_each_class_count():
    """300 boxes of three classes: of some class more than 100, and more than 100 in all."""
    found, truth = random_set(11, images=6, boxes=300, objects=40)
    moved = torch.rand(6, 300, generator=torch.Generator().manual_seed(0)) < 0.8
    found[..., 5] = torch.where((found[..., 5] == 1) & moved, 0.0, found[..., 5])
    per_class = torch.stack([(found[..., 5] == k).sum(1) for k in range(CLASSES)])
    assert per_class.max() > 100
    assert (per_class.sum(1) > 0).all()
    table = AveragePrecision(matched(found, truth, CLASSES), CLASSES).table()
    theirs = by_library(found, truth)
    for name, value in (("map", table[:, 0]), ("map_small", table[:, 1]), ("map_medium", table[:, 2])):
        assert mean(value) == pytest.approx(float(theirs[name]), abs=1e-6), name
    best = found[:, :, 4].argsort(1, descending=True)[:, :100]
    few = AveragePrecision(matched(found.take_along_dim(best[..., None], 1), truth, CLASSES), CLASSES)
    assert few() < mean(table[:, 0]) - 0.01


def test_sizes_are_those_of_the_objects():
    """The area of the outline, as COCO has it, where it is known; else that of the box."""
    found, truth = random_set(12)
    area = 0.1 * (truth[..., 2:4] - truth[..., :2]).prod(-1)
    areas = torch.where(torch.arange(len(truth))[:, None] % 2 == 0, area, 0.0)
    table = AveragePrecision(
        matched(found, torch.cat([truth, areas[..., None]], 2), CLASSES), CLASSES
    ).table()
    plain = AveragePrecision(matched(found, truth, CLASSES), CLASSES).table()
    theirs = by_library(found, truth, areas)
    for k, name in enumerate(AREAS):
        key = f"map_{name}" if k else "map"
        assert np.nan_to_num(mean(table[:, k]), nan=-1) == pytest.approx(float(theirs[key]), abs=1e-6), name
        assert (mean(table[:, k]) == mean(plain[:, k])) == (k == 0), name


def test_outcomes_of_fewer_boxes_are_read():
    """Runs of before kept 100 an image."""
    found, truth = random_set(13)
    rows = matched(found, truth, CLASSES)
    most = (rows.shape[1] - len(AREAS) * CLASSES) // 4
    boxes = rows[:, : 4 * most].reshape(-1, 4, most)[..., :100].flatten(1)
    old = torch.cat([boxes, rows[:, 4 * most :]], 1)
    assert AveragePrecision(old, CLASSES)() == AveragePrecision(rows, CLASSES)()


def test_weights_are_images_that_come_several_times():
    found, truth = random_set(7)
    score = AveragePrecision(matched(found, truth, CLASSES), CLASSES)
    drawn = torch.tensor([0, 0, 3, 5, 5, 5, 8, 9, 11])
    weights = drawn.bincount(minlength=len(found)).numpy()
    theirs = float(by_library(found[drawn], truth[drawn])["map"])
    assert score(weights) == pytest.approx(theirs, abs=1e-6)
    assert score(weights) == pytest.approx(mean(score.table(weights)[:, 0]), abs=1e-12)
    assert score(weights) != pytest.approx(score(), abs=1e-3)


def test_resampling_looks_at_no_box_again(monkeypatch):
    """Neither boxes are matched nor scores sorted; of each choice one class is summed once."""
    found, truth = random_set(8, images=20)
    score = AveragePrecision(matched(found, truth, CLASSES), CLASSES)
    sums, cumsum = [], np.cumsum

    def counted(*arguments):
        sums.append(1)
        return cumsum(*arguments)

    for name in ("_image", "_matches", "box_iou"):
        monkeypatch.setattr(_matching, name, None)
    monkeypatch.setattr(np, "argsort", None)
    monkeypatch.setattr(np, "cumsum", counted)
    rng = np.random.default_rng(0)
    values = [score(np.bincount(rng.integers(20, size=20), minlength=20)) for _ in range(30)]
    assert 0 < np.std(values) < 0.1
    assert len(sums) == 30 * CLASSES * 2  # right ones and wrong ones


def test_all_metrics_match_a_batch_once(monkeypatch):
    """What the task keeps of a batch is what its further metrics are made of; nothing is remembered."""
    found, truth = random_set(9)
    task, images, image = find_task("detect")("abc"), [], _matching._image

    def counted(*arguments):
        images.append(1)
        return image(*arguments)

    monkeypatch.setattr(_matching, "_image", counted)
    outcomes = task.outcomes(found, truth)
    table = AveragePrecision(outcomes, CLASSES).table()
    values = {}
    for one in further_metrics("detect"):
        metric = one.make("abc")
        one.update(metric, found, truth, outcomes[:5])
        one.update(metric, found, truth, outcomes[5:])
        values[one.metric.name] = metric.compute()
    assert len(images) == len(found)
    assert float(values["ap50"]) == pytest.approx(mean(table[0, 0]))
    assert float(values["ap_small"]) == pytest.approx(mean(table[:, 1]), nan_ok=True)
    assert values["class_ap"].tolist() == pytest.approx([mean(table[:, 0, k]) for k in range(CLASSES)])
    task.outcomes(found, truth)
    assert len(images) == 2 * len(found)


def test_a_box_of_another_class_or_a_second_one_is_wrong():
    truth = torch.tensor([[[10.0, 10, 50, 50, 1, 0]]])
    for others, expected in (([], 1.0), ([[10.0, 10, 50, 50, 0.99, 1]], 1.0), ([[0, 0, 9, 9, 0.99, 1]], 0.5)):
        boxes = torch.tensor([[10.0, 10, 50, 50, 0.9, 1], *others])[None]
        assert AveragePrecision(matched(boxes, truth, 2), 2)() == pytest.approx(expected)
    other = torch.tensor([[[10.0, 10, 50, 50, 0.9, 0]]])
    assert AveragePrecision(matched(other, truth, 2), 2)() == 0.0


def test_without_objects_it_is_no_number():
    nothing = torch.zeros(3, 1, 6)
    nothing[..., 4:] = -1
    assert np.isnan(AveragePrecision(matched(nothing, nothing, 2), 2)())
