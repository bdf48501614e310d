"""Convert many networks, with random weights, and write docs/convert-sweep.md.

Of every network: its convolutions are converted, or reported as left; outputs and gradients are finite; a
fresh network takes the converted one's state dict and answers alike; `revert` gives the first outputs to the
bit.

Networks run in a process that may die, and each makes one line of the record; a second call goes on with
those that are missing. `nice -n 10 python scripts/sweep_convert.py`; `--only GLOB` takes some, anew.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import fnmatch
import gc
import json
import time
import traceback
import warnings
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path

from decoupled_nets._progress import Progress
from sweep_networks import SEGMENTATION, TIMM, TORCHVISION, builders

DOCS = Path(__file__).parent.parent / "docs" / "convert-sweep.md"


def main() -> None:
    """Run what is missing, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--only", help="glob on 'timm/NAME', 'torchvision/NAME' or 'smp/NAME'")
    parser.add_argument("--record", type=Path, default=Path("runs/convert-sweep.jsonl"))
    arguments = parser.parse_args()
    arguments.record.parent.mkdir(parents=True, exist_ok=True)
    done = read(arguments.record)
    names = every_name()
    todo = [name for name in names if name not in done]
    if arguments.only:
        todo = fnmatch.filter(names, arguments.only)
    with Progress(len(names if not arguments.only else todo), "networks") as progress:
        if not arguments.only:
            progress.skip(len(names) - len(todo))
        for result in results(todo, progress):
            with arguments.record.open("a") as file:
                file.write(json.dumps(result) + "\n")
            if result["problem"]:
                progress.say(f"{result['name']}: {result['problem']}")
            progress.advance()
    done = read(arguments.record)
    DOCS.write_text(page([done[name] for name in names if name in done]))


def every_name() -> list[str]:
    """Timm's by our list, torchvision's classifiers all, and some for other tasks."""
    import torchvision

    theirs = torchvision.models.list_models(module=torchvision.models)
    names = [f"timm/{name}" for name in TIMM]
    names += [f"torchvision/{name}" for name in (*theirs, *TORCHVISION)]
    return names + [f"smp/{name}" for name in SEGMENTATION]


def read(record: Path) -> dict[str, dict]:
    """The last result of every network."""
    lines = record.read_text().splitlines() if record.exists() else []
    return {result["name"]: result for result in map(json.loads, lines)}


def results(names: list[str], progress: Progress):
    """Results one after another, from a process that is renewed now and then, and when it died."""
    pending = list(names)
    while pending:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn"), max_tasks_per_child=40) as pool:
            while pending:
                progress.describe(pending[0])
                try:
                    yield pool.submit(check, pending[0]).result()
                except BrokenProcessPool:
                    yield {"name": pending.pop(0), "problem": "the process died (memory?)"}
                    break
                pending.pop(0)


def check(name: str) -> dict:
    """Convert one network in every way the sweep asks for."""
    import torch

    torch.set_num_threads(1)  # small inputs; on a busy machine two wait for each other
    warnings.simplefilter("ignore")
    start = time.monotonic()
    result = {"name": name, "problem": None}
    try:
        torch.manual_seed(0)
        measure(name, result)
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        result["problem"] = (
            f"{type(error).__name__}: {str(error)[:200]} ({Path(place.filename).name}:{place.lineno})"
        )
    result["seconds"] = round(time.monotonic() - start, 1)
    gc.collect()
    return result


def measure(name: str, result: dict) -> None:
    """Fill in what one network gave; raises on what it must not do."""
    import decoupled_nets as dn

    build, x = working(name)
    model = prepared(build(), x, wake=True)
    result["asleep"] = not all(t.isfinite().all() for t in outputs(model, x))
    if result["asleep"]:
        model = prepared(build(), x, wake=False)
    keys = list(model.state_dict())
    before = outputs(model, x)
    result |= {"size": list(x.shape[2:]), "parameters": sum(p.numel() for p in model.parameters())}

    report = dn.convert(model, "tanh-cos")
    result["converted"] = len(report.converted)
    result["left"] = dict(collections.Counter(fate.reason for fate in report.left))
    result["told"] = list(report.notes)
    after = outputs(model, x)
    require(all(t.isfinite().all() for t in after), "outputs are not finite")
    require(not report.converted or not same(before, after), "converted, and outputs are as before")
    fresh = build().eval()
    dn.convert(fresh, "tanh-cos")
    fresh.load_state_dict(model.state_dict())
    require(same(outputs(fresh, x), after), "another network with its state dict answers otherwise")
    del fresh
    require(dn.revert(model) == len(report.converted), "not every layer was reverted")
    require(same(outputs(model, x), before), "reverted, and outputs are not as before")
    require(list(model.state_dict()) == keys, "reverted, and the state dict has other keys")

    everything = dn.Select(kernel_size="any", shortcuts=True, depthwise=True, outputs=True)
    result["everything"] = len(dn.convert(model, "ball-cos", select=everything, linear=True).converted)
    require(
        all(t.isfinite().all() for t in outputs(model, x)), "everything converted, and outputs not finite"
    )
    dn.revert(model)
    require(same(outputs(model, x), before), "everything reverted, and outputs are not as before")

    dn.convert(model, "tanh-cos")
    loss = sum(t.float().square().mean() for t in tensors(model.train()(x)))
    loss.backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    require(bool(loss.isfinite()), "the loss is not finite")
    require(all(g.isfinite().all() for g in gradients), "gradients are not finite")
    fates = [m for m in model.modules() if isinstance(m, dn.DecoupledConv2d)]
    unused = sum(m.weight.grad is None for m in fates)
    result["unused"] = unused
    with contextlib.suppress(AttributeError):
        result["family"] = type(model).__module__.split(".")[-1]


