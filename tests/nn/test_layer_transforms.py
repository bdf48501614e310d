"""torch.func over layers: derivatives of every sample, batches of models, forward mode."""

from __future__ import annotations

import copy
from functools import partial

import pytest
import torch
from layer_cases import LAYERS, make, sample
from torch.func import functional_call, grad, jvp, stack_module_state, vjp, vmap

import decoupled_nets as dn
from decoupled_nets.ops.backend import use_backend

SIGMOID = dn.Operator("seg", "sigmoid", k="learned")
#: What depends on a sample alone: no mean over the batch.
OPTIONS = {
    "relative, evaluated": ({}, False),
    "learned, evaluated": ({"operator": SIGMOID, "radius": "learned", "weighting": "product"}, False),
    "learned, trained": ({"operator": "tanh-sqcos", "radius": "learned", "weighting": "linear"}, True),
    "number, trained": ({"operator": "ball-linear", "radius": 1.5, "weighting": "separate"}, True),
}
CASES = pytest.mark.parametrize(("options", "training"), OPTIONS.values(), ids=OPTIONS)
JVP = "ignore:`torch.jit.script` is (deprecated|not supported)"  # torch 2.13 and 2.14 differ in the category


def detached(layer):
    """Parameters that can be differentiated, and the whole state."""
    parameters = {name: p.detach() for name, p in layer.named_parameters()}
    return parameters, dict(layer.named_buffers())


@CASES
@pytest.mark.parametrize("name", LAYERS)
def test_gradient_of_every_sample(near, name, options, training):
    layer = make(name, dtype=torch.float64, **options).train(training)
    parameters, buffers = detached(layer)
    x = sample(name, 3, dtype=torch.float64)

    def loss(parameters, x):
        return functional_call(layer, (parameters, buffers), (x.unsqueeze(0),)).square().sum()

    each = vmap(grad(loss), in_dims=(None, 0))(parameters, x)
    for index, one in enumerate(x):
        # The layer by itself, on the kernels where they can run.
        own = torch.autograd.grad(layer(one.unsqueeze(0)).square().sum(), list(layer.parameters()))
        for key, expected in zip(parameters, own, strict=True):
            near(each[key][index], expected, name=key)


@CASES
def test_models_in_one_batch(near, options, training):
    layers = [make("conv2d", **options).train(training) for _ in range(3)]
    parameters, buffers = stack_module_state(layers)
    x = sample("conv2d", 2)

    def fn(parameters, buffers, x):
        return functional_call(layers[0], (parameters, buffers), (x,))

    together = vmap(fn, in_dims=(0, 0, None))(parameters, buffers, x)
    near(together, torch.stack([layer(x) for layer in layers]))


@pytest.mark.filterwarnings(JVP)
@CASES
def test_forward_mode_is_the_transpose_of_the_gradient(options, training):
    layer = make("conv2d", dtype=torch.float64, **options).train(training)
    parameters, buffers = detached(layer)
    x = sample("conv2d", 2, dtype=torch.float64)

    def fn(parameters, x):
        return functional_call(layer, (parameters, buffers), (x,))

    tangents = {name: torch.randn_like(p) for name, p in parameters.items()}, torch.randn_like(x)
    out, forward = jvp(fn, (parameters, x), tangents)
    cotangent = torch.randn_like(out)
    by_parameters, by_x = vjp(fn, parameters, x)[1](cotangent)
    backward = sum((by_parameters[name] * tangents[0][name]).sum() for name in parameters)
    torch.testing.assert_close((forward * cotangent).sum(), backward + (by_x * tangents[1]).sum())


def test_relative_radius_in_training(near):
    """A gradient moves the average once, as a step does; torch.func asks for such state as an argument."""
    layer = make("conv2d", dtype=torch.float64)
    twin = copy.deepcopy(layer)
    parameters, buffers = detached(layer)
    buffers = {name: value.clone() for name, value in buffers.items()}
    x = sample("conv2d", 2, dtype=torch.float64)

    def loss(parameters, buffers):
        return functional_call(layer, (parameters, buffers), (x,)).square().sum()

    found = grad(loss)(parameters, buffers)
    expected = torch.autograd.grad(twin(x).square().sum(), list(twin.parameters()))
    for key, want in zip(parameters, expected, strict=True):
        near(found[key], want, name=key)
    assert layer.num_updates == 0
    for key, value in twin.named_buffers():
        near(buffers[key], value, name=key)


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("radius", ["relative", "learned"])
def test_kernels_and_composed_path_under_autocast(near, name, training, radius):
    """The kernels take norms of the input in bf16, as the convolution does, the other path of the input."""
    layer = make(name, operator="tanh-sqcos", radius=radius).train(training)
    twin = copy.deepcopy(layer)
    x = sample(name, 2)
    results = []
    for module, context in ((layer, torch.enable_grad), (twin, partial(use_backend, "composed"))):
        with context(), torch.autocast("cpu", torch.bfloat16):
            out = module(x)
            assert out.dtype == torch.bfloat16
            results.append((out, *torch.autograd.grad(out.float().square().sum(), list(module.parameters()))))
    for got, want in zip(*results, strict=True):
        near(got, want, torch.bfloat16)
