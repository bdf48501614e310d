"""Networks on corrupted images: counts, intervals, pairs, what is kept, and going on where it was."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from corrupt_networks import reader, stripes, trained
from grey_pictures import pictures

from decoupled_nets._statistics import wilson
from decoupled_nets.data import DataConfig, load_data
from decoupled_nets.evaluation import corrupt as room
from decoupled_nets.evaluation import corrupt_images, corrupt_page, corrupt_tables
from decoupled_nets.evaluation.corrupt import corrupt
from decoupled_nets.evaluation.corrupt_config import CorruptConfig
from decoupled_nets.evaluation.corrupt_page import write_page
from decoupled_nets.evaluation.corrupted import CLEAN
from decoupled_nets.robustness.corruptions import corrupt as corrupted_images
from decoupled_nets.robustness.corruptions import corruptions

FEW = {"corruptions": "brightness,contrast,gaussian_noise", "severities": "1,4", "images": 0}


def config(**options) -> CorruptConfig:
    return CorruptConfig(data=stripes(), **{**FEW, **options})


@pytest.fixture
def readers(monkeypatch):
    """Networks known without training, in the place of those at the places; no pictures are drawn."""
    monkeypatch.setattr(room, "write_page", lambda *given: [])

    def put(*targets):
        monkeypatch.setattr(room, "find_targets", lambda places: list(targets))

    put(reader("one"), reader("two", 0.4))
    return put


@pytest.fixture
def found(readers, tmp_path):
    return corrupt(["one", "two"], config(), tmp_path, quiet=True)


def test_what_is_counted_is_what_the_network_says(found) -> None:
    """By hand: the same images, corrupted, through the same network, one by one."""
    result, paths = found
    images, labels = load_data(stripes()).test_subset(24)
    network = reader("two", 0.4).load(load_data(stripes()))
    for name, severity in result.cells:
        own = images if severity == 0 else corrupted_images(images, name, severity, constants="cifar")
        said = torch.cat([network(image[None]) for image in own]).argmax(1)
        assert result.predicted["two"][name, severity].tolist() == said.tolist()
        assert np.array_equal(result.right("two")[:, result.cells.index((name, severity))], said == labels)
    counts = json.loads(paths[0].read_text())["counts"]
    assert len(counts) == 2 * (1 + 3 * 2)
    one = counts[-1]
    ends = wilson(one["correct"], 24)
    assert (one["images"], one["low"], one["high"]) == (24, ends.low, ends.high)
    assert one["correct"] == result.right(one["network"])[:, -1].sum()
    rows = pq.read_table(paths[1])
    assert len(rows) == 24 * len(counts)
    kept = rows.to_pylist()
    chosen = [r for r in kept if (r["network"], r["corruption"], r["severity"]) == ("two", "contrast", 4)]
    assert [r["image"] for r in chosen] == list(range(24))
    assert [r["predicted"] for r in chosen] == result.predicted["two"]["contrast", 4].tolist()
    assert [r["label"] for r in chosen] == labels.tolist()


def test_means_and_relative_errors(found) -> None:
    result, _ = found
    one, two = result.summaries
    right = {name: result.right(name) for name in ("one", "two")}
    columns = {
        name: [k for k, cell in enumerate(result.cells) if cell[0] == name]
        for name in ("gaussian_noise", "brightness", "contrast")
    }
    for summary in (one, two):
        own = right[summary.group]
        assert summary.clean.value == pytest.approx(own[:, 0].mean())
        assert summary.corrupted.value == pytest.approx(own[:, 1:].mean())
        assert summary.kinds["noise"].value == pytest.approx(own[:, columns["gaussian_noise"]].mean())
        assert set(summary.kinds) == {"noise", "weather", "digital"}
        for name, places in columns.items():
            assert summary.by[name].value == pytest.approx(own[:, places].mean())
    errors = {
        name: {c: 2 - own[:, places].mean(0).sum() for c, places in columns.items()}
        for name, own in right.items()
    }
    for name in columns:
        assert two.relatives[name].value == pytest.approx(errors["two"][name] / errors["one"][name])
    mean = np.mean([errors["two"][c] / errors["one"][c] for c in columns])
    assert two.relative.value == pytest.approx(mean)
    assert two.gap.value == pytest.approx(right["two"][:, 1:].mean() - right["one"][:, 1:].mean())
    assert two.gap.over == "images"
    assert two.gap.low <= two.gap.value <= two.gap.high
    assert (one.gap, one.gaps, one.relative.value) == (None, {}, 1.0)


def test_held_back_corruptions_are_not_in_the_means(readers, tmp_path) -> None:
    result, _ = corrupt(["one"], config(corruptions="contrast,speckle_noise"), tmp_path, quiet=True)
    places = [k for k, cell in enumerate(result.cells) if cell[0] == "contrast"]
    assert result.counted == ["contrast"]
    own = result.right("one")
    assert result.summaries[0].corrupted.value == pytest.approx(own[:, places].mean())
    assert set(result.summaries[0].by) == {"contrast", "speckle_noise"}


def test_intervals_cover_what_other_images_would_give(readers, tmp_path) -> None:
    """About 95 of 100 halves of a large set have intervals that hold the whole set's accuracy."""
    result, _ = corrupt(["one", "two"], config(), tmp_path, quiet=True)
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(60):
        for label, chance in (("one", 0.7), ("two", 0.5)):
            easy = rng.random((200, 1)) < chance
            for cell in result.cells:
                wrong = ~easy[:, 0] ^ (rng.random(200) < 0.1)
                result.predicted[label][cell] = wrong.astype(np.int64)
        result.labels = result.clean_labels = np.zeros(200, np.int64)
        vars(result).pop("summaries", None)
        one, two = result.summaries
        truth = [0.9 * c + 0.1 * (1 - c) for c in (0.7, 0.5)]
        hits += one.corrupted.low <= truth[0] <= one.corrupted.high
        hits += two.gap.low <= truth[1] - truth[0] <= two.gap.high
    assert 106 <= hits <= 120


