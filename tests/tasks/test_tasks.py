"""What every task promises; being found is being tested."""

import pytest
import torch
import torchmetrics

from decoupled_nets._metric import Metric
from decoupled_nets.data import VOID
from decoupled_nets.models.detection import MOST
from decoupled_nets.reports.sections import every_section
from decoupled_nets.tasks import find_task, further_metrics, tasks
from decoupled_nets.training import NetworkConfig

CLASSES = ("a", "b", "c")
SIZE = (16, 20)


def boxes(size: int):
    """Three objects an image, boxes near two of them and two elsewhere; one image has none."""
    start = 8 * torch.rand(size, 3, 2)
    truth = torch.cat([start, start + 4, torch.randint(3, (size, 3, 1)), torch.zeros(size, 3, 1)], 2)
    found = torch.zeros(size, 100, 6)
    found[..., 5] = -1
    found[:, :2, :4] = truth[:, :2, :4] + 0.5 * torch.rand(size, 2, 4)
    found[:, 2:4, :4] = truth[:, :2, :4] + 9
    found[:, :4, 4], found[:, :4, 5] = torch.rand(size, 4), truth[:, [0, 1, 0, 1], 4]
    truth[1, :, 4] = -1
    return found, truth


def batch(name: str, size: int = 6):
    """What a network may give for some images, and targets."""
    torch.manual_seed(0)
    if name == "depth":
        return depth_batch(size)
    if name == "detect":
        return boxes(size)
    shape = {"classify": (), "segment": SIZE}[name]
    outputs, targets = torch.randn(size, 3, *shape), torch.randint(3, (size, *shape))
    if name == "segment":
        targets[:, 0] = VOID
        targets[1] = VOID  # an image without any label
    return outputs, targets


def depth_batch(size: int):
    """Maps near their depth, some of it missing, and the small maps."""
    targets = 50 + 10 * torch.randn(size, 2, 20, 24)
    outputs = targets[:, :1] + torch.randn(size, 1, 20, 24)
    targets[:, 0, 7] = torch.nan
    targets[1, 0] = torch.nan  # an image without any depth
    return outputs, targets


@pytest.fixture(params=sorted(tasks()))
def task(request):
    return find_task(request.param)(CLASSES)


def test_there_are_these():
    assert set(tasks()) == {"classify", "depth", "detect", "segment"}
    with pytest.raises(ValueError, match=r"unknown task 'segmnt' \(did you mean 'segment'\?"):
        find_task("segmnt")


def inside(output, truth):
    """Values that count: where there is depth, without a border of 6 pixels."""
    output, truth = output[6:-6, 6:-6], truth[6:-6, 6:-6]
    return output[~truth.isnan()], truth[~truth.isnan()]


def test_outcomes_add_up_to_the_metric(task):
    outputs, targets = batch(task.name)
    outcomes = task.outcomes(outputs, targets)
    assert outcomes.shape == (6, task.counts)
    assert outcomes.dtype == torch.int64
    parts = [task.outcomes(outputs[:2], targets[:2]), task.outcomes(outputs[2:], targets[2:])]
    assert torch.equal(torch.cat(parts), outcomes)
    if task.name == "depth":
        each = [
            torch.nn.functional.mse_loss(*inside(outputs[k, 0], targets[k, 0])).sqrt()
            for k in (0, 2, 3, 4, 5)
        ]
        assert task.value(outcomes.sum(0), 6) == pytest.approx(float(sum(each)) / 6, abs=1e-6)
        assert int(outcomes[1]) == 0
        return
    if not task.adds:
        return  # tests/tasks/test_matching.py
    library = {
        "classify": torchmetrics.classification.MulticlassAccuracy(3, average="micro"),
        "segment": torchmetrics.classification.MulticlassJaccardIndex(3, ignore_index=VOID),
    }[task.name]
    assert task.value(outcomes.sum(0), 6) == pytest.approx(float(library(outputs, targets)))


def test_the_loss_descends_and_its_sum_is_over_images(task):
    if task.name == "detect":
        pytest.skip("a detector gives its loss itself: tests/tasks/test_detect.py")
    outputs, targets = batch(task.name)
    outputs.requires_grad_()
    loss = task.loss(outputs, targets)
    (gradient,) = torch.autograd.grad(loss, outputs)
    step = 1000 if task.name == "depth" else 1  # its unit is what a map reaches
    assert task.loss(outputs - step * gradient, targets) < loss
    each = [task.loss(outputs[k : k + 1], targets[k : k + 1], reduction="sum") for k in range(6)]
    torch.testing.assert_close(torch.stack(each).sum(), task.loss(outputs, targets, reduction="sum"))
    assert torch.isfinite(task.loss(outputs[1:2], targets[1:2]))
    if "label_smoothing" not in task.takes:
        return
    smooth = task.loss(outputs, targets, label_smoothing=0.3)
    assert abs(float((smooth - loss).detach())) > 1e-3


