"""Where networks put test images, and how much of what is between them lies in norms and in angles.

The squared distance of two features is, exactly, a part of their norms and a part of their angle::

    ‖x − y‖² = (‖x‖ − ‖y‖)² + 2 ‖x‖ ‖y‖ (1 − cos θ)

Both parts are summed over pairs of images of one class, and over pairs of different classes. If the norm
stands for what varies within a class and the angle for what a class is, the norm's share within classes is
larger than that between classes: the difference is the decoupling. Labels that mean nothing give 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..compare import CompareConfig
from ..compare.measure import placed
from ..data import ImageData
from ..evaluation.device import device_of
from ..evaluation.targets import find_targets
from ..experiment import Job
from ..experiment.job import RESULT
from ..models import PixelNetwork
from ..reports import figures
from ..reports import format as fmt
from ..reports.decision import Scores
from ..reports.pictures import Picture
from ..reports.results import Features, Results
from .verdict import OfCells

_MOST = 2000  # test images
Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Points:
    """Features of test images.

    Attributes:
        of: By cell and seed, (N, features).
        labels: Of the images, (N,).
    """

    of: Mapping[str, Mapping[int, Numbers]]
    labels: NDArray[np.int64]

    def scores(self, metrics: Sequence[str]) -> dict[str, OfCells]:
        """By metric, cell and seed what each image adds; a network without different features has nothing."""
        found: dict[str, dict[str, dict[int, Scores]]] = {}
        for cell, by_seed in self.of.items():
            for seed, features in by_seed.items():
                for name, values in shares(features, self.labels).items():
                    if name in metrics:
                        found.setdefault(name, {}).setdefault(cell, {})[seed] = values
        return {name: found.get(name, {}) for name in metrics if name in KINDS}

    def pictures(self, results: Results) -> list[Picture]:
        """The features of the first seed, a panel a cell, if they have two dimensions."""
        shown = []
        for cell in results.operators:
            for run in results.of(cell)[:1]:
                features = self.of.get(cell, {}).get(run.seed)
                if features is not None and features.shape[1] == 2:
                    x, y = features.T.tolist()
                    shown.append(Features(cell, x, y, self.labels.tolist(), run.test.value))
        if not shown:
            return []
        drawn = Results(**{**vars(results), "features": shown})
        caption = (
            f"Features of {len(self.labels)} test images, in networks whose last layer before the classifier"
            f" has two of them (seed {results.seeds[0]}); one colour a class, lines through the origin, test"
            " accuracy at the top right. Scales differ between panels."
        )
        names = fmt.listed([one.operator for one in shown])
        alternative = f"Scatter plots of two-dimensional features of {names}, coloured by class."
        return [Picture("features", caption, alternative, lambda theme: figures.features(drawn, theme))]


def points_of(runs: list[Job], config: CompareConfig, data: ImageData, place: Path) -> Points:
    """Features of up to 2,000 test images in all networks that were trained.

    Args:
        runs: of the comparison.
        config: the comparison.
        data: its images.
        place: where it lies.
    """
    images, labels = data.test_subset(min(_MOST, data.test_size))
    device = device_of("cpu" if config.machine.accelerator == "cpu" else "auto")
    found: dict[str, dict[int, Numbers]] = {}
    for job in runs:
        own = place / job.name
        if (own / RESULT).is_file():
            network = find_targets([str(own)])[0].network(data).float().to(device).eval()
            assert isinstance(network, PixelNetwork)
            features = placed(network, images, device).double().numpy()
            found.setdefault(job.arguments["label"], {})[job.config.machine.seed] = features
    return Points(found, labels.numpy())


KINDS = ("decoupling", "norm_within", "angle_between")


def shares(features: Numbers, labels: NDArray[np.int64]) -> dict[str, Scores]:
    """What each image adds to the norm's share within classes, the angle's between them, and the lead.

    These are pseudo-values (Tukey's jackknife), moved so that their mean is the share itself.

    Args:
        features: (N, features).
        labels: (N,).

    Returns:
        By metric (N,); empty where features are not finite, or all the same within or between classes.

    Example:
        >>> import numpy as np
        >>> rays = np.array([[1.0, 0.0], [3.0, 0.0], [0.0, 1.0], [0.0, 3.0]])  # a class a direction
        >>> {name: round(float(own.mean()), 3) for name, own in shares(rays, np.array([0, 0, 1, 1])).items()}
        {'decoupling': 0.8, 'norm_within': 1.0, 'angle_between': 0.8}
    """
    if not np.isfinite(features).all():
        return {}
    images = len(features)
    within, whole = np.zeros((images + 1, 2)), _parts(features)
    for label in np.unique(labels):
        own = labels == label
        parts = _parts(features[own])
        within += parts[-1]  # for all images, and with one of another class left out
        within[:-1][own] += parts[:-1] - parts[-1]
    between = whole - within
    least = 1e-12 * images * (features**2).sum()  # below is rounding
    if not (np.minimum(within, between)[:, 1] > least).all():
        return {}
    norm, angle = within[:, 0] / within[:, 1], 1 - between[:, 0] / between[:, 1]
    values = zip(KINDS, (norm + angle - 1, norm, angle), strict=True)
    return {name: _pseudo(one) for name, one in values}


def _parts(features: Numbers) -> Numbers:
    """The part of the norms and the whole, over all pairs: with each image left out, and at last of all."""
    left = np.concatenate([features, np.zeros((1, features.shape[1]))])  # nothing, at last
    squares = (left**2).sum(1)
    count = len(features) - np.append(np.ones(len(features)), 0.0)
    every = count * (squares.sum() - squares)
    norms = np.sqrt(squares).sum() - np.sqrt(squares)
    return np.stack([every - norms**2, every - ((left.sum(0) - left) ** 2).sum(1)], 1)


def _pseudo(values: Numbers) -> Scores:
    """From the values with each image left out and, at last, of all."""
    images = len(values) - 1
    found = images * values[-1] - (images - 1) * values[:-1]
    return np.asarray(found + (values[-1] - found.mean()))
