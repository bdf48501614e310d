"""Does a converted and calibrated network recover sooner than a decoupled one learns from scratch?

A plain CNN-9 is trained, converted, calibrated and trained on for one epoch; decoupled ones are trained from
scratch. Writes docs/pretrained-start.md. Each network adds a line to the record; a second call goes on with
those that are missing. Three seeds take about eight minutes of one core.

    python scripts/pretrained_start.py --seeds 3
"""

from __future__ import annotations

import argparse
import copy
import functools
import statistics
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

import _record
import decoupled_nets as dn
from decoupled_nets._files import write_text
from decoupled_nets.data import DataConfig, load_data

EPOCHS, BATCH, LR, TRAIN = 4, 128, 3e-3, 6000
SETTINGS = {"epochs": EPOCHS, "batch": BATCH, "lr": LR, "train": TRAIN}
OPERATORS = ("tanh-cos", "ball-cos")
#: Weighting and radius of the calibrated networks; no radius: converted only.
STARTS: list[tuple[str | None, float | str | None]] = [
    (None, None), ("linear", None), (None, "auto"), (None, 1.0), (None, 2.0), (None, 4.0), ("linear", 2.0),
]  # fmt: skip
SCRATCH = (1, EPOCHS + 1)
HEADER = """# Starting from a trained network

What is a plain network's training worth to its decoupled twin? CNN-9 at one eighth of its width, with
BatchNorm and ReLU, on {train:,} images of the embedded Fashion-MNIST sample, not augmented. A plain one is
trained for {epochs} epochs; copies of it are converted, calibrated with 8 training batches
(`dn.calibrate(model, batches, radius=...)`, which sets scales and biases; by default, radii by the layers'
own patch norms, see `docs/calibration.md`), and trained for one epoch more. Networks from scratch start from
the same weights as the plain one did and get one epoch, or as many as both of those together. Every training
is Adam, batch {batch}, learning rate warmed up to {lr:g} over a tenth of the steps and brought to zero by a
cosine, without weight decay; the {steps} steps of an epoch come in an order that the seed decides and that is
the same for all.

Test accuracy in per cent of {test:,} images, mean ± standard deviation over {seeds} seeds. *Error* is the
root mean square distance of the logits to the plain network's right after calibration, in units of their
standard deviation between images. *Anew* is the accuracy after training if BatchNorm's averages are then
taken anew over the training images. Written by `scripts/pretrained_start.py`.

| Network | Start | Error | Accuracy at the start | after training | anew | epochs of its own |
| --- | --- | ---: | ---: | ---: | ---: | ---: |
"""

Arm = tuple[str, str, int, Callable[[], _record.Line]]


def arms(seed: int) -> Iterator[Arm]:
    """Network, start, own epochs, and what measures them, of one seed."""
    plain = functools.cache(lambda: trained(make(seed, "conv"), EPOCHS, seed))
    yield "conv", "from scratch", EPOCHS, lambda: {"after": accuracy(plain())}
    yield "conv", "trained on", 1, lambda: trained_on(copy.deepcopy(plain()), seed)
    for operator in OPERATORS:
        for weighting, radius in STARTS:
            start = "converted" if radius is None else f"converted, calibrated to radius {radius}"
            start = start.replace("to radius auto", "by default")
            start += ", weighting linear" if weighting else ""
            go = functools.partial(converted, plain, operator, weighting, radius, seed)
            yield operator, start, 1, go
        for epochs in SCRATCH:
            yield operator, "from scratch", epochs, functools.partial(scratch, operator, epochs, seed)


def converted(
    plain: Callable[[], nn.Module],
    operator: str,
    weighting: str | None,
    radius: float | str | None,
    seed: int,
) -> _record.Line:
    """A converted network, calibrated or not, before and after an epoch."""
    model = copy.deepcopy(plain())
    dn.convert(model, operator, weighting=weighting)
    if radius is None:
        found = trained_on(model, seed)
        update_bn(list(images("train")[0].split(250)), model)
        return {**found, "anew": accuracy(model)}
    report = dn.calibrate(model, images("train")[0][: 8 * BATCH].split(BATCH), radius=radius)
    return {"error": report.after.error, **trained_on(model, seed)}