def test_several_seeds_belong_together(readers, tmp_path) -> None:
    readers(
        *(
            reader(name, shift + seed / 20, seed)
            for name, shift in (("a", 0.0), ("b", 0.5))
            for seed in range(3)
        )
    )
    result, paths = corrupt(["x"], config(), tmp_path, quiet=True)
    assert list(result.groups) == ["a", "b"]
    assert [s.seeds for s in result.summaries] == [3, 3]
    assert result.summaries[1].gap.over == "seeds and images"
    means = [result.right(f"b, seed {k}")[:, 1:].mean() for k in range(3)]
    assert result.summaries[1].corrupted.value == pytest.approx(np.mean(means))
    table = corrupt_tables.accuracies(result)
    assert "other seeds" in table.caption
    assert "±" in table.rows[1][4]
    assert json.loads(paths[0].read_text())["baseline"] == "a"
    panels = corrupt_page.curves_of(result)
    for name, cell in (("contrast", ("contrast", 4)), ("contrast", CLEAN)):
        (point,) = [p for s, p in panels[name.title()]["b"] if s == cell[1]]
        own = [result.right(f"b, seed {k}")[:, result.cells.index(cell)] for k in range(3)]
        assert point.value == pytest.approx(np.mean(own))
        assert point.low < point.value < point.high


def test_an_interrupted_call_goes_on_where_it_was(readers, tmp_path, monkeypatch) -> None:
    whole, _ = corrupt(["one", "two"], config(), tmp_path / "whole", quiet=True)
    asked = []
    real = corrupt_images.corrupt

    def counted(images, name, severity, **options):
        asked.append((name, severity))
        if len(asked) == 3 and not failed:
            failed.append(True)
            raise KeyboardInterrupt
        return real(images, name, severity, **options)

    failed: list[bool] = []
    monkeypatch.setattr(corrupt_images, "corrupt", counted)
    with pytest.raises(KeyboardInterrupt):
        corrupt(["one", "two"], config(), tmp_path / "parts", quiet=True)
    done = asked[:2]
    asked.clear()
    again, paths = corrupt(["one", "two"], config(), tmp_path / "parts", quiet=True)
    assert not set(done) & set(asked)
    for label in ("one", "two"):
        for cell in whole.cells:
            assert np.array_equal(whole.predicted[label][cell], again.predicted[label][cell])
    asked.clear()
    corrupt(["one", "two"], config(), tmp_path / "parts", quiet=True)
    assert asked == []
    plain = [json.loads(p.read_text())["counts"] for p in (paths[0], tmp_path / "whole" / "corrupt.json")]
    assert plain[0] == plain[1]


