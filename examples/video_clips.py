"""A 3-D network made decoupled, which learns which way a shape moves: no single frame tells.

python examples/video_clips.py

The network is the first two stages of torchvision's r3d_18. All of it, mc3_18 and r2plus1d_18 are converted
by the same call.
"""

import argparse

import torch
from torch import Tensor, nn
from torchvision.models.video import r3d_18

import decoupled_nets as dn

STEPS = {"left": (0, -1), "right": (0, 1), "up": (-1, 0), "down": (1, 0)}


def clips(count: int, frames: int, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Clips (count, 3, frames, size, size) of a square that moves around the border, and their classes."""
    labels = torch.randint(len(STEPS), (count,), generator=generator)
    starts = torch.randint(size, (count, 2), generator=generator)
    moves = torch.tensor(list(STEPS.values()))[labels]
    places = (starts.unsqueeze(1) + torch.arange(frames).view(-1, 1) * moves.unsqueeze(1)) % size
    axis, side = torch.arange(size), size // 4
    rows = (axis - places[..., :1]) % size < side  # (count, frames, size)
    columns = (axis - places[..., 1:]) % size < side
    shapes = (rows.unsqueeze(3) & columns.unsqueeze(2)).float().unsqueeze(1)
    colours = 0.5 + 0.5 * torch.rand(count, 3, 1, 1, 1, generator=generator)
    noise = 0.1 * torch.randn(count, 3, frames, size, size, generator=generator)
    return colours * shapes + noise, labels


def network() -> nn.Module:
    """The stem and two stages of r3d_18."""
    model = r3d_18(weights=None)
    model.layer3 = model.layer4 = nn.Identity()
    model.fc = nn.Linear(128, len(STEPS))
    return model


def main() -> tuple[dn.Conversion, float]:
    """Convert, train, measure; return the report of the conversion and the accuracy on new clips."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--frames", type=int, default=6)
    parser.add_argument("--size", type=int, default=32)
    arguments = parser.parse_args()

    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    model = network()
    report = dn.convert(model, "tanh-cos")
    print(report)
    # A run of seconds: what the initial weights gave is to be forgotten within it.
    for module in model.modules():
        if isinstance(module, nn.BatchNorm3d):
            module.momentum = 0.3

    optimizer = torch.optim.AdamW(dn.parameter_groups(model, weight_decay=0.01), lr=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, arguments.steps)
    for step in range(arguments.steps):
        videos, labels = clips(16, arguments.frames, arguments.size, generator)
        loss = nn.functional.cross_entropy(model(videos), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 10 == 0:
            print(f"step {step}: loss {loss:.3f}")

    videos, labels = clips(64, arguments.frames, arguments.size, generator)
    with torch.no_grad():
        accuracy = (model.eval()(videos).argmax(1) == labels).float().mean().item()
    print(f"{accuracy:.0%} of 64 new clips are right; a guess would be right in {1 / len(STEPS):.0%}")
    return report, accuracy


if __name__ == "__main__":
    main()
