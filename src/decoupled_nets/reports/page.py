"""``report.html``: one self-contained page that opens offline, on a phone, in light and dark."""

from __future__ import annotations

import base64
import html
import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from string import Template

from ..data.found import Found
from . import format as fmt
from .figures.style import ThemeName
from .pictures import Picture
from .results import Results
from .summary import Row, attack_names, lead
from .tables import Table, accuracy_table, as_html, cost_table

Images = Mapping[ThemeName, bytes]
_ATTACK_WARNING = (
    "A quick look, not a robustness claim: FGSM and PGD-10 alone do not exclude gradient masking, "
    "which makes a network look robust because its gradients mislead the attack."
)
_ACCURACY_NOTE = (
    "Test accuracy is that of the network after the last epoch; the test images are read once, then, and "
    "nothing is chosen by them. ± is the standard deviation over seeds. The interval is "
    "Wilson's for the first seed's run alone: it covers the choice of test images, not that of the seed. "
    "Differences are taken seed by seed; their ± is the standard error. They are not corrected for comparing "
    "several operators."
)
_COST_NOTE = (
    "Epochs to BASELINE's best: the first epoch with at least the best validation accuracy that BASELINE had "
    "with the same seed, averaged over the seeds that got there. Step time: a training step's time divided "
    "by BASELINE's, measured in turns; median and quartiles over rounds. Peak memory: the most tensor memory "
    "that one training step allocates."
)


@dataclass(frozen=True)
class Drawn:
    """A picture with its PNG in both themes."""

    picture: Picture
    images: Images


def render(results: Results, rows: list[Row], drawn: Mapping[str, Drawn]) -> str:
    """The page's HTML. Everything that comes from the results is escaped."""
    escape = html.escape
    name = str(results.data.get("name", "unnamed data"))
    return Template(_resource("page.html")).substitute(
        title=escape(f"Decoupled and plain convolution on {name}"),
        style=_resource("page.css"),
        lead=escape(lead(rows)),
        status=_status(results),
        facts="\n".join(
            f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in _facts(results, rows).items()
        ),
        sections="\n".join(_sections(results, rows, drawn)),
        command=escape(str(results.config.get("command", ""))),
        configuration=escape(json.dumps(results.config, indent=2, ensure_ascii=False, default=str)),
    )


def _status(results: Results) -> str:
    planned = len(results.operators) * len(results.seeds)
    finished = sum(
        run.seed in results.seeds for operator in results.operators for run in results.of(operator)
    )
    if finished >= planned:
        return ""
    return f'<p class="warning">Incomplete: {finished} of {fmt.plural(planned, "run")} finished.</p>'


def _facts(results: Results, rows: list[Row]) -> dict[str, str]:
    """What was compared, as terms and their descriptions."""
    data, config = results.data, results.config
    parts = []
    for key, noun in (
        ("train_size", "training image"),
        ("val_size", "validation image"),
        ("test_size", "test image"),
    ):
        if isinstance(data.get(key), int):
            parts.append(fmt.plural(data[key], noun))
    if data.get("classes"):
        parts.append(f"{len(data['classes'])} classes")
    size = data.get("image_size")
    if size is not None:
        sides = size if isinstance(size, list | tuple) else [size, size]
        parts.append(f"{' × '.join(str(side) for side in sides)} pixels")
    if isinstance(data.get("in_chans"), int):
        parts.append(fmt.plural(data["in_chans"], "channel"))
    network = [f"{key} {config[key]}" for key in ("model", "width") if config.get(key) is not None]
    for key, name in (("batch_norm", "BatchNorm"), ("relu", "ReLU")):
        if isinstance(config.get(key), bool):
            network.append(f"{'with' if config[key] else 'without'} {name}")
    epochs = max((len(run.history) for row in rows for run in results.of(row.operator)), default=0)
    facts = {
        "Operators": ", ".join(results.operators),
        "Data": f"{data.get('name', 'unnamed')}: {', '.join(parts)}" if parts else str(data.get("name", "")),
        "Network": ", ".join(network),
        "Training": f"{fmt.plural(epochs, 'epoch')}, {_seeds(results.seeds)}",
        "Environment": ", ".join(f"{key} {value}" for key, value in results.environment.items() if value),
    }
    return {term: text for term, text in facts.items() if text}


