"""Our attacks beside pyautoattack's, an independent implementation, on the same images.

    pip install --group oracle
    python scripts/attack_oracle.py --out oracle.json

Three small networks are trained on the Fashion-MNIST sample; the third one adversarially, so that many
images withstand. On each, both tools run AutoAttack's four attacks one after the other on what is left. Time
is the processor's, so that other load does not count, taken per attack, the tools in turn.
"""

from __future__ import annotations

import argparse
import json
import time
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from decoupled_nets.robustness import Threat, Victim, attack_named

#: Width, BatchNorm, radius of adversarial training.
NETWORKS = {
    "plain": (8, False, 0.0),
    "BatchNorm": (8, True, 0.0),
    "adversarially trained": (8, True, 8 / 255),
}
ATTACKS = ("apgd-ce", "apgd-t", "fab-t", "square")


def sample(split: str, count: int) -> tuple[Tensor, Tensor]:
    """The first images (B, 1, 28, 28) of the embedded sample, and their labels."""
    with files("decoupled_nets.data").joinpath("sample", "fashion_mnist.npz").open("rb") as file:
        arrays = np.load(file, allow_pickle=False)
        images, labels = arrays[f"{split}_images"][:count], arrays[f"{split}_labels"][:count]
    return torch.from_numpy(images).unsqueeze(1) / 255, torch.from_numpy(labels).long()


def network(width: int, norm: bool) -> nn.Module:
    """Three convolutions with strides, and one linear layer."""
    layers: list[nn.Module] = []
    for before, after in ((1, width), (width, 2 * width), (2 * width, 2 * width)):
        layers += [nn.Conv2d(before, after, 3, 2, 1)]
        layers += [nn.BatchNorm2d(after)] if norm else []
        layers += [nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(2 * width * 16, 10))


def train(model: nn.Module, images: Tensor, labels: Tensor, epochs: int, radius: float) -> nn.Module:
    """Adam; with a radius, on images that FGSM with noise has changed."""
    optimizer = torch.optim.Adam(model.parameters(), 2e-3)
    for _ in range(epochs):
        for batch in torch.randperm(len(images)).split(64):
            given, truth = images[batch], labels[batch]
            if radius:
                near = (given + radius * (4 * torch.rand_like(given) - 2)).requires_grad_()
                (slope,) = torch.autograd.grad(F.cross_entropy(model.eval()(near), truth), near)
                given = (near + radius * slope.sign()).detach()
            optimizer.zero_grad()
            F.cross_entropy(model.train()(given), truth).backward()
            optimizer.step()
    return model.eval()


def theirs(model: nn.Module, name: str, images: Tensor, labels: Tensor, threat: Threat) -> Tensor:
    """Which images are still right: (B,) bool."""
    from pyautoattack import AutoAttack

    norm = {"linf": "Linf", "l2": "L2"}[threat.norm]
    tool = AutoAttack(model, norm=norm, eps=threat.radius, seed=0, version="standard")
    tool.attacks_to_run = [name]
    changed, _ = tool.run_standard_evaluation(images, labels, batch_size=len(images))
    return Victim(model).predict(changed) == labels


def ours(model: nn.Module, name: str, images: Tensor, labels: Tensor, threat: Threat) -> Tensor:
    """Which images are still right: (B,) bool."""
    attacked = attack_named(name)(model, images, labels, threat, seed=0)
    return Victim(model).predict(attacked.images) == labels


def compare(title: str, model: nn.Module, images: Tensor, labels: Tensor, threat: Threat) -> dict:
    """Both tools through all attacks."""
    clean = Victim(model).predict(images) == labels
    left, seconds, rows = {"ours": clean, "theirs": clean}, {"ours": 0.0, "theirs": 0.0}, []
    for i, name in enumerate(ATTACKS):
        order = (("ours", ours), ("theirs", theirs))
        for who, run in order if i % 2 else order[::-1]:
            place = left[who].nonzero()[:, 0]
            began = time.process_time()
            stands = run(model, name, images[place], labels[place], threat) if len(place) else place > 0
            seconds[who] += time.process_time() - began
            left[who] = left[who].clone()
            left[who][place] = stands
        shares = {who: round(100 * float(left[who].float().mean()), 2) for who in left}
        rows.append({"attack": name} | shares)
        both = "  ".join(f"{who} {share:6.2f}" for who, share in shares.items())
        print(f"{title:22} {threat!s:12} {name:8} {both}")
    ratio = seconds["ours"] / seconds["theirs"]
    odd = int((left["ours"] != left["theirs"]).sum())
    print(
        f"{title:22} clean {100 * clean.float().mean():.2f}, {odd} images differ;"
        f" ours {seconds['ours']:.1f} s, theirs {seconds['theirs']:.1f} s, ratio {ratio:.2f}"
    )
    return {
        "network": title, "threat": threat.spelled, "images": len(images), "after": rows, "differ": odd,
        "clean": 100 * float(clean.float().mean()), "seconds": seconds, "ratio": ratio,
    }  # fmt: skip


def main() -> None:
    """Train, compare, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--threats", nargs="+", default=["linf:8/255", "l2:1/2"])
    parser.add_argument("--networks", nargs="+", choices=list(NETWORKS), default=list(NETWORKS))
    parser.add_argument("--out", type=Path, default=Path("oracle.json"))
    options = parser.parse_args()
    training, testing = sample("train", 10_000), sample("test", options.images)
    results = []
    for title in options.networks:
        torch.manual_seed(0)
        width, norm, radius = NETWORKS[title]
        model = train(network(width, norm), *training, options.epochs, radius)
        results += [compare(title, model, *testing, Threat.parse(text)) for text in options.threats]
    options.out.write_text(json.dumps({"torch": torch.__version__, "results": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