def test_more_corruptions_may_be_added_and_other_options_not(readers, tmp_path) -> None:
    corrupt(["one"], config(corruptions="contrast"), tmp_path, quiet=True)
    result, _ = corrupt(["one"], config(corruptions="contrast,fog"), tmp_path, quiet=True)
    assert {one.name for one in result.kinds} == {"contrast", "fog"}
    with pytest.raises(ValueError, match=r"options.seed 1 now, 0 then"):
        corrupt(["one"], config(seed=1), tmp_path, quiet=True)
    with pytest.raises(ValueError, match=r"options.constants 'imagenet' now, 'cifar' then"):
        corrupt(["one"], config(constants="imagenet"), tmp_path, quiet=True)
    corrupt(["one"], config(constants="imagenet"), tmp_path, restart=True, quiet=True)


def test_a_damaged_part_says_so(readers, tmp_path) -> None:
    corrupt(["one"], config(), tmp_path, quiet=True)
    part = next((tmp_path / "parts").glob("contrast-4/*.safetensors"))
    part.write_bytes(b"{}")
    with pytest.raises(ValueError, match=r"is damaged .*; needed: --restart, or another folder"):
        corrupt(["one"], config(), tmp_path, quiet=True)


def test_batches_and_parts_change_nothing(readers, tmp_path, monkeypatch) -> None:
    one, _ = corrupt(["one"], config(), tmp_path / "a", quiet=True)
    monkeypatch.setattr(corrupt_images, "_AT_ONCE", 5)
    two, _ = corrupt(["one"], config(batch_size=3), tmp_path / "b", quiet=True)
    assert all(np.array_equal(one.predicted["one"][c], two.predicted["one"][c]) for c in one.cells)


