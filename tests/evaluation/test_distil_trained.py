"""The command on a network of a moment's training."""

from __future__ import annotations

import json

from corrupt_networks import trained

from decoupled_nets.cli.main import main


def test_a_trained_checkpoint(tmp_path, capsys) -> None:
    folder = trained(tmp_path / "run", "spline-spline")
    capsys.readouterr()
    assert main(["distil", str(folder), "--out", str(tmp_path / "out"), "--save"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    found = json.loads((tmp_path / "out" / "distil.json").read_text())
    assert (found["data"], found["split"], found["images"]) == ("synthetic", "validation", 8)
    assert found["network"] == str(folder)
    assert found["read_on"] == 16
    assert all(layer["h"]["explained"] > 0.9 for layer in found["layers"])
    assert "Accuracy on 8 validation images" in out
    # What was saved is a network that learned no operator; the data it was trained on have to be named.
    words = ["distil", str(tmp_path / "out" / "exchanged"), "--data", "synthetic", "--train-size", "16"]
    assert main([*words, "--image-size", "25", "--val-size", "8", "--test-size", "24"]) == 2
    assert "which learns no operator" in capsys.readouterr().err
