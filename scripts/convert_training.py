"""Train timm's networks on CIFAR-10, plain and converted, and write docs/convert-training.md.

Random weights, equal steps, equal everything but the convolutions. Each network adds a line to the record; a
second call goes on with those that are missing. All of it takes about half an hour of one core.

    python scripts/convert_training.py --data folder/with/parquet/files
"""

from __future__ import annotations

import argparse
import itertools
import statistics
from pathlib import Path

import timm
import torch
import torch.nn.functional as F
from torch import nn

import _record
import decoupled_nets as dn
from decoupled_nets._files import write_text
from decoupled_nets.data import DataConfig, ImageData, load_data
from decoupled_nets.models import Normalize

STEPS = {"resnet18": 300, "convnext_tiny": 200}
SEEDS = {"resnet18": 3, "convnext_tiny": 2}
BATCH, LR, TEST, LAST = 64, 1e-3, 5000, 50
SETTINGS = {"batch": BATCH, "lr": LR, "test": TEST}
PLAIN = "plain"
#: What is converted to what: options of dn.convert.
ARMS: dict[str, dict[str, dict]] = {
    "resnet18": {
        PLAIN: {},
        "tanh-cos": {"operator": "tanh-cos"},
        "ball-cos": {"operator": "ball-cos"},
        "ddf": {"operator": "ddf"},
    },
    "convnext_tiny": {
        PLAIN: {},
        "tanh-cos": {"operator": "tanh-cos"},
        "ball-cos": {"operator": "ball-cos"},
        "tanh-cos, depth-wise ones too": {"operator": "tanh-cos", "select": dn.Select(depthwise=True)},
    },
}
HEADER = """# Training converted networks

Networks of timm, plain and after `dn.convert`, from random weights on {name}: {train:,} training images of
{side}², {test:,} test images. That is the very beginning of a training and says nothing about its end.

All of one network's rows have the same: random weights by seed (`torch.manual_seed`, then
`timm.create_model(name, num_classes={classes})`, then `dn.convert`; `"ddf"` keeps what
`dn.convert` says of it, and draws the rest anew), batches and augmentation (shifts, and mirroring) by
seed, as many steps of batch {batch}, Adam without weight decay, learning rate warmed up to {lr:g} over a
tenth of the steps and brought to zero by a cosine. It was not tuned for any row. Images enter at {side}²,
where both networks end in maps of
1×1; their mean and deviation are normalised.

*Loss* is the mean of the last {last} training steps; accuracy is that of the test images after the last step,
the only one that was tested; both are mean ± standard deviation over seeds. *Against plain* is the mean of
the differences of equal seeds, with their standard deviation. Written by `scripts/convert_training.py`.

| Network | Converted to | Layers | Parameters | Steps | Seeds | Loss | Accuracy, % | Against plain, points |
| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
"""


def build(name: str, arm: str, seed: int, data: ImageData) -> tuple[nn.Module, int]:
    """A network that takes pixels in [0, 1], and how many of its layers were converted."""
    torch.manual_seed(seed)
    network = timm.create_model(name, num_classes=len(data.classes), in_chans=data.in_chans)
    options = ARMS[name][arm]
    layers = len(dn.convert(network, **options).converted) if options else 0
    return nn.Sequential(Normalize(data.mean, data.std), network), layers


def measure(name: str, arm: str, seed: int, data: ImageData) -> _record.Line:
    """Train one network and test it."""
    model, layers = build(name, arm, seed, data)
    parameters = sum(p.numel() for p in model.parameters())
    losses = fit(model, data, seed, STEPS[name])
    loss = statistics.mean(losses[-LAST:])
    return {"layers": layers, "parameters": parameters, "loss": loss, "accuracy": accuracy(model, data)}


def fit(model: nn.Module, data: ImageData, seed: int, steps: int) -> list[float]:
    """Adam, a short warm-up and a cosine to zero; the loss of every step."""
    optimizer = torch.optim.Adam(model.parameters(), lr=LR)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LR, total_steps=steps, pct_start=0.1)
    torch.manual_seed(seed)
    loader = data.train_loader(BATCH, seed)
    endless = itertools.chain.from_iterable(itertools.repeat(loader))
    losses = []
    model.train()
    for images, labels in itertools.islice(endless, steps):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    return losses


@torch.no_grad()
def accuracy(model: nn.Module, data: ImageData) -> float:
    """Per cent of the test images."""
    model.eval()
    right = sum(int((model(images).argmax(1) == labels).sum()) for images, labels in data.test_loader(250))
    return 100 * right / data.test_size


def page(lines: list[_record.Line], data: ImageData) -> str:
    """The record as a table."""
    text = HEADER.format(
        **SETTINGS, name=data.name, train=data.train_size, side=data.image_size[0],
        classes=len(data.classes), last=LAST,
    )  # fmt: skip
    for name, arms in ARMS.items():
        found = {
            arm: {x["seed"]: x for x in lines if (x["network"], x["arm"]) == (name, arm)} for arm in arms
        }
        for arm, own in found.items():
            if own:
                text += row(name, arm, own, found[PLAIN])
    return text


def row(name: str, arm: str, own: dict[int, _record.Line], plain: dict[int, _record.Line]) -> str:
    """One line of the table."""
    any_line = next(iter(own.values()))
    gains = [own[s]["accuracy"] - plain[s]["accuracy"] for s in own.keys() & plain.keys()]
    cells = [
        f"`{name}`", arm, str(any_line["layers"]), f"{any_line['parameters']:,}", str(STEPS[name]),
        str(len(own)),
        spread([x["loss"] for x in own.values()], ".3f"),
        spread([x["accuracy"] for x in own.values()], ".1f"),
        "–" if arm == PLAIN else spread(gains, "+.1f"),
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |\n"


def spread(values: list[float], form: str) -> str:
    """Mean ± standard deviation."""
    if len(values) < 2:
        return format(values[0], form) if values else "–"
    return f"{statistics.mean(values):{form}} ± {statistics.stdev(values):{form.strip('+')}}"


def identity(name: str, settings: _record.Line) -> _record.Line:
    """What lines of a network have in common."""
    return {"network": name, "steps": STEPS[name], **settings}


def main() -> None:
    """Go on with the record; write the page after every network."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", required=True, help="as decoupled train takes it: a folder, a name, ...")
    parser.add_argument("--record", type=Path, default=Path("runs/convert_training.jsonl"))
    parser.add_argument(
        "--out", type=Path, default=Path(__file__).parents[1] / "docs" / "convert-training.md"
    )
    arguments = parser.parse_args()
    data = load_data(DataConfig(data=arguments.data, test_size=TEST))
    kept, settings = _record.read(arguments.record), {**SETTINGS, "data": data.name}
    lines = [x for name in ARMS for x in _record.with_settings(kept, identity(name, settings))]
    done = {(line["network"], line["arm"], line["seed"]) for line in lines}
    for seed in range(max(SEEDS.values())):
        for name, arm in ((n, a) for n, arms in ARMS.items() for a in arms):
            if seed >= SEEDS[name] or (name, arm, seed) in done:
                continue
            found = measure(name, arm, seed, data)
            line = {**identity(name, settings), "arm": arm, "seed": seed, **found}
            _record.append(arguments.record, line)
            lines.append(line)
            write_text(arguments.out, page(lines, data))
            print(name, arm, seed, f"{line['loss']:.3f} {line['accuracy']:.1f} %", flush=True)
    print(f"Written to {write_text(arguments.out, page(lines, data))}")


if __name__ == "__main__":
    main()
