"""The schema of ``results.json``: what one comparison measured, and nothing that can be derived from it."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from .._metric import Metric
from .._statistics import Interval
from .decision import Difference, difference_from_dict
from .earlier import from_schema_2

SCHEMA_VERSION = 3
_ACCURACY = Metric("accuracy", "accuracy")


@dataclass
class Score:
    """The metric of a comparison on `images` images, with a 95 % interval over the choice of images."""

    value: float
    images: int
    low: float | None = None
    high: float | None = None

    @property
    def interval(self) -> Interval | None:
        """The interval, where it is known."""
        return None if self.low is None or self.high is None else Interval(self.low, self.high)


@dataclass
class Epoch:
    """What one epoch ended with: losses, and the metric on the validation images.

    `seconds` is the training time of this epoch alone. `watched` has, where training is adversarial, what
    attacks left of some validation images: the shares ``val_clean``, ``val_fgsm`` and ``val_pgd`` of
    ``val_attacked``.
    """

    epoch: int
    train_loss: float
    val_loss: float
    val: float
    seconds: float
    watched: dict[str, float] = field(default_factory=dict)


@dataclass
class Run:
    """One network trained with one operator from one seed.

    `test` is of the network after the last epoch, or of the epoch that `adversarial` names, which validation
    images chose; nothing was chosen by it. `further` has the other metrics
    of the same images by name: a number, or one a class. `start` says how the network started: the weights
    that were loaded, what was converted and calibrated. `flags` has the checks of attacks that speak up.
    `adversarial` says how its images were attacked in training (``how``, ``forwards`` and ``backwards`` of a
    step), the ``epoch`` chosen, what attacks left then (``fgsm``, ``pgd`` of ``images``) and the epoch in
    which it ``overfitted``, or null.
    """

    operator: str
    seed: int
    parameters: int
    history: list[Epoch]
    test: Score
    # suite or attack ("quick") to what is left under it, at most
    attacked: dict[str, Score] = field(default_factory=dict)
    further: dict[str, Any] = field(default_factory=dict)
    start: dict[str, Any] = field(default_factory=dict)
    flags: list[str] = field(default_factory=list)
    adversarial: dict[str, Any] = field(default_factory=dict)

    @property
    def diverged(self) -> bool:
        """Whether the training loss stopped being a number."""
        return any(e.train_loss != e.train_loss for e in self.history)


@dataclass
class Cost:
    """What one training step of an operator costs beside the plain network's, measured interleaved."""

    operator: str
    step_ratio: float  # median over rounds of step time / plain step time
    step_ratio_low: float  # first and third quartile over rounds
    step_ratio_high: float
    peak_bytes: int  # most tensor memory one training step allocates at a time
    beside_plain: float | None = None  # of the baseline: adversarial step time / its step time without


@dataclass
class Features:
    """Validation features of a network whose last feature layer has two dimensions."""

    operator: str
    x: list[float]
    y: list[float]
    label: list[int]
    val: float


@dataclass
class Trial:
    """A short-listed setting of one operator, from one seed: the metric on validation images at the end."""

    operator: str
    setting: dict[str, Any]
    seed: int
    val: float


@dataclass
class Tuning:
    """What was tuned: every operator had the same settings and the same seeds, which no other run has.

    Attributes:
        settings: what was tried, each a few options by name.
        seeds: of the trials.
        trials: every one.
        chosen: the setting of each operator with the best mean on validation images.
        untuned: runs of each operator with the setting that all of them share without tuning.
        differences: of these, as :attr:`Results.differences`.
    """

    settings: list[dict[str, Any]]
    seeds: list[int]
    trials: list[Trial] = field(default_factory=list)
    chosen: dict[str, dict[str, Any]] = field(default_factory=dict)
    untuned: list[Run] = field(default_factory=list)
    differences: dict[str, Difference] = field(default_factory=dict)


