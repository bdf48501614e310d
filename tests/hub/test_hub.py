"""Saving networks, loading them, and what is refused."""

from __future__ import annotations

import json
import pickle
import struct
from pathlib import Path

import pytest
import torch
from torch import nn

import decoupled_nets as dn
from decoupled_nets.models import Normalize

X = torch.rand(2, 3, 32, 32)


def randomized(model: nn.Module) -> nn.Module:
    """As after training: nothing is where it started."""
    for tensor in [*model.parameters(), *model.buffers()]:
        if tensor.is_floating_point():
            # Adding, too: timm's residual branches end in zeros, which hide what they compute.
            tensor.data.mul_(1 + 0.1 * torch.rand_like(tensor)).add_(0.01 * torch.rand_like(tensor))
    return model.eval()


def small(**options) -> nn.Module:
    return randomized(dn.create_model("cifar_vgg11", 4, **{"width": 1 / 16, **options}))


def check_round_trip(model: nn.Module, folder: Path, **options) -> nn.Module:
    drawn = torch.get_rng_state()
    dn.save_pretrained(model, folder, **options)
    again = dn.from_pretrained(folder)
    assert torch.equal(drawn, torch.get_rng_state())
    assert sorted(p.name for p in folder.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    assert not any(m.training for m in again.modules())
    state = model.state_dict()
    assert {k: v.dtype for k, v in again.state_dict().items()} == {k: v.dtype for k, v in state.items()}
    assert str(again) == str(model)
    assert torch.equal(
        again(X.to(next(model.parameters()).dtype)), model(X.to(next(model.parameters()).dtype))
    )
    return again


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"operator": "tanh-cos", "batch_norm": False, "relu": False, "in_chans": 3},
        {"operator": dn.Operator("tanh", "sigmoid", k="learned"), "weighting": "linear"},
        {"operator": "seg-sqcos", "radius": dn.RelativeRadius(decay=0.9, zero_start=True)},
        {"operator": "seg-sqcos", "radius": dn.RelativeRadius(sync=False)},
        {"operator": dn.Operator("seg", beta=0.25), "radius": 0.5},
        {"operator": "test_root-cos", "radius": "learned", "features": 2},
    ],
)
def test_networks_of_ours(options, tmp_path: Path) -> None:
    model = randomized(dn.create_model("resnet32", 4, **{"width": 1 / 16, **options}))
    config = check_round_trip(model, tmp_path).recipe
    assert config["model"] == "cifar_resnet32"
    assert config["arguments"] == model.recipe["arguments"]


def test_features_of_networks(tmp_path: Path) -> None:
    model = small(features_only=True, out_indices=(1, 3))
    dn.save_pretrained(model, tmp_path)
    for got, want in zip(dn.from_pretrained(tmp_path)(X), model(X), strict=True):
        assert torch.equal(got, want)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_types(dtype: torch.dtype, tmp_path: Path) -> None:
    check_round_trip(small(operator="tanh-cos").to(dtype), tmp_path)


def test_normalisation_belongs_to_the_network(tmp_path: Path) -> None:
    inner = small(operator="tanh-cos")
    model = nn.Sequential()
    model.add_module("normalize", Normalize([0.4, 0.5, 0.6], [0.2, 0.2, 0.3]))
    model.add_module("network", inner)
    check_round_trip(model.eval(), tmp_path)


def test_converted_networks(tmp_path: Path) -> None:
    model = dn.create_model("resnet18", 4, width=1 / 16)
    dn.convert(model, "tanh-cos", select=["stages.1", "stages.2"], weighting="linear")
    dn.convert(model, dn.Operator("seg", beta=0.25), select="stages.4.*", radius=0.5)
    check_round_trip(randomized(model), tmp_path / "plain")
    changes = json.loads((tmp_path / "plain" / "config.json").read_text())["converted"]
    assert [(c["operator"]["magnitude"], len(c["layers"])) for c in changes] == [("tanh", 8), ("seg", 4)]

    twin = dn.create_model("resnet18", 4, width=1 / 16, operator="tanh-cos")
    dn.revert(twin.stages[1])
    dn.revert(twin.stages[2])
    dn.convert(twin, "ball-cos", select="stages.2.*")
    check_round_trip(randomized(twin), tmp_path / "twin")
    assert len(json.loads((tmp_path / "twin" / "config.json").read_text())["reverted"]) == 4


