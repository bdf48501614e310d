"""The option that says what the networks learn."""

from __future__ import annotations

import pytest
from proofs import proves

from decoupled_nets.cli.data import ShowConfig
from decoupled_nets.cli.main import main
from decoupled_nets.compare import CompareConfig
from decoupled_nets.tasks import find_task, tasks
from decoupled_nets.training import TrainConfig


class Asked(Exception):
    """Brings the data out that is asked for."""


@pytest.fixture
def toy(monkeypatch):
    """A task of a test: it says what it is asked for."""

    class Toy(find_task("classify")):
        name, model = "toy", "cifar_vgg11"

        @classmethod
        def load(cls, config):
            raise Asked(config)

        describe = load

    monkeypatch.setitem(tasks(), "toy", Toy)


@proves(TrainConfig, "task")
@proves(CompareConfig, "task")
@proves(ShowConfig, "task")
@pytest.mark.parametrize("command", ["train", "compare", "data"])
def test_the_task_chooses_data_and_network(command, toy, tmp_path, capsys):
    own = [] if command == "data" else ["--out", str(tmp_path)]
    with pytest.raises(Asked) as asked:
        main([command, "--task", "toy", "--data", "synthetic", *own])
    assert asked.value.args[0].data == "synthetic"
    assert main([command, "--task", "tyo", *own]) == 2
    assert "unknown task 'tyo' (did you mean 'toy'?)" in capsys.readouterr().err


def test_the_task_has_a_network_of_its_own(toy):
    for kind in (TrainConfig, CompareConfig):
        assert kind(task="toy").network.model == "cifar_vgg11"
        assert kind.of(task="toy", model="cnn9").network.model == "cnn9"
        assert kind().network.model == "cnn9"


def test_attacks_are_on_classifiers(toy):
    find = tasks()["toy"]
    find.sections = ()
    with pytest.raises(ValueError, match=r"attack_images = 5 received; needed: 0, .* the task is toy"):
        CompareConfig(task="toy", attack_images=5)
