"""Which boxes of a detector are right, by COCO's protocol, and the average precision that follows.

Of each image is kept what no other image changes: which of its boxes match an object, at each threshold of
overlap and for each range of areas. The precision of any set of images follows from that without a further
look at boxes; so a resampled set of images costs next to nothing.

Source: T.-Y. Lin et al., "Microsoft COCO: Common Objects in Context", 2014, and its evaluation server.

B: batch, D: boxes of an image, M: objects of an image, K: classes, T: thresholds, A: ranges of areas,
N: images, n: boxes of all images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.ops import box_iou

from ..data import NOTHING
from ..models.detection import MOST

THRESHOLDS = tuple(float(t) for t in np.linspace(0.5, 0.95, 10))
#: Ranges of areas in pixels of the image as the network is given it: of the object, if known, or of its box.
AREAS = {"all": (0.0, 1e10), "small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, 1e10)}
_RECALLS = np.linspace(0.0, 1.0, 101)
#: So many boxes of an image and class count, the best ones.
PER_CLASS = 100
_PLACES = len(THRESHOLDS) * len(AREAS)
_PER_BOX = 4  # class and score, and two sets of flags, one flag a threshold and range


def counts(classes: int) -> int:
    """How many numbers are kept of an image."""
    return _PER_BOX * MOST + len(AREAS) * classes


def matched(found: Tensor, truth: Tensor, classes: int) -> Tensor:
    """What is kept of each image: (B, counts), int64.

    Args:
        found: (B, D, 6): x1, y1, x2, y2, score, class; class -1 for none.
        truth: (B, M, 7): x1, y1, x2, y2, class, crowd, area; class -1 for none. An area of 0 is not known,
            and that of the box counts; so it does if there is no such column.
        classes: K.
    """
    rows = [_image(*one, classes) for one in zip(found.detach().cpu(), truth.cpu(), strict=True)]
    return torch.stack(rows) if rows else torch.zeros(0, counts(classes), dtype=torch.long)


def _image(found: Tensor, truth: Tensor, classes: int) -> Tensor:
    boxes = found[found[:, 5] >= 0][:MOST].double()
    boxes = boxes[boxes[:, 4].argsort(descending=True, stable=True)]
    boxes = boxes[_rank(boxes[:, 5]) < PER_CLASS]
    objects = truth[truth[:, 4] != NOTHING].double()
    right, ignored = _matches(boxes, objects)
    kept = torch.zeros(_PER_BOX, MOST, dtype=torch.long)
    kept[0, : len(boxes)] = boxes[:, 5].long() + 1
    kept[1, : len(boxes)] = boxes[:, 4].float().view(torch.int32).long()  # bits of a positive number
    flags = 2 ** torch.arange(_PLACES)
    kept[2, : len(boxes)] = torch.from_numpy(right) @ flags
    kept[3, : len(boxes)] = torch.from_numpy(ignored) @ flags
    counted = torch.from_numpy(~_left(objects))  # (A, M)
    positives = [objects[own, 4].long().bincount(minlength=classes) for own in counted]
    return torch.cat([kept.flatten(), *positives])


def _rank(kinds: Tensor) -> Tensor:
    """How many of the same kind stand before each, (D,)."""
    same = kinds[:, None] == kinds[None]
    return same.tril(-1).sum(1)


def _left(objects: Tensor) -> NDArray[np.bool_]:
    """Which objects do not count, by range of areas: crowds and those out of range, (A, M)."""
    area = _area(objects)
    if objects.shape[1] > 6:
        own = objects[:, 6].numpy()
        area = np.where(own > 0, own, area)
    ranges = np.array(list(AREAS.values()))
    outside = (area[None] < ranges[:, :1]) | (area[None] > ranges[:, 1:])
    return outside | (objects[:, 5].numpy() > 0)[None]


def _area(boxes: Tensor) -> NDArray[np.float64]:
    area: NDArray[np.float64] = ((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])).numpy()
    return area


def _matches(boxes: Tensor, objects: Tensor) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Which boxes match an object, and which do not count, both (D, T · A) of 0 and 1.

    The boxes choose one after another, the best score first: of the objects of their class that are free and
    overlap enough, the one that overlaps most, and one that does not count only if there is no other.
    """
    left = np.tile(_left(objects), (len(THRESHOLDS), 1))  # (T · A, M), the areas innermost
    least = np.repeat(np.minimum(THRESHOLDS, 1 - 1e-10), len(AREAS))[:, None]
    crowd = objects[:, 5].numpy() > 0
    overlap = _overlap(boxes, objects)
    free = np.ones(left.shape, dtype=bool)
    right = np.zeros((len(boxes), _PLACES), dtype=np.int64)
    ignored = np.zeros_like(right)
    area, ranges = _area(boxes), np.tile(np.array(list(AREAS.values())), (len(THRESHOLDS), 1))
    places = np.arange(_PLACES)
    for k, own in enumerate(overlap):
        out = (area[k] < ranges[:, 0]) | (area[k] > ranges[:, 1])
        ignored[k] = out
        if not len(own) or own.max() < THRESHOLDS[0] - 1e-9:
            continue
        fits = (free | crowd) & (own >= least)
        # Of equal ones the last, as in COCO's own code.
        value = np.where(fits, own + 2.0 * ~left, -1.0)[:, ::-1]
        choice = len(own) - 1 - value.argmax(1)
        has = value.max(1) >= 0
        right[k] = has & ~left[places, choice]
        ignored[k] = np.where(has, left[places, choice], out)
        free[places[has], choice[has]] = False
    return right, ignored


