"""What the networks of an operator do with each class, from the pairs of classes that they confuse."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .results import Results

CONFUSION = "confusion"  # the metric that has them
Counts = NDArray[np.int64]


@dataclass(frozen=True)
class ClassScore:
    """One class: shares in [0, 1], NaN where there is nothing to divide by, and its test images in a run."""

    name: str
    precision: float
    recall: float
    f1: float
    images: float


def confusions(results: Results, operator: str) -> Counts | None:
    """Label, class found and number of images, (P, 3), of all seeds together; None: not measured."""
    runs = [run.further.get(CONFUSION) for run in results.of(operator)]
    parts = [np.array(part, dtype=np.int64).reshape(-1, 3) for part in runs if part is not None]
    return np.concatenate(parts) if parts else None


def class_scores(results: Results, operator: str) -> list[ClassScore]:
    """Precision, recall and F1 of every class, of all seeds together; empty where it was not measured."""
    pairs, names = confusions(results, operator), class_names(results)
    if pairs is None:
        return []
    right = pairs[pairs[:, 0] == pairs[:, 1]]
    images, found, hits = (
        np.bincount(which, weights, minlength=len(names))
        for which, weights in (
            (pairs[:, 0], pairs[:, 2]),
            (pairs[:, 1], pairs[:, 2]),
            (right[:, 0], right[:, 2]),
        )
    )
    with np.errstate(invalid="ignore"):
        values = (
            hits / found,
            hits / images,
            2 * hits / (found + images),
            images / len(results.of(operator)),
        )
    return [ClassScore(name, *map(float, row)) for name, *row in zip(names, *values, strict=True)]


def class_names(results: Results) -> list[str]:
    """The names of the classes, by label."""
    return [str(name) for name in results.data.get("classes", [])]


def confusion_matrix(results: Results, operator: str) -> NDArray[np.float64]:
    """Shares of the images of each class (rows) that are taken for each class (columns); NaN without any."""
    size, pairs = len(class_names(results)), confusions(results, operator)
    counts = np.zeros((size, size))
    if pairs is not None:
        np.add.at(counts, (pairs[:, 0], pairs[:, 1]), pairs[:, 2])
    with np.errstate(invalid="ignore"):
        shares: NDArray[np.float64] = counts / counts.sum(1, keepdims=True)
    return shares


def frequent_confusions(results: Results, operator: str, most: int) -> list[tuple[str, str, float, int]]:
    """Pairs of a class and another that it is taken for: names, share of its images, number of images."""
    pairs, names = confusions(results, operator), class_names(results)
    if pairs is None:
        return []
    images = np.bincount(pairs[:, 0], pairs[:, 2], minlength=len(names))
    wrong: dict[tuple[int, int], int] = {}
    for label, found, number in pairs.tolist():
        if label != found:
            wrong[label, found] = wrong.get((label, found), 0) + number
    first = sorted(wrong, key=lambda pair: (-wrong[pair], pair))[:most]
    return [
        (names[label], names[found], wrong[label, found] / float(images[label]), wrong[label, found])
        for label, found in first
    ]
