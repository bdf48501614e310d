"""torchvision's detectors with weights: built as torchvision builds them, by every way to them, and saved."""

import copy
import json

import pytest
import torch
from torchvision import models
from torchvision.models import detection
from torchvision.models._api import WeightsEnum
from torchvision.ops import FrozenBatchNorm2d

import decoupled_nets as dn
from decoupled_nets.hub.recipe import build as build_recipe
from decoupled_nets.hub.recipe import recipe_of
from decoupled_nets.models.sources import Weights, source_named
from decoupled_nets.networks import build
from decoupled_nets.networks.given import Given, given_weights
from decoupled_nets.training import NetworkConfig, TrainConfig, load_network, train

RESNETS = ("fasterrcnn_resnet50_fpn", "retinanet_resnet50_fpn", "fcos_resnet50_fpn")
MOBILE = "fasterrcnn_mobilenet_v3_large_320_fpn"


def drawn(state, seed=0):
    """Numbers of the same shapes, which differ from those that a network starts with."""
    rng = torch.Generator().manual_seed(seed)
    return {
        name: value if "num_batches" in name else value + 0.1 * torch.rand(value.shape, generator=rng)
        for name, value in state.items()
    }


@pytest.fixture
def fetched(monkeypatch):
    """What torchvision would fetch, made here: a dict that a test fills, by the name of the weights' kind."""
    states = {}

    def state(self, *arguments, **options):
        return {name: value.clone() for name, value in states[type(self).__name__].items()}

    monkeypatch.setattr(WeightsEnum, "get_state_dict", state)
    return states


def described(network):
    """Modules with a norm's eps, and which parameters are trained, in the backbone and beside it."""
    norms = {name: (type(m), m.eps) for name, m in network.named_modules() if hasattr(m, "eps")}
    return norms, {name: p.requires_grad for name, p in network.named_parameters()}


def ours(name, weights, classes=90, **options):
    given = Given(weights)
    network = build(NetworkConfig(model=name, **options), "conv", classes, 3, boxes=True, given=given)
    return network.network, given


def stored(fetched, name, classifier, *, whole):
    """Weights as torchvision has them, of a whole detector or of its backbone."""
    if whole:
        kind = getattr(models, classifier[0])
        fetched[classifier[1]] = drawn(kind(weights=None).state_dict())
        made = getattr(detection, name)(weights=None, weights_backbone="DEFAULT", num_classes=91)
        fetched[type(models.get_model_weights(name).DEFAULT).__name__] = drawn(made.state_dict(), 1)
    else:
        fetched[classifier[1]] = drawn(getattr(models, classifier[0])(weights=None).state_dict())


CLASSIFIERS = {
    **dict.fromkeys([*RESNETS, "fasterrcnn_resnet50_fpn_v2"], ("resnet50", "ResNet50_Weights")),
    MOBILE: ("mobilenet_v3_large", "MobileNet_V3_Large_Weights"),
    "ssd300_vgg16": ("vgg16", "VGG16_Weights"),
}


@pytest.mark.parametrize(
    "name",
    [
        MOBILE,
        *(
            pytest.param(one, marks=pytest.mark.long if one.startswith("ssd") else pytest.mark.sweep)
            for one in CLASSIFIERS
            if one != MOBILE
        ),
    ],
)
@pytest.mark.parametrize("whole", [True, False])
def test_a_pretrained_detector_is_torchvisions(name, whole, fetched):
    stored(fetched, name, CLASSIFIERS[name], whole=whole)
    text = f"torchvision:{name}" + ("" if whole else ":weights_backbone=DEFAULT")
    network, given = ours(text, given_weights(NetworkConfig(model=text, pretrained=True)), pretrained=True)
    options = {"weights": "DEFAULT"} if whole else {"weights": None, "weights_backbone": "DEFAULT"}
    theirs = getattr(detection, name)(**options, **({} if whole else {"num_classes": 91}))
    assert described(network) == described(theirs)
    names = [one for one in theirs.state_dict() if whole or one.startswith(given.weights.part)]
    fixed = [one for one in names if whole or not one.startswith(("backbone.fpn", "backbone.extra.0.7"))]
    fixed = [one for one in fixed if whole or "extra.0.6" not in one or "ssd" not in name]
    state, expected = network.state_dict(), theirs.state_dict()
    same = [one for one in fixed if torch.equal(state[one], expected[one])]
    assert len(same) > 20
    if whole or "ssd" not in name:  # of an SSD's backbone torchvision draws some layers anew
        assert same == fixed
        assert given.loaded.parameters == given.loaded.of
    if "_v2" not in name and "ssd" not in name:
        assert any(isinstance(m, FrozenBatchNorm2d) for m in network.modules())


COCO = detection.FasterRCNN_ResNet50_FPN_Weights.COCO_V1.url.rpartition("/")[2]


