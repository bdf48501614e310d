"""What attacks leave of a network's accuracy."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .attacks import Attacked
from .checks import MOST, WORK, Context, checked
from .draws import keys_of
from .parts import Parts
from .report import Robustness, StageResult
from .suites import Stage, Suite, suite_named
from .surrogate import surrogate_backward
from .threat import Threat
from .victim import BATCH_SIZE, Victim
from .wide import Expected, wide_or_none

#: In float32 a pixel of the ball's edge is off by a rounding.
SLACK = 1e-6
Advance = Callable[[int], None]


def evaluate(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    threat: str | Threat = "linf:8/255",
    suite: str | Suite = "standard",
    *,
    seed: int = 0,
    batch_size: int = BATCH_SIZE,
    checks: bool = True,
    state: str | Path | None = None,
    advance: Advance | None = None,
) -> Robustness:
    """Attack a network, and check whether the attacks could have failed for reasons of their own.

    An image counts as robust if no attack of the suite changes its class, so accuracies under attack are
    upper bounds. They do not depend on the batch size (on a processor), on the order of the images, on the
    number of threads or on interruptions, but for rounding where another device continues.

    Args:
        model: a network in evaluation mode, float32 or wider, from images (B, C, H, W) with pixels in [0, 1]
            to logits (B, K), K at least 2; what normalises the pixels is part of it.
        images: (B, C, H, W), pixels in [0, 1].
        labels: (B,), whole numbers from 0 to K - 1.
        threat: norm and radius, such as ``linf:8/255`` or ``l2:0.5``.
        suite: ``quick``, ``standard``, ``deep``, ``paper``, or names of attacks separated by commas.
        seed: of the attacks' random numbers.
        batch_size: images that the network sees at once.
        checks: whether to run the checks beside the attacks.
        state: folder in which an interrupted evaluation leaves what it has, and goes on from, also on another
            device.
        advance: called with the work done, in about as many units as :func:`work_of` says.

    Returns:
        What became of each image, and what the checks say. It prints as a table.

    Raises:
        ValueError: the network, the images or the labels are not as they must be.

    Example:
        >>> import torch, decoupled_nets as dn
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 3)).eval()
        >>> images = torch.rand(8, 3, 2, 2)
        >>> found = dn.robustness.evaluate(net, images, net(images).argmax(1), "linf:1/255", "quick")
        >>> found.clean.sum().item(), found.robust.shape
        (8, torch.Size([8]))
    """
    threat, chosen = Threat.parse(threat), suite_named(suite)
    chosen = chosen.for_threat(threat)
    itself = victim = Victim(model, batch_size=batch_size)
    images, labels = _checked_input(images, labels, victim)
    logits = victim.logits(images)
    _check_labels(labels, logits.shape[1])
    notes = []
    if chosen.expected and not torch.equal(logits, victim.logits(images)):
        victim = Expected.victim(itself)
        logits = victim.logits(images)
        notes.append("outputs vary: the mean of 20 passes is attacked, and counts")
    belongs = {
        "threat": threat.spelled, "seed": seed, "images": _digest(keys_of(images)), "labels": _digest(labels),
        "weights": {name: _digest(t) for name, t in itself.model.state_dict().items() if _has_bytes(t)},
    }  # fmt: skip
    parts = Parts(None if state is None else Path(state), belongs, logits)
    run = _Run(victim, images, labels, threat, seed, parts)
    run.advance = advance or run.advance
    run.start(logits)
    for stage in chosen:
        run.do(stage)
    found = run.result(chosen)
    found.notes = notes + run.notes
    if checks:
        found.checks = checked(Context(victim, images, labels, found, seed, run.advance, itself))
    return found


def work_of(suite: str | Suite, threat: str | Threat, images: int, classes: int) -> int:
    """About how many forward passes of an image a suite and the checks take if no image is broken."""
    chosen = suite_named(suite).for_threat(Threat.parse(threat))
    return images * sum(stage.cost(classes) for stage in chosen) + WORK * min(images, MOST)


class _Run:
    """One evaluation on its way."""

    def __init__(
        self, victim: Victim, images: Tensor, labels: Tensor, threat: Threat, seed: int, parts: Parts
    ) -> None:
        self.victim, self.images, self.labels = victim, images, labels
        self.threat, self.seed, self.parts = threat, seed, parts
        self.stages: list[StageResult] = []
        self.notes: list[str] = []
        self.advance: Advance = lambda units: None

    def start(self, logits: Tensor) -> None:
        """What the network says without an attack."""
        self.logits = logits
        self.clean = logits.argmax(1) == self.labels
        self.robust = self.clean.clone()
        self.adversarial = self.images.clone()
        self.broken_by = ["" if right else "clean" for right in self.clean.tolist()]
        self.step = torch.full((len(self.images),), -1, dtype=torch.int64)
        infinite = torch.full((len(self.images),), torch.inf, dtype=torch.float64)
        self.distance = torch.where(self.clean.cpu(), infinite, 0.0)

    def do(self, stage: Stage) -> None:
        """One stage, batch by batch."""
        victim = self.victim
        if stage.wide:
            wide = wide_or_none(victim, self.images)
            if wide is None:
                self.notes.append(f"{stage.title} is left out: the network does not compute in float64")
                self.advance(stage.cost(self.logits.shape[1]) * len(self.images))
                return
            victim = wide
        threat = Threat.parse(stage.threat) if stage.threat else self.threat
        wanted = self.clean if stage.every or stage.threat else self.robust
        places = wanted.nonzero()[:, 0]
        broken = torch.zeros(len(self.images), dtype=torch.bool)
        steps = torch.full((len(self.images),), -1, dtype=torch.int64)
        spent = {"seconds": 0.0, "forwards": 0, "backwards": 0}
        cost = stage.cost(self.logits.shape[1])
        self.advance(cost * (len(self.images) - len(places)))
        for some in places.split(self.victim.batch_size) if len(places) else ():
            found, own = self._attack(victim, stage, threat, some)
            for name in spent:
                spent[name] += own[name]
            won = self._won(found, some, threat)
            broken[some.cpu()], steps[some.cpu()] = won.cpu(), found.step.cpu()
            if not stage.threat:
                self._note(stage, some, found, won)
            self.advance(cost * len(some))
        seen = len(places)
        self.stages.append(
            StageResult(
                stage.name, stage.title, str(threat), stage.every, stage.known.white, len(self.images), seen,
                int(broken.sum()), _budget(stage), broken, steps, **spent,  # type: ignore[arg-type]
            )
        )  # fmt: skip

    def _attack(
        self, victim: Victim, stage: Stage, threat: Threat, some: Tensor
    ) -> tuple[Attacked, dict[str, float]]:
        images, labels = self.images[some], self.labels[some]
        if (kept := self.parts.read(stage, some)) is not None:
            found, spent, same = kept
            found = Attacked(found.images.to(self.images), found.step.to(self.images.device))
            # What rounding alone had broken on another device is attacked anew.
            if same or torch.equal(found.step >= 0, self.victim.predict(found.images) != labels):
                return found, spent
        images = images.double() if stage.wide else images
        began = time.perf_counter()
        before = victim.forwards, victim.backwards
        with surrogate_backward(victim.model, on=stage.surrogate):
            found = stage.known(victim, images, labels, threat, seed=self.seed, **stage.options)
        found.images = threat.project(found.images.to(self.images.dtype), self.images[some])
        spent = {
            "seconds": time.perf_counter() - began,
            "forwards": victim.forwards - before[0],
            "backwards": victim.backwards - before[1],
        }
        self.parts.write(stage, some, found, spent)
        return found, spent

    def _won(self, found: Attacked, some: Tensor, threat: Threat) -> Tensor:
        """Which images the network takes for another class: asked again, whatever the attack says."""
        away = threat.distance(found.images, self.images[some])
        low, high = (found.images.amin(), found.images.amax()) if len(some) else (0.0, 1.0)
        if bool((away > threat.radius + SLACK * max(1.0, threat.radius)).any()) or low < 0 or high > 1:
            raise RuntimeError(f"an attack gave images outside of {threat} or of [0, 1]: an error of its own")
        return self.victim.predict(found.images) != self.labels[some]

    def _note(self, stage: Stage, some: Tensor, found: Attacked, won: Tensor) -> None:
        new = won & self.robust[some]
        places = some[new]
        self.adversarial[places] = found.images[new]
        stands = ~won & self.robust[some]  # of what still stands, the last attempt is kept
        self.adversarial[some[stands]] = found.images[stands]
        self.robust[places] = False
        away = self.threat.distance(found.images, self.images[some]).cpu()
        at = some[won].cpu()
        self.distance[at] = torch.minimum(self.distance[at], away[won.cpu()])
        for place, step in zip(places.tolist(), found.step[new].tolist(), strict=True):
            self.broken_by[place] = stage.name
            self.step[place] = step

    def result(self, suite: Suite) -> Robustness:
        """All of it."""
        return Robustness(
            threat=self.threat, suite=suite.name, seed=self.seed, clean=self.clean.cpu(),
            robust=self.robust.cpu(), broken_by=self.broken_by, step=self.step, distance=self.distance,
            labels=self.labels.cpu(), logits=self.logits.cpu(), adversarial=self.adversarial.cpu(),
            stages=self.stages,
        )  # fmt: skip


def _budget(stage: Stage) -> int:
    """The number of the last step of an attack, as its results count them; 0: it has no steps."""
    options = stage.settings
    return int(options.get("queries", options.get("steps", 0)))


def _checked_input(images: Tensor, labels: Tensor, victim: Victim) -> tuple[Tensor, Tensor]:
    if images.ndim != 4 or not images.dtype.is_floating_point:
        raise ValueError(
            f"images of shape {tuple(images.shape)} and type {images.dtype} received; needed: (B, C, H, W) of"
            " floating point, pixels in [0, 1]"
        )
    if images.dtype in (torch.float16, torch.bfloat16):
        raise ValueError(
            f"images in {images.dtype} received; needed: float32 or wider, as an attack's steps vanish in"
            " half precision"
        )
    if not len(images):
        raise ValueError("no image received; needed: at least one")
    low, high = float(images.min()), float(images.max())
    if not (low >= 0 and high <= 1):
        raise ValueError(
            f"pixels from {low:.4g} to {high:.4g} received; needed: 0 to 1; what normalises them belongs into"
            " the network"
        )
    if labels.shape != images.shape[:1] or labels.dtype.is_floating_point or labels.dtype == torch.bool:
        raise ValueError(
            f"labels of shape {tuple(labels.shape)} and type {labels.dtype} received for {len(images)}"
            f" images; needed: ({len(images)},) whole numbers"
        )
    like = victim.like
    return images.detach().to(like), labels.detach().to(like.device, torch.int64)


def _check_labels(labels: Tensor, classes: int) -> None:
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= classes:
        raise ValueError(
            f"labels from {low} to {high} received for a network of {classes} classes; needed: 0 to"
            f" {classes - 1}"
        )


def _has_bytes(value: Any) -> bool:
    """Whether this is a plain tensor: a state may also hold packed or sparse ones, and other things."""
    return isinstance(value, Tensor) and value.layout == torch.strided and not value.is_quantized


def _digest(tensor: Tensor) -> str:
    own = tensor.detach().cpu().contiguous().flatten()
    return hashlib.sha256(own.view(torch.uint8).numpy().tobytes()).hexdigest()
