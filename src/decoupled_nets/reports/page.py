"""``report.html``: one self-contained page that opens offline, on a phone, in light and dark."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from importlib import resources
from string import Template
from typing import Any

from ..models.joint import OWN as JOINT
from ..models.joint import UPSAMPLER
from ..networks import form_of
from . import format as fmt
from . import markup
from .pictures import Drawn
from .results import Results
from .sections import Content, sections_of
from .summary import Row, lead

_NAMED = 6  # of what is compared, in a title


def render(results: Results, rows: list[Row], drawn: Mapping[str, Drawn]) -> str:
    """The page of a comparison."""
    return page(
        _title(results),
        lead(rows), _facts(results, rows), _sections(Content(results, rows, drawn)),
        str(results.config.get("command", "")), results.config, status=_status(results),
    )  # fmt: skip


def _title(results: Results) -> str:
    """What is compared, by name unless that are many, and on which data."""
    names = results.operators
    what = fmt.plural(len(names), results.kind)
    if len(names) <= _NAMED:
        what = f"{results.kind.capitalize()}{'s' if len(names) > 1 else ''} {fmt.listed(names)}"
    return f"{what} on {results.data.get('name', 'unnamed data')}"


def page(
    title: str,
    lead: str,
    facts: Mapping[str, str],
    sections: Sequence[str],
    command: str,
    configuration: Any,
    *,
    status: str = "",
) -> str:
    """The HTML of a page. Everything but `sections` and `status`, which are HTML, is escaped.

    Args:
        title: of the page.
        lead: the result in a few sentences.
        facts: what it is about, as terms and their descriptions.
        sections: see :mod:`~decoupled_nets.reports.markup`.
        command: that makes it again.
        configuration: whole, in plain values.
        status: what stands before the facts.
    """
    escape = html.escape
    return Template(_resource("page.html")).substitute(
        title=escape(title),
        style=_resource("page.css"),
        lead=escape(lead),
        status=status,
        facts="\n".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in facts.items()),
        sections="\n".join(sections),
        command=escape(command),
        configuration=escape(json.dumps(configuration, indent=2, ensure_ascii=False, default=str)),
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
    epochs = max((len(run.history) for row in rows for run in results.of(row.operator)), default=0)
    facts = {
        "Task": results.task,
        f"{results.kind.capitalize()}s": str(config.get("variants") or ", ".join(results.operators)),
        "Data": f"{data.get('name', 'unnamed')}: {', '.join(parts)}" if parts else str(data.get("name", "")),
        "Network": ", ".join(_network(config)),
        "Training": f"{fmt.plural(epochs, 'epoch')}, {_seeds(results.seeds)}",
        "Environment": ", ".join(f"{key} {value}" for key, value in results.environment.items() if value),
    }
    return {term: text for term, text in facts.items() if text}


def _network(config: dict[str, Any]) -> list[str]:
    """The network in words; one that is not ours has no width of ours."""
    if form_of(str(config.get("model"))) != "own":
        return [str(config["model"])]
    words = [f"{key} {config[key]}" for key in ("model", "width") if config.get(key) is not None]
    if config.get("model") == JOINT:
        return [
            *words,
            f"upsampling by {config['upsample'] or UPSAMPLER}",
            f"{'with' if config['relu'] else 'without'} LeakyReLU",
        ]
    for key, name in (("batch_norm", "BatchNorm"), ("relu", "ReLU")):
        if isinstance(config.get(key), bool):
            words.append(f"{'with' if config[key] else 'without'} {name}")
    return words


def _seeds(seeds: list[int]) -> str:
    return f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"


def _sections(content: Content) -> list[str]:
    made = [markup.section(one.heading, *one.body(content)) for one in sections_of(content.results)]
    return [text for text in made if text]


def _resource(name: str) -> str:
    return resources.files("decoupled_nets.reports").joinpath(name).read_text(encoding="utf-8")