def test_further_metrics_take_what_the_network_gives(task):
    outputs, targets = batch(task.name)
    found = further_metrics(task.name)
    assert found
    for one in found:
        metric = one.make(CLASSES)
        one.update(metric, outputs, targets, task.outcomes(outputs, targets))
        value = metric.compute()
        if one.table:
            assert value.dim() == 2
        else:
            assert value.shape == ((3,) if one.per_class else ())
        assert one.metric.name == one.make.__name__


def test_its_network_takes_images_and_gives_what_its_loss_takes(task):
    config = NetworkConfig(model=task.model, width=1 / 16)
    size = (25, 27) if task.name == "classify" else SIZE
    channels, options = (4, {"scale": 4, "offset": 1.0}) if task.name == "depth" else (1, {})
    outputs = task.network(config, "tanh-cos", channels, **options)(torch.rand(2, channels, *size))
    shape = (MOST,) if task.name == "detect" else (task.shape(size) or (3,))
    assert outputs.shape[1 : 1 + len(shape)] == shape


def test_its_sections_are_there(task):
    names = {one.name for one in every_section() if not one.always}
    assert set(task.sections) <= names


def test_a_metric_knows_which_way_is_better():
    high, low = Metric("a", "a"), Metric("b", "b", "cm", "lower")
    assert (high.best([1, 3, 2]), low.best([2, 1, 3]), low.best([])) == (3, 1, None)
    assert (high.is_better(2, 1), low.is_better(2, 1)) == (True, False)
    assert (high.reaches(1, 1), low.reaches(1, 1), low.reaches(2, 1)) == (True, True, False)
    assert (high.difference_unit, low.difference_unit) == ("points", "cm")
    assert (Metric("x", "mIoU").capitalised, Metric("x", "pixel accuracy").capitalised) == (
        "mIoU",
        "Pixel accuracy",
    )


def test_scores_of_weighted_images_are_those_of_repeated_ones(task):
    outcomes = task.outcomes(*batch(task.name))
    drawn = torch.tensor([0, 0, 2, 4, 4, 5])
    own = outcomes[drawn] if not task.adds else outcomes[drawn].sum(0)
    score = task.scorer(outcomes)(drawn.bincount(minlength=6).numpy())
    assert score == pytest.approx(task.value(own, 6))
    assert score != pytest.approx(task.value(outcomes if not task.adds else outcomes.sum(0), 6))


def test_a_class_that_neither_occurs_nor_is_found_does_not_count():
    task = find_task("segment")(CLASSES)
    assert task.value(torch.tensor([5, 0, 1, 10, 0, 4]), 2) == pytest.approx((0.5 + 0.25) / 2)


def test_label_smoothing_of_pixels_is_the_formula():
    task = find_task("segment")(CLASSES)
    outputs, targets = batch("segment")
    chances, seen = outputs.log_softmax(1), targets != VOID
    plain = -chances.gather(1, targets.where(seen, 0)[:, None])[:, 0][seen].mean()
    uniform = -chances.mean(1)[seen].mean()
    torch.testing.assert_close(task.loss(outputs, targets), plain)
    torch.testing.assert_close(task.loss(outputs, targets, label_smoothing=0.2), 0.8 * plain + 0.2 * uniform)


def test_what_else_is_kept_of_each_image():
    outputs, targets = batch("classify")
    kept = find_task("classify")(CLASSES).kept(outputs, targets)
    assert torch.equal(kept["predicted"], outputs.argmax(1))
    assert torch.equal(kept["target"], targets)
    torch.testing.assert_close(kept["confidence"], outputs.softmax(1).max(1).values)
    assert find_task("segment")(CLASSES).kept(*batch("segment")) == {}


def test_class_weights_count_in_the_loss(task):
    outputs, targets = batch(task.name)
    if "class_weights" not in task.takes:
        pytest.skip("it has no classes")
    weights = torch.tensor([0.0, 1.0, 3.0])
    if task.name == "detect":
        pytest.skip("it does not take them")
    found = task.loss(outputs, targets, class_weights=weights)
    outside = VOID if task.name == "segment" else -100
    each = torch.nn.functional.cross_entropy(outputs, targets, reduction="none", ignore_index=outside)
    seen = targets != outside
    weight = torch.where(seen, weights[targets.where(seen, 0)], 0.0)
    # torch's mean is over weights; that of pixels is over labelled ones, whatever they weigh.
    total = weight.sum() if task.name == "classify" else seen.sum()
    torch.testing.assert_close(found, (each * weight).sum() / total)
    alike = task.loss(outputs, targets, class_weights=torch.ones(3))
    torch.testing.assert_close(alike, task.loss(outputs, targets))


def test_the_loss_of_classification_takes_shares_of_the_classes():
    task = find_task("classify")(CLASSES)
    outputs, targets = batch("classify")
    shares = torch.nn.functional.one_hot(targets, 3).float()
    for options in ({}, {"label_smoothing": 0.2}):
        found = task.loss(outputs, shares, **options)
        torch.testing.assert_close(found, task.loss(outputs, targets, **options))
