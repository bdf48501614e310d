"""Images, labels, networks and threats that an evaluation refuses."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from evaluations import data
from network_zoo import THREAT, honest, plain
from torch import Tensor, nn

from decoupled_nets.robustness import evaluate


def broken(**changes: Any) -> Any:
    images, labels = data(8)
    given = {"model": honest("cnn"), "images": images, "labels": labels, "threat": THREAT, **changes}
    return lambda: evaluate(given["model"], given["images"], given["labels"], given["threat"], "fgsm")


class Bad(nn.Module):
    def __init__(self, what: Any) -> None:
        super().__init__()
        self.what = what

    def forward(self, images: Tensor) -> Any:
        return self.what(images.flatten(1)[:, :3])


REFUSED: dict[str, tuple[dict[str, Any], list[str]]] = {
    "above 1": ({"images": data(8)[0] * 255}, ["pixels from", "needed: 0 to 1"]),
    "below 0": ({"images": data(8)[0] - 0.5}, ["pixels from -", "needed: 0 to 1"]),
    "NaN": ({"images": data(8)[0] * torch.nan}, ["pixels from nan", "needed: 0 to 1"]),
    "whole numbers": ({"images": (data(8)[0] * 255).to(torch.uint8)}, ["torch.uint8", "floating point"]),
    "half": ({"images": data(8)[0].half()}, ["torch.float16", "needed: float32 or wider"]),
    "one image": ({"images": data(8)[0][0]}, ["(1, 8, 8)", "(B, C, H, W)"]),
    "none": ({"images": data(8)[0][:0], "labels": data(8)[1][:0]}, ["no image", "at least one"]),
    "labels above": ({"labels": data(8)[1] + 1}, ["labels from 1 to 4", "4 classes", "0 to 3"]),
    "labels below": ({"labels": data(8)[1] - 1}, ["labels from -1 to 2", "0 to 3"]),
    "labels of floats": ({"labels": data(8)[1].float()}, ["torch.float32", "whole numbers"]),
    "too few labels": ({"labels": data(8)[1][:5]}, ["(5,)", "8 images", "needed: (8,)"]),
    "one-hot labels": ({"labels": torch.eye(4)[data(8)[1]].long()}, ["(8, 4)", "needed: (8,)"]),
    "training": ({"model": plain().train()}, ["training mode", "model.eval()"]),
    "half weights": ({"model": plain().half().eval()}, ["torch.float16", "model.float()"]),
    "NaN logits": ({"model": Bad(lambda x: x / 0 * 0).eval()}, ["NaN or infinite", "finite"]),
    "one logit": ({"model": Bad(lambda x: x[:, :1]).eval()}, ["(16, 1)", "at least 2 classes"]),
    "no logits": ({"model": Bad(lambda x: {"out": x}).eval()}, ["dict", "a tensor of logits"]),
    "threat": ({"threat": "linf"}, ["'linf'", "linf:8/255"]),
    "radius": ({"threat": "linf:8"}, ["radius 8", "at most 1"]),
    "norm": ({"threat": "l7:1"}, ["l7", "linf"]),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_bad_input_is_refused_in_words(name: str):
    changes, words = REFUSED[name]
    with pytest.raises(ValueError, match=r"needed|available|known|there") as error:
        broken(**changes)()
    assert all(word in str(error.value) for word in words), str(error.value)
