"""Evaluations that go on after a kill, and the parts that they keep."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from evaluations import SHORT, data, same
from network_zoo import THREAT, honest
from safetensors.torch import save_file

from decoupled_nets.robustness import Robustness, Stage, Suite, evaluate

SCRIPT = """
import os, signal, sys
sys.path.insert(0, {tests!r})
import torch
torch.set_num_threads(1)
from network_zoo import THREAT, honest, pictures
from evaluations import SHORT
from decoupled_nets.robustness import evaluate
done = 0
def advance(units):
    global done
    done += 1
    if done == {after}:
        os.kill(os.getpid(), signal.SIGKILL)
evaluate(honest("linear"), *pictures(48, seed=2), THREAT, SHORT, batch_size=16, checks=False,
         state={state!r}, advance=advance)
"""


def test_it_goes_on_after_a_kill(tmp_path: Path):
    whole = evaluate(honest("linear"), *data(), THREAT, SHORT, batch_size=16, checks=False)
    state = tmp_path / "state"
    script = SCRIPT.format(tests=str(Path(__file__).parent), after=12, state=str(state))
    path = os.pathsep.join([str(Path(__file__).parents[2] / "src"), os.environ.get("PYTHONPATH", "")])
    env = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    kept = {p.name: p.read_bytes() for p in state.iterdir()}
    assert 3 <= len(kept) < 20
    same(whole, evaluate(honest("linear"), *data(), THREAT, SHORT, batch_size=16, checks=False, state=state))
    assert all((state / name).read_bytes() == content for name, content in kept.items())


def again(state: Path, **changes: Any) -> tuple[Robustness, float]:
    """The evaluation, and how many images went through the network in its attacks."""
    given = {"model": honest("linear"), "threat": THREAT, "seed": 0, **changes}
    images, labels = data()
    one = evaluate(
        given["model"], images, labels, given["threat"], "pgd,apgd-dlr", seed=given["seed"], checks=False,
        state=state,
    )  # fmt: skip
    return one, sum(stage.seconds for stage in one.stages)


def test_parts_are_taken_only_where_they_belong(tmp_path: Path):
    first, seconds = again(tmp_path)
    second, taken = again(tmp_path)
    same(first, second)
    assert taken == seconds  # what it took, not what reading took
    for changes in ({"seed": 1}, {"threat": "linf:0.05"}, {"model": honest("cnn")}):
        alone, _ = again(tmp_path / "elsewhere", **changes)
        same(alone, again(tmp_path, **changes)[0])


class Elsewhere(torch.nn.Module):
    """A network on another device: its second logits are off, and it may know the images as they are."""

    def __init__(self, off: float = 0.0, known: torch.Tensor | None = None, masked: float = 0.0) -> None:
        super().__init__()
        self.inner, self.off, self.known, self.masked = honest("linear"), off, known, masked

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.inner(x)
        logits = logits + self.off * torch.linspace(-1, 1, logits.shape[1])
        if self.known is not None:
            changed = (x.flatten(1)[:, None] != self.known.flatten(1)).any(2).all(1)
            right = torch.nn.functional.one_hot(honest("linear")(self.known).argmax(1), logits.shape[1])
            nearest = torch.cdist(x.flatten(1), self.known.flatten(1)).argmin(1)
            logits = torch.where(changed[:, None], logits + 1e3 * right[nearest], logits)
        if self.masked:
            logits = torch.cat([logits, logits.new_full((len(logits), 1), self.masked)], 1)
        return logits


def kept_in(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize(("off", "taken"), [(1e-6, True), (3e-2, False)])
def test_an_evaluation_continues_where_logits_differ_by_rounding(tmp_path: Path, off: float, taken: bool):
    first, seconds = again(tmp_path, model=Elsewhere().eval())
    kept = kept_in(tmp_path)
    moved, spent = again(tmp_path, model=Elsewhere(off).eval())
    assert (spent == seconds) == taken
    assert (kept_in(tmp_path) == kept) == taken
    assert torch.equal(moved.adversarial, first.adversarial) == taken


def test_what_was_broken_elsewhere_is_asked_again(tmp_path: Path):
    """A network that answers rightly to all that was found: neither broken nor with a step of it."""
    first, _ = again(tmp_path, model=Elsewhere().eval())
    assert (first.clean & ~first.robust).any()
    moved, _ = again(tmp_path, model=Elsewhere(1e-6, known=data()[0]).eval())
    assert torch.equal(moved.robust, moved.clean)
    assert (moved.step == -1).all()
    assert all((stage.steps == -1).all() for stage in moved.stages)


@pytest.mark.parametrize("masked", [0.0, -9.7e4])
def test_parts_of_other_weights_are_not_taken(tmp_path: Path, masked: float):
    """Also where a class that is ruled out makes every other logit look like rounding."""
    other = Elsewhere(masked=masked).eval()
    other.inner = honest("cnn")
    again(tmp_path, model=Elsewhere(masked=masked).eval())
    same(again(tmp_path, model=other)[0], again(tmp_path / "alone", model=other)[0])


def test_parts_of_the_same_weights_with_other_answers_are_not_taken(tmp_path: Path):
    """What is no weight, a temperature or another number of classes, shows in the logits."""
    again(tmp_path, model=Elsewhere().eval())
    for changed in (Elsewhere(off=3e-2, masked=-9.7e4), Elsewhere(masked=-9.7e4)):
        own = changed.eval()
        same(again(tmp_path, model=own)[0], again(tmp_path / "alone", model=own)[0])


@pytest.mark.parametrize("damage", ["cut", "noise", "empty", "foreign", "moved"])
def test_damaged_parts_are_made_anew(tmp_path: Path, damage: str):
    whole, _ = again(tmp_path)
    parts = sorted(tmp_path.iterdir())
    assert len(parts) == 2
    content = parts[0].read_bytes()
    if damage == "moved":
        parts[0].write_bytes(parts[1].read_bytes())
    elif damage == "foreign":
        save_file({"weight": torch.zeros(3)}, parts[0])
    else:
        cut = {"cut": content[: len(content) // 2], "noise": os.urandom(5000), "empty": b""}
        parts[0].write_bytes(cut[damage])
    same(whole, again(tmp_path)[0])


def test_a_part_of_another_stage_or_of_more_steps_is_not_taken(tmp_path: Path):
    def run(steps: int, state: Path | None) -> Robustness:
        suite = Suite("own", (Stage("pgd", every=True, options={"steps": steps}),), "")
        return evaluate(honest("cnn"), *data(), THREAT, suite, checks=False, state=state)

    run(1, tmp_path)
    same(run(10, None), run(10, tmp_path))