def prepared(model, x, wake: bool):
    """A network in evaluation whose layers all show in its outputs; without `wake`, but for its own zeros."""
    import torch
    from torch.optim.swa_utils import update_bn

    for name, parameter in model.named_parameters():
        if parameter.any():
            continue
        if parameter.dim() > 1:  # a classifier of zeros would hide everything
            torch.nn.init.normal_(parameter, std=0.02)
        elif wake and name.endswith("weight"):  # and a BatchNorm of zeros the residual branch that it ends
            torch.nn.init.ones_(parameter)
    update_bn([x], model)  # of random weights, signals may vanish or explode without it
    return model.eval()


def working(name: str):
    """How to build a network, and an input small enough that plain training works on."""
    import torch

    error: Exception | None = None
    for build, size in builders(name):
        try:
            x = torch.randn(2, 3, *size)
            model = build()
            tensors(model.train()(x))
            return build, x
        except Exception as raised:
            error = raised
    raise RuntimeError(f"the plain network does not run: {error}")


def outputs(model, x) -> list:
    """Tensors a network gives."""
    import torch

    with torch.no_grad():
        return tensors(model(x))


def tensors(output) -> list:
    """Tensors in a tuple, a dict or whatever a network gives."""
    from torch.utils._pytree import tree_leaves

    return [leaf for leaf in tree_leaves(output) if hasattr(leaf, "isfinite")]


def same(first: list, second: list) -> bool:
    """Equal to the bit."""
    return len(first) == len(second) and all(map(lambda a, b: bool((a == b).all()), first, second))


def require(condition: bool, problem: str) -> None:
    """Raise unless."""
    if not condition:
        raise RuntimeError(problem)


def page(found: list[dict]) -> str:
    """The table, with what it says on top."""
    good = [r for r in found if not r["problem"]]
    with_layers = sum(r["converted"] > 0 for r in good)
    families = {r["family"] for r in good}
    rest = (
        f"; in the other {len(good) - with_layers} the report says why not" if with_layers < len(good) else ""
    )
    text = f"""# Conversion of networks of timm, torchvision and segmentation_models_pytorch

{len(found)} networks of {len(families)} families with random weights (none of them zero in a classifier
or a normalisation, as some begin, which would hide layers; one exception is noted), on small inputs:
{len(good)} pass,
{len(found) - len(good)} do not. In {with_layers} the default selection found something to convert{rest}.

To pass, a network converted to `tanh-cos` gives finite outputs, other than before, and finite gradients in
training mode; a fresh network, converted, takes its state dict and answers to the bit alike; `revert` gives
the first outputs to the bit and the first state dict's keys. The column *everything* counts the layers that
`Select(kernel_size="any", shortcuts=True, depthwise=True, outputs=True)` and `linear=True` convert, to
`ball-cos`, whose outputs have to be finite, and its undoing exact. `python scripts/sweep_convert.py` makes
this page.
"""
    lines = [
        text,
        "| Network | Parameters | Input | Converted | Left, and why | Everything | |",
        "| --- | ---: | ---: | ---: | --- | ---: | --- |",
    ]
    return "\n".join([*lines, *map(row, found)]) + "\n"


def row(result: dict) -> str:
    """One network's line of the table."""
    if result["problem"]:
        return f"| {result['name']} | | | | | | {result['problem'].replace('|', '/')} |"
    left = ", ".join(f"{count} {reason}" for reason, count in sorted(result["left"].items()))
    notes = [f"{result['unused']} got no gradient"] if result["unused"] else []
    notes += ["normalisations keep their zeros: plain, it gives NaN without"] if result.get("asleep") else []
    notes += result.get("told", [])
    note = "; ".join(notes).replace("|", "/")
    million = f"{result['parameters'] / 1e6:.1f} M"
    size = "×".join(map(str, result["size"]))
    cells = [result["name"], million, size, result["converted"], left, result["everything"], note]
    return f"| {' | '.join(map(str, cells))} |"


if __name__ == "__main__":
    main()
