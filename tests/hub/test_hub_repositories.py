"""Folders on the Hugging Face Hub; its functions are stood in for."""

from __future__ import annotations

from pathlib import Path

import huggingface_hub as hub
import pytest
import torch
from saved_networks import X, small

import decoupled_nets as dn


def test_places_that_are_no_folder(monkeypatch, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        dn.from_pretrained(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"there is no folder \./nowhere"):
        dn.from_pretrained("./nowhere")
    with pytest.raises(ValueError, match="is no folder here, and the Hugging Face Hub does not give it"):
        dn.from_pretrained("no body/no thing")
    with pytest.raises(ValueError, match="the Hugging Face Hub does not give it"):
        dn.from_pretrained("nobody/nothing", local_files_only=True, cache_dir=tmp_path)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return dn.save_pretrained(small(operator="tanh-cos"), tmp_path / "saved")


def test_repositories(saved: Path, monkeypatch) -> None:
    """Files come from huggingface_hub's cache; its two functions are stood in for."""
    asked = []

    def download(repo_id, file, **options):
        asked.append((repo_id, file, options["revision"]))
        return str(saved / file)

    monkeypatch.setattr(hub, "hf_hub_download", download)
    assert dn.from_pretrained("someone/something", revision="v1")(X).shape == (2, 4)
    assert set(asked) == {("someone/something", f, "v1") for f in ("config.json", "model.safetensors")}


def test_push_to_hub(monkeypatch, tmp_path: Path) -> None:
    sent = {}

    class Api:
        def __init__(self, **options):
            pass

        def create_repo(self, repo_id, **options):
            return type("Made", (), {"repo_id": repo_id})

        def upload_folder(self, repo_id, folder_path, commit_message):
            sent.update({p.name: p.read_bytes() for p in Path(folder_path).iterdir()})
            return f"https://example.org/{repo_id}"

    monkeypatch.setattr(hub, "HfApi", Api)
    model = small(operator="tanh-cos")
    assert dn.push_to_hub(model, "me/net", {"Accuracy": 0.5}) == "https://example.org/me/net"
    assert set(sent) == {"README.md", "config.json", "model.safetensors"}
    assert b"dn.from_pretrained('me/net')" in sent["README.md"]
    for name, content in sent.items():
        (tmp_path / name).write_bytes(content)
    assert torch.equal(dn.from_pretrained(tmp_path)(X), model(X))