def trained_on(model: nn.Module, seed: int) -> _record.Line:
    """Accuracy now, and an epoch later."""
    return {"before": accuracy(model), "after": accuracy(trained(model, 1, seed))}


def scratch(operator: str, epochs: int, seed: int) -> _record.Line:
    """Accuracy of a network that was decoupled from its first step on."""
    return {"after": accuracy(trained(make(seed, operator), epochs, seed))}


def make(seed: int, operator: str) -> nn.Module:
    """A fresh network."""
    torch.manual_seed(seed)
    return dn.create_model("cnn9", 10, 1, operator=operator, width=0.125)


@functools.cache
def images(split: str) -> tuple[Tensor, Tensor]:
    """Normalised images of a split, (N, 1, 28, 28), and their classes."""
    data = load_data(DataConfig(train_size=TRAIN, augment=False))
    if split == "test":
        pixels, labels = data.test_subset(data.test_size)
    else:
        pixels, labels = next(iter(data.train_loader(TRAIN, seed=0)))
    return (pixels - data.mean[0]) / data.std[0], labels


def trained(model: nn.Module, epochs: int, seed: int) -> nn.Module:
    """Adam, a short warm-up and a cosine to zero; the model itself."""
    torch.manual_seed(seed)
    x, y = images("train")
    steps = len(x) // BATCH
    optimizer = torch.optim.Adam(model.parameters(), lr=LR)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LR, total_steps=steps * epochs, pct_start=0.1)
    model.train()
    for _ in range(epochs):
        for chosen in torch.randperm(len(x))[: steps * BATCH].split(BATCH):
            optimizer.zero_grad()
            F.cross_entropy(model(x[chosen]), y[chosen]).backward()
            optimizer.step()
            schedule.step()
    return model


@torch.no_grad()
def accuracy(model: nn.Module) -> float:
    """Per cent of the test images."""
    model.eval()
    x, y = images("test")
    right = torch.cat([model(some).argmax(1) for some in x.split(500)]) == y
    return 100 * int(right.sum()) / len(y)


def page(lines: list[_record.Line]) -> str:
    """The record as a table."""
    seeds = sorted({line["seed"] for line in lines})
    text = HEADER.format(**SETTINGS, steps=TRAIN // BATCH, test=len(images("test")[0]), seeds=len(seeds))
    for network, start, epochs, _ in arms(0):
        own = [x for x in lines if (x["network"], x["start"], x["own"]) == (network, start, epochs)]
        cells = [
            spread(own, "error", 2),
            spread(own, "before", 1),
            *(spread(own, x, 1) for x in ("after", "anew")),
        ]
        text += f"| `{network}` | {start} | {' | '.join(cells)} | {epochs} |\n"
    return text


def spread(lines: list[_record.Line], what: str, digits: int) -> str:
    """Mean ± standard deviation."""
    values = [line[what] for line in lines if what in line]
    if len(values) < 2:
        return f"{values[0]:.{digits}f}" if values else "–"
    return f"{statistics.mean(values):.{digits}f} ± {statistics.stdev(values):.{digits}f}"


def main() -> None:
    """Go on with the record, then write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--record", type=Path, default=Path("runs/pretrained_start.jsonl"))
    parser.add_argument(
        "--out", type=Path, default=Path(__file__).parents[1] / "docs" / "pretrained-start.md"
    )
    arguments = parser.parse_args()
    lines = _record.with_settings(_record.read(arguments.record), SETTINGS)
    done = {(line["network"], line["start"], line["own"], line["seed"]) for line in lines}
    for seed in range(arguments.seeds):
        for network, start, epochs, measure in arms(seed):
            if (network, start, epochs, seed) in done:
                continue
            line = {"network": network, "start": start, "own": epochs, "seed": seed, **SETTINGS, **measure()}
            _record.append(arguments.record, line)
            lines.append(line)
            print(network, start, epochs, seed, line["after"], flush=True)
    lines = [line for line in lines if line["seed"] < arguments.seeds]
    print(f"Written to {write_text(arguments.out, page(lines))}")


if __name__ == "__main__":
    main()
