"""A torchvision network made decoupled in its later stages, calibrated, fine-tuned and saved.

python examples/convert_pretrained.py --weights DEFAULT   # fetches ImageNet weights, about 45 MB
"""

import argparse
from itertools import islice
from pathlib import Path

import torch
from torch import nn
from torchvision.models import resnet18

import decoupled_nets as dn
from decoupled_nets.data import DataConfig, load_data


def main() -> tuple[float, dn.Calibration]:
    """Convert, calibrate, fine-tune, save, load; return the loaded one's difference, and the calibration."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", help="torchvision's name of pretrained weights; none by default")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("runs/converted"))
    arguments = parser.parse_args()

    torch.manual_seed(0)
    data = load_data(DataConfig())
    batches = [
        (images.expand(-1, 3, -1, -1), labels)  # the sample is grey
        for images, labels in islice(data.train_loader(32, seed=0), max(arguments.steps, 4))
    ]
    model = resnet18(weights=arguments.weights)
    model.fc = nn.Linear(model.fc.in_features, len(data.classes))

    # With dry_run=True this only tells what it would do; dn.revert(model) undoes it.
    print(dn.convert(model, "tanh-cos", select=["layer3", "layer4"]))
    # The response of the converted layers starts where that of the plain ones was.
    calibration = dn.calibrate(model, batches[:4])
    print(
        f"distance to the plain network: {calibration.before} before calibration, {calibration.after} after"
    )

    optimizer = torch.optim.AdamW(dn.parameter_groups(model, weight_decay=0.01), lr=1e-3)
    model.train()
    for step, (images, labels) in enumerate(batches[: arguments.steps]):
        loss = nn.functional.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        print(f"step {step}: loss {loss:.3f}")

    # torchvision's networks do not know how they were built: the recipe says so.
    recipe = {"source": "torchvision", "model": "resnet18", "arguments": {"num_classes": len(data.classes)}}
    dn.save_pretrained(model.eval(), arguments.out, {"Steps of fine-tuning": arguments.steps}, recipe=recipe)
    with torch.no_grad():
        images = batches[0][0]
        difference = (dn.from_pretrained(arguments.out)(images) - model(images)).abs().max().item()
    print(f"saved in {arguments.out}; loaded again it differs by {difference}")
    return difference, calibration


if __name__ == "__main__":
    main()
