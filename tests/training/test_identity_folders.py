"""Folders of runs: damaged files, another command's folder, other code, what a run must not clear away."""

import json
from pathlib import Path

import pytest

from decoupled_nets._claims import take
from decoupled_nets.compare import CompareConfig
from decoupled_nets.compare.run import LEFT_BEHIND
from decoupled_nets.data import ImageData, load_data
from decoupled_nets.training import TrainConfig
from decoupled_nets.training.folder import claimed, clear, origin, origin_differences, saved

CONFIG = TrainConfig.of(data="synthetic")


@pytest.fixture(scope="module")
def data() -> ImageData:
    return load_data(CONFIG.data)


def claim(folder: Path, config: object, data: ImageData, **options: bool) -> None:
    behind = {"left_behind": LEFT_BEHIND} if isinstance(config, CompareConfig) else {}
    with claimed(folder, config, data, **{"resume": True, **options}, **behind):
        pass


@pytest.mark.parametrize("name", ["config.yaml", "data.json"])
@pytest.mark.parametrize("content", ["", '{"version": "1', "- [a"])
def test_a_damaged_file_is_named_and_can_be_restarted(
    data: ImageData, tmp_path: Path, name: str, content: str
) -> None:
    claim(tmp_path, CONFIG, data)
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=rf"{name} is damaged or empty .*--restart"):
        claim(tmp_path, CONFIG, data)
    claim(tmp_path, CONFIG, data, restart=True)
    claim(tmp_path, CONFIG, data)


def test_a_checkpoint_without_its_configuration_is_refused(data: ImageData, tmp_path: Path) -> None:
    (tmp_path / "last.ckpt").touch()
    with pytest.raises(ValueError, match=r"last.ckpt is of a run whose config.yaml is gone; --restart"):
        claim(tmp_path, CONFIG, data, resume=False)
    comparison = tmp_path / "comparison"
    (comparison / "runs" / "conv-seed0").mkdir(parents=True)
    (comparison / "runs" / "conv-seed0" / "last.ckpt").touch()
    with pytest.raises(ValueError, match=r"conv-seed0/last.ckpt is of a run whose config.yaml is gone"):
        claim(comparison, CompareConfig.of(data="synthetic"), data)


@pytest.mark.parametrize("restart", [False, True])
def test_another_commands_folder_is_neither_taken_up_nor_cleared(
    data: ImageData, tmp_path: Path, restart: bool
) -> None:
    comparison = CompareConfig.of(data="synthetic")
    own = comparison.flat()
    single = TrainConfig.of(**{name: own[name] for name in TrainConfig().flat() if name in own})
    for first, second, what in ((comparison, single, "a comparison"), (single, comparison, "a single run")):
        folder = tmp_path / what
        claim(folder, first, data)
        before = saved(folder / "config.yaml")
        with pytest.raises(ValueError, match=rf"holds {what}; needed: --out, another folder"):
            claim(folder, second, data, restart=restart)
        assert saved(folder / "config.yaml") == before


def test_restarting_a_comparison_leaves_other_runs_beside_its_own(tmp_path: Path) -> None:
    own = ["tanh-cos-seed3", "conv-features"]
    others = ["cnn9-tanh-cos-1a2b3c4d", "compare-1a2b3c4d"]
    for name in own + others:
        (tmp_path / "runs" / name).mkdir(parents=True)
    (tmp_path / "runs" / "costs-conv-tanh-cos.json").touch()
    clear(tmp_path, LEFT_BEHIND)
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == sorted(others)


def test_a_plugins_code_is_part_of_what_a_result_belongs_to(data: ImageData, tmp_path: Path) -> None:
    plugin = tmp_path / "mine.py"
    plugin.write_text("FACTOR = 1\n")
    config = TrainConfig.of(data="synthetic", plugin=str(plugin))
    claim(tmp_path / "run", config, data)
    claim(tmp_path / "run", config, data)
    then = origin(data, str(plugin))
    plugin.write_text("FACTOR = 3\n")
    with pytest.raises(ValueError, match="plugin: its code is not what it was then"):
        claim(tmp_path / "run", config, data)
    assert origin_differences(origin(data, str(plugin)), then) == ["plugin: its code is not what it was then"]
    assert not origin_differences(origin(data, "json"), json.loads(json.dumps(origin(data, "json"))))


def test_every_file_of_a_packages_code_counts(
    data: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "my_plugin"
    (package / "inner").mkdir(parents=True)
    for name in ("__init__.py", "inner/__init__.py", "inner/part.py", "notes.txt"):
        (package / name).write_text("# first\n")
    monkeypatch.syspath_prepend(tmp_path)
    digests = [origin(data, "my_plugin")["plugin"]]
    for name in ("notes.txt", "__init__.py", "inner/part.py"):
        (package / name).write_text("# second\n")
        digests.append(origin(data, "my_plugin")["plugin"])
    (package / "inner" / "part.py").rename(package / "inner" / "piece.py")
    digests.append(origin(data, "my_plugin")["plugin"])
    assert digests[0] == digests[1]
    assert len(set(digests)) == 4


def test_a_run_is_trained_by_one_at_a_time(data: ImageData, tmp_path: Path) -> None:
    with (
        claimed(tmp_path, CONFIG, data, resume=True),
        pytest.raises(ValueError, match=r"process \d+ on .* is at work in .*; needed: that it ends"),
    ):
        claim(tmp_path, CONFIG, data)
    claim(tmp_path, CONFIG, data)


def test_a_comparison_is_open_to_several(data: ImageData, tmp_path: Path) -> None:
    comparison = CompareConfig.of(data="synthetic")
    options = {"resume": True, "left_behind": LEFT_BEHIND, "shared": True}

    def fails() -> None:
        with claimed(tmp_path, comparison, data, **options):
            assert take(tmp_path / "runs" / "conv-seed0") is not None
            raise RuntimeError("one of two fails while another is at a run")

    with claimed(tmp_path, comparison, data, **options):
        with pytest.raises(RuntimeError):
            fails()
        assert (tmp_path / "config.yaml").exists()
