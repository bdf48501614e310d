"""Dynamic filters are checked and measured in every grid; no test asserts a time."""

import dataclasses

import pytest
import torch
from torch import nn

from decoupled_nets.bench import DdfBenchConfig, bench_ddf, conv, ddf
from decoupled_nets.bench.ddf_cases import DDF_GRIDS, FilterCase
from decoupled_nets.bench.ddf_check import check_reference, check_right
from decoupled_nets.bench.ddf_paths import PATHS, Filtering, random_filtering, unfolded_ddf
from decoupled_nets.ops.dynamic.reference import ddf_reference
from decoupled_nets.reports.bench_results import BenchResults
from decoupled_nets.reports.bench_tables import bench_tables

TINY = DdfBenchConfig(batch_size=2, width=0.05, size=0.1, rounds=2)
OURS = ["ddf", "ddf (unfold)", "ddf (composed)"]
NAMES = {
    "op": ["depth-wise", "nn.Conv2d", *OURS],
    "kernels": ["depth-wise", "nn.Conv2d", *OURS],
    "module": ["depth-wise", "nn.Conv2d", *OURS],
    "upsample": ["nn.ConvTranspose2d", "conv + shuffle", "ddf", "ddf (composed)"],
    "networks": ["timm resnet50", "ddf", "ddf (composed)"],
}


@pytest.fixture(autouse=True)
def short_steps(monkeypatch):
    monkeypatch.setattr(conv, "LEAST_SECONDS", 0.0)


class Wrong(nn.Module):
    def __init__(self, own, change):
        super().__init__()
        self.own, self.change = own, change

    def forward(self, x):
        return self.change(self.own(x))


@pytest.mark.parametrize("grid", DDF_GRIDS)
def test_every_grid(grid, tmp_path):
    config = dataclasses.replace(TINY, grid=grid)
    results, paths = bench_ddf(config, tmp_path, quiet=True)
    assert [path.name for path in paths] == ["ddf.json", "ddf.png"]
    assert paths[1].read_bytes().startswith(b"\x89PNG")
    assert BenchResults.from_json(paths[0].read_text(encoding="utf-8")) == results
    assert results.finished
    baseline, *others = NAMES[grid]
    assert [m.convolution for m in results.measured] == [f"{baseline} again", *others] * len(config.cases)
    for one in results.measured:
        case = config.cases[one.number][1]
        assert (one.baseline, one.label, one.case) == (baseline, str(case), dataclasses.asdict(case))
        assert (one.forward is None) == (grid == "networks" and case.training)
        assert (one.both is None) == (one.kept is None) == (not case.training)
    assert f"relative to {baseline}" in bench_tables(results.measured)[0].caption


def test_the_op_has_means_and_its_memory_is_that_of_its_filters(tmp_path):
    results, _ = bench_ddf(dataclasses.replace(TINY, channels_last=True), tmp_path, quiet=True)
    case = results.measured[0].case
    assert case["memory_format"] == "channels_last"
    maps = case["channels"] * case["size"] ** 2
    filters = 9 * (case["channels"] + case["size"] ** 2)
    kept = next(m.kept for m in results.measured if m.convolution == "ddf")
    assert kept == pytest.approx((2 * maps + filters) / (2 * maps))
    assert [mean["layers"] for mean in _summary(results)] == [4] * 5


def _summary(results):
    from decoupled_nets.reports.bench_results import summarise

    return [dataclasses.asdict(mean) for mean in summarise(results.measured)]


@pytest.mark.parametrize("kernel", [3, 5, 7])
def test_unfold_is_the_reference(kernel, near):
    own = random_filtering(2, 3, 6, kernel)
    x = torch.randn(2, 3, 6, 6)
    with torch.no_grad():
        near(unfolded_ddf(x, own.channel, own.spatial), ddf_reference(x, own.channel, own.spatial).float())
    check_reference(FilterCase("op", 2, 3, 6, kernel))


@pytest.mark.parametrize("kind", ["op", "module", "upsample"])
def test_wrong_results_are_caught(kind):
    case = FilterCase(kind, 2, 6, 6)
    own = case.own()
    check_right(own, own, case)
    with pytest.raises(AssertionError, match="response is wrong"):
        check_right(Wrong(own, lambda y: 1.01 * y), own, case)
    with pytest.raises(AssertionError, match=r"gradient of shape .* is wrong"):
        check_right(Wrong(own, lambda y: 2 * y - y.detach()), own, case)


def test_a_wrong_network_is_caught():
    case = dataclasses.replace(TINY, grid="networks").cases[0][1]
    own = case.own()
    with pytest.raises(AssertionError, match="response is wrong"):
        check_right(Wrong(own, lambda y: 1.1 * y), own, case)


def test_a_wrong_path_is_not_measured(tmp_path, monkeypatch):
    monkeypatch.setitem(PATHS, "unfold", lambda own: Wrong(own, torch.neg))
    with pytest.raises(AssertionError, match="response is wrong"):
        bench_ddf(TINY, tmp_path, quiet=True)
    assert not (tmp_path / "ddf.json").exists()


def test_the_real_sizes():
    config = DdfBenchConfig(grid="all")
    cases = [case for _, case in config.cases]
    assert [(c.batch, c.channels, c.size, c.kernel) for c in cases[:4]] == [
        (16, 64, 56, 3), (16, 128, 28, 3), (16, 256, 14, 3), (16, 512, 7, 3)
    ]  # fmt: skip
    assert [(c.batch, c.size, c.training) for c in cases[-3:]] == [
        (1, 224, False), (8, 224, False), (8, 224, True)
    ]  # fmt: skip
    assert (cases[-4].kind, cases[-4].batch, cases[-4].channels, cases[-4].size) == ("upsample", 8, 64, 56)
    assert all(ddf.estimate(case, config) >= 1 for case in cases)


def test_given_filters_have_gradients():
    own = random_filtering(1, 2, 4, 3)
    assert isinstance(own, Filtering)
    assert own.channel.requires_grad
    assert own.spatial.requires_grad
    assert not list(own.parameters())


@pytest.mark.slow
def test_the_compiled_path(tmp_path, monkeypatch):
    whole = DdfBenchConfig.cases.fget
    monkeypatch.setattr(DdfBenchConfig, "cases", property(lambda config: whole(config)[:1]))
    config = dataclasses.replace(TINY, paths="compiled")
    results, _ = bench_ddf(config, tmp_path, quiet=True)
    assert {m.convolution for m in results.measured if m.operator == "ddf"} == {"ddf (compiled)"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"grid": "ops"}, "did you mean 'op'?"),
        ({"grid": "op,op"}, "needed: each once"),
        ({"paths": "layer"}, "known: op, unfold, composed, compiled"),
        ({"rounds": 1}, "needed: at least 2"),
        ({"batch_size": 0}, "needed: at least 1"),
        ({"width": 0.0}, "needed: a positive number"),
        ({"size": -1.0}, "needed: a positive number"),
    ],
)
def test_errors(options, message):
    with pytest.raises(ValueError, match=message):
        DdfBenchConfig(**options)
