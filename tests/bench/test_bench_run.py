"""Benchmarks from a configuration to files; no test asserts a time."""

import dataclasses
import json

import pytest
import torch

from decoupled_nets.bench import BenchConfig, bench_conv, conv, run
from decoupled_nets.bench.grids import GRIDS
from decoupled_nets.reports.bench_results import BenchResults

TINY = BenchConfig(
    grid="imagenet", operators="tanh-cos", batch_size=2, width=0.02, rounds=2, paths="layer,composed,released"
)


@pytest.fixture(autouse=True)
def short_steps(monkeypatch):
    monkeypatch.setattr(conv, "LEAST_SECONDS", 0.0)


@pytest.fixture
def measured_numbers(monkeypatch):
    """The numbers of the cases that were measured; measuring one that `stop_at` names is interrupted."""
    numbers = []

    def measure(number, *args):
        if number == measured.stop_at:
            raise KeyboardInterrupt
        numbers.append(number)
        return conv.measure(number, *args)

    measured = measure
    measured.stop_at, measured.numbers = None, numbers
    monkeypatch.setattr(run, "measure", measure)
    return measured


def go(config, folder, **options):
    return bench_conv(config, folder, quiet=True, **options)


@pytest.mark.parametrize("grid", GRIDS)
def test_every_grid(grid, tmp_path):
    config = dataclasses.replace(TINY, grid=grid, operators="seg-sqcos")
    results, paths = go(config, tmp_path)
    assert [path.name for path in paths] == ["conv.json", "conv.png"]
    assert paths[1].read_bytes().startswith(b"\x89PNG")
    assert BenchResults.from_json(paths[0].read_text(encoding="utf-8")) == results
    assert results.finished
    names = ["nn.Conv2d again", "seg-sqcos", "seg-sqcos (composed)", "seg-sqcos (released)"]
    assert [one.convolution for one in results.measured] == names * len(config.cases)
    for one in results.measured:
        case = config.cases[one.number][1]
        assert (one.grid, one.label, one.case) == (grid, str(case), dataclasses.asdict(case))
        whole_step = grid == "networks" and case.training
        assert (one.forward is None) == whole_step
        assert (one.both is None) == (one.kept is None) == (not case.training)


def test_the_file_says_what_was_measured_and_with_what(tmp_path):
    results, paths = go(TINY, tmp_path)
    raw = json.loads(paths[0].read_text(encoding="utf-8"))
    assert raw["config"] == dataclasses.asdict(TINY)
    assert raw["environment"]["threads"] == torch.get_num_threads()
    assert "float32_matmul_precision" in raw["environment"]
    assert raw["measured"][0]["case"]["dtype"] == "float32"
    assert [mean["layers"] for mean in raw["summary"]] == [3] * 4
    assert {one.baseline for one in results.measured} == {"nn.Conv2d"}


def test_a_relative_radius_and_operators_without_one(tmp_path):
    config = dataclasses.replace(TINY, operators="linear-cos,ball-linear", radius="relative", paths="layer")
    results, _ = go(config, tmp_path)
    assert results.finished


def test_an_interrupted_benchmark_goes_on(tmp_path, measured_numbers):
    measured_numbers.stop_at = 2
    with pytest.raises(KeyboardInterrupt):
        go(TINY, tmp_path)
    partial = BenchResults.from_json((tmp_path / "conv.json").read_text(encoding="utf-8"))
    assert not partial.finished
    assert {one.number for one in partial.measured} == {0, 1}
    measured_numbers.stop_at = None
    results, _ = go(TINY, tmp_path)
    assert measured_numbers.numbers == [0, 1, 2]
    assert results.measured[: len(partial.measured)] == partial.measured
    assert results.finished


def test_a_finished_benchmark_is_measured_again_and_another_one_refused(tmp_path, measured_numbers):
    go(TINY, tmp_path)
    go(TINY, tmp_path)
    assert measured_numbers.numbers == [0, 1, 2] * 2
    other = dataclasses.replace(TINY, rounds=3)
    with pytest.raises(ValueError, match="rounds: 3 now, 2 then: add --fresh"):
        go(other, tmp_path)
    go(other, tmp_path, fresh=True)
    assert measured_numbers.numbers == [0, 1, 2] * 3


@pytest.mark.parametrize("text", ["{", "[]", '{"schema": 1}', '{"schema": 2}'])
def test_a_file_that_is_no_benchmark_is_not_replaced(text, tmp_path):
    (tmp_path / "conv.json").write_text(text)
    with pytest.raises(ValueError, match=r"cannot be read.*--fresh"):
        go(TINY, tmp_path)
    assert (tmp_path / "conv.json").read_text() == text


def test_estimates_follow_the_work():
    whole = dataclasses.replace(TINY, width=1.0, batch_size=64)
    (_, small), (_, large) = (
        dataclasses.replace(whole, batch_size=b, grid="networks").cases[0] for b in (8, 64)
    )
    assert run.estimate(small, whole) < run.estimate(large, whole)
    compiling = dataclasses.replace(whole, paths="layer,compiled")
    assert run.estimate(small, compiling) > run.estimate(small, whole) >= 1


@pytest.mark.slow
def test_compiled_ones_are_relative_to_the_compiled_plain_one(tmp_path, monkeypatch):
    whole = run.BenchConfig.cases.fget
    monkeypatch.setattr(run.BenchConfig, "cases", property(lambda config: whole(config)[:1]))
    config = dataclasses.replace(TINY, paths="layer,compiled")
    results, _ = go(config, tmp_path)
    assert [(one.convolution, one.baseline) for one in results.measured] == [
        ("nn.Conv2d again", "nn.Conv2d"),
        ("nn.Conv2d (compiled)", "nn.Conv2d"),
        ("tanh-cos", "nn.Conv2d"),
        ("tanh-cos (both compiled)", "nn.Conv2d (compiled)"),
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"grid": "imagnet"}, "did you mean 'imagenet'?.*known: cnn9, imagenet"),
        ({"grid": "cnn9,cnn9"}, "needed: each once"),
        ({"paths": "layer,kernels"}, "unknown path 'kernels'.*known: layer, composed, released, compiled"),
        ({"operators": "tanh"}, "needed: '<magnitude>-<angle>'"),
        ({"operators": "tanh-cos,tanh-cos"}, "needed: each once"),
        ({"rounds": 1}, "needed: at least 2"),
        ({"batch_size": 0}, "needed: at least 1"),
        ({"width": 0.0}, "needed: a positive number"),
    ],
)
def test_errors(options, message):
    with pytest.raises(ValueError, match=message):
        BenchConfig(**options)


def test_all_grids():
    config = dataclasses.replace(TINY, grid="all")
    assert list(dict.fromkeys(grid for grid, _ in config.cases)) == list(GRIDS)
