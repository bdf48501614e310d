"""Networks that find objects: what torchvision's need around them; ours is in faster_rcnn.py.

B: batch, C: channels, H, W: height and width, M: the most objects of an image, D: boxes given for an image.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from ..conversion.engine import evaluating

OWN = "fasterrcnn"
#: D: as many boxes as any of torchvision's detectors gives. COCO's protocol counts 100 of each class.
MOST = 300


class Detector(nn.Module):
    """A detector of torchvision's kind for batches of images of one size, which are normalised already.

    In training, with the objects given, it gives its losses; otherwise boxes. Boxes are computed without
    autocast: in bfloat16 neighbouring numbers beyond 256 are 2 pixels apart, and scores tie. Anchors are of
    single precision in training, too.

    Args:
        network: takes a list of images and, in training, a list of dicts; its own scaling and normalisation
            are taken away.
        in_chans: channels that it takes; grey images are repeated.
    """

    def __init__(self, network: nn.Module, in_chans: int) -> None:
        from .faster_rcnn import AsGiven, precise_anchors  # torchvision takes its time to import

        super().__init__()
        self.network = network
        self.in_chans = in_chans
        self.network.transform = AsGiven()
        precise_anchors(network)

    def forward(self, images: Tensor, targets: Tensor | None = None) -> Any:
        """(B, C, H, W) to boxes (B, D, 6): x1, y1, x2, y2, score, class; rows without a box have class -1.

        In training with targets (B, M, 7), as data/boxes.py says, to a dict of losses.
        """
        if images.shape[1] == 1 and self.in_chans > 1:
            images = images.expand(-1, self.in_chans, -1, -1)
        if self.training and targets is not None:
            return self.network(list(images), [_as_dict(one) for one in targets])
        with evaluating(self.network), _exactly(images.device.type):  # without targets there are boxes only
            found = self.network(list(images))
        return torch.stack([_as_rows(one) for one in found]) if found else images.new_zeros(0, MOST, 6)


def _exactly(device: str) -> AbstractContextManager[Any]:
    """Without autocast, where there is one: tensors without memory have none."""
    available = torch.amp.is_autocast_available(device)
    return torch.autocast(device, enabled=False) if available else nullcontext()


def _as_dict(objects: Tensor) -> dict[str, Tensor]:
    """One image's objects as torchvision takes them: without crowds, classes from 1."""
    own = objects[(objects[:, 4] >= 0) & (objects[:, 5] == 0)]
    return {"boxes": own[:, :4], "labels": own[:, 4].long() + 1}


def _as_rows(found: dict[str, Tensor]) -> Tensor:
    """The best boxes that torchvision gives for an image: (D, 6)."""
    boxes, scores, labels = found["boxes"], found["scores"].to(found["boxes"]), found["labels"]
    best = scores.argsort(descending=True, stable=True)[:MOST]
    rows = torch.cat([boxes, scores[:, None], labels[:, None].to(boxes) - 1], 1)[best]
    empty = rows.new_tensor([0.0, 0.0, 0.0, 0.0, 0.0, -1.0])
    return torch.cat([rows, empty.expand(MOST - len(rows), 6)])
