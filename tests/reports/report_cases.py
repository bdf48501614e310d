"""Results made by hand, for the tests of the reports."""

import math

import numpy as np

from decoupled_nets._statistics import wilson
from decoupled_nets.reports.decision import differences
from decoupled_nets.reports.results import Cost, Epoch, Features, Results, Run, Score

OPERATORS = ["conv", "tanh-cos", "ball-cos", "seg-sqcos"]
FINAL = {"conv": 840, "tanh-cos": 870, "ball-cos": 860, "seg-sqcos": 830}


def counted(correct, total):
    """The score of a classifier that is right so often."""
    ends = wilson(correct, total)
    return Score(correct / total if total else math.nan, total, *((ends.low, ends.high) if ends else ()))


def make_run(operator, seed, accuracies, *, seconds=2.0, losses=None, attacked=None):
    """A run whose test accuracy after each epoch is `accuracies`, in thousandths."""
    losses = losses or [2.0 / (i + 1) for i in range(len(accuracies))]
    history = [
        Epoch(i + 1, loss, loss + 0.1, correct / 1000, seconds)
        for i, (correct, loss) in enumerate(zip(accuracies, losses, strict=True))
    ]
    return Run(operator, seed, 1234, history, counted(accuracies[-1], 1000), attacked or {})


def decided(runs, baseline):
    """What is decided where a run is right on the first so many of the 1,000 test images."""
    scores = {}
    for run in runs:
        if run.test.images:
            right = np.arange(1000) < round(1000 * run.test.value)
            scores.setdefault(run.operator, {})[run.seed] = right.astype(float)
    return differences(scores, baseline, resamples=1000) if baseline in scores else {}


def make_results(seeds=(0, 1), operators=OPERATORS, epochs=3, runs=None, **changes):
    if runs is None:
        runs = [
            make_run(
                operator,
                seed,
                [FINAL[operator] + seed * 4 - 50 * (epochs - 1 - i) for i in range(epochs)],
                attacked={"fgsm": counted(30, 100), "pgd10": counted(5, 100)},
            )
            for operator in operators
            for seed in seeds
        ]
    circle = [(math.cos(0.1 * i), math.sin(0.1 * i)) for i in range(63)]
    values = {
        "operators": list(operators),
        "seeds": list(seeds),
        "config": {"data": "sample", "operators": list(operators), "epochs": epochs, "width": 0.25},
        "data": {
            "name": "sample",
            "classes": ["<b>bold</b>", "_under", "$dollar$"],
            "train_size": 100,
            "val_size": 100,
            "test_size": 1000,
            "image_size": [28, 28],
            "in_chans": 1,
        },
        "environment": {"torch": "2.14", "threads": 2},
        "threat": "linf:8/255",
        "sections": ["attacks", "features"],
        "runs": runs,
        "differences": decided(runs, operators[0]) if operators else {},
        "costs": [Cost(operator, 1.2, 1.1, 1.3, 5_000_000) for operator in operators],
        "features": [
            Features(
                operator,
                [x for x, _ in circle],
                [y for _, y in circle],
                [i % 3 for i in range(63)],
                50 / 63,
            )
            for operator in operators
        ],
    }
    return Results(**{**values, **changes})
