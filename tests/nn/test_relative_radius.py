"""The relative radius: formula, gradient through the mean, moving average."""

from __future__ import annotations

import math
from contextlib import nullcontext

import pytest
import torch
import torch.nn.functional as F
from layer_cases import LAYERS, make, sample
from torch.utils.checkpoint import checkpoint

import decoupled_nets as dn
from decoupled_nets.nn.sync import shared_mean
from decoupled_nets.ops.backend import use_backend

ZERO = dn.RelativeRadius(zero_start=True)


def patch_norms(x, kernel, padding=0):
    """(B, 1, L) by cutting patches out."""
    return (F.unfold(x, kernel, padding=padding).square().sum(1, keepdim=True) + 1e-4).sqrt()


def layer_2d(**options):
    torch.manual_seed(1)
    layer = dn.DecoupledConv2d(3, 5, 3, padding=1, bias=False, dtype=torch.float64, **options)
    with torch.no_grad():
        layer.radius.copy_(torch.tensor([-0.5, 0.0, 0.6, 1.0, 1.5]))
    return layer


def by_hand(layer, x, detach=False):
    norm = patch_norms(x, 3, padding=1)
    mean = norm.mean()
    rho = ((layer.radius**2 + 1e-4) * (mean.detach() if detach else mean)).view(1, -1, 1)
    w = layer.weight.flatten(1)
    unit = w / (w.square().sum(1, keepdim=True) + 1e-4).sqrt()
    cosine = (unit @ F.unfold(x, 3, padding=1)) / norm
    return (torch.tanh(norm / rho) * cosine).unflatten(2, x.shape[2:])


def test_training_uses_the_batch_mean_and_its_gradient_flows(near):
    layer, x = layer_2d(), torch.randn(2, 3, 5, 4, dtype=torch.float64, requires_grad=True)
    inputs = (x, layer.weight, layer.radius)
    y = layer(x)
    cotangent = torch.randn_like(y)
    near(y, by_hand(layer, x))
    actual = torch.autograd.grad(y, inputs, cotangent)
    expected = torch.autograd.grad(by_hand(layer, x), inputs, cotangent)
    for gradient, wanted in zip(actual, expected, strict=True):
        near(gradient, wanted)
    (cut,) = torch.autograd.grad(by_hand(layer, x, detach=True), x, cotangent)
    assert (cut - actual[0]).abs().max() > 1e-4 * cut.abs().max()