def test_converted_models_of_timm(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    model = timm.create_model("resnet18", num_classes=3, in_chans=3)
    dn.convert(model, "tanh-cos")
    check_round_trip(randomized(model), tmp_path)
    odd = timm.create_model("resnet18", num_classes=3, stem_type="deep")
    with pytest.raises(ValueError, match=r"not what its name and options build .*recipe= can name them"):
        dn.save_pretrained(odd, tmp_path)
    arguments = {"num_classes": 3, "stem_type": "deep"}
    recipe = {"source": "timm", "model": "resnet18", "arguments": arguments}
    check_round_trip(odd.eval(), tmp_path, recipe=recipe)


@pytest.mark.parametrize("name", ["squeezenet1_1", "googlenet"])
def test_converted_models_of_torchvision(name: str, tmp_path: Path) -> None:
    models = pytest.importorskip("torchvision").models
    options = {"aux_logits": False, "init_weights": False} if name == "googlenet" else {}
    model = models.get_model(name, num_classes=3, **options)
    with pytest.raises(ValueError, match=r"unknown origin received.*recipe="):
        dn.save_pretrained(model, tmp_path)
    dn.convert(model, "ball-cos")
    recipe = {"source": "torchvision", "model": name, "arguments": {"num_classes": 3, **options}}
    check_round_trip(randomized(model), tmp_path, recipe=recipe)


def test_calibrated_layers(tmp_path: Path) -> None:
    model = small(operator="tanh-cos")
    for module in model.modules():
        if isinstance(module, dn.DecoupledConv2d):
            module.scale = torch.rand(module.out_channels)
    check_round_trip(model, tmp_path)


def test_dynamic_filters(tmp_path: Path) -> None:
    model = dn.create_model("resnet18", 4, width=1 / 8)
    dn.convert(model, "ddf", heads=2, mix_channels=True, combine="add")
    check_round_trip(randomized(model), tmp_path)


def test_shared_layers(tmp_path: Path) -> None:
    model = small()
    dn.save_pretrained(model, tmp_path)
    model.stages[0][0][0].weight.data = model.stages[0][0][0].weight.data[:1].expand(4, 3, 3, 3)
    dn.save_pretrained(model, tmp_path)
    assert torch.equal(dn.from_pretrained(tmp_path)(X), model(X))


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


def test_what_cannot_be_saved(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Linear of unknown origin"):
        dn.save_pretrained(nn.Linear(2, 2), tmp_path)
    with pytest.raises(ValueError, match=r"differs\): it was changed since, by fuse\(\)"):
        dn.save_pretrained(dn.fuse(small(operator="tanh-cos")), tmp_path)
    odd = small()
    odd.head = nn.Linear(odd.head_hidden_size, 7)
    with pytest.raises(ValueError, match=r"'head\.\w+' differs"):
        dn.save_pretrained(odd, tmp_path)
    recipe = {"source": "timm", "model": "resnet18", "arguments": {"act_layer": nn.ReLU}}
    with pytest.raises(ValueError, match=r"the option act_layer = .* has no plain form"):
        dn.save_pretrained(odd, tmp_path, recipe=recipe)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "options", [{"output_stride": 16}, {"act_layer": "silu"}, {"global_pool": "max"}], ids=str
)
def test_options_that_leave_no_trace_in_the_weights(options, tmp_path: Path) -> None:
    """They load into the default network, which computes something else."""
    timm = pytest.importorskip("timm")
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
    with pytest.raises(ValueError, match=r"mixed types received: .* is of torch\.bfloat16"):
        dn.save_pretrained(model, tmp_path)
    model = nn.Sequential()
    model.add_module("normalize", Normalize([0.4, 0.5, 0.6], [0.2, 0.2, 0.3]))
    model.add_module("network", small())
    check_round_trip(model.eval().to(torch.float64), tmp_path)


def test_results_of_other_libraries(tmp_path: Path) -> None:
    numpy = pytest.importorskip("numpy")
    results = {"a": numpy.float32(0.5), "b": torch.tensor(3), "c": numpy.bool_(True), "d": numpy.array(2)}
    dn.save_pretrained(small(), tmp_path, results)
    written = json.loads((tmp_path / "config.json").read_text())["results"]
    assert written == {"a": 0.5, "b": 3, "c": True, "d": 2}
    for bad in (torch.tensor(float("nan")), torch.ones(2), torch.tensor(1j)):
        with pytest.raises(ValueError, match="has no plain form"):
            dn.save_pretrained(small(), tmp_path, {"a": bad})


def test_new_classifiers(tmp_path: Path) -> None:
    for name in ("cifar_vgg11", "cifar_resnet32", "cnn9"):
        model = dn.create_model(name, 4, width=1 / 16).to(torch.float64)
        model.reset_classifier(7, "avg")
        assert model.get_classifier().weight.dtype == torch.float64
        again = check_round_trip(randomized(model), tmp_path / name)
        assert again.num_classes == again.recipe["arguments"]["num_classes"] == 7
        with pytest.raises(ValueError, match="global_pool = 'max' received"):
            model.reset_classifier(7, "max")
        with pytest.raises(ValueError, match="num_classes = -1 received"):
            model.reset_classifier(-1)


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
    for text, reason in [("{", "no readable JSON"), ("[1]", "not written by"), ("[" * 10**5, "no readable")]:
        config.write_text(text)
        with pytest.raises(ValueError, match=reason):
            dn.from_pretrained(saved)
    config.unlink()
    with pytest.raises(FileNotFoundError, match="no folder of save_pretrained"):
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
        with pytest.raises(ValueError, match="no readable safetensors file"):
            dn.from_pretrained(saved)
    assert "executed" not in capsys.readouterr().out
    edit(saved, format=2)
    with pytest.raises(ValueError, match="format 2, this version reads 1"):
        dn.from_pretrained(saved)
    edit(saved, library="transformers")
    with pytest.raises(ValueError, match="not written by"):
        dn.from_pretrained(saved)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"model": "os.system"}, "unknown model 'os.system'"),
        ({"model": ["cnn9"]}, "and a name needed"),
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
        ({"arguments": [1]}, "a table of options needed"),
        ({"arguments": {"depth": 3}}, "cannot be built as configured"),
        ({"arguments": {"operator": {"magnitude": "nothing"}}}, "unknown magnitude"),
        ({"arguments": {"operator": {"size": 3}}}, "operator = {'size': 3}"),
        ({"arguments": {"width": {"a": 1}}}, "a plain value needed"),
        ({"arguments": {"width": 1 / 16, "num_classes": 9}}, "does not fit the network"),
        ({"arguments": {"width": 1 / 16, "num_classes": 4}}, "unexpected"),
        ({"converted": [{"layers": ["nowhere"]}]}, "no layer 'nowhere'"),
        ({"converted": "x"}, "layers and their operator needed"),
        ({"reverted": ["nowhere"]}, "cannot be built as configured"),
        ({"normalize": 3}, "mean and std needed"),
        ({"normalize": {"mean": [0.5], "std": ["x"]}}, "lists of numbers needed"),
        ({"normalize": {"mean": None, "std": None}}, "lists of numbers needed"),
        ({"normalize": {"mean": 1}}, r"normalize = \{'mean': 1\}"),
        ({"normalize": {"mean": {"a": 1}, "std": [1.0]}}, r"normalize = \{'mean': \{'a': 1\}"),
        ({"normalize": {"mean": ["x"], "std": [1.0]}}, r"normalize = \{'mean': \['x'\]"),
        ({"source": []}, r"source = \[\]"),
        ({"dtype": []}, r"dtype = \[\]"),
        ({"dtype": "int8"}, "dtype = 'int8'"),
        ({"dtype": ["int8"]}, r"dtype = \['int8'\]"),
        ({"source": ["timm"]}, "and a name needed"),
        ({"arguments": {"num_classes": -5}}, "num_classes = -5"),
    ],
)
def test_configurations_that_are_refused(saved: Path, changes, reason: str) -> None:
    edit(saved, **changes)
    with pytest.raises(ValueError, match=reason):
        dn.from_pretrained(saved)


