"""Every option of the benchmarks, by what is measured."""

from __future__ import annotations

import json

import pytest
import torch
from proofs import proves

from decoupled_nets import DecoupledConv2d, unregister_magnitude
from decoupled_nets.bench import BenchConfig, DdfBenchConfig, conv, ddf, run
from decoupled_nets.bench.cases import LayerCase
from decoupled_nets.cli.main import main


@pytest.fixture
def fields(monkeypatch):
    """What takes part in each comparison, and in how many rounds; nothing is timed."""
    seen = []

    def compare(modules, case, x, rounds):
        seen.append((list(modules), x, rounds))
        return [(None, None, None)] * len(modules)

    monkeypatch.setattr(conv, "compare", compare)
    monkeypatch.setattr(ddf, "compare", compare)
    return seen


SHAPE = LayerCase(2, 3, 4, 6)


def measured(**options) -> list[str]:
    return [one.convolution for one in conv.measure(0, "cnn9", SHAPE, BenchConfig(**options))]


@proves(BenchConfig, "grid", "batch_size", "width")
def test_grid_batch_size_and_width():
    first, *_ = BenchConfig(batch_size=16, width=0.5).cases
    assert first == ("cnn9", LayerCase(16, 3, 64, 32, input_gradient=False))
    first, *more = BenchConfig(grid="imagenet", batch_size=16, width=0.5).cases
    assert first == ("imagenet", LayerCase(2, 64, 64, 56))
    assert [case.batch for _, case in more] == [2, 2]
    assert {name for name, _ in BenchConfig(grid="batch1,networks").cases} == {"batch1", "networks"}


@proves(BenchConfig, "operators", "paths")
def test_operators_and_paths(fields):
    assert measured(operators="ball-cos") == ["nn.Conv2d again", "ball-cos"]
    assert measured(operators="ball-cos,tanh-cos", paths="composed,layer") == [
        "nn.Conv2d again", "ball-cos (composed)", "ball-cos", "tanh-cos (composed)", "tanh-cos",
    ]  # fmt: skip
    (modules, _, _) = fields[1]
    assert [type(module).__name__ for module in modules[2:4]] == ["Composed", "DecoupledConv2d"]
    assert str(modules[3].operator) == "ball-cos"


@proves(BenchConfig, "rounds", "radius")
def test_rounds_and_radius(fields):
    measured(rounds=3, operators="ball-cos", radius="relative")
    measured(rounds=5, operators="ball-cos")
    assert [rounds for _, _, rounds in fields] == [3, 5]
    layers = [next(m for m in modules if isinstance(m, DecoupledConv2d)) for modules, _, _ in fields]
    assert [layer.relative is not None for layer in layers] == [True, False]


@proves(BenchConfig, "plugin")
def test_plugin(fields, tmp_path, monkeypatch):
    monkeypatch.setattr(run, "png", lambda figure: b"")
    monkeypatch.setattr(run, "ratios", lambda measured: None)
    path = tmp_path / "measured.py"
    path.write_text(
        "import decoupled_nets as dn\n"
        "dn.register_magnitude('of_bench', lambda norm, radius, alpha, beta: alpha * norm / radius)\n"
    )
    words = [
        "bench",
        "--operators",
        "of_bench-cos",
        "--grid",
        "imagenet",
        "--width",
        "0.01",
        "--batch-size",
        "1",
    ]
    words += ["--paths", "released", "--out", str(tmp_path)]
    assert main(words) == 2
    try:
        assert main([*words, "--plugin", str(path)]) == 0
    finally:
        unregister_magnitude("of_bench")
    rows = json.loads((tmp_path / "conv.json").read_text())["measured"]
    assert "of_bench-cos (released)" in [row["convolution"] for row in rows]


@proves(DdfBenchConfig, "grid", "batch_size", "width", "size", "channels_last")
def test_cases_of_dynamic_filters():
    (name, case), *_ = DdfBenchConfig(batch_size=4, width=0.5, size=0.25, channels_last=True).cases
    assert (name, case.kind, case.batch, case.channels, case.size) == ("op", "op", 4, 32, 14)
    assert case.input().is_contiguous(memory_format=torch.channels_last)
    assert (
        not DdfBenchConfig(batch_size=4).cases[0][1].input().is_contiguous(memory_format=torch.channels_last)
    )
    ((name, case),) = DdfBenchConfig(grid="upsample", batch_size=4).cases
    assert (name, case.kind, case.batch) == ("upsample", "upsample", 2)


@proves(DdfBenchConfig, "rounds", "paths")
def test_rounds_and_paths_of_dynamic_filters(fields):
    for rounds, paths in ((3, "unfold"), (4, "op,composed")):
        config = DdfBenchConfig(batch_size=1, width=0.05, size=0.1, rounds=rounds, paths=paths)
        rows = ddf.measure(0, "op", config.cases[-1][1], config)
        ours = [row.convolution for row in rows if row.operator == "ddf"]
        assert ours == {3: ["ddf (unfold)"], 4: ["ddf", "ddf (composed)"]}[rounds]
        assert fields[-1][2] == rounds