@pytest.mark.parametrize(
    ("text", "label", "options", "eps"),
    [
        (RESNETS[0], "mine.pth", {}, 1e-5),
        (RESNETS[0], f"/somewhere/{COCO}", {}, 0.0),  # the file has torchvision's name
        (RESNETS[1], f"/somewhere/{COCO}", {}, 1e-5),
        (RESNETS[0], "saved", {"norm_eps": 0.01}, 0.01),
        (f"{RESNETS[0]}:norm_eps=0.5", "saved", {"norm_eps": 0.01}, 0.5),
        (f"{RESNETS[0]}:norm_layer=batch", "saved", {"norm_eps": 0.01}, None),
    ],
)
def test_eps_is_that_of_the_weights(text, label, options, eps):
    """No tensor says it."""
    source, model = source_named(f"torchvision:{text}")
    weights = Weights(label, {"module.backbone.body.bn1.weight": torch.ones(2)}, options=options)
    assert source.fitted(model, source.arguments(model, 3, 3), weights).get("norm_eps") == eps


def state_of(frozen):
    network = getattr(detection, MOBILE)(weights=None, weights_backbone=None, num_classes=4)
    if not frozen:
        return drawn(network.state_dict())
    return {name: value for name, value in drawn(network.state_dict()).items() if "num_batches" not in name}


def test_norms_that_have_counted_batches_go_on_learning():
    model = f"torchvision:{MOBILE}"
    learning, given = ours(model, Weights("run", state_of(False)), 3)
    frozen, _ = ours(model, Weights("file", state_of(True)), 3)
    new, _ = ours(model, None, 3)
    assert described(learning) == described(new)
    assert given.loaded.missing == ()
    assert all(p.requires_grad for p in learning.parameters())
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in frozen.modules())
    assert sum(not p.requires_grad for p in frozen.backbone.parameters()) > 0
    with torch.no_grad():
        images = [torch.rand(3, 64, 64)]
        before = copy.deepcopy(frozen.state_dict())
        frozen.train()
        frozen(images, [{"boxes": torch.tensor([[5.0, 5, 30, 30]]), "labels": torch.tensor([1])}])
    assert all(torch.equal(before[name], value) for name, value in frozen.state_dict().items())


@pytest.mark.parametrize(("number", "first"), [(0, None), (2, "13"), (6, "0")])
def test_how_many_layers_are_trained(number, first):
    model = f"torchvision:{MOBILE}:trainable_backbone_layers={number}"
    network, _ = ours(model, Weights("file", state_of(True)), 3)
    trained = [name for name, p in network.backbone.body.named_parameters() if p.requires_grad]
    assert (trained[0].partition(".")[0] if trained else None) == first
    assert all(p.requires_grad for name, p in network.named_parameters() if "body" not in name)


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("weights_backbone=DEFAULT", {}, "weights_backbone received .* needed: pretrained = True as well"),
        ("trainable_backbone_layers=2", {}, "starts from new weights; needed: pretrained = True or weights"),
    ],
)
def test_options_of_weights_want_some(text, options, message):
    with pytest.raises(ValueError, match=message):
        TrainConfig.of(task="detect", model=f"torchvision:{MOBILE}:{text}", **options)
    TrainConfig.of(task="detect", model=f"torchvision:{MOBILE}:{text}", pretrained=True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"{MOBILE}:layers=2", "received, with 'layers=2'; needed: weights_backbone=DEFAULT, trainable"),
        (f"{MOBILE}:trainable_backbone_layers=x", "with 'trainable_backbone_layers=x'; needed"),
        (f"{MOBILE}:trainable_backbone_layers=7", "trainable_backbone_layers = 7 received; needed: .* to 6"),
        (f"{MOBILE}:norm_layer=group", "norm_layer = 'group' received .* needed: batch or frozen"),
        (f"{MOBILE}:norm_eps=-1", "norm_eps = -1.0 received; needed: a number from 0"),
        (f"{MOBILE}:weights_backbone=X", "weights_backbone = 'X' received; needed: one of IMAGENET1K_V1, IM"),
        ("fasterrcnn_resnet50_fpn_v2:norm_layer=frozen", "norm_layer = 'frozen' received .* needed: batch$"),
        ("ssdlite320_mobilenet_v3_large:norm_layer=frozen", "norm_layer received for torchvision's ssdlite"),
    ],
)  # fmt: skip
def test_options_that_are_none(text, message):
    with pytest.raises(ValueError, match=message):
        build(NetworkConfig(model=f"torchvision:{text}"), "conv", 3, 3, boxes=True)


@pytest.mark.long
def test_converted_layers_are_the_same_ones():
    made = []
    for weights in (None, Weights("file", state_of(True))):
        given = Given(weights)
        build(NetworkConfig(model=f"torchvision:{MOBILE}"), "tanh-cos", 3, 3, boxes=True, given=given)
        made.append([fate.names for fate in given.conversion.converted])
    assert made[0] == made[1]


