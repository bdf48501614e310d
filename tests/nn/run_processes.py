"""What two processes do in tests/nn/test_process_group.py: ``run_processes.py CASE RANK STORE FOLDER``."""

from __future__ import annotations

import copy
import sys
import warnings
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint

import decoupled_nets as dn

STEPS = 3


class Checkpointed(nn.Sequential):
    """Computes everything once more in the backward pass."""

    def forward(self, x):
        return checkpoint(super().forward, x, use_reentrant=False)


def network(sync="auto"):
    torch.manual_seed(0)
    radius = dn.RelativeRadius(sync=sync)
    made = {"radius": radius, "dtype": torch.float64}
    return nn.Sequential(dn.DecoupledConv2d(3, 4, 3, **made), nn.ReLU(), dn.DecoupledConv2d(4, 2, 3, **made))


def batch():
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(6, 3, 7, 7, generator=generator, dtype=torch.float64)
    x[3:] *= 4  # the processes' means differ
    return x


def train(net, x, forward=None):
    """The state after a few steps, with the losses."""
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
    losses = []
    for _ in range(STEPS):
        loss = (net if forward is None else forward)(x).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    whole = getattr(net, "module", net)
    return {**whole.state_dict(), "losses": torch.stack(losses)}


def one_forward(rank):
    if rank == 0:
        network()(batch())
    return {}


def independent(rank):
    return train(network(), batch()[3 * rank : 3 * rank + 3])


def never(rank):
    return train(DistributedDataParallel(network(sync=False)), batch()[3 * rank : 3 * rank + 3])


def always(rank):
    net = network(sync=True)
    net(batch()[3 * rank : 3 * rank + 3])
    return net.state_dict()


def group(rank):
    """A group of one process each: nobody to share with."""
    groups = [dist.new_group([0]), dist.new_group([1])]
    net = copy.deepcopy(network(sync=groups[rank]))
    net(batch()[3 * rank : 3 * rank + 3])
    return net.state_dict()


def saved(rank):
    """A process group has no place in a file; a copy of the layer shares it."""
    radius = dn.RelativeRadius(sync=dist.group.WORLD)
    model = dn.create_model("cnn9", 4, operator="tanh-cos", width=1 / 16, radius=radius)
    copy.deepcopy(model)
    try:
        dn.save_pretrained(model, "nowhere")
    except ValueError as error:
        return {"named": torch.tensor("sync" in str(error) and "cannot be written" in str(error))}
    return {"named": torch.tensor(False)}


def wrapped(rank):
    return train(DistributedDataParallel(network()), batch()[3 * rank : 3 * rank + 3])


def checkpointed(rank):
    return train(DistributedDataParallel(Checkpointed(*network())), batch()[3 * rank : 3 * rank + 3])


def spoilt(rank):
    """A NaN in one process's batch stays out of every process's average."""
    net = DistributedDataParallel(network())
    net(batch()[3 * rank : 3 * rank + 3])
    x = batch()[3 * rank : 3 * rank + 3]
    if rank == 1:
        x[0, 0, 0, 0] = float("nan")
    out = net(x)
    return {**net.module.state_dict(), "nan": out.isnan().any()}


if __name__ == "__main__":
    case, rank, store, folder = sys.argv[1], int(sys.argv[2]), sys.argv[3], Path(sys.argv[4])
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{store}", rank=rank, world_size=2, timeout=timedelta(seconds=60)
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        state = globals()[case](rank)
    told = [w for w in caught if "outside DistributedDataParallel" in str(w.message)]
    torch.save({**state, "told": torch.tensor(len(told))}, folder / f"{case}-{rank}.pt")
    dist.destroy_process_group()
