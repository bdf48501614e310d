"""Options of a short run of joint depth upsampling, and inputs of its network."""

import torch

from decoupled_nets.ops.resample import hold

SMALL = {
    "task": "depth", "data": "sample", "width": 0.125, "epochs": 2, "batch_size": 4, "train_size": 12,
    "val_size": 4, "test_size": 6, "lr": 3e-3, "workers": 0, "crop": 32, "operator": "conv",
}  # fmt: skip


def rest(options: dict[str, object], *names: str) -> dict[str, object]:
    """The options without those named."""
    return {name: value for name, value in options.items() if name not in names}


def inputs(scale: int, height: int = 5, width: int = 6, size: int = 2) -> torch.Tensor:
    """(B, 4, scale·H, scale·W): images and small maps, which are held to their size."""
    torch.manual_seed(0)
    depth = 40 + 100 * torch.rand(size, 1, height, width)
    image = torch.rand(size, 3, scale * height, scale * width)
    return torch.cat([image, hold(depth, scale)], 1)
