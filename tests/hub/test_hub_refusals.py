"""Networks that a name and options do not lead to."""

from __future__ import annotations

import json
from pathlib import Path

import huggingface_hub
import pytest
import timm
import torch
import torchvision
from saved_networks import X, check_round_trip, randomized, small
from torch import nn

import decoupled_nets as dn
from decoupled_nets.hub.values import from_json
from decoupled_nets.models import PixelNetwork


class Own(nn.Module):
    """A class that no library builds by a name."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)


def test_where_a_network_comes_from_decides_what_is_advised(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a Own of unknown origin") as own:
        dn.save_pretrained(Own(), tmp_path)
    assert "torch.save(model.state_dict(), file)" in str(own.value)
    assert "resnet18" not in str(own.value)
    with pytest.raises(ValueError, match=r'recipe=\{"source": "torchvision"') as theirs:
        dn.save_pretrained(torchvision.models.squeezenet1_1(), tmp_path)
    assert "state_dict" not in str(theirs.value)


def test_what_cannot_be_saved(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Linear of unknown origin"):
        dn.save_pretrained(nn.Linear(2, 2), tmp_path)
    with pytest.raises(ValueError, match=r"differs\); it was changed since, by fuse\(\)"):
        dn.save_pretrained(dn.fuse(small(operator="tanh-cos")), tmp_path)
    odd = small()
    odd.head = nn.Linear(odd.head_hidden_size, 7)
    with pytest.raises(ValueError, match=r"'head\.\w+' differs"):
        dn.save_pretrained(odd, tmp_path)
    recipe = {"source": "timm", "model": "resnet18", "arguments": {"act_layer": nn.ReLU}}
    with pytest.raises(ValueError, match=r"the option act_layer = .* cannot be written"):
        dn.save_pretrained(odd, tmp_path, recipe=recipe)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "options", [{"output_stride": 16}, {"act_layer": "silu"}, {"global_pool": "max"}], ids=str
)
def test_options_that_leave_no_trace_in_the_weights(options, tmp_path: Path) -> None:
    """They load into the default network, which computes something else."""
    model = timm.create_model("resnet18", num_classes=3, **options).eval()
    with pytest.raises(ValueError, match=r"the module '\S+' is .* instead of .*recipe="):
        dn.save_pretrained(model, tmp_path)
    arguments = {"num_classes": 3, **options}
    recipe = {"source": "timm", "model": "resnet18", "arguments": arguments}
    check_round_trip(randomized(model), tmp_path, recipe=recipe)


def test_modules_changed_by_hand(tmp_path: Path) -> None:
    model = small()
    model.stages[0][0][0].stride = (2, 2)
    with pytest.raises(ValueError, match=r"'stages\.0\.0\.0' is Conv2d\(.*stride=\(2, 2\).* instead of"):
        dn.save_pretrained(model, tmp_path)
    model = small()
    model.stages[0][0][2] = nn.SiLU()
    with pytest.raises(ValueError, match=r"'stages\.0\.0\.2' is SiLU\(\) instead of ReLU\(\)"):
        dn.save_pretrained(model, tmp_path)
    model = small()
    model.stages[0][0][2].inplace = False  # as hooks need it: computes the same
    dn.save_pretrained(model.train(), tmp_path)
    assert torch.equal(dn.from_pretrained(tmp_path)(X), model.eval()(X))


def test_mixed_types(tmp_path: Path) -> None:
    model = small().to(torch.bfloat16)
    model.head.float()
    with pytest.raises(ValueError, match=r"mixed types received; needed: one type; .* is of torch\.bfloat16"):
        dn.save_pretrained(model, tmp_path)
    model = PixelNetwork(small(), [0.4, 0.5, 0.6], [0.2, 0.2, 0.3])
    check_round_trip(model.eval().to(torch.float64), tmp_path)


@pytest.mark.parametrize(
    "name", ["pretrained", "pretrained_cfg", "checkpoint_path", "cache_dir", "weights", "url", "file"]
)
def test_no_file_has_others_read_or_fetched(name: str) -> None:
    with pytest.raises(ValueError, match=f"the option '{name}', which no configuration may set"):
        from_json({name: "x"}, "a network")


def test_options_of_the_hub_reach_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dn.save_pretrained(small(), tmp_path)
    asked = []

    def download(name, file, **options):
        asked.append((name, file, options))
        return str(tmp_path / file)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    options = {"revision": "r", "cache_dir": "c", "token": "t", "local_files_only": True}
    dn.from_pretrained("user/name", **options)
    assert [one[:2] for one in asked] == [("user/name", "model.safetensors"), ("user/name", "config.json")]
    for *_, given in asked:
        assert given == {**options, "library_name": "decoupled_nets"}


def test_the_configuration_says_how_images_are_normalised(tmp_path: Path) -> None:
    model = PixelNetwork(small(), [0.25, 0.5, 0.75], [0.125, 1.0, 2.0])
    dn.save_pretrained(model.eval(), tmp_path)
    config = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    assert config["normalize"] == {"mean": [0.25, 0.5, 0.75], "std": [0.125, 1.0, 2.0]}
