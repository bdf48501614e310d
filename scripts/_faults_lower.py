"""Faults in layers and networks, and in what is done with a network: conversion, calibration, saving."""

from __future__ import annotations

FAULTS: list[tuple[str, str, str]] = [
    # Learned operators.
    ("ops/decoupled/learned.py", "return value + (value.clamp(low, high) - value).detach()", "return value"),
    (
        "ops/decoupled/learned.py",
        "return value + (value.clamp(low, high) - value).detach()",
        "return value.clamp(low, high)",
    ),
    ("ops/decoupled/learned.py", "(turn * turn + ROUNDED)", "(turn * turn)"),
    ("ops/decoupled/learned.py", "slopes / square.clamp(min=_LEAST).sqrt()", "slopes"),
    ("ops/decoupled/learned.py", "torch.zeros_like(slopes[..., -1:])", "slopes[..., -1:]"),
    ("ops/decoupled/learned.py", "at = _points(1.0, 2.0)", "at = _points(2.0, 1.0) + 1"),
    ("ops/decoupled/kernels.py", "gain * unit", "gain"),
    (
        "ops/decoupled/kernels.py",
        'call.weighting == "product" and (magnitude.degree',
        "False and (magnitude.degree",
    ),
    (
        "ops/decoupled/derivative.py",
        "least = response.alpha * operands.h_parameters.abs().min().item()",
        "pass",
    ),
    ("optim.py", "spared |= {id(p) for p in operator_parameters(module)}", "pass"),
    # Layers.
    ("nn/same_conv.py", "missing = missing if span >= step else max(missing, 0)", "missing = missing"),
    ("nn/upsample.py", 'mode="replicate"', 'mode="constant"'),
    ("nn/operator.py", "warnings.warn(text, stacklevel=3)", "pass"),
    ("nn/operator.py", "if recomputing():\n            return mean", "if False:\n            return mean"),
    (
        "nn/upsample.py",
        "tents = tents.repeat_interleave(self.heads, 0)",
        "tents = tents.repeat(self.heads, 1)",
    ),
    (
        "nn/upsample.py",
        "guidance = F.adaptive_avg_pool2d(guidance, size)",
        "guidance = F.interpolate(guidance, size)",
    ),
    (
        "nn/filter_norm.py",
        "_FilterBatchNorm(filters * taps, gain / math.sqrt(taps), **made)",
        "_FilterBatchNorm(filters * taps, gain, **made)",
    ),
    ("nn/dynamic.py", "return {**options, **DDF_VARIANTS[variant]}", "return {**DDF_VARIANTS[variant]}"),
    # Networks.
    ("models/timm_registry.py", 'name.startswith(("imagenet_", "modified_"))', "False"),
    ("models/cnn9.py", "nn.BatchNorm2d(width, eps=blocks.bn_eps)", "nn.BatchNorm2d(width)"),
    (
        "models/network.py",
        'made: dict[str, Any] = {"device": like.device, "dtype": like.dtype}',
        'made: dict[str, Any] = {"device": like.device}',
    ),
    ("models/network.py", "self.head_drop = nn.Dropout(drop_rate)", "self.head_drop = nn.Dropout(0.0)"),
    ("models/network.py", "{**given, **CFG, **size,", "{**CFG, **size, **given,"),
    ("models/residual.py", 'max(1, stage["reduction"] // 4)', 'stage["reduction"]'),
    ("models/spatial.py", "conv.padding, conv.dilation,  # type: ignore[arg-type]", "conv.padding, 1,"),
    ("models/layers.py", '1.0 if radius == "learned" else norm', "norm"),
    ("models/vgg.py", "rate = drop_rate if small else 0.0", "rate = drop_rate"),
    # Conversion.
    ("conversion/dynamic.py", "requires_grad_(module.weight.requires_grad)", "requires_grad_(True)"),
    ("conversion/dynamic.py", "mix.bias.copy_(module.bias)", "mix.bias.mul_(1)"),
    ("conversion/dynamic.py", "return out.train(module.training)", "return out"),
    (
        "conversion/twins.py",
        "with parametrizations_in_evaluation(module):  # spectral_norm",
        "with torch.no_grad():  # spectral_norm",
    ),
    (
        "conversion/twins.py",
        'for name in ("radius", "kappa", *LEARNED):',
        'for name in ("radius", *LEARNED):',
    ),
    ("conversion/engine.py", "module.training = mode", "pass"),
    ("conversion/copies.py", "random.setstate(states[0])", "pass"),
    ("conversion/copies.py", "np.random.set_state(states[1])", "pass"),
    ("conversion/engine.py", "fork_rng(enabled=not keep)", "fork_rng(enabled=keep)"),
    ("conversion/engine.py", "tree_map_only(Tensor, cloned, inputs)", "inputs"),
    ("conversion/report.py", "100 * (after - before) / before", "100 * (after - before) / after"),
    ("conversion/classes.py", "layer.__dict__[name] = had[name]", "pass"),
    ("conversion/twins.py", "parameter.requires_grad_(trained)", "parameter.requires_grad_(True)"),
    ("conversion/copies.py", "checkpoint.CheckpointFunction = before", "pass"),
    # Calibration.
    ("calibration/layers.py", "layer.num_updates.fill_(1000)", "layer.num_updates.fill_(0)"),
    (
        "calibration/layers.py",
        "(self.seen.deviation > 1e-12) & (wanted.deviation > 1e-12)",
        "self.seen.deviation > 1e-12",
    ),
    ("calibration/batch_norm.py", "self.norm.momentum = self.momentum", "pass"),
    ("calibration/batch_norm.py", "self.norm.eval()", "pass"),
    ("calibration/radius.py", "MARGIN / number.sqrt()", "MARGIN / number"),
    ("calibration/report.py", "{100 * self.agreement:.1f} %", "{self.agreement:.1f} %"),
    ("calibration/report.py", "if self.why_not:", "if False:"),
    ("calibration/inputs.py", "itertools.islice(batches, limit)", "itertools.islice(batches, limit + 1)"),
    ("calibration/layers.py", "            layer.scale = scale", "            pass"),
    # Saving and loading.
    ("hub/files.py", "folder / WEIGHTS).eval()", "folder / WEIGHTS)"),
    ("hub/files.py", "with torch.random.fork_rng():  # weights", "with torch.enable_grad():  # weights"),
    ("hub/files.py", '"token": token}\n    folder', '"token": None}\n    folder'),
    ("hub/recipe.py", '"std": normalize.std', '"std": normalize.mean'),
    ("hub/values.py", '"weights", "url", "file")', '"weights")'),
    ("hub/proof.py", "random.setstate(drawn[0])", "pass"),
    ("hub/card.py", 'if "normalize" in config:', "if False:"),
    ("hub/card.py", 'f"{value:.4g}" if', 'f"{value:.2g}" if'),
    ("hub/files.py", '"revision": revision, "cache_dir"', '"revision": None, "cache_dir"'),
    ("hub/inputs.py", 'arguments.get("in_chans", channels)', 'arguments.get("in_channels", channels)'),
    # Optimisation, fusing.
    ("optim.py", "[p for p in module.parameters() if p.requires_grad]", "list(module.parameters())"),
    ("fusion.py", "nn.Sequential(parts.drop, parts.act)", "nn.Sequential(parts.drop)"),
    ("fusion.py", "if names[c] == names[n] == 1 and", "if"),
]