@dataclass
class Results:
    """Everything a comparison knows, as it stands in ``results.json``.

    `data` has name, classes, train_size, val_size, test_size, image_size, in_chans, digest and `found`: what
    was found, and what was left out. `environment` has versions, threads and machine; `config` is the
    resolved configuration of the command. The first operator of `operators` is the baseline every ratio
    refers to. `metric` says what scores are and which way is better, `further` the same of further metrics by
    name, `interval` how the intervals of single runs came about, `sections` which sections the task adds to
    the page, `examples` has its pictures by operator. `differences` has what was found of each operator
    against the baseline, `margin` the difference up to which they count as alike, in the metric's own unit,
    `baselines` what is had without training, by name. Where variants or upsamplers are compared, `operators`
    has their labels, and `built_with` the operator of each.
    """

    operators: list[str]
    seeds: list[int]
    config: dict[str, Any]
    data: dict[str, Any]
    environment: dict[str, Any]
    threat: str  # of the attacks: norm and radius, as `Threat.parse` takes them
    runs: list[Run] = field(default_factory=list)
    costs: list[Cost] = field(default_factory=list)
    features: list[Features] = field(default_factory=list)
    task: str = "classify"
    metric: Metric = _ACCURACY
    further: dict[str, Metric] = field(default_factory=dict)
    interval: Literal["wilson", "bootstrap"] = "wilson"
    sections: list[str] = field(default_factory=list)
    examples: dict[str, Any] = field(default_factory=dict)
    differences: dict[str, Difference] = field(default_factory=dict)
    margin: float = 0.005
    tuning: Tuning | None = None
    baselines: dict[str, Score] = field(default_factory=dict)
    built_with: dict[str, str] = field(default_factory=dict)
    schema: int = SCHEMA_VERSION

    @property
    def kind(self) -> str:
        """What is compared: `operator`, `variant` or `upsampler`."""
        return next((kind for kind in ("variant", "upsampler") if self.config.get(f"{kind}s")), "operator")

    def worded(self, text: str) -> str:
        """A text on operators as one on what is compared."""
        return text.replace("operator", self.kind)

    def of(self, operator: str) -> list[Run]:
        """The finished runs of one operator, by seed."""
        return sorted((r for r in self.runs if r.operator == operator), key=lambda r: r.seed)

    def to_json(self) -> str:
        """Strict JSON text; a number that is not finite stands as null."""
        return json.dumps(to_plain(self), indent=1, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Results:
        """The inverse of :meth:`to_json`; also reads schema 2, which knew classification only.

        Raises:
            ValueError: the text is of another schema version.
        """
        raw = json.loads(text)
        if raw.get("schema") == 2:
            raw = from_schema_2(raw)
        if "attack_radius" in raw:  # until attacks had a norm
            raw["threat"] = f"linf:{raw.pop('attack_radius')}"
        if raw.get("schema") != SCHEMA_VERSION:
            raise ValueError(
                f"results schema {raw.get('schema')!r} found; needed: {SCHEMA_VERSION}; another version of"
                " this package wrote them"
            )
        raw["runs"] = [run_from_dict(r) for r in raw["runs"]]
        raw["costs"] = [cost_from_dict(c) for c in raw["costs"]]
        raw["features"] = [features_from_dict(f) for f in raw["features"]]
        raw["metric"] = Metric(**raw["metric"])
        raw["further"] = {name: Metric(**metric) for name, metric in raw["further"].items()}
        raw["differences"] = _differences(raw["differences"])
        raw["tuning"] = None if raw["tuning"] is None else tuning_from_dict(raw["tuning"])
        raw["baselines"] = {name: score_from_dict(score) for name, score in raw.get("baselines", {}).items()}
        return cls(**raw)

    @classmethod
    def load(cls, path: Path) -> Results:
        """Read a ``results.json``."""
        return cls.from_json(path.read_text(encoding="utf-8"))


def run_from_dict(raw: dict[str, Any]) -> Run:
    """A :class:`Run` from its JSON form; a null number comes back as NaN."""
    names = ("train_loss", "val_loss", "val", "seconds")
    history = [
        Epoch(e["epoch"], **{name: _number(e[name]) for name in names}, watched=e.get("watched", {}))
        for e in raw["history"]
    ]
    attacked = {name: score_from_dict(score) for name, score in raw["attacked"].items()}
    return Run(
        raw["operator"],
        raw["seed"],
        raw["parameters"],
        history,
        score_from_dict(raw["test"]),
        attacked,
        raw["further"],
        raw.get("start", {}),
        raw.get("flags", []),
        raw.get("adversarial", {}),
    )


def tuning_from_dict(raw: dict[str, Any]) -> Tuning:
    """A :class:`Tuning` from its JSON form."""
    trials = [trial_from_dict(one) for one in raw["trials"]]
    untuned = [run_from_dict(run) for run in raw["untuned"]]
    changes = {"trials": trials, "untuned": untuned, "differences": _differences(raw["differences"])}
    return Tuning(**{**raw, **changes})


def trial_from_dict(raw: dict[str, Any]) -> Trial:
    """A :class:`Trial` from its JSON form; a null number comes back as NaN."""
    return Trial(**{**raw, "val": _number(raw["val"])})


def _differences(raw: dict[str, Any]) -> dict[str, Difference]:
    return {operator: difference_from_dict(one) for operator, one in raw.items()}


def score_from_dict(raw: dict[str, Any]) -> Score:
    """A :class:`Score` from its JSON form; a null value comes back as NaN."""
    return Score(_number(raw["value"]), raw["images"], raw["low"], raw["high"])


def cost_from_dict(raw: dict[str, Any]) -> Cost:
    """A :class:`Cost` from its JSON form; a null ratio comes back as NaN."""
    ratios = {name: _number(raw[name]) for name in ("step_ratio", "step_ratio_low", "step_ratio_high")}
    return Cost(raw["operator"], **ratios, peak_bytes=raw["peak_bytes"], beside_plain=raw.get("beside_plain"))


def features_from_dict(raw: dict[str, Any]) -> Features:
    """A :class:`Features` from its JSON form."""
    return Features(
        operator=raw["operator"],
        x=[_number(x) for x in raw["x"]],
        y=[_number(y) for y in raw["y"]],
        label=raw["label"],
        val=_number(raw["val"]),
    )


def _number(value: float | None) -> float:
    return float("nan") if value is None else value


def to_plain(value: Any) -> Any:
    """Dataclasses, dicts and lists as strict JSON has them; a number that is not finite becomes None."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = dataclasses.asdict(value)
    if isinstance(value, float):
        return value if value - value == 0 else None
    if isinstance(value, dict):
        return {k: to_plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(v) for v in value]
    return value
