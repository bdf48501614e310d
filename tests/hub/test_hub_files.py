"""What is written, and files that are damaged, foreign or changed."""

from __future__ import annotations

import json
import pickle
import struct
from pathlib import Path

import numpy
import pytest
import torch
from saved_networks import small
from torch import nn
from torchvision import models

import decoupled_nets as dn


def test_model_card(tmp_path: Path) -> None:
    model = small(operator="tanh-cos")
    dn.save_pretrained(model, tmp_path, {"Test accuracy, %": 77.512, "Data": "a|b", "Seeds": 3})
    card = (tmp_path / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: decoupled-nets\n")
    assert "| Test accuracy, % | 77.51 |" in card
    assert "| Data | a\\|b |" in card
    assert "8 with `tanh-cos`" in card
    assert f"dn.from_pretrained({str(tmp_path)!r})" in card
    dn.save_pretrained(model, tmp_path)
    assert "None were measured" in (tmp_path / "README.md").read_text()
    # What has to go in is said of a network that normalises by itself, and of no other.
    words = "It takes pixels in [0, 1]"
    assert words not in card
    whole = dn.models.PixelNetwork(model, [0.5] * 3, [0.25] * 3)
    dn.save_pretrained(whole.eval(), tmp_path)
    assert words in (tmp_path / "README.md").read_text()


def test_results_of_other_libraries(tmp_path: Path) -> None:
    results = {"a": numpy.float32(0.5), "b": torch.tensor(3), "c": numpy.bool_(True), "d": numpy.array(2)}
    dn.save_pretrained(small(), tmp_path, results)
    written = json.loads((tmp_path / "config.json").read_text())["results"]
    assert written == {"a": 0.5, "b": 3, "c": True, "d": 2}
    for bad in (torch.tensor(float("nan")), torch.ones(2), torch.tensor(1j)):
        with pytest.raises(ValueError, match="cannot be written"):
            dn.save_pretrained(small(), tmp_path, {"a": bad})


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return dn.save_pretrained(small(operator="tanh-cos"), tmp_path / "saved")


def edit(folder: Path, **changes) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_damaged_files(saved: Path) -> None:
    weights, config = saved / "model.safetensors", saved / "config.json"
    good = weights.read_bytes()
    for bad in (good[:-8], good[:100], b"", good[:-1] + bytes([good[-1] ^ 1])):
        weights.write_bytes(bad)
        with pytest.raises(ValueError, match=r"model\.safetensors is damaged"):
            dn.from_pretrained(saved)
    weights.unlink()
    with pytest.raises(FileNotFoundError, match=r"model\.safetensors does not exist"):
        dn.from_pretrained(saved)
    for text, reason in [
        ("{", "not readable JSON"),
        ("[1]", "not written by"),
        ("[" * 10**5, "not readable"),
    ]:
        config.write_text(text)
        with pytest.raises(ValueError, match=reason):
            dn.from_pretrained(saved)
    config.unlink()
    with pytest.raises(FileNotFoundError, match="needed: a folder of save_pretrained"):
        dn.from_pretrained(saved)


class Bomb:
    def __reduce__(self):
        return print, ("executed",)


def digest(path: Path) -> str:
    import hashlib

    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_foreign_files(saved: Path, capsys) -> None:
    weights = saved / "model.safetensors"
    header = json.dumps({"x": {"dtype": "F32", "shape": [10**9], "data_offsets": [0, 4 * 10**9]}}).encode()
    for content in (pickle.dumps(Bomb()), struct.pack("<Q", len(header)) + header, b"\xff" * 64):
        weights.write_bytes(content)
        edit(saved, sha256=digest(weights))
        with pytest.raises(ValueError, match="not a readable safetensors file"):
            dn.from_pretrained(saved)
    assert "executed" not in capsys.readouterr().out
    edit(saved, format=2)
    with pytest.raises(ValueError, match="format 2; needed: 1"):
        dn.from_pretrained(saved)
    edit(saved, library="transformers")
    with pytest.raises(ValueError, match="not written by"):
        dn.from_pretrained(saved)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"model": "os.system"}, "unknown model 'os.system'"),
        ({"model": ["cnn9"]}, "and a name"),
        ({"source": "os"}, "source = 'os'"),
        ({"source": "timm", "model": "hf-hub:someone/else"}, "unknown timm model"),
        (
            {"source": "timm", "model": "resnet18", "arguments": {"checkpoint_path": "x"}},
            "no configuration may",
        ),
        (
            {"source": "timm", "model": "resnet18", "arguments": {"pretrained": True}},
            "no configuration may set",
        ),
        ({"source": "torchvision", "model": "nothing"}, "unknown torchvision model"),
        ({"source": "torchvision", "model": "resnet18", "arguments": {"weights": "DEFAULT"}}, "may set"),
        ({"arguments": [1]}, "needed: a table of options"),
        ({"arguments": {"depth": 3}}, "cannot be built as configured"),
        ({"arguments": {"operator": {"magnitude": "nothing"}}}, "unknown magnitude"),
        ({"arguments": {"operator": {"size": 3}}}, "operator = {'size': 3}"),
        ({"arguments": {"width": {"a": 1}}}, "needed: a plain value"),
        ({"arguments": {"width": 1 / 16, "num_classes": 9}}, "does not fit the network"),
        ({"arguments": {"width": 1 / 16, "num_classes": 4}}, "unexpected"),
        ({"converted": [{"layers": ["nowhere"]}]}, "no layer 'nowhere'"),
        ({"converted": "x"}, "needed: layers and their operator"),
        ({"reverted": ["nowhere"]}, "cannot be built as configured"),
        ({"normalize": 3}, "needed: a table with mean and std"),
        ({"normalize": {"mean": [0.5], "std": ["x"]}}, "each a list of numbers"),
        ({"normalize": {"mean": None, "std": None}}, "each a list of numbers"),
        ({"normalize": {"mean": 1}}, r"normalize = \{'mean': 1\}"),
        ({"normalize": {"mean": {"a": 1}, "std": [1.0]}}, r"normalize = \{'mean': \{'a': 1\}"),
        ({"normalize": {"mean": ["x"], "std": [1.0]}}, r"normalize = \{'mean': \['x'\]"),
        ({"source": []}, r"source = \[\]"),
        ({"dtype": []}, r"dtype = \[\]"),
        ({"dtype": "int8"}, "dtype = 'int8'"),
        ({"dtype": ["int8"]}, r"dtype = \['int8'\]"),
        ({"source": ["timm"]}, "and a name"),
        ({"arguments": {"num_classes": -5}}, "num_classes = -5"),
    ],
)
def test_configurations_that_are_refused(saved: Path, changes, reason: str) -> None:
    edit(saved, **changes)
    with pytest.raises(ValueError, match=reason):
        dn.from_pretrained(saved)


def test_no_backbone_is_fetched(saved: Path, monkeypatch) -> None:
    """torchvision's detectors take the weights of a backbone, and fetch them unless told otherwise."""
    asked = {}

    def build(name, **options):
        asked.update(options)
        return nn.Conv2d(3, 4, 3)

    monkeypatch.setattr(models, "get_model", build)
    edit(saved, source="torchvision", model="fasterrcnn_resnet50_fpn", arguments={})
    with pytest.raises(ValueError, match="does not fit the network"):
        dn.from_pretrained(saved)
    assert asked == {"weights": None, "weights_backbone": None}