def _overlap(boxes: Tensor, objects: Tensor) -> NDArray[np.float64]:
    """Intersection over union (D, M), over the box's own area for crowds; -1 for another class."""
    overlap = box_iou(boxes[:, :4], objects[:, :4])
    areas = torch.from_numpy(_area(boxes))[:, None], torch.from_numpy(_area(objects))[None]
    both = overlap * (areas[0] + areas[1]) / (1 + overlap)
    overlap = torch.where(objects[None, :, 5] > 0, both / areas[0].clamp(min=1e-12), overlap)
    found: NDArray[np.float64] = overlap.where(boxes[:, None, 5] == objects[None, :, 4], -1.0).numpy()
    return found


@dataclass(frozen=True)
class _Class:
    """The boxes of one class, the best score first: their images, and (n, T · A) right and counted."""

    images: NDArray[np.int64]
    right: NDArray[np.float64]
    wrong: NDArray[np.float64]


class AveragePrecision:
    """The average precision of any choice of some images.

    Args:
        outcomes: (N, counts): what :func:`matched` gives.
        classes: K.
    """

    def __init__(self, outcomes: Tensor, classes: int) -> None:
        rows = outcomes.long().numpy()
        most = rows.shape[1] - len(AREAS) * classes  # runs of before may have kept fewer boxes
        kept = rows[:, :most].reshape(len(rows), _PER_BOX, most // _PER_BOX)
        self.positives = rows[:, most:].reshape(-1, len(AREAS), classes)
        image, place = kept[:, 0].nonzero()
        score = kept[image, 1, place].astype(np.int32).view(np.float32)
        order = np.argsort(-score, kind="stable")
        image, place = image[order], place[order]
        kind = kept[image, 0, place] - 1
        flags = np.arange(_PLACES)
        self._classes = []
        for k in range(classes):
            own = kind == k
            right, ignored = (kept[image[own], i, place[own]][:, None] >> flags & 1 for i in (2, 3))
            self._classes.append(
                _Class(image[own], (right & ~ignored & 1) * 1.0, ((1 - right) & ~ignored & 1) * 1.0)
            )

    def table(
        self, weights: NDArray[np.float64] | None = None, areas: Sequence[str] = tuple(AREAS)
    ) -> NDArray[np.float64]:
        """Average precision by threshold, range of areas and class, (T, A, K); NaN without an object.

        Args:
            weights: (N,): how often each image counts; by default once.
            areas: names of the ranges.
        """
        weights = np.ones(len(self.positives)) if weights is None else np.asarray(weights, dtype=np.float64)
        chosen = [list(AREAS).index(name) for name in areas]
        positives = np.tensordot(weights, self.positives[:, chosen], 1)  # (A, K)
        places = [t * len(AREAS) + a for t in range(len(THRESHOLDS)) for a in chosen]
        table = np.full((len(THRESHOLDS), len(chosen), len(self._classes)), np.nan)
        for k in np.flatnonzero(positives.any(axis=0)):
            own = self._classes[k]
            weight = weights[own.images]
            some = np.ix_(np.flatnonzero(weight > 0), np.array(places))
            right = np.cumsum(own.right[some] * weight[weight > 0, None], 0)
            wrong = np.cumsum(own.wrong[some] * weight[weight > 0, None], 0)
            for column in range(len(places)):
                t, a = divmod(column, len(chosen))
                if positives[a, k]:
                    table[t, a, k] = _under(right[:, column], wrong[:, column], float(positives[a, k]))
        return table

    def __call__(self, weights: NDArray[np.float64] | None = None) -> float:
        """AP: the mean over thresholds and the classes that have objects, of all sizes."""
        return mean(self.table(weights, ("all",)))


def _under(right: NDArray[np.float64], wrong: NDArray[np.float64], positives: float) -> float:
    """The mean over 101 recalls of the best precision at that recall or beyond."""
    if not len(right):
        return 0.0
    precision = right / np.maximum(right + wrong, np.spacing(1.0))
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    place = np.searchsorted(right / positives, _RECALLS, side="left")
    return float(np.append(envelope, 0.0)[place].mean())


def mean(table: NDArray[np.float64]) -> float:
    """The mean of what is there; NaN of nothing."""
    known = table[~np.isnan(table)]
    return float(known.mean()) if known.size else float("nan")