def test_gradcheck_through_a_training_layer():
    layer = make("linear", operator="seg-sigmoid", dtype=torch.float64)
    parameters = {name: p.detach().clone().requires_grad_() for name, p in layer.named_parameters()}

    def fn(x, *values):
        state = dict(zip(parameters, values, strict=True))
        return torch.func.functional_call(layer, state, (x,))

    x = sample("linear", 2, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(fn, (x, *parameters.values()))


def test_evaluation_uses_the_moving_average_and_leaves_it_alone(near):
    layer, x = layer_2d().eval(), torch.randn(2, 3, 5, 4, dtype=torch.float64)
    layer.mean_norm.fill_(2.5)
    layer.num_updates.fill_(7)
    radius = (layer.radius**2 + 1e-4) * 2.5
    near(layer(x), dn.functional.decoupled_conv2d(x, layer.weight, padding=1, radius=radius))
    assert layer.mean_norm == 2.5
    assert layer.num_updates == 7


def test_groups_share_one_mean(near):
    layer = dn.DecoupledConv2d(4, 6, 3, groups=2, dtype=torch.float64)
    x = torch.randn(2, 4, 5, 4, dtype=torch.float64)
    x[:, 2:] *= 5
    mean = torch.cat([patch_norms(part, 3) for part in x.chunk(2, 1)]).mean()
    radius = (layer.radius**2 + 1e-4) * mean
    expected = dn.functional.decoupled_conv2d(x, layer.weight, layer.bias, groups=2, radius=radius)
    near(layer(x), expected)


@pytest.mark.parametrize("name", LAYERS)
def test_average_starts_at_the_norm_of_a_unit_variance_patch(name):
    layer = make(name)
    assert layer.mean_norm.item() == pytest.approx(math.sqrt(layer.weight[0].numel()))
    assert layer.num_updates.item() == 0
    assert layer.num_updates.dtype == torch.int64


def test_fan_in_counts_one_group():
    assert dn.DecoupledConv2d(8, 8, 3, groups=4).mean_norm.item() == pytest.approx(math.sqrt(2 * 9))


@pytest.mark.parametrize(
    ("radius", "start", "decay"),
    [
        ("relative", 2.0, lambda t: min(0.999, (1 + t) / (10 + t))),
        (dn.RelativeRadius(decay=0.3), 2.0, lambda t: min(0.3, (1 + t) / (10 + t))),
        (ZERO, 0.0, lambda t: 0.999),
        (dn.RelativeRadius(decay=0.5, zero_start=True), 0.0, lambda t: 0.5),
    ],
    ids=["default", "own decay", "zero start", "zero start, own decay"],
)
def test_moving_average_step_by_step(radius, start, decay):
    layer = make("linear", radius=radius, dtype=torch.float64)
    average = start
    for step in range(8):
        x = (step + 1) * sample("linear", 3, dtype=torch.float64)
        mean = (x.square().sum(-1) + 1e-4).sqrt().mean().item()
        layer(x)
        average = decay(step) * average + (1 - decay(step)) * mean
        assert layer.mean_norm.item() == pytest.approx(average, rel=1e-12)
        assert layer.num_updates.item() == step + 1


@pytest.mark.parametrize(("step", "decay"), [(8980, 8981 / 8990), (8990, 0.999), (10**7, 0.999)])
def test_warm_up_ends_at_the_decay(step, decay):
    layer = make("linear", dtype=torch.float64)
    layer.num_updates.fill_(step)
    layer.mean_norm.fill_(1.0)
    layer(torch.zeros(1, 4, dtype=torch.float64))  # ‖x‖ = 0.01
    assert layer.mean_norm.item() == pytest.approx(decay + (1 - decay) * 0.01, rel=1e-12)


def test_zero_start_is_finite_before_the_first_step():
    layer = make("conv2d", radius=ZERO).eval()
    assert layer.mean_norm == 0
    assert layer(sample("conv2d", 2)).isfinite().all()


@pytest.mark.parametrize("name", LAYERS)
def test_empty_batch_leaves_the_average(name):
    layer = make(name)
    before = layer.mean_norm.clone()
    layer(sample(name, 0))
    assert torch.equal(layer.mean_norm, before)
    assert layer.num_updates == 0


def test_average_carries_no_graph():
    layer = make("conv2d")
    layer(sample("conv2d", 2).requires_grad_())
    assert not layer.mean_norm.requires_grad
    assert layer.mean_norm.grad_fn is None


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("how", ["constructed", "converted"])
@pytest.mark.parametrize("name", LAYERS)
def test_average_stays_in_float32(name, how, dtype):
    """An average that moves by a thousandth would stand still in half the bits."""
    layer = make(name, dtype=dtype) if how == "constructed" else make(name).to(dtype)
    assert layer.radius.dtype == dtype
    assert layer.mean_norm.dtype == torch.float32
    layer.mean_norm.fill_(1.0)
    layer.num_updates.fill_(10**5)
    for _ in range(100):
        layer(torch.zeros(1, *LAYERS[name][3], dtype=dtype))  # ‖x‖ = 0.01
    assert layer.mean_norm.item() == pytest.approx(0.01 + 0.99 * 0.999**100, rel=1e-4)


def test_conversion_keeps_the_average_and_follows_to_float64():
    layer = make("conv2d")
    layer.mean_norm.fill_(1.2345678)
    assert layer.bfloat16().mean_norm.item() == pytest.approx(1.2345678, rel=1e-6)
    assert layer.double().mean_norm.dtype == torch.float64
    assert layer.float().mean_norm.dtype == torch.float32
    assert layer.to("meta").mean_norm.device.type == "meta"


def test_scale_of_the_input_does_not_matter_in_training(near):
    """The radius is in units of the mean norm: h and g are then the same for every scale."""
    layer, x = layer_2d(eps=1e-20), torch.randn(2, 3, 5, 4, dtype=torch.float64)
    near(layer(100 * x), layer(x))


def test_mean_of_one_process_is_the_local_mean():
    x = torch.randn(3, 4)
    assert torch.equal(shared_mean(torch.nn.Identity(), x, True), x.mean())


def test_reset_parameters_starts_the_operator_anew():
    operator = dn.Operator("tanh", "sigmoid", k="learned")
    layer = make("conv2d", operator=operator)
    layer(sample("conv2d", 2))
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.fill_(9)
    torch.manual_seed(4)
    layer.reset_parameters()
    torch.manual_seed(4)
    fresh = make("conv2d", operator=operator).state_dict()
    for key, value in layer.state_dict().items():
        assert torch.equal(value, fresh[key]), key


@pytest.mark.parametrize("path", ["compiled kernels", "composed", "torch.compile"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("name", LAYERS)
def test_a_batch_without_a_finite_mean_stays_out_of_the_average(name, value, path):
    layer, x = make(name), sample(name, 2)
    layer(x)
    before = layer.mean_norm.item()
    run = torch.compile(layer, backend="eager") if path == "torch.compile" else layer
    spoilt = x.clone()
    spoilt.view(-1)[0] = value
    with use_backend("composed") if path == "composed" else nullcontext():
        out = run(spoilt)
        assert out.isnan().any()  # it is seen where it is
        assert layer.mean_norm.item() == before
        assert layer.num_updates.item() == 1
        run(x)
        assert layer.num_updates.item() == 2
    assert layer.eval()(x).isfinite().all()


@pytest.mark.parametrize("path", ["compiled kernels", "composed"])
@pytest.mark.parametrize("part", ["mean_norm", "radius"])
@pytest.mark.parametrize("operator", ["tanh-cos", "ball-cos", "tanh-sqcos", "ball-sqcos", "seg-cos"])
def test_nan_in_radius_or_average_is_seen_everywhere(operator, part, path):
    layer, x = make("conv2d", operator=operator).eval(), sample("conv2d", 2)
    with torch.no_grad():
        getattr(layer, part).fill_(math.nan)
    with use_backend("composed") if path == "composed" else nullcontext():
        assert layer(x).isnan().all() or operator == "seg-cos"
        assert layer(x).isnan().any()


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpointing_moves_the_average_once(reentrant):
    layer, x = make("conv2d"), sample("conv2d", 2).requires_grad_()
    plain_layer = make("conv2d")
    plain_layer.load_state_dict(layer.state_dict())
    plain_layer(x)
    checkpoint(layer, x, use_reentrant=reentrant).sum().backward()
    assert layer.num_updates == 1
    assert torch.equal(layer.mean_norm, plain_layer.mean_norm)


@pytest.mark.parametrize("name", ["conv2d", "linear"])
def test_transforms_in_training_are_refused_with_a_way_out(name):
    layer, x = make(name), sample(name, 3)

    def loss(parameters, x):
        return torch.func.functional_call(layer, parameters, (x[None],)).sum()

    def gradients():
        return torch.func.vmap(torch.func.grad(loss), (None, 0))(dict(layer.named_parameters()), x)

    with pytest.raises(
        RuntimeError, match=rf"{type(layer).__name__}\(.*4, .*6, .*evaluation mode.*radius='learned'"
    ):
        gradients()
    layer.eval()
    assert gradients()["weight"].shape == (3, *layer.weight.shape)


def test_other_errors_keep_their_own_words():
    layer = make("conv2d")
    with torch.inference_mode():
        layer.mean_norm = torch.ones(())
    with pytest.raises(RuntimeError, match=r"^Inplace update to inference tensor"):
        layer(sample("conv2d", 2))
