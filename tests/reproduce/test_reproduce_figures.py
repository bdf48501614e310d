"""Figures of the first paper: what is measured beside their pictures."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from decoupled_nets.cli.main import main
from decoupled_nets.reproduce import table
from decoupled_nets.reproduce.points import Points, shares
from decoupled_nets.reproduce.responses import answered
from decoupled_nets.reproduce.verdict import contrasts, judge

GENERATOR = np.random.default_rng(0)


def by_pairs(features: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """The same, pair by pair and by the angle itself."""
    sums = {True: np.zeros(2), False: np.zeros(2)}
    for i, j in itertools.combinations(range(len(features)), 2):
        x, y = (math.hypot(*features[k]) for k in (i, j))
        angle = math.acos(np.clip(features[i] @ features[j] / (x * y), -1, 1))
        sums[labels[i] == labels[j]] += (x - y) ** 2, 2 * x * y * (1 - math.cos(angle))
    norm, angle = (sums[True][0] / sums[True].sum(), sums[False][1] / sums[False].sum())
    return {"decoupling": norm + angle - 1, "norm_within": norm, "angle_between": angle}


def test_shares_are_those_of_all_pairs() -> None:
    labels = np.array([0, 0, 1, 1, 1, 2, 2, 2, 2, 0])
    features = GENERATOR.normal(size=(10, 2)) + 2 * np.eye(3)[labels][:, :2]
    found = shares(features, labels)
    whole = by_pairs(features, labels)
    assert {name: float(own.mean()) for name, own in found.items()} == pytest.approx(whole)
    # And each image adds what is missing without it, up to what moves the mean.
    for name, own in found.items():
        left = [by_pairs(np.delete(features, k, 0), np.delete(labels, k))[name] for k in range(10)]
        expected = -9 * np.array(left)
        assert own - own.mean() == pytest.approx(expected - expected.mean())


def classes(rays: bool, images: int = 300) -> tuple[np.ndarray, np.ndarray]:
    """Three classes: rays whose length varies, or clusters on a circle."""
    labels = np.arange(images) % 3
    angle = 2 * math.pi * labels / 3 + GENERATOR.normal(0, 0.02 if rays else 0.1, images)
    norm = GENERATOR.uniform(1, 3, images) if rays else np.ones(images)
    return norm[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1), labels


def test_rays_decouple_and_clusters_on_a_circle_leave_nothing_to_the_norm() -> None:
    rays, circle = (
        {name: float(own.mean()) for name, own in shares(*classes(kind)).items()} for kind in (True, False)
    )
    assert rays["norm_within"] > 0.98
    assert rays["angle_between"] > 0.9
    assert rays["decoupling"] > 0.9
    assert abs(circle["norm_within"]) < 1e-9
    assert circle["decoupling"] == pytest.approx(circle["angle_between"] - 1)
    features, labels = classes(True)
    none = shares(features, GENERATOR.permutation(labels))["decoupling"].mean()
    assert abs(float(none)) < 0.02  # labels that mean nothing


def test_networks_without_features_have_no_share() -> None:
    labels = np.array([0, 1, 0, 1])
    assert shares(np.full((4, 2), 0.3), labels) == {}
    assert shares(np.array([[1.0, 0], [0, 1], [1, 0], [math.nan, 1]]), labels) == {}
    assert shares(np.array([[1.0, 0], [0, 1], [1, 0], [0, 1]]), labels) == {}  # all of a class in a place


def test_verdicts_on_made_up_features() -> None:
    one = table("cvpr2018-figure1")
    runs = {cell: [classes(True) for _ in range(3)] for cell in ("conv", "ball-cos")}
    labels = runs["conv"][0][1]
    # The other way round: a norm a class, and angles that vary within.
    other = [classes(False)[0] * (1 + labels)[:, None] for _ in range(3)]
    runs["ball-cos"] = [(features, labels) for features in other]
    points = Points({c: {s: own[0] for s, own in enumerate(of)} for c, of in runs.items()}, labels)
    scores = points.scores(one.metrics)
    assert set(scores) == {"decoupling", "norm_within", "angle_between"}
    found = contrasts(one.hypotheses, scores)
    words = {h.text: judge(h, None, found.get(place), 0.005).word for place, h in enumerate(one.hypotheses)}
    assert words["conv: the norm's share is larger within a class"] == "holds"
    assert words["ball-cos: the norm's share is larger within a class"] == "fails"
    assert words["sphere-cos: the norm's share is larger within a class"] == "not made"
    assert words["ball-cos: less in the norm than conv"] == "holds"
    assert words["tanh-cos: less in the norm than conv"] == "not made"


def test_answers_are_the_operators() -> None:
    one = table("cvpr2018-figure2")
    found = answered(one, list(one.cells))
    far = {
        "conv": 10, "sphere-cos": 1, "ball-cos": 1, "tanh-cos": math.tanh(10), "linear-cos": 10,
        "seg-cos": 5.5, "log-cos": math.log(11), "mix-cos": 10 + math.log(11),
    }  # fmt: skip
    assert {cell: found["far"][cell][0] for cell in far} == pytest.approx(far, abs=1e-6)
    near = {"conv": 0.5, "sphere-cos": 1, "ball-cos": 0.5, "tanh-sqcos": math.tanh(0.5)}
    assert {cell: found["near"][cell][0] for cell in near} == pytest.approx(near, abs=1e-6)
    half = {"conv": 60, "seg-cos": 60, "tanh-linear": 45, "tanh-sqcos": 45}
    assert {cell: found["half"][cell][0] for cell in half} == pytest.approx(half, abs=0.11)
    assert max(found["apart"][cell][0] for cell in far) < 1e-6  # a moved input, all of them
    assert found["apart"]["tanh-linear"][0] == pytest.approx(0.2105 * math.tanh(2), abs=1e-3)


def test_figure_2_is_drawn_and_nothing_is_judged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--cells", "conv,ball-cos,tanh-linear", "--out", str(tmp_path)]
    assert main(["reproduce", "cvpr2018-figure2", *words]) == 0
    said = capsys.readouterr().out
    assert "Hypotheses" not in said
    for name in ("functions.png", "geometry.png"):
        assert (tmp_path / name).stat().st_size > 10_000
        assert name in said.replace("\n", "")
    assert not (tmp_path / "differences.png").exists()
    page = (tmp_path / "report.html").read_text()
    assert "Nothing in it is judged." in page
    assert "<h2>The figure</h2>" in page
    assert "Answer at ρ/2 along w" in page
    assert "Paper: " not in page
    assert "Heat maps with contours of f(w, x) for the inner product, ball-cos and tanh-linear." in page
    kept = json.loads((tmp_path / "reproduction.json").read_text())
    assert kept["ours"]["far"]["ball-cos"] == [pytest.approx(1)]
    assert kept["environment"]["torch"] == torch.__version__