def test_no_backbone_is_fetched(saved: Path, monkeypatch) -> None:
    """torchvision's detectors take the weights of a backbone, and fetch them unless told otherwise."""
    models = pytest.importorskip("torchvision").models
    asked = {}

    def build(name, **options):
        asked.update(options)
        return nn.Conv2d(3, 4, 3)

    monkeypatch.setattr(models, "get_model", build)
    edit(saved, source="torchvision", model="fasterrcnn_resnet50_fpn", arguments={})
    with pytest.raises(ValueError, match="does not fit the network"):
        dn.from_pretrained(saved)
    assert asked == {"weights": None, "weights_backbone": None}


def test_compiled_networks_are_saved_without_the_compiler(tmp_path: Path) -> None:
    model = small(operator="tanh-cos")
    dn.save_pretrained(torch.compile(model, backend="eager"), tmp_path)
    assert torch.equal(dn.from_pretrained(tmp_path)(X), model(X))


def test_places_that_are_no_folder(monkeypatch, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        dn.from_pretrained(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"there is no folder \./nowhere"):
        dn.from_pretrained("./nowhere")
    with pytest.raises(ValueError, match="is no folder here, and cannot be had from the Hugging Face Hub"):
        dn.from_pretrained("no body/no thing")
    with pytest.raises(ValueError, match="cannot be had from the Hugging Face Hub"):
        dn.from_pretrained("nobody/nothing", local_files_only=True, cache_dir=tmp_path)


def test_repositories(saved: Path, monkeypatch) -> None:
    """Files come from huggingface_hub's cache; its two functions are stood in for."""
    hub = pytest.importorskip("huggingface_hub")
    asked = []

    def download(repo_id, file, **options):
        asked.append((repo_id, file, options["revision"]))
        return str(saved / file)

    monkeypatch.setattr(hub, "hf_hub_download", download)
    assert dn.from_pretrained("someone/something", revision="v1")(X).shape == (2, 4)
    assert set(asked) == {("someone/something", f, "v1") for f in ("config.json", "model.safetensors")}


def test_push_to_hub(monkeypatch, tmp_path: Path) -> None:
    hub = pytest.importorskip("huggingface_hub")
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
