"""Recipes: what they say is what is done, unless something else is said."""

from __future__ import annotations

import math
import re

import pytest
import yaml
from proofs import proves

from decoupled_nets._options import defaults, owners
from decoupled_nets.cli.main import main
from decoupled_nets.compare import CompareConfig
from decoupled_nets.data.cut import VALIDATION_MOST, VALIDATION_SHARE
from decoupled_nets.recipes import FORBIDDEN, recipe, recipes
from decoupled_nets.training import TrainConfig

SMALL = ["--data", "synthetic", "--train-size", "16", "--val-size", "8", "--test-size", "8"]
PRECIOUS = {"seed", "accelerator", "strategy", "workers", "memory", "checkpoint_minutes", "task", "operator"}


def test_there_are_these():
    assert list(recipes()) == [
        "adversarial", "adversarial_pgd", "airbench", "cnn9", "ddf_resnet50", "ddfnet", "finetune",
        "modified_resnet18", "resnet32", "trades",
    ]  # fmt: skip


@pytest.mark.parametrize("name", recipes())
def test_each_is_options_of_a_training_with_its_source(name):
    options = recipe(name)
    assert options.keys() <= owners(TrainConfig).keys() - FORBIDDEN - PRECIOUS
    TrainConfig.of(**options)
    CompareConfig.of(recipe=name)
    comment = [line[2:] for line in recipes()[name].splitlines() if line.startswith("# ")]
    assert len(comment) >= 4
    assert re.search(r"20\d\d", " ".join(comment)) or "released code" in " ".join(comment)
    assert any(word in " ".join(comment) for word in ("Left out", "What differs", "also shifted"))
    assert len(set(re.findall(r"^(\w+):", recipes()[name], re.M))) == len(options)


def text_of(name: str) -> str:
    """What a recipe says in its comments."""
    return " ".join(line[2:] for line in recipes()[name].splitlines() if line.startswith("# "))


def test_what_was_measured_is_the_recipe():
    made = TrainConfig.of(recipe="airbench")
    assert (made.network.width, made.optim.epochs, made.optim.lr) == (0.5, 16, 0.01)
    assert text_of("airbench").startswith(
        "A short training on CIFAR-10. Measured once, on an H100: 83 seconds in all, 90.6 % test accuracy"
    )
    assert "half the width" in text_of("airbench")


@pytest.mark.parametrize("name", recipes())
def test_a_recipe_names_nothing_that_its_choices_ignore(name):
    assert TrainConfig.of(recipe=name).ignored == []


def test_the_papers_trainings():
    """Numbers of steps and the learning rates on them, as the papers have them."""
    steps = {
        "cnn9": (64_000, 50_000),
        "resnet32": (42_500, 50_000),
        "modified_resnet18": (700_000, 1_281_167),
    }
    for name, (whole, images) in steps.items():
        config = TrainConfig.of(recipe=name).optim
        left = images - min(round(VALIDATION_SHARE * images), VALIDATION_MOST)  # by default
        made = config.epochs * math.ceil(left / config.batch_size)
        assert made == pytest.approx(whole, rel=0.005)
        assert f"{config.epochs} epochs of them are {made:,} steps" in text_of(name)
        falls = {
            "cnn9": [34_000, 54_000],
            "resnet32": [20_000, 30_000, 37_500],
            "modified_resnet18": [200_000, 375_000, 550_000],
        }[name]
        assert [at * whole for at in config.fractions] == pytest.approx(falls, rel=1e-4)
    ddf = TrainConfig.of(recipe="ddf_resnet50")
    assert (ddf.optim.lr, ddf.optim.final_lr, ddf.optim.batch_size) == (0.1, 1e-5, 256)
    assert (ddf.optim.epochs, ddf.optim.weight_decay, ddf.operator) == (120, 1e-4, "ddf")
    released = TrainConfig.of(recipe="ddfnet")
    assert (released.optim.warmup * released.optim.epochs) == pytest.approx(5, abs=1e-3)
    assert (released.data.randaugment, released.data.random_erasing, released.data.color_jitter) == (
        7,
        0.4,
        0.4,
    )


@proves(TrainConfig, "recipe")
def test_a_recipe_stands_for_its_options_and_what_is_given_goes_before():
    usual, made = TrainConfig(), TrainConfig.of(recipe="resnet32", lr=0.5)
    assert (made.optim.lr, made.optim.epochs, made.network.model) == (0.5, 121, "resnet32")
    assert made.recipe == "resnet32"
    assert usual.recipe is None
    assert TrainConfig.of(**made.flat()) == made
    with pytest.raises(
        ValueError, match=r"unknown recipe 'resnet' \(did you mean 'resnet32'\?\); known: adversarial"
    ):
        TrainConfig.of(recipe="resnet")