def test_the_page_and_its_figures(readers, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(room, "write_page", write_page)
    result, paths = corrupt(["one", "two"], config(), tmp_path, quiet=True)
    assert {path.name for path in paths} == {
        "corrupt.json", "images.parquet", "report.html", "corruptions.png", "severity.png", "images.png"
    }  # fmt: skip
    text = (tmp_path / "report.html").read_text()
    for table in corrupt_tables.tables(result):
        for cell in (cell for row in table.rows for cell in row):
            assert cell.replace("'", "&#x27;") in text
    assert "Corruptions have the constants" not in text
    assert "The corruptions have the constants of CIFAR-10-C, chosen by the size (16 × 16 pixels)." in text
    assert corrupt_tables.lead(result).split(" (means")[0] in text
    assert "decoupled corrupt one two" in text


def test_tables_have_images_and_intervals(found) -> None:
    result, _ = found
    one = result.summaries[0]
    table = corrupt_tables.accuracies(result)
    assert "3 corruptions at severities 1, 4, 24 images each" in table.caption
    assert table.rows[0][3] == f"{100 * one.clean.low:.1f}–{100 * one.clean.high:.1f}"
    long, short = (corrupt_tables.by_corruption(result, intervals=yes) for yes in (True, False))
    assert [row[0] for row in long.rows] == ["Gaussian noise", "Brightness", "Contrast"]
    assert all("(" in cell for row in long.rows for cell in row[1:])
    assert "intervals reach" in short.caption
    assert not any("(" in cell for row in short.rows for cell in row)


def test_a_rise_that_cannot_be_said_is_left_out_and_explained(readers, tmp_path) -> None:
    """Where the baseline is no worse under a corruption, there is nothing to divide by."""
    result, _ = corrupt(["one", "two"], config(), tmp_path, quiet=True)
    own = result.predicted["one"]
    own.update(dict.fromkeys(result.cells, own[CLEAN]))
    vars(result).pop("summaries", None)
    assert result.summaries[1].rise is None
    table = corrupt_tables.relations(result)
    assert table.rows[0][3] == "–"
    assert "not sure that one's error rises under every corruption" in table.caption


def test_rises_are_relative_to_the_baselines(readers, tmp_path) -> None:
    """The baseline goes from 90 to 60 % right, the other from 80 to 66 %."""
    result, _ = corrupt(["one", "two"], config(corruptions="contrast"), tmp_path, quiet=True)
    result.labels = result.clean_labels = np.zeros(200, np.int64)
    for label, clean, left in (("one", 180, 120), ("two", 160, 132)):
        for cell in result.cells:
            result.predicted[label][cell] = (np.arange(200) >= (clean if cell == CLEAN else left)).astype(int)
    vars(result).pop("summaries", None)
    two = result.summaries[1]
    assert two.rise.value == pytest.approx(0.14 / 0.3)
    assert two.relative.value == pytest.approx(0.34 / 0.4)
    assert two.rise.low < two.rise.value < two.rise.high
    assert corrupt_tables.relations(result).rows[0][1] == "85"


def test_a_baseline_without_errors(readers, tmp_path) -> None:
    result, _ = corrupt(["one", "two"], config(), tmp_path, quiet=True)
    result.predicted["one"].update(dict.fromkeys(result.cells, result.labels))
    vars(result).pop("summaries", None)
    two = result.summaries[1]
    assert (two.relative, two.rise, set(two.relatives.values())) == (None, None, {None})
    assert corrupt_tables.relatives(result).rows[0][1] == "–"


def test_grey_images_have_no_saturation(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(room, "find_targets", lambda places, plugin=None: [reader("one")])
    pets = pictures(tmp_path / "pets")
    data = DataConfig(data=str(pets), workers=0)
    own = CorruptConfig(data=data, corruptions="held-back", severities="3", images=0)
    result, _ = corrupt(["one"], own, tmp_path / "out", quiet=True)
    assert "saturate" not in {one.name for one in result.kinds}
    assert "saturate left out, as it does nothing to grey images" in result.notes
    with pytest.raises(ValueError, match="corruptions = 'saturate' received, of which none can be had"):
        corrupt(["one"], CorruptConfig(data=data, corruptions="saturate"), tmp_path / "o", quiet=True)


def test_trained_networks_and_what_is_said_of_their_training(tmp_path) -> None:
    first = trained(tmp_path / "first")
    second = trained(tmp_path / "second", "tanh-cos", color_jitter=0.2)
    own = CorruptConfig(corruptions="contrast", severities="5", images=8)
    result, _ = corrupt([str(first), str(second)], own, tmp_path / "out", data_named=False, quiet=True)
    assert [n["label"] for n in result.networks] == ["conv, seed 0", "tanh-cos, seed 0"]
    assert result.images == 8
    assert any(
        "tanh-cos, seed 0 was trained on images of changed brightness" in note for note in result.notes
    )
    assert not any("conv, seed 0" in note for note in result.notes)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"corruptions": "fogg"}, "unknown corruption 'fogg'"),
        ({"severities": "0,1"}, "severities = '0,1' received; needed: numbers from 1 to 5"),
        ({"severities": "1,1"}, "each once"),
        ({"severities": "hard"}, "severities = 'hard' received"),
        ({"images": -1}, "images = -1 received; needed: at least 0"),
        ({"batch_size": 0}, "batch_size = 0 received"),
        ({"constants": "cifar10"}, "constants = 'cifar10' received"),
        ({"accelerator": "tpu"}, "accelerator = 'tpu' received"),
    ],
)
def test_wrong_options(options, message) -> None:
    with pytest.raises(ValueError, match=message):
        CorruptConfig(**options)


def test_names_of_groups() -> None:
    def names(text: str) -> list[str]:
        return [one.name for one in CorruptConfig(corruptions=text).chosen]

    every = list(corruptions())
    assert names("all") == every[:15]
    assert names("held-back") == every[15:]
    assert names("all,held-back") == every
    assert names("noise") == ["gaussian_noise", "shot_noise", "impulse_noise"]
    assert names("fog, blur") == ["defocus_blur", "glass_blur", "motion_blur", "zoom_blur", "fog"]
    assert names("speckle_noise") == ["speckle_noise"]


def test_files_are_written_whole(readers, tmp_path: Path) -> None:
    corrupt(["one"], config(), tmp_path, quiet=True)
    assert not list(tmp_path.rglob("*.tmp"))