@pytest.mark.parametrize("wrapped", [True, False])
def test_a_recipe_says_what_is_frozen(wrapped, fetched):
    """Of a network of ours and of one that torchvision has built, whose user says no more than its name."""
    network, recipe = made(wrapped, fetched)
    found = json.loads(json.dumps(recipe_of(network, recipe)))
    assert (found["arguments"]["norm_layer"], found["arguments"]["norm_eps"]) == ("frozen", 0.01)
    again = build_recipe(found)
    again.load_state_dict(network.state_dict())
    ours, theirs = (m.network if wrapped else m for m in (again.eval(), network))
    assert described(ours)[0] == described(theirs)[0]
    if wrapped:
        assert described(ours) == described(theirs)
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        features, wanted = (m.backbone(images) for m in (ours, theirs))
    assert all(torch.equal(features[name], wanted[name]) for name in wanted)
    # Norms of several kinds are seen: no recipe says them.
    next(m for m in theirs.modules() if isinstance(m, FrozenBatchNorm2d)).eps = 0.5
    with pytest.raises(ValueError, match=r"is FrozenBatchNorm2d\(eps=.*\) instead of FrozenBatchNorm2d"):
        recipe_of(network, recipe)


def made(wrapped, fetched):
    """A detector with frozen norms of another eps, and what a user says to save it."""
    fetched["MobileNet_V3_Large_Weights"] = drawn(models.mobilenet_v3_large(weights=None).state_dict())
    if not wrapped:
        network = getattr(detection, MOBILE)(
            weights=None, weights_backbone="DEFAULT", num_classes=4, min_size=64, max_size=64
        )
        detection._utils.overwrite_eps(network, 0.01)
        arguments = {"num_classes": 4, "min_size": 64, "max_size": 64}
        return network.eval(), {"source": "torchvision", "model": MOBILE, "arguments": arguments}
    text = f"torchvision:{MOBILE}:weights_backbone=DEFAULT,trainable_backbone_layers=2,norm_eps=0.01"
    weights = given_weights(NetworkConfig(model=text, pretrained=True))
    network = build(NetworkConfig(model=text), "conv", 3, 3, boxes=True, given=Given(weights))
    return network.eval(), None


@pytest.mark.long
def test_saved_and_loaded(tmp_path, fetched):
    network, recipe = made(False, fetched)
    images = [torch.rand(3, 64, 64)]
    targets = [{"boxes": torch.tensor([[5.0, 5, 30, 40]]), "labels": torch.tensor([1])}]
    dn.save_pretrained(network, tmp_path, recipe=recipe, example_input=(images, targets))
    again = dn.from_pretrained(tmp_path).eval()
    assert described(again)[0] == described(network)[0]
    with torch.no_grad():
        for ours, theirs in zip(again(images), network(images), strict=True):
            assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    # Its weights alone bring their eps to a new network.
    given = given_weights(NetworkConfig(model=f"torchvision:{MOBILE}", weights=str(tmp_path)))
    other, _ = ours_of(given)
    assert {m.eps for m in other.modules() if isinstance(m, FrozenBatchNorm2d)} == {0.01}


def ours_of(weights):
    return ours(f"torchvision:{MOBILE}", weights, 3)


def test_weights_bring_their_eps():
    network, _ = ours_of(Weights("saved", state_of(True), options={"norm_eps": 0.01}))
    assert {m.eps for m in network.modules() if isinstance(m, FrozenBatchNorm2d)} == {0.01}


def test_a_run_under_way_is_built_again_without_its_weights():
    first, _ = ours_of(Weights("file", state_of(True)))
    recipe = build_of(Weights("file", state_of(True))).recipe
    again = build(NetworkConfig(model=f"torchvision:{MOBILE}"), "conv", 3, 3, boxes=True, recipe=recipe)
    assert described(again.network) == described(first)


def build_of(weights):
    config = NetworkConfig(model=f"torchvision:{MOBILE}")
    return build(config, "conv", 3, 3, boxes=True, given=Given(weights))


@pytest.mark.long
def test_a_run_that_starts_from_a_file(tmp_path):
    """It is read, built again and gone on with as it was built, though the file says nothing of that then."""
    torch.save(state_of(True), tmp_path / "file.pth")
    model = f"torchvision:{MOBILE}:trainable_backbone_layers=2,norm_eps=0.01"
    config = TrainConfig.of(
        task="detect", data="synthetic", model=model, weights=str(tmp_path / "file.pth"), operator="conv",
        epochs=1, batch_size=2, train_size=2, val_size=2, test_size=2, workers=0, lr=1e-3,
    )  # fmt: skip
    folder, images = tmp_path / "run", torch.rand(1, 3, 48, 72)
    trained = train(config, folder, quiet=True)
    (tmp_path / "file.pth").rename(tmp_path / "gone.pth")
    network = load_network(folder / "last.ckpt")
    assert {m.eps for m in network.modules() if isinstance(m, FrozenBatchNorm2d)} == {0.01}
    assert described(network) == described(trained.network)
    assert torch.equal(network(images), trained.network.eval()(images))
    weights = given_weights(NetworkConfig(model=model, weights=str(folder)))
    assert weights.options["norm_eps"] == 0.01