@pytest.fixture
def printed(capsys):
    def options(*words: str) -> dict:
        with pytest.raises(SystemExit) as ended:
            main([*words, "--print-config"])
        assert ended.value.code == 0
        return yaml.safe_load(capsys.readouterr().out)

    return options


@proves(TrainConfig, "recipe")
def test_command_line_file_and_recipe(printed, tmp_path):
    file = tmp_path / "own.yaml"
    file.write_text("lr: 0.25\nepochs: 7\n")
    plain, made = printed("train"), printed("train", "--recipe", "resnet32")
    assert {name: value for name, value in made.items() if plain[name] != value} == {
        name: value for name, value in recipe("resnet32").items() if plain[name] != value
    } | {"recipe": "resnet32"}
    both = printed("train", "--recipe=resnet32", "--config", str(file), "--epochs", "9")
    assert (both["lr"], both["epochs"], both["milestones"]) == (0.25, 9, recipe("resnet32")["milestones"])
    first = printed("train", "--epochs", "9", "--recipe", "resnet32")  # in whatever order
    assert (first["epochs"], first["lr"]) == (9, 0.001)
    file.write_text("recipe: resnet32\nepochs: 7\n")
    from_file = printed("train", "--config", str(file))
    assert (from_file["epochs"], from_file["model"]) == (7, "resnet32")
    again = printed("train", "--config", str(file), "--recipe", "cnn9")
    assert (again["epochs"], again["model"], again["recipe"]) == (7, "cnn9", "cnn9")
    # What is printed is a file for --config that gives the same.
    file.write_text(yaml.safe_dump(made))
    assert printed("train", "--config", str(file)) == made


def test_the_resolved_options_are_those_of_python(printed):
    for name in recipes():
        made = printed("train", "--recipe", name)
        assert TrainConfig.of(**{field: made[field] for field in owners(TrainConfig)}) == TrainConfig.of(
            recipe=name
        )


@proves(CompareConfig, "recipe")
def test_compare_by_a_recipe(printed):
    made = printed("compare", "--recipe", "cnn9", "--seeds", "2")
    assert (made["epochs"], made["width"], made["seeds"]) == (182, 1.0, 2)
    config = CompareConfig.of(recipe="cnn9", epochs=3, seeds=2)  # 3: what a comparison has by itself
    assert config.command == "decoupled compare --epochs 3 --recipe cnn9 --seeds 2"
    assert config.run("conv", 5).recipe == "cnn9"
    assert config.flat()["recipe"] == "cnn9"  # in the results


def test_the_name_and_the_values_are_kept_with_the_run(tmp_path, capsys):
    folder = tmp_path / "run"
    words = ["train", *SMALL, "--width", "0.03", "--epochs", "1", "--batch-size", "8", "--out", str(folder)]
    assert main([*words, "--recipe", "cnn9"]) == 0
    kept = yaml.safe_load((folder / "config.yaml").read_text())
    assert (kept["recipe"], kept["milestones"], kept["lr"]) == ("cnn9", "0.53125,0.84375", 0.001)
    assert main(["train", "--resume", "--out", str(folder)]) == 0
    assert main(["train", "--resume", "--recipe", "cnn9", "--out", str(folder)]) == 0
    capsys.readouterr()
    assert main(["train", "--resume", "--recipe", "resnet32", "--out", str(folder)]) == 2
    assert (
        "--recipe 'resnet32' received for a run begun with cnn9; needed: no recipe" in capsys.readouterr().err
    )


def test_an_unknown_recipe_lists_what_there_is(capsys):
    assert main(["train", "--recipe", "nothing"]) == 2
    assert ", ".join(recipes()) in capsys.readouterr().err


def test_a_recipe_names_neither_code_nor_data(monkeypatch):
    for line in ("plugin: x.py", "data: /etc"):
        monkeypatch.setattr("decoupled_nets.recipes.recipes", lambda line=line: {"bad": line})
        with pytest.raises(ValueError, match=rf"recipe bad names {line.split(':')[0]}; needed: options"):
            recipe("bad")
    assert set(defaults(TrainConfig)) >= {"recipe", "plugin", "data"}
