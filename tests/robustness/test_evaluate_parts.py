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
    """A network whose logits are as far off as another device's, or farther."""

    def __init__(self, off: float) -> None:
        super().__init__()
        self.inner, self.off = honest("linear"), off

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.inner(x)
        return logits + self.off * logits.detach().abs().max() * torch.linspace(-1, 1, logits.shape[1])


@pytest.mark.parametrize(("off", "taken"), [(3e-6, True), (3e-3, False)])
def test_an_evaluation_goes_on_on_another_device(tmp_path: Path, off: float, taken: bool):
    """What was broken there is asked again here; another network's parts are not taken."""
    _, seconds = again(tmp_path)
    kept = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    moved, spent = again(tmp_path, model=Elsewhere(off).eval())
    assert (spent == seconds) == taken
    assert ({path.name: path.read_bytes() for path in tmp_path.iterdir()} == kept) == taken
    wrong = Elsewhere(off)(moved.adversarial).argmax(1) != data()[1]
    assert torch.equal(wrong, ~moved.robust)


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
