"""Attacks on linear networks, of which the exact robust accuracy and distance of every image are known."""

import math

import pytest
import torch
from exact import SHAPE, Linear, exact_distance, spread_out

from decoupled_nets.robustness import Threat, Victim, attack_named, fab_minimum, minimum

SWEEP = pytest.mark.sweep
#: Options that keep a test short: nothing is left for more steps to find on a linear network.
EXACT = {
    "linf": {"apgd-t": {}, "pgd-margin": {"steps": 20, "restarts": 1}, "fab-t": {"steps": 40}},
    "l2": {"apgd-t": {}, "pgd-margin": {"steps": 40, "restarts": 1}, "fab-t": {"steps": 40}},
}
#: By how much the radius must differ from the exact distance for an attack to be held to it. FAB overshoots.
NEAR = {"apgd-t": 2e-3, "pgd-margin": 2e-3, "fab-t": 0.02, "fmn": 0.02}
THREATS = [Threat("linf", "8/255"), Threat("l2", "1/4")]


def left(name: str, model: Linear, images, labels, threat: Threat, **options) -> torch.Tensor:
    """Which images are still right, after what is claimed was recounted: (B,) bool."""
    attacked = attack_named(name)(model, images, labels, threat, seed=0, **options)
    stands = Victim(model).predict(attacked.images) == labels
    assert torch.equal(stands, attacked.step < 0)
    return stands


@pytest.mark.parametrize("threat", THREATS, ids=str)
@pytest.mark.parametrize("scale", [1e-4, pytest.param(1, marks=SWEEP), pytest.param(100, marks=SWEEP), 1e6])
def test_attacks_free_of_scale_find_all_that_is_to_be_found(threat: Threat, scale: float) -> None:
    model = Linear(10, scale)
    images, labels = spread_out(model, 64)
    exact = exact_distance(model, images, labels, threat.norm)
    assert 1 < (exact > threat.radius).sum() < 60
    for name, options in EXACT[threat.norm].items():
        stands = left(name, model, images, labels, threat, **options)
        clear = (exact / threat.radius - 1).abs() > NEAR[name]
        # One loss over all classes may end between two of them.
        missed = (stands & clear & (exact < threat.radius)).sum()
        assert not (~stands & clear & (exact > threat.radius)).any()
        assert missed <= (2 if name == "pgd-margin" else 0), name


@pytest.mark.parametrize("threat", THREATS, ids=str)
@pytest.mark.parametrize("classes", [2, 3, pytest.param(4, marks=SWEEP), pytest.param(9, marks=SWEEP)])
@pytest.mark.parametrize("name", ["apgd-t", "fab-t", "apgd-margin", "apgd-dlr", "apgd-ce", "fmn", "square"])
def test_few_classes(name: str, classes: int, threat: Threat) -> None:
    """Also where there is no third logit, or no fourth, for a ratio of differences."""
    model = Linear(classes)
    images, labels = spread_out(model, 48)
    exact = exact_distance(model, images, labels, threat.norm)
    steps = {"square": {"queries": 100}, "fab-t": {"steps": 40}}.get(name, {})
    stands = left(name, model, images, labels, threat, **steps)
    assert not (~stands & (exact > threat.radius * (1 + 1e-5))).any()
    clear = (exact < threat.radius * (1 - NEAR.get(name, 2e-3))) & stands
    if name in ("apgd-t", "fab-t") or (classes == 2 and name != "square"):
        assert not clear.any()
    else:
        assert clear.float().mean() <= (0.5 if name == "square" else 0.1)


def test_cross_entropy_is_blind_at_large_logits() -> None:
    """A negative control: of a linear network most seems robust, for its scale alone."""
    threat, small, large = THREATS[0], Linear(10), Linear(10, 1e4)
    large.load_state_dict(small.state_dict())
    images, labels = spread_out(small, 64)
    assert (exact_distance(small, images, labels, "linf") > threat.radius).float().mean() < 0.2
    shares = {
        name: [left(name, model, images, labels, threat).float().mean() for model in (small, large)]
        for name in ("apgd-ce", "apgd-margin", "apgd-dlr", "apgd-t")
    }
    assert shares["apgd-ce"][0] < 0.2
    assert shares["apgd-ce"][1] > 0.5
    for name in ("apgd-margin", "apgd-dlr", "apgd-t"):
        assert shares[name][0] == shares[name][1]


@pytest.mark.parametrize("name", ["apgd-t", "fab-t", "apgd-margin", "fmn"])
def test_a_shift_of_the_logits_changes_nothing(name: str) -> None:
    """In float64, where a million leaves the logits' differences as they are."""
    plain, shifted = Linear(5).double(), Linear(5, shift=1e6).double()
    shifted.load_state_dict(plain.state_dict())
    images, labels = spread_out(plain, 48)
    stands = [left(name, model, images, labels, THREATS[0]) for model in (plain, shifted)]
    assert torch.equal(*stands)
    assert 0 < stands[0].sum() < 48


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("classes", [2, pytest.param(3, marks=SWEEP), 10])
@pytest.mark.parametrize("scale", [1e-4, pytest.param(1, marks=SWEEP), 1e6])
def test_the_smallest_change_is_the_exact_distance(norm: str, classes: int, scale: float) -> None:
    model = Linear(classes, scale)
    images, labels = spread_out(model, 60)
    exact = exact_distance(model, images, labels, norm)
    far = exact > 2e-3  # nearer, what float32 makes of equal logits decides
    found = minimum(model, images, labels, norm)
    assert (Victim(model).predict(found.images) != labels).all()
    torch.testing.assert_close(found.distance, Threat(norm, "0").distance(found.images, images))
    ratio = (found.distance / exact)[far]
    assert ratio.min() > 1 - 1e-4
    assert ratio.median() < 1 + 1e-4
    assert ratio.quantile(0.9) < (1.001 if classes < 10 else 1.1)
    ratio = (fab_minimum(model, images, labels, norm, steps=50).distance / exact)[far]
    assert ratio.min() > 1 - 1e-4
    assert ratio.quantile(0.9) < 1.01


