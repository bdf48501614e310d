"""A network of your own with decoupled convolutions, trained by a loop of your own.

python examples/drop_in_layer.py --steps 200
"""

import argparse
from itertools import islice

import torch
from torch import nn

import decoupled_nets as dn
from decoupled_nets.data import DataConfig, load_data


class Network(nn.Module):
    """Two convolutions and a classifier; only the class of the convolutions is not torch.nn's."""

    def __init__(self, num_classes: int, operator: str) -> None:
        super().__init__()
        self.features = nn.Sequential(
            dn.DecoupledConv2d(1, 16, 3, padding=1, operator=operator, bias=False),
            nn.BatchNorm2d(16),
            nn.MaxPool2d(2),
            dn.DecoupledConv2d(16, 32, 3, padding=1, operator=operator, bias=False),
            nn.BatchNorm2d(32),
            nn.MaxPool2d(2),
        )
        self.head = nn.Linear(32, num_classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(B, 1, H, W) to (B, num_classes)."""
        return self.head(self.features(images).mean((2, 3)))


def main() -> float:
    """Train, and return the accuracy on test images."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--operator", default="tanh-cos")
    parser.add_argument("--steps", type=int, default=40)
    arguments = parser.parse_args()

    torch.manual_seed(0)
    data = load_data(DataConfig())  # the embedded Fashion-MNIST sample; any loader will do
    network = Network(len(data.classes), arguments.operator)
    # Radii and BatchNorms have no weight decay, nor have decoupled kernels: only their direction counts.
    optimizer = torch.optim.AdamW(dn.parameter_groups(network, weight_decay=0.01), lr=0.01)

    for step, (images, labels) in enumerate(islice(data.train_loader(64, seed=0), arguments.steps)):
        loss = nn.functional.cross_entropy(network(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 100 == 99:
            dn.project_weights_(network)  # kernels back to unit norm, as the paper does now and then
        if step % 20 == 0:
            print(f"step {step}: loss {loss:.3f}")

    images, labels = data.test_subset(500)
    with torch.no_grad():
        accuracy = (network.eval()(images).argmax(1) == labels).float().mean().item()
    print(f"accuracy on {len(labels)} test images: {accuracy:.1%}")
    return accuracy


if __name__ == "__main__":
    main()
