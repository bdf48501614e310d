"""Variants: any options of a training side by side, each in folders that say which."""

from __future__ import annotations

from pathlib import Path

import pytest

from decoupled_nets.compare import CompareConfig, compare
from decoupled_nets.compare.jobs import runs_of
from decoupled_nets.compare.variants import spelled, variants
from decoupled_nets.experiment import job
from decoupled_nets.reports.results import Results

SMALL = {
    "data": "synthetic", "width": 0.03, "epochs": 1, "batch_size": 32, "train_size": 64, "val_size": 20,
    "test_size": 20, "feature_epochs": 0,
}  # fmt: skip


def test_a_variant_has_its_options_and_shares_all_others() -> None:
    text = "plain: operator=conv; sharp: operator=ball-cos relu=false lr=0.5 radius=learned weighting=none"
    config = CompareConfig.of(variants=text, lr=0.1, width=0.5)
    plain, sharp = (config.run(label, 3) for label in config.names)
    assert (plain.operator, plain.network.relu, plain.optim.lr, plain.network.radius) == (
        "conv", True, 0.1, "relative",
    )  # fmt: skip
    assert (sharp.operator, sharp.network.relu, sharp.optim.lr, sharp.network.radius) == (
        "ball-cos", False, 0.5, "learned",
    )  # fmt: skip
    assert sharp.network.weighting is None
    assert plain.network.width == sharp.network.width == 0.5
    assert plain.machine.seed == sharp.machine.seed == 3


def test_without_an_operator_a_variant_has_the_usual_one_of_its_network() -> None:
    config = CompareConfig.of(variants="a: ; b: model=ddf_cifar_resnet26")
    assert [config.run(label, 0).operator for label in config.names] == ["tanh-cos", "ddf"]


def test_folders_carry_the_label_and_the_options_and_those_of_operators_stay_as_they_are() -> None:
    def names(**options: object) -> list[str]:
        return [one.name for one in runs_of(CompareConfig.of(**options))]

    assert names(operators="conv,tanh-cos") == ["runs/conv-seed0", "runs/tanh-cos-seed0"]
    assert names(variants="conv: operator=conv; p: project_every=100") == [
        "runs/conv-operator=conv-seed0",
        "runs/p-operator=tanh-cos-project_every=100-seed0",
    ]
    # What cannot stand in a name is replaced, and told apart all the same.
    one, other = (names(variants=f"p: model=timm:resnet18 select='layer3.*{end}'")[0] for end in ("/", "*"))
    assert one != other
    assert "/" not in one.removeprefix("runs/")


def test_texts_are_read_as_they_were_spelled() -> None:
    chosen = {
        "a": {"operator": "conv", "relu": False, "select": "stages=3, linear"},
        "b": {"operator": "", "weighting": None, "lr": 0.001},
    }
    assert {one.label: one.options for one in variants(spelled(chosen))} == chosen


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"variants": "plain"}, "needed: a label of letters"),
        ({"variants": "a b: "}, "needed: a label of letters"),
        ({"variants": "a: ; a: lr=1"}, "needed: each label once"),
        ({"variants": "a: lr"}, "needed: an option and its value"),
        ({"variants": "a: lr=fast"}, "variants: lr = 'fast' received; needed: a number"),
        ({"variants": "a: seed=3"}, "unknown option of a variant 'seed'"),
        ({"variants": "a: test_size=3"}, "unknown option of a variant 'test_size'"),
        ({"variants": "a: weights=w.pth"}, "unknown option of a variant 'weights'"),
        ({"variants": "a: model=net.py:make"}, "needed: a network of ours or of a library"),
        ({"variants": "a: ; b: operator=tan-cos"}, "unknown magnitude 'tan'"),
        ({"variants": "a: ; b: lr=-1"}, "lr = -1.0 received; needed: a positive number"),
        ({"variants": "a: ", "operators": "conv"}, "needed: one of the two"),
    ],
)
def test_what_is_no_variant_is_refused(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CompareConfig.of(**options)


def test_the_same_label_with_other_options_is_never_answered_by_an_old_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[str] = []
    fit = job.fit

    def watched(module, data, machine, where, *args, **kwargs):  # type: ignore[no-untyped-def]
        trained.append(where.name)
        return fit(module, data, machine, where, *args, **kwargs)

    def compared(text: str) -> Results:
        trained.clear()
        return compare(CompareConfig.of(variants=text, **SMALL), tmp_path, quiet=True)[0]

    monkeypatch.setattr(job, "fit", watched)
    first = compared("plain: operator=conv; own: operator=tanh-cos lr=0.01")
    assert len(trained) == 2
    other = compared("plain: operator=conv; own: operator=tanh-cos lr=1e-6; more: operator=tanh-cos")
    assert trained == ["own-operator=tanh-cos-lr=1e-06-seed0", "more-operator=tanh-cos-seed0"]
    assert other.built_with == {"plain": "conv", "own": "tanh-cos", "more": "tanh-cos"}
    assert (tmp_path / "functions.png").is_file()
    assert other.operators == ["plain", "own", "more"]
    assert other.of("plain") == first.of("plain")
    assert other.of("own")[0].history[0].train_loss != first.of("own")[0].history[0].train_loss
    assert [one.operator for one in other.costs] == ["plain", "own", "more"]
    assert set(other.differences) == {"own", "more"}
    page = (tmp_path / "report.html").read_text()
    assert "Against plain:" in page
    assert "own: operator=tanh-cos lr=1e-6" in page
    assert other.config["command"].count("--variants") == 1


def test_tuning_does_not_take_away_what_a_variant_sets():
    text = "a: operator=conv lr=0.1; b: operator=conv lr=0.2"
    with pytest.raises(ValueError, match=r"tune = 'lr=1e-3,1e-2' received, and a has its own lr; needed: "):
        CompareConfig.of(variants=text, tune="lr=1e-3,1e-2")
    CompareConfig.of(variants=text, tune="weight_decay=1e-3,1e-2")