def test_the_smallest_change_of_what_is_wrong_or_never_wrong() -> None:
    model = Linear(3)
    images, labels = spread_out(model, 20)
    for search in (minimum, fab_minimum):
        found = search(model, images, (labels + 1) % 3)
        assert torch.equal(found.images, images)
        assert not found.distance.any()
    with torch.no_grad():
        model.inner.weight.zero_()
        model.inner.bias.copy_(torch.tensor([0.0, 1.0, 0.0]))
    for search in (minimum, fab_minimum):
        found = search(model, images, torch.ones(20, dtype=torch.long), "l2")
        assert found.distance.isinf().all()
        assert torch.equal(found.images, images)


def test_the_smallest_change_is_looked_for_up_to_a_limit() -> None:
    model = Linear(4)
    images, labels = spread_out(model, 60)
    exact = exact_distance(model, images, labels, "linf")
    found = minimum(model, images, labels, limit=0.03).distance
    assert (found[found.isfinite()] <= 0.03 + 1e-6).all()
    assert found[exact > 0.0301].isinf().all()
    assert found[exact < 0.028].isfinite().all()
    with pytest.raises(ValueError, match="limit = 0 received"):
        minimum(model, images, labels, limit=0)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_the_smallest_change_of_a_relu_network_is_that_of_an_integer_programme(norm: str) -> None:
    """Ten units, two classes: for L∞ solved exactly; for L2 the L∞ distance bounds it from both sides."""
    optimize = pytest.importorskip("scipy.optimize")
    torch.manual_seed(3)
    model = torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(6, 10), torch.nn.ReLU(), torch.nn.Linear(10, 2)
    ).eval()
    with torch.no_grad():
        model[1].weight.normal_()
        model[3].weight.normal_()
        model[3].bias.copy_(-model(torch.rand(200, 1, 2, 3)).mean(0))
    images = torch.rand(8, 1, 2, 3)
    labels = model(images).argmax(1)
    exact = torch.tensor(
        [_programme(optimize, model, x, int(y)) for x, y in zip(images, labels, strict=True)]
    )
    fab, fmn = (search(model, images, labels, norm).distance for search in (fab_minimum, minimum))
    there = exact.isfinite()
    assert there.sum() > 4
    for found in (fab, fmn):
        assert (found >= exact - 1e-5).all()
        most = exact if norm == "linf" else exact * math.sqrt(6)
        assert ((found / most)[there] < 1.02).float().mean() > 0.8


def _programme(optimize, model: torch.nn.Sequential, image: torch.Tensor, label: int) -> float:
    """The least L∞ distance at which the other class leads, as a mixed-integer programme."""
    first, second = model[1], model[3]
    a, b = (t.detach().double().numpy() for t in (first.weight, first.bias))
    out = (second.weight[1 - label] - second.weight[label]).detach().double().numpy()
    bias = float((second.bias[1 - label] - second.bias[label]).detach())
    units, pixels = a.shape
    start, large = image.flatten().double().numpy(), float(abs(a).sum(1).max() + abs(b).max())
    # Variables: pixels, units, whether a unit is on, and the distance.
    size = pixels + 2 * units + 1
    rows, low, high = [], [], []

    def add(entries: dict[int, float], least: float, most: float) -> None:
        row = [0.0] * size
        for place, value in entries.items():
            row[place] = value
        rows.append(row), low.append(least), high.append(most)

    for i in range(pixels):
        add({i: 1, size - 1: 1}, start[i], math.inf)
        add({i: 1, size - 1: -1}, -math.inf, start[i])
    for j in range(units):
        unit, on = pixels + j, pixels + units + j
        before = {i: -a[j, i] for i in range(pixels)}
        add({unit: 1, **before}, b[j], math.inf)
        add({unit: 1, on: large, **before}, -math.inf, b[j] + large)
        add({unit: 1, on: -large}, -math.inf, 0)
    add({pixels + j: out[j] for j in range(units)}, -bias, math.inf)
    solved = optimize.milp(
        [0.0] * (size - 1) + [1.0],
        constraints=optimize.LinearConstraint(rows, low, high),
        bounds=optimize.Bounds([0.0] * size, [1.0] * pixels + [large] * units + [1.0] * units + [1.0]),
        integrality=[0] * (pixels + units) + [1] * units + [0],
    )
    return float(solved.fun) if solved.success else math.inf


def test_accuracy_falls_with_the_radius() -> None:
    model = Linear(4)
    images, labels = spread_out(model, 24)
    for norm, sizes in (
        ("linf", ["0", "2/255", "12/255", "1/2"]),
        ("l2", ["0", "1/8", "1/2", "4"]),
    ):
        for name in ("apgd-t", "fab-t", "apgd-margin"):
            counts = [
                int(left(name, model, images, labels, Threat(norm, size), steps=30).sum()) for size in sizes
            ]
            assert counts == sorted(counts, reverse=True)
            assert counts[0] == 24
            assert counts[-1] == 0


def test_square_needs_no_square_images() -> None:
    for shape in ((1, 3, 17), (3, 16, 5), (2, 1, 40), SHAPE):
        for threat in THREATS:
            model = Linear(3, shape=shape)
            images, labels = spread_out(model, 16, shape)
            few = left("square", model, images, labels, threat, queries=5).sum()
            assert left("square", model, images, labels, threat, queries=200).sum() <= few < 16
