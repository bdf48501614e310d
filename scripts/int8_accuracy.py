"""Write docs/int8.md: what eight bits cost in accuracy, on the embedded Fashion-MNIST sample."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor

from decoupled_nets._files import write_text
from decoupled_nets._measure import interleaved_ratios
from decoupled_nets.data import load_data
from decoupled_nets.evaluation.trained import load_trained
from decoupled_nets.export import export_network, quantize_onnx
from decoupled_nets.export.formats import FORMATS, Runner
from decoupled_nets.training import TrainConfig, train

OPERATORS = ("conv", "tanh-cos", "ball-cos", "seg-sqcos")
CALIBRATION = 256
HEADER = """# Eight bits

CNN-9 at one eighth of its width, with BatchNorm and ReLU, {epochs} epochs on {train:,} images of the embedded
Fashion-MNIST sample, one seed. Exported to ONNX, fused; then weights (by channel) and activations of
convolutions and matrix products quantised to int8 by onnxruntime, ranges from {calibration} training images.
Norms, magnitudes and angles stay in float32. Accuracies are those of {test:,} test images; times are of
onnxruntime on this machine's processor, int8 relative to float32, batch 32, measured in turns. Written by
`scripts/int8_accuracy.py`.

| Operator | PyTorch, % | ONNX, % | int8, % | lost, points | same class, % | size, kB | int8 | time, int8 |
| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
"""
FOOTER = """
## torchao

Tried by hand with torchao 0.18 under torch 2.14, one seed; it is no dependency, and nothing here needs it.

- `quantize_` with `Int8DynamicActivationInt8WeightConfig` or `Int8WeightOnlyConfig` takes `DecoupledLinear`,
  as it does every `nn.Linear`, and leaves `DecoupledConv2d`, unless `filter_fn` names it. What it took no
  longer runs, because an operator needs the norms of kernels: `NotImplementedError: Int8Tensor dispatch:
  attempting to run unimplemented operator/function: func=<OpOverload(op='aten.pow',
  overload='Tensor_Scalar')>` (`aten.view` for a convolution). After `dn.fuse` the decoupled layers hold no
  parameters and are left without a word; plain linear layers, such as most classifiers, become int8.
- `prepare_pt2e` and `convert_pt2e` with `X86InductorQuantizer` run on the exported, fused CNN-9 (2 epochs on
  6,000 images), and lose 0.15 points at the most (`conv` 82.55 to 82.4 %, `tanh-cos` 83.7 to 83.65 %,
  `ball-cos` 83.25 to 83.2 %). But of a decoupled network it quantises the classifier and single
  multiplications, and not one of the ten convolutions: it looks for a weight, and finds `w / ‖w‖`. Folding
  constants with `torch._inductor.constant_folding` beforehand changed nothing. Compiled, it takes 1.2 times
  as long as the compiled float32 network (`tanh-cos`).

Eight bits for decoupled convolutions are ONNX's, above.
"""


@torch.no_grad()
def predictions(run: Runner, images: Tensor) -> Tensor:
    """Classes, 250 images at a time."""
    return torch.cat([run(some).argmax(1) for some in images.split(250)])


def row(operator: str, options: argparse.Namespace) -> str:
    """Train, export, quantise, and compare one network."""
    config = TrainConfig.of(
        operator=operator, width=0.125, epochs=options.epochs, lr=3e-3, train_size=options.train_size
    )
    folder = options.folder / operator
    train(config, folder, resume=True)
    trained, data = load_trained(folder / "last.ckpt"), load_data(config.data)
    source = folder / "network.onnx"
    export_network(
        trained.network, source, in_chans=trained.in_chans, image_size=trained.image_size,
        dynamic_size=False, rounds=2,
    )  # fmt: skip
    loader = data.train_loader(CALIBRATION, seed=0)
    int8 = quantize_onnx(source, folder / "int8.onnx", next(iter(loader))[0])
    images, labels = data.test_subset(data.test_size)
    runs = [trained.network, *(FORMATS["onnx"].run(path) for path in (source, int8))]
    found = [predictions(run, images) for run in runs]
    accuracies = [100 * (classes == labels).float().mean().item() for classes in found]
    same = 100 * (found[2] == found[0]).float().mean().item()
    batch = images[:32]
    _, time = interleaved_ratios([lambda: runs[1](batch), lambda: runs[2](batch)])
    kilobytes = [path.stat().st_size / 1e3 for path in (source, int8)]
    cells = [
        f"`{operator}`", *(f"{a:.1f}" for a in accuracies), f"{accuracies[0] - accuracies[2]:.1f}",
        f"{same:.1f}", *(f"{k:,.0f}" for k in kilobytes), f"{time.median:.2f}×",
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |\n"


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("runs/int8"))
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--train-size", type=int, default=6000)
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "docs" / "int8.md")
    options = parser.parse_args()
    text = HEADER.format(epochs=options.epochs, train=options.train_size, calibration=CALIBRATION, test=2000)
    text += "".join(row(operator, options) for operator in OPERATORS) + FOOTER
    print(f"Written to {write_text(options.out, text)}")


if __name__ == "__main__":
    main()
