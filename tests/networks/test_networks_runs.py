"""Runs of networks that are not ours: how they start, go on, and are built again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import timm
import torch
from foreign import SMALL, TIMM, drawn, in_hub_cache, write_code

import decoupled_nets as dn
from decoupled_nets import _code
from decoupled_nets.compare import CompareConfig, compare
from decoupled_nets.data import load_data
from decoupled_nets.evaluation.trained import load_trained
from decoupled_nets.export import export_network
from decoupled_nets.reports.results import Results
from decoupled_nets.tasks import find_task
from decoupled_nets.training import TrainConfig, callbacks, load_checkpoint, load_network, train
from decoupled_nets.training.folder import origin
from decoupled_nets.training.network import build_network, check_network
from decoupled_nets.training.start import begin

X = torch.rand(2, 3, 32, 32)


def config_of(**options) -> TrainConfig:
    return TrainConfig.of(**{**SMALL, "model": TIMM, **options})


def started(**options):
    config = config_of(**options)
    data = load_data(config.data)
    torch.manual_seed(config.machine.seed)
    return begin(find_task(config.task)(data.classes), config, data), data


def weights_of(folder: Path, name: str = "last.ckpt") -> dict[str, torch.Tensor]:
    return load_checkpoint(folder / name)["state_dict"]


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory) -> Path:
    """A plain network, trained for a moment; its folder."""
    folder = tmp_path_factory.mktemp("plain")
    train(config_of(operator="conv", epochs=3, lr=3e-3), folder, quiet=True)
    return folder


def test_calibrated_is_the_start_where_there_are_weights(pretrained):
    plain, _ = started(operator="conv", weights=str(pretrained / "best.ckpt"))
    begun, _ = started(operator="tanh-cos", weights=str(pretrained / "best.ckpt"))
    bare, data = started(operator="tanh-cos", weights=str(pretrained / "best.ckpt"), start="converted")
    again, _ = started(operator="tanh-cos", weights=str(pretrained / "best.ckpt"), start="calibrated")
    images = next(iter(data.train_loader(32, 0)))[0]
    with torch.no_grad():
        expected, near, far, same = (one.network.eval()(images) for one in (plain, begun, bare, again))
    assert torch.equal(near, same)
    assert (near - expected).norm() < 0.1 * (far - expected).norm()
    assert (begun.start["how"], bare.start["how"], plain.start["how"]) == (
        "calibrated",
        "converted",
        "as built",
    )
    before, after = (begun.start["calibration"][name] for name in ("before", "after"))
    assert after["error"] < 0.1 < before["error"]
    assert after["agreement"] >= before["agreement"]
    assert "Calibrated" in begun.text
    assert f"{100 * after['agreement']:.1f} % after" in begun.text
    assert begun.start["converted"] > 0
    assert "calibration" not in bare.start


def test_without_weights_nothing_is_calibrated_unless_asked_for():
    begun, _ = started(operator="tanh-cos")
    assert begun.start["how"] == "converted"
    assert "Calibrated" not in begun.text
    begun, _ = started(operator="tanh-cos", start="calibrated")
    assert begun.start["how"] == "calibrated"
    begun, _ = started(model="cifar_vgg11", width=1 / 16, operator="tanh-cos")
    assert begun.text == ""  # nothing to say of a network of ours
    begun, _ = started(model="cifar_vgg11", width=1 / 16, operator="tanh-cos", start="calibrated")
    assert begun.start["calibration"]["after"]["error"] < begun.start["calibration"]["before"]["error"]


def test_dynamic_filters_have_nothing_to_be_calibrated_to(pretrained):
    begun, _ = started(operator="ddf", weights=str(pretrained))
    assert begun.start["how"] == "converted"
    assert "no plain counterpart" in begun.text


def test_the_normalisation_of_the_weights_is_used_and_said(pretrained, tmp_path, monkeypatch):
    begun, data = started(operator="conv")
    assert begun.network.normalize.mean.flatten().tolist() == pytest.approx(data.mean)
    assert "Normalised    by that of the training images" in begun.text
    state = drawn(timm.create_model("test_resnet"))
    in_hub_cache(tmp_path / "hub", "timm/test_resnet.r160_in1k", {"model.safetensors": state}, monkeypatch)
    begun, _ = started(operator="conv", pretrained=True)
    assert begun.network.normalize.mean.flatten().tolist() == [0.5] * 3
    assert "that of the weights: mean 0.500, 0.500, 0.500, deviation 0.500" in begun.text
    assert begun.start["weights"]["label"] == "timm:test_resnet.r160_in1k"
    begun, _ = started(operator="conv", weights=str(pretrained), data="sample", val_size=10)
    kept = weights_of(pretrained)["network.normalize.mean"]
    assert torch.equal(begun.network.normalize.mean, kept)


def test_our_own_checkpoint_of_the_same_operator_goes_on_with_its_response(tmp_path):
    train(config_of(operator="tanh-cos", epochs=1), tmp_path, quiet=True)
    begun, _ = started(operator="tanh-cos", weights=str(tmp_path / "last.ckpt"))
    assert "nothing to calibrate" in begun.text
    network = load_network(tmp_path / "last.ckpt")
    assert torch.equal(begun.network.eval()(X), network(X))
    other, _ = started(operator="ball-cos", weights=str(tmp_path / "last.ckpt"))
    assert other.start["how"] == "calibrated"
    assert "a network with tanh-cos: its kernels are taken over, its response is not" in other.text
    plain, _ = started(operator="conv", weights=str(tmp_path / "last.ckpt"))
    assert "its response is not" in plain.text
    assert "its response is not" not in begun.text


@pytest.mark.parametrize("operator", ["tanh-cos", "ddf"])
def test_an_interrupted_run_ends_with_the_same_bits_without_its_weights(
    operator, pretrained, tmp_path, monkeypatch
):
    """What a run started from is in its checkpoint: the file may be gone."""
    copy = tmp_path / "weights.ckpt"
    shutil.copy(pretrained / "best.ckpt", copy)
    config = config_of(operator=operator, weights=str(copy))
    whole = train(config, tmp_path / "whole", quiet=True)
    count = callbacks.StepProgress.on_train_batch_end

    def interrupt(self, trainer, *args):
        count(self, trainer, *args)
        if trainer.global_step == 2:  # in mid-epoch
            callbacks.signal.raise_signal(callbacks.signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(callbacks.StepProgress, "on_train_batch_end", interrupt)
        with pytest.raises(KeyboardInterrupt):
            train(config, tmp_path / "parts", quiet=True)
    copy.unlink()
    train(config, tmp_path / "parts", resume=True, quiet=True)
    ours, theirs = weights_of(tmp_path / "parts"), weights_of(tmp_path / "whole")
    assert json.loads((tmp_path / "parts" / "data.json").read_text())["weights"]  # what they were stays known
    assert set(ours) == set(theirs)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    network = load_network(tmp_path / "parts" / "last.ckpt")
    assert torch.equal(network(X), whole.network.eval()(X))
    kept = load_checkpoint(tmp_path / "parts" / "last.ckpt")["decoupled_nets"]["start"]
    assert kept["weights"]["loaded"] > 10
    assert kept["how"] == ("calibrated" if operator == "tanh-cos" else "converted")
    assert json.loads((tmp_path / "whole" / "start.json").read_text()) == kept


def test_other_weights_under_the_same_name_are_noticed(pretrained, tmp_path):
    copy = tmp_path / "weights.ckpt"
    shutil.copy(pretrained / "best.ckpt", copy)
    config = config_of(operator="conv", weights=str(copy), epochs=1)
    train(config, tmp_path / "run", quiet=True)
    moved = copy.rename(tmp_path / "moved.ckpt")
    train(config_of(operator="conv", weights=str(moved), epochs=1), tmp_path / "run", resume=True, quiet=True)
    torch.save({"state_dict": {}}, copy)
    with pytest.raises(ValueError, match="weights: the file is not what it was then"):
        train(config, tmp_path / "run", resume=True, quiet=True)
    with pytest.raises(ValueError, match="weights: the file is not what it was then"):
        train(config_of(operator="conv", epochs=1), tmp_path / "run", resume=True, quiet=True)


def saved_model(folder: Path, seed: int, operator: str = "tanh-cos") -> Path:
    torch.manual_seed(seed)
    model = dn.create_model("cnn9", 4, 3, width=1 / 32, operator=operator).eval()
    return dn.save_pretrained(model, folder)


def test_another_saved_network_under_the_same_name_is_noticed(tmp_path):
    folder = saved_model(tmp_path / "net", 1)
    options = {"model": str(folder), "operator": "conv", "epochs": 1}
    train(config_of(**options), tmp_path / "run", quiet=True)
    noted = json.loads((tmp_path / "run" / "data.json").read_text())["saved_model"]
    assert noted == origin(load_data(config_of(**options).data), model=str(folder))["saved_model"]
    folder.rename(tmp_path / "elsewhere")  # gone: the run is whole without it
    train(config_of(**options), tmp_path / "run", resume=True, quiet=True)
    assert json.loads((tmp_path / "run" / "data.json").read_text())["saved_model"] == noted
    saved_model(folder, 2)
    with pytest.raises(ValueError, match="model: the saved network is not what it was then"):
        train(config_of(**options), tmp_path / "run", resume=True, quiet=True)


def test_a_saved_decoupled_network_starts_as_it_was_saved_or_plain(tmp_path):
    folder = str(saved_model(tmp_path / "net", 1))
    same, _ = started(model=folder, operator="tanh-cos", radius="learned")
    assert same.start["how"] == "as built"
    assert "are tanh-cos already and stay as they were saved; radius without use" in same.text
    assert "nothing to calibrate" in same.text
    saved = dn.from_pretrained(folder)
    assert torch.equal(same.network.network.eval()(X), saved(X))
    plain, _ = started(model=folder, operator="conv")
    dn.revert(saved)
    assert torch.equal(plain.network.network.eval()(X), saved(X))
    other, _ = started(model=folder, operator="ball-cos")
    assert other.start["how"] == "calibrated"
    assert "a network with tanh-cos: its kernels are taken over, its response is not" in other.text


def test_options_in_another_order_are_the_same_operator(tmp_path):
    """What a network has learned is not begun anew for how its operator is written."""
    texts = ("spline-spline+lipschitz=2+groups=1+monotone", "spline+monotone+lipschitz=2.0")
    folder = str(saved_model(tmp_path / "net", 1, texts[0]))
    saved = dn.from_pretrained(folder)
    for options in ({"model": folder}, {"model": "cnn9", "width": 1 / 32, "weights": folder}):
        begun, _ = started(operator=texts[1], **options)
        assert begun.start["how"] == "as built"
        assert "nothing to calibrate" in begun.text
        assert "its response is not" not in begun.text
        assert torch.equal(begun.network.network.eval()(X), saved(X))
    other, _ = started(operator="spline+lipschitz=2", model=folder, start="converted")
    assert "its response is not" in other.text


def test_what_was_loaded_is_kept_by_a_hash_of_its_tensors(pretrained, tmp_path):
    options = {"operator": "conv", "start": "converted"}
    one, other = (
        started(weights=str(pretrained / name), **options)[0].start["weights"]["digest"]
        for name in ("best.ckpt", "best.ckpt")
    )
    assert one == other
    content = torch.load(pretrained / "last.ckpt", weights_only=True)
    state = content["state_dict"]
    torch.save({"state_dict": state}, tmp_path / "same.pt")
    name = next(name for name, value in state.items() if value.is_floating_point() and value.dim() > 1)
    torch.save({"state_dict": {**state, name: state[name] + 1e-3}}, tmp_path / "other.pt")
    same, changed = (
        started(weights=str(tmp_path / file), **options)[0].start["weights"]["digest"]
        for file in ("same.pt", "other.pt")
    )
    assert len(same) == 64
    assert same != changed


MORE = pytest.mark.sweep


@pytest.mark.parametrize(
    "kind",
    ["saved", pytest.param("torchvision", marks=pytest.mark.long), "code", pytest.param("timm", marks=MORE)],
)
def test_a_checkpoint_builds_its_network_again_from_itself(kind, tmp_path, monkeypatch):
    model, operator = TIMM, "tanh-cos"
    if kind == "saved":
        network = timm.create_model("test_resnet", num_classes=7).eval()
        model = str(
            dn.save_pretrained(dn.models.PixelNetwork(network, [0.5] * 3, [0.25] * 3), tmp_path / "saved")
        )
    elif kind == "torchvision":
        model = "torchvision:squeezenet1_1"
    elif kind == "code":
        path = write_code(tmp_path)
        _code.import_code(path)
        model = f"{path}:small"
    module = train(config_of(model=model, operator=operator, epochs=1), tmp_path / "run", quiet=True)
    if kind == "saved":
        shutil.rmtree(tmp_path / "saved")
        assert module.network.normalize.std.flatten().tolist() == [0.25] * 3
    expected = module.network.eval()(X)
    torch.manual_seed(0)
    drawn_next = torch.rand(3)
    torch.manual_seed(0)
    network = load_network(tmp_path / "run" / "last.ckpt")
    assert torch.equal(torch.rand(3), drawn_next)
    assert torch.equal(network(X), expected)
    trained = load_trained(tmp_path / "run")
    done = export_network(trained.network, tmp_path / "net.pt2", "pt2", image_size=trained.image_size,
                          dynamic_size=False, rounds=3)  # fmt: skip
    assert done.difference <= 1e-3 * done.scale
    if kind == "code":
        with pytest.raises(ValueError, match="of unknown origin"):
            dn.save_pretrained(network, tmp_path / "again")
        monkeypatch.setattr(_code, "_imported", {})
        with pytest.raises(ValueError, match=r"--plugin nets\.py on one that reads its checkpoint"):
            load_network(tmp_path / "run" / "last.ckpt")
        return
    again = dn.save_pretrained(network, tmp_path / "again")
    assert torch.equal(dn.from_pretrained(again)(X), expected)


def test_grey_images_in_a_network_for_colour(tmp_path):
    config = config_of(
        model="torchvision:squeezenet1_1", data="sample", operator="conv", epochs=1, val_size=10
    )
    module = train(config, tmp_path, quiet=True)
    x = torch.rand(2, 1, 32, 32)
    network = load_network(tmp_path / "last.ckpt")
    assert torch.equal(network(x), module.network.eval()(x))
    mean = network.normalize.mean
    assert mean.shape == (3, 1, 1)
    assert torch.equal(mean, mean[:1].expand(3, 1, 1))
    assert load_trained(tmp_path).in_chans == 1
    train(config, tmp_path, resume=True, quiet=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"model": "timm:vit_tiny_patch16_224"},
            r"images of 32×32 pixels, 3 channels received, which timm:vit_tiny_patch16_224 does not",
        ),
        (
            {"model": "torchvision:alexnet"},
            "which torchvision:alexnet does not take .* needed: others; image_size=",
        ),
    ],
)
def test_images_that_do_not_suit_a_network(options, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        train(config_of(operator="conv", **options), tmp_path, quiet=True)
    assert not (tmp_path / "config.yaml").exists()


def test_a_network_that_gives_something_else(tmp_path):
    path = write_code(tmp_path)
    _code.import_code(path)
    config = config_of(model=f"{path}:scores", operator="conv")
    data = load_data(config.data)
    task = find_task("classify")(data.classes)
    network = build_network(task, config.network, "conv", data)
    with pytest.raises(ValueError, match=r"scores gives \(5,\) for an image; needed: a tensor of \(4,\)"):
        check_network(network, data, task, config.network.model)


@pytest.mark.parametrize(
    "model",
    [
        "unet",
        pytest.param("smp:fpn:resnet18", marks=MORE),
        pytest.param("torchvision:lraspp_mobilenet_v3_large", marks=pytest.mark.long),
    ],
)
def test_segmentation_by_the_same_mechanism(model, tmp_path):
    if model.startswith("smp"):
        pytest.importorskip("segmentation_models_pytorch")
    own = {"width": 0.125} if model == "unet" else {}
    config = config_of(
        task="segment", model=model, operator="tanh-cos", epochs=1, train_size=16, start="calibrated", **own
    )
    module = train(config, tmp_path / "run", quiet=True)
    network = load_network(tmp_path / "run" / "last.ckpt")
    assert torch.equal(network(X), module.network.eval()(X))
    again = dn.save_pretrained(network, tmp_path / "again")
    assert torch.equal(dn.from_pretrained(again)(X), network(X))
    begun = load_checkpoint(tmp_path / "run" / "last.ckpt")["decoupled_nets"]["start"]
    assert begun["how"] == "calibrated"
    finer = config_of(task="segment", model=model, operator="conv", weights=str(tmp_path / "run"), **own)
    data = find_task("segment").load(finer.data)
    found = begin(find_task("segment")(data.classes), finer, data)
    assert found.start["weights"]["parameters"] == found.start["weights"]["of"]


@pytest.mark.parametrize("attacked", [0, pytest.param(4, marks=pytest.mark.long)])
def test_a_comparison_keeps_how_each_run_started(pretrained, tmp_path, capsys, attacked):
    options = {
        **SMALL, "model": TIMM, "operators": "conv,tanh-cos,ddf", "weights": str(pretrained), "epochs": 1,
        "attack_images": attacked, "seeds": 2,
    }  # fmt: skip
    results, _ = compare(CompareConfig.of(**options), tmp_path, quiet=False)
    told = capsys.readouterr()
    out = told.out + told.err
    assert "2-D features are left out" in out
    assert out.count(f"Network       {TIMM}, tanh-cos") == 1
    assert results.features == []
    assert "features" not in results.sections
    for run in results.runs:
        assert run.start["weights"]["parameters"] == run.start["weights"]["of"]
        assert (
            run.start["how"]
            == {"conv": "as built", "tanh-cos": "calibrated", "ddf": "converted"}[run.operator]
        )
        assert set(run.attacked) == ({"quick"} if attacked else set())
    assert [cost.operator for cost in results.costs] == ["conv", "tanh-cos", "ddf"]
    again, _ = compare(CompareConfig.of(**options), tmp_path, quiet=True)
    assert again == results == Results.load(tmp_path / "results.json")
    assert results.config["command"].startswith("decoupled compare --data synthetic --image-size 32")
