"""What is kept of a comparison or a reproduction for the pages."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from decoupled_nets.compare import CompareConfig, compare
from decoupled_nets.reports.results import Results


def test_a_comparison(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import keep_results

    monkeypatch.setattr("decoupled_nets.compare.run.write_report", lambda results, folder: [])
    monkeypatch.setattr("decoupled_nets.compare.jobs.costs_of", lambda *args: [])
    config = CompareConfig.of(
        data="synthetic", operators="conv,tanh-cos,ball-cos", width=0.03, epochs=1, batch_size=32,
        train_size=64, val_size=20, test_size=40, seeds=2, feature_epochs=0, image_size=25, jobs=1, workers=0,
        accelerator="cpu", lr=0.01,
    )  # fmt: skip
    results, _ = compare(config, tmp_path / "runs", quiet=True)
    found = json.loads(keep_results.keep(tmp_path / "runs", tmp_path / "kept.json").read_text())
    for name in results.operators:
        assert found["ours"][name] == pytest.approx([100 * run.test.value for run in results.of(name)])
        assert found["training_loss"][name] == [run.history[-1].train_loss for run in results.of(name)]
    assert found["seeds"] == [0, 1]
    assert found["data"]["digest"] == results.data["digest"]
    assert found["environment"] == results.environment
    own = found["differences"]["conv"]
    for name, one in results.differences.items():
        assert own[name]["ours"] == pytest.approx(100 * one.mean)
        assert one.interval is not None
        assert own[name]["interval"] == pytest.approx([100 * end for end in one.interval])
        assert own[name]["sees"] == pytest.approx(100 * one.detectable)
    other = found["differences"]["ball-cos"]
    assert set(other) == {"conv", "tanh-cos"}
    assert other["conv"]["ours"] == pytest.approx(-own["ball-cos"]["ours"])
    assert found["command"] == Results.load(tmp_path / "runs" / "results.json").config["command"]


def test_a_reproduction_and_the_names_of_folders(tmp_path: Path) -> None:
    import keep_results

    sizes = {"train_size": 3, "val_size": 2, "test_size": 1}
    data = {"name": "mine", **sizes, "image_size": [4, 4], "in_chans": 1}
    kept = {
        "command": f"decoupled reproduce cvpr2018-table2 --data '{tmp_path}/my images' --seeds 3",
        "data": {**data, "digest": "d", "found": {"where": str(tmp_path)}},
        "options": {"data": f"{tmp_path}/my images", "lr": 0.1, "threat": "linf:8/255"},
        "ours": {"error": {"conv": [1.0]}},
    }
    (tmp_path / "reproduction.json").write_text(json.dumps(kept))
    found = json.loads(keep_results.keep(tmp_path, tmp_path / "kept.json").read_text())
    assert found == {
        "command": "decoupled reproduce cvpr2018-table2 --data 'my images' --seeds 3",
        "data": {**data, "digest": "d"},
        "options": {"data": "my images", "lr": 0.1, "threat": "linf:8/255"},
        "ours": {"error": {"conv": [1.0]}},
    }
    words = "--threat linf:8/255 --data={} --variants 'a: operator=conv'"
    assert keep_results.without_folders(f"decoupled compare {words.format('/a/b')}") == (
        f"decoupled compare {words.format('b')}"
    )
    counted = {"command": "decoupled reproduce cvpr2021-table4-5", "data": {}, "options": {"a": {"x": 1}}}
    (tmp_path / "reproduction.json").write_text(json.dumps(counted))
    assert json.loads(keep_results.keep(tmp_path, tmp_path / "kept.json").read_text()) == counted
