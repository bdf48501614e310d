"""Joint depth upsampling trained: loss, interpolations beside it, learning, runs that go on."""

import json

import pytest
import torch
import torch.nn.functional as F
from joint_cases import SMALL, inputs

from decoupled_nets.data import DataConfig
from decoupled_nets.models.joint import extent
from decoupled_nets.ops.resample import interpolate_at
from decoupled_nets.tasks import find_task
from decoupled_nets.tasks.interpolations import Interpolations
from decoupled_nets.training import TrainConfig, load_network, train


def test_the_loss_is_that_of_maps_from_0_to_1():
    task, x = find_task("depth")(()), inputs(4)
    truth = x[:, 3:] + torch.randn(2, 1, 20, 24)
    outputs, targets = truth + torch.randn(2, 1, 20, 24), torch.cat([truth, x[:, 3:]], 1)
    low, high = (getattr(x[:, 3], name)((1, 2)).view(2, 1, 1, 1) for name in ("amin", "amax"))
    expected = F.mse_loss((outputs - low) / (high - low), (truth - low) / (high - low))
    torch.testing.assert_close(task.loss(outputs, targets), expected)
    flat = torch.full((1, 1, 5, 6), 200.0)
    assert [float(end) for end in extent(flat)] == [200.0, 2.0]  # not a division by 0
    dark = torch.cat([torch.ones(1, 1, 20, 24), torch.zeros(1, 1, 20, 24)], 1)
    assert float(task.loss(torch.full((1, 1, 20, 24), 9.0), dark)) == 0


def test_a_network_that_diverged_has_a_finite_bad_score():
    task, x = find_task("depth")(()), inputs(4)
    bad = task.outcomes(torch.full((2, 1, 20, 24), torch.nan), torch.cat([x[:, 3:], x[:, 3:]], 1))
    assert task.value(bad.sum(0), 2) > 1e8


def test_interpolations_and_the_choice_of_deviations():
    data = find_task("depth").load(DataConfig(data="sample", workers=0, test_size=3))
    task = find_task("depth")(())
    found = {name: float(some.double().mean()) for name, some in task.baselines(data).items()}
    assert [name.split(" (")[0] for name in found] == [
        "nearest", "bilinear", "bicubic", "bicubic, known sample positions", "joint bilateral",
    ]  # fmt: skip
    assert found["bicubic, known sample positions"] < found["bicubic"] < found["nearest"]
    ways = Interpolations(4, "pick")
    pairs = data.train_subset(4)
    ways.choose(pairs, task)
    chosen = float(task.outcomes(ways._bilateral(pairs[0], ways.spatial, ways.range), pairs[1]).sum())
    for spatial, range_ in ((0.5, 0.4), (1.0, 0.1), (0.5, 0.02)):
        assert chosen <= float(task.outcomes(ways._bilateral(pairs[0], spatial, range_), pairs[1]).sum())
    known = ways.spatial, ways.range = 1.0, 0.4
    ways.choose((pairs[0], torch.full_like(pairs[1], torch.nan)), task)
    assert (ways.spatial, ways.range) == known
    # Where the middle is known, it is not said twice.
    assert "bicubic, known sample positions" not in Interpolations(4, "area")(pairs[0])
    known = ways(pairs[0])["bicubic, known sample positions"]
    assert torch.equal(known, interpolate_at(pairs[0][:, 3:, ::4, ::4], 4, 1.0, "bicubic"))


@pytest.mark.parametrize(
    ("upsample", "epochs", "share"),
    [("ddf", 16, 0.9), pytest.param("transposed", 24, 0.8, marks=pytest.mark.long)],
)
def test_it_learns_more_than_interpolation_and_by_the_image(upsample, epochs, share, tmp_path):
    options = {**SMALL, "width": 0.25, "train_size": 40, "crop": 48, "crops": 2, "batch_size": 8, "lr": 4e-3}
    config = TrainConfig.of(**{**options, "epochs": epochs, "warmup": 0.3}, upsample=upsample)
    module = train(config, tmp_path, quiet=True)
    task, data = module.task, module.trainer.datamodule.data
    best = float(task.baselines(data)["bicubic, known sample positions"].double().mean()) / 1e6
    assert module.tested["rmse"] < share * best
    # With another's image it does worse: it looks at it.
    network, own, other = module.network.eval(), [], []
    with torch.no_grad():
        images = [pair[0] for pair in data.test_loader(1)]
        for k, (x, target) in enumerate(data.test_loader(1)):
            swapped = torch.cat([images[k - 1][:, :3], x[:, 3:]], 1)
            own.append(task.outcomes(network(x), target))
            other.append(task.outcomes(network(swapped), target))
    assert float(torch.cat(other).double().mean()) > 1.05 * float(torch.cat(own).double().mean())


def test_a_run_and_what_it_keeps(finished):
    folder, module = finished
    tested = json.loads((folder / "test.json").read_text())
    assert {"epoch", "loss", "rmse", "images", "metrics"} == set(tested)
    assert set(tested["metrics"]) == {"mae"}
    assert 0 < tested["metrics"]["mae"] < tested["rmse"]
    assert module.outcomes.shape == (6, 1)
    assert module.task.value(module.outcomes.sum(0), 6) == tested["rmse"]
    again = train(TrainConfig.of(**SMALL), folder, resume=True, quiet=True)
    assert torch.equal(again.outcomes, module.outcomes)
    network = load_network(folder / "last.ckpt")
    assert torch.equal(network(inputs(4)), module.network.eval()(inputs(4)))
    with pytest.raises(ValueError, match="scale: 8 now, 4 then"):
        train(TrainConfig.of(**SMALL, scale=8), folder, resume=True, quiet=True)
    with pytest.raises(ValueError, match="degradation: 'area' now, 'pick' then"):
        train(TrainConfig.of(**SMALL, degradation="area"), folder, resume=True, quiet=True)


def test_an_interrupted_run_ends_with_the_same_bits(check_interrupted):
    check_interrupted(2)  # in mid-epoch
