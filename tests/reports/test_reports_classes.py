"""Single classes on the page: what is said of them are the numbers of the runs."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import torchmetrics
from report_cases import make_results

from decoupled_nets._metric import Metric
from decoupled_nets.reports import figures
from decoupled_nets.reports.classes import class_scores, confusion_matrix, frequent_confusions
from decoupled_nets.reports.page import render
from decoupled_nets.reports.pictures import Drawn
from decoupled_nets.reports.results import Results
from decoupled_nets.reports.sections import pictures
from decoupled_nets.reports.sections.classes import class_table
from decoupled_nets.reports.summary import summarise
from decoupled_nets.reports.tables import class_tables, further_table
from decoupled_nets.tasks import further_metrics

NAMES = ["ant", "$bee$", "<i>cow</i>"]


def answers(seed: int, classes: int = 3, images: int = 60):
    """Logits and labels of a network that is right about half of the time; the last class is never found."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (images,), generator=generator)
    logits = torch.rand(images, classes, generator=generator) + 0.5 * torch.eye(classes)[labels]
    logits[:, -1] = -1
    return logits, labels


def measured(classes: int = 3, operators=("conv", "tanh-cos"), seeds=(0, 1)):
    """Results with confusions, and the answers that they are of."""
    results = make_results(seeds=seeds, operators=list(operators), sections=["classes"])
    results.data["classes"] = [f"class {k}" for k in range(classes)] if classes > 3 else NAMES[:classes]
    (one,) = [one for one in further_metrics("classify") if one.table]
    results.further = {one.metric.name: one.metric, "macro_f1": Metric("macro_f1", "macro F1")}
    given: dict[str, list] = {}
    for number, run in enumerate(results.runs):
        logits, labels = answers(number, classes, 20 * classes)
        metric = one.make(results.data["classes"])
        for part in (slice(0, 7), slice(7, None)):
            metric.update(logits[part], labels[part])
        run.further = {one.metric.name: metric.compute().tolist(), "macro_f1": 0.5}
        given.setdefault(run.operator, []).append((logits, labels))
    return results, {name: tuple(map(torch.cat, zip(*parts, strict=True))) for name, parts in given.items()}


@pytest.mark.parametrize("name", ["conv", "tanh-cos"])
def test_the_scores_are_those_of_torchmetrics(name):
    results, given = measured()
    logits, labels = given[name]
    scores = class_scores(results, name)
    assert [score.name for score in scores] == NAMES
    assert [score.images for score in scores] == (labels.bincount() / 2).tolist()
    library = torchmetrics.classification
    for field, metric in (("recall", library.MulticlassRecall), ("f1", library.MulticlassF1Score)):
        expected = metric(3, average="none")(logits, labels)
        assert [getattr(score, field) for score in scores] == pytest.approx(expected.tolist())
    precision = library.MulticlassPrecision(3, average="none")(logits, labels).tolist()
    assert [score.precision for score in scores[:2]] == pytest.approx(precision[:2])
    assert scores[2].precision != scores[2].precision  # it is never found
    matrix = library.MulticlassConfusionMatrix(3, normalize="true")(logits, labels)
    np.testing.assert_allclose(confusion_matrix(results, name), matrix, rtol=1e-6)


def test_the_tables_of_the_page():
    results, _ = measured()
    table = class_table(results, "conv")
    assert table.caption == "conv: each class, all seeds together"
    first = class_scores(results, "conv")[0]
    shares = [f"{100 * share:.1f}" for share in (first.precision, first.recall, first.f1)]
    assert table.rows[0] == ["ant", *shares, f"{first.images:.0f}"]
    assert table.rows[2][1] == "–"
    # The pairs are no metric of their own in the table of further metrics, nor one number a class.
    assert further_table(results).header == ["Operator", "Macro F1, %"]
    assert class_tables(results) == []
    assert "all seeds" not in class_table(measured(seeds=(0,))[0], "conv").caption


def test_the_picture_shows_every_share():
    results, _ = measured()
    figure = figures.confusion(results, ["conv", "tanh-cos"])
    for axes, name in zip(figure.axes, ["conv", "tanh-cos"], strict=True):
        assert axes.get_title(loc="left") == name
        shares = confusion_matrix(results, name)
        np.testing.assert_allclose(axes.images[0].get_array(), shares)
        written = {(round(t.get_position()[1]), round(t.get_position()[0])): t.get_text() for t in axes.texts}
        assert written == {
            place: f"{100 * share:.0f}" for place, share in np.ndenumerate(shares) if share >= 0.005
        }
    left, right = figure.axes
    assert [label.get_text() for label in left.get_yticklabels()] == NAMES
    assert [label.get_text() for label in right.get_xticklabels()] == NAMES
    assert [label.get_text() for label in right.get_yticklabels()] == ["", "", ""]


def test_the_page_has_picture_and_tables_or_for_many_classes_the_worst_ones():
    results, _ = measured()
    rows = summarise(results)
    found = pictures(results, rows)
    assert "confusion" in found
    drawn = {
        name: Drawn(one, {theme: figures.png(one.draw(theme)) for theme in ("light", "dark")})
        for name, one in found.items()
        if name == "confusion"
    }
    text = render(results, rows, drawn)
    worst = frequent_confusions(results, "conv", 1)[0]
    assert f"conv: {worst[0]} for {worst[1]}, {100 * worst[2]:.0f} %".replace("<", "&lt;")[:6] in text
    assert "<h2>Classes</h2>" in text
    assert "&lt;i&gt;cow" in text
    assert "<i>cow" not in text
    many, _ = measured(classes=40)
    assert "confusion" not in pictures(many, summarise(many))
    text = render(many, summarise(many), {})
    assert "conv: most frequent confusions, all seeds together" in text
    assert "the 30 of 40 classes with the lowest F1" in text
    table = class_table(many, "conv")
    scores = {score.name: score.f1 for score in class_scores(many, "conv")}
    assert len(table.rows) == 30
    assert [scores[row[0]] for row in table.rows] == sorted(scores.values())[:30]


def test_frequent_confusions_are_counted():
    results = make_results(seeds=(0, 1), operators=["conv"])
    results.runs[0].further = {"confusion": [[0, 0, 5], [0, 1, 3], [2, 1, 1]]}
    results.runs[1].further = {"confusion": [[0, 1, 2], [2, 0, 2], [1, 1, 4]]}
    names = results.data["classes"]
    assert frequent_confusions(results, "conv", 2) == [
        (names[0], names[1], 0.5, 5),
        (names[2], names[0], pytest.approx(2 / 3), 2),
    ]


def test_results_without_confusions_have_no_such_section():
    results = make_results(sections=["classes"])
    assert "confusion" not in pictures(results, summarise(results))
    assert "<h2>Classes</h2>" not in render(results, summarise(results), {})


def test_they_survive_the_file():
    results, _ = measured()
    again = Results.from_json(results.to_json())
    assert class_scores(again, "conv")[:2] == class_scores(results, "conv")[:2]
    assert json.loads(results.to_json())["runs"][0]["further"]["confusion"][0][:2] == [0, 0]
