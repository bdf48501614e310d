"""Does a converted and calibrated network recover sooner than a decoupled one learns from scratch?

CNN-9 at one eighth of its width on 6,000 images of the embedded Fashion-MNIST sample: a plain one is trained,
converted and calibrated, and trained on for one epoch; decoupled ones are trained from scratch. Prints test
accuracies, mean ± standard deviation over seeds, and distances right after calibration.

    nice -n 10 python scripts/pretrained_start.py --seeds 3
"""

from __future__ import annotations

import argparse
import copy
import statistics
import warnings
from collections import defaultdict

import torch
import torch.nn.functional as F

import decoupled_nets as dn
from decoupled_nets.data.builtin import fashion_mnist_sample

EPOCHS, BATCH, LR = 4, 128, 3e-3
SCRATCH = (1, 2, 4)


def main() -> None:
    """Train, convert, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--operators", default="tanh-cos,ball-cos")
    parser.add_argument("--weightings", default="none,linear")
    parser.add_argument("--no-batch-norm", action="store_true")
    arguments = parser.parse_args()
    train, test = images("train")[:6000], images("test")
    data = (train, labels("train")[:6000]), (test, labels("test"))
    found: dict[str, list[float]] = defaultdict(list)
    for seed in range(arguments.seeds):
        one_seed(seed, arguments, data, found)
        print(f"seed {seed} is done", flush=True)
    for what, values in found.items():
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        print(f"{what:<68} {statistics.mean(values):7.3f} ± {spread:.3f}")


def one_seed(seed, arguments, data, found) -> None:
    """All arms of one seed."""
    make = {"num_classes": 10, "in_chans": 1, "width": 0.125, "batch_norm": not arguments.no_batch_norm}
    torch.manual_seed(seed)
    plain = dn.create_model("cnn9", operator="conv", **make)
    fit(plain, data[0], EPOCHS)
    found[f"plain, {EPOCHS} epochs"].append(accuracy(plain, data[1]))
    more = copy.deepcopy(plain)
    fit(more, data[0], 1)
    found[f"plain, {EPOCHS} epochs and 1 more"].append(accuracy(more, data[1]))
    batches = data[0][0][: 8 * BATCH].split(BATCH)
    for operator in arguments.operators.split(","):
        for weighting in (None if name == "none" else name for name in arguments.weightings.split(",")):
            for radius in (1.0, 2.0, 4.0):
                what = f"{operator}, weighting {weighting}, radius {radius:g}×:"
                model = copy.deepcopy(plain)
                dn.convert(model, operator, weighting=weighting)
                report = dn.calibrate(model, batches, radius=radius)
                found[f"{what} error"].append(report.after.error)
                found[f"{what} calibrated, not trained"].append(accuracy(model, data[1]))
                if radius < 4:
                    fit(model, data[0], 1)
                    found[f"{what} calibrated, 1 epoch"].append(accuracy(model, data[1]))
            model = copy.deepcopy(plain)
            dn.convert(model, operator, weighting=weighting)
            fit(model, data[0], 1)
            found[f"{operator}, weighting {weighting}: converted only, 1 epoch"].append(
                accuracy(model, data[1])
            )
            for epochs in SCRATCH if weighting is None else ():
                torch.manual_seed(seed)
                model = dn.create_model("cnn9", operator=operator, weighting=weighting, **make)
                fit(model, data[0], epochs)
                found[f"{operator}, weighting {weighting}: from scratch, {epochs} epochs"].append(
                    accuracy(model, data[1])
                )


def images(split: str) -> torch.Tensor:
    """Normalised images of a split, (N, 1, 28, 28)."""
    source = fashion_mnist_sample()
    return getattr(source, split).reader.pixels.float().div(255).sub(0.286).div(0.353)


def labels(split: str) -> torch.Tensor:
    """Their classes."""
    return getattr(fashion_mnist_sample(), split).labels


def fit(model, data, epochs: int) -> None:
    """Adam, a short warm-up and a cosine to zero."""
    x, y = data
    steps = len(x) // BATCH
    optimizer = torch.optim.Adam(dn.parameter_groups(model, 0.0), lr=LR)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LR, total_steps=steps * epochs, pct_start=0.1)
    model.train()
    for _ in range(epochs):
        for chosen in torch.randperm(len(x))[: steps * BATCH].split(BATCH):
            optimizer.zero_grad()
            F.cross_entropy(model(x[chosen]), y[chosen]).backward()
            optimizer.step()
            schedule.step()


@torch.no_grad()
def accuracy(model, data) -> float:
    """Percent of the test images."""
    model.eval()
    right = sum(
        int((model(x).argmax(1) == y).sum()) for x, y in zip(*(t.split(500) for t in data), strict=True)
    )
    return 100 * right / len(data[0])


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main()