def _seeds(seeds: list[int]) -> str:
    return f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"


def _sections(results: Results, rows: list[Row], drawn: Mapping[str, Drawn]) -> list[str]:
    attacked = _under_attack(results, rows)
    sections = [
        _section("Data", _data(results)),
        _section(
            "Accuracy",
            _scroll(as_html(accuracy_table(rows)), "Accuracy"),
            _verdicts(rows),
            _note(_ACCURACY_NOTE),
            _figure(drawn.get("accuracy")),
        ),
        _section(
            "Convergence and cost",
            _figure(drawn.get("curves")),
            _scroll(as_html(cost_table(rows)), "Convergence and cost"),
            _note(_COST_NOTE.replace("BASELINE", rows[0].operator) if rows else ""),
        ),
        _section("Under attack", attacked, _figure(drawn.get("attacks")) if attacked else ""),
        _section("Features in two dimensions", _figure(drawn.get("features"))),
        _section("The operators", _figure(drawn.get("functions")), _figure(drawn.get("geometry"))),
    ]
    return [section for section in sections if section]


def _under_attack(results: Results, rows: list[Row]) -> str:
    attacks = [fmt.attack(name) for name in attack_names(rows)]
    if not attacks:
        return ""
    text = (
        f"Each attack ({fmt.listed(attacks)}) may change every pixel, in [0, 1], by at most "
        f"{fmt.radius(results.attack_radius)}. Accuracy under attack is the share of the attacked test "
        "images still classified correctly."
    )
    return f'<p class="warning">{html.escape(_ATTACK_WARNING)}</p>\n{_paragraph(text)}'


def _data(results: Results) -> str:
    """What was found where the user pointed, and what was left out."""
    if "found" not in results.data:
        return ""
    found = Found.from_dict(results.data["found"])
    head, *rows = (list(row) for row in found.table())
    terms = "\n".join(
        f"<dt>{html.escape(heading)}</dt><dd>{html.escape(text)}</dd>" for heading, text in found.details()
    )
    return f"{_scroll(as_html(Table(found.name, head, rows)), 'Data')}\n<dl>\n{terms}\n</dl>"


def _section(heading: str, *parts: str) -> str:
    """A section, or nothing when all its parts are empty."""
    body = "\n".join(part for part in parts if part)
    return f"<section>\n<h2>{html.escape(heading)}</h2>\n{body}\n</section>" if body else ""


def _verdicts(rows: list[Row]) -> str:
    items = "\n".join(
        f"<li><strong>{html.escape(row.label)}</strong>: {html.escape(row.verdict)}.</li>" for row in rows[1:]
    )
    return f"{_paragraph(f'Against {rows[0].operator}:')}\n<ul>\n{items}\n</ul>" if items else ""


def _paragraph(text: str) -> str:
    return f"<p>{html.escape(text)}</p>"


def _note(text: str) -> str:
    return f'<p class="note">{html.escape(text)}</p>'


def _scroll(content: str, label: str) -> str:
    """A box that scrolls sideways, also by keyboard, so that the page itself never does."""
    return f'<div class="scroll" tabindex="0" role="region" aria-label="{html.escape(label)}">{content}</div>'


def _figure(drawn: Drawn | None) -> str:
    if drawn is None:
        return ""
    light, dark = (base64.b64encode(drawn.images[theme]).decode() for theme in ("light", "dark"))
    # Width and height stand in a PNG's first chunk; given here, the page does not jump while it loads.
    width, height = struct.unpack(">II", drawn.images["light"][16:24])
    picture = (
        f'<picture><source media="(prefers-color-scheme: dark)" srcset="data:image/png;base64,{dark}">'
        f'<img src="data:image/png;base64,{light}" width="{width}" height="{height}" '
        f'alt="{html.escape(drawn.picture.alternative)}"></picture>'
    )
    caption = html.escape(drawn.picture.caption)
    return f"<figure>\n{picture}\n<figcaption>{caption}</figcaption>\n</figure>"


def _resource(name: str) -> str:
    return resources.files("decoupled_nets.reports").joinpath(name).read_text(encoding="utf-8")
