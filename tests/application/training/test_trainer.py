"""Training: learning rates, the order of data, the losses, and what is logged and resumed."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from torch import nn
from torch.nn import functional as F
from torch.utils.data import IterableDataset, TensorDataset

from torch_growl.application.data.reading import Reading
from torch_growl.application.data.splits import TensorSplit
from torch_growl.application.recipes import Phase
from torch_growl.application.tasks import Batch, build_task
from torch_growl.application.training.scores import evaluate
from torch_growl.application.training.trainer import Trainer, _target_record
from torch_growl.errors import DataError, GrowlError
from torch_growl.networks.targets import Progress


def phase(**changes: Any) -> Phase:
    return Phase(**{"epochs": 4, "lr": 0.1, "batch_size": 16, **changes})


def split(n: int = 50) -> TensorSplit:
    x = torch.randn(n, 6, generator=torch.Generator().manual_seed(1))
    return TensorSplit(x, (x[:, 0] > 0).long() + (x[:, 1] > 0).long())


def trainer(settings: Phase, saved: list[Any], logged: list[Any], **more: Any) -> Trainer:
    return Trainer(
        "dense",
        settings,
        0,
        Accelerator(cpu=True),
        save=lambda state: saved.append(copy.deepcopy(state)),
        log=logged.append,
        progress=lambda *_: None,
        layers=("0", "2"),
        **more,
    )


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))


def test_every_epoch_is_logged_and_saved_and_the_network_learns() -> None:
    saved: list[Any] = []
    logged: list[Any] = []
    model, data = network(), split()
    before = evaluate(model, data, torch.device("cpu"))
    trainer(phase(epochs=6), saved, logged).fit(model, data, data)
    assert [record["epoch"] for record in logged] == [state["epoch"] for state in saved] == [1, 2, 3, 4, 5, 6]
    assert logged[-1]["loss"] < logged[0]["loss"]
    assert logged[-1]["validation_accuracy"] == evaluate(model, data, torch.device("cpu")) > before
    assert logged[0]["layers"]["0"] == {"rows": 6, "nonzero": 6, "distinct": 6}
    assert logged[0]["compression"] == 1.0


def test_distillation_mixes_both_losses_by_its_weight() -> None:
    teacher, settings = network().eval(), phase(distill=0.25, temperature=3.0)
    made = trainer(settings, [], [], teacher=teacher)
    x, y = split(20).x, split(20).y
    output = torch.randn(20, 3)
    p, q = F.softmax(teacher(x) / 3, dim=1), F.log_softmax(output / 3, dim=1)
    distance = (p * (p.log() - q)).sum(dim=1).mean()  # KL(teacher ‖ student)
    wanted = 0.75 * F.cross_entropy(output, y) + 0.25 * 9 * distance
    torch.testing.assert_close(made._loss(output, Batch(((x,), {}), y)), wanted)
    assert torch.equal(
        trainer(phase(), [], [], teacher=teacher)._loss(output, Batch(((x,), {}), y)), F.cross_entropy(output, y)
    )


def with_norm() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))


RECOVERY: dict[str, dict[str, Any]] = {
    "average": {"average": 0.9},
    "recalibrate": {"recalibrate": True},
    "features": {"distill_features": 2.0},
    "all": {"average": 0.9, "recalibrate": True, "distill_features": 2.0, "distill": 0.5},
}


@pytest.mark.parametrize("name", RECOVERY)
def test_options_of_recovery_change_a_training_and_a_resumed_one_is_the_same(name: str) -> None:
    ends = []
    for settings, first in ((phase(), 0), (phase(**RECOVERY[name]), 0), (phase(**RECOVERY[name]), 2)):
        teacher = with_norm().eval()
        saved: list[Any] = []
        logged: list[Any] = []
        made = trainer(settings, saved, logged, teacher=teacher)
        made.fit(with_norm(), split(), split())
        if first:
            state = saved[first - 1]
            saved = []
            made = trainer(settings, saved, logged, teacher=with_norm().eval())
            made.fit(with_norm(), split(), split(), state=state)
        assert not teacher[0]._forward_hooks
        ends.append(saved[-1]["model"])
    plain, once, resumed = ends
    assert all(torch.equal(once[key], resumed[key]) for key in once)
    assert any(not torch.equal(plain[key], once[key]) for key in once)
    weights = [key for key in once if key.endswith("weight")]
    if name == "recalibrate":
        assert all(torch.equal(plain[key], once[key]) for key in weights)
        data = split()
        model = with_norm()
        model.load_state_dict(once)
        seen = torch.stack([x.mean(0) for x in model[0](data.x).split(50)]).mean(0).detach()
        torch.testing.assert_close(once["1.running_mean"], seen, atol=0.2, rtol=0.2)


def test_a_loss_that_is_not_finite_is_an_error_that_names_the_rate() -> None:
    logged: list[Any] = []
    with pytest.raises(
        GrowlError, match=r"stage dense: the loss is (nan|inf) in epoch 1; lower dense.lr \(now 1e\+30\)"
    ):
        trainer(phase(lr=1e30), [], logged).fit(network(), split(), split())
    assert logged == []


def test_a_label_beyond_the_outputs_is_named_with_the_stage() -> None:
    data = split()
    far = TensorDataset(data.x, data.y + 7)
    with pytest.raises(
        DataError, match="stage dense: a label of the train set is no class below the network's 3 outputs"
    ):
        trainer(phase(), [], []).fit(network(), far, far)


class Stream(IterableDataset[Any]):
    """Pairs of a line and its values, 50 in a pass."""

    def __init__(self) -> None:
        self.passes = 0

    def __iter__(self) -> Iterator[Any]:
        self.passes += 1
        x = split().x
        yield from zip(x, x[:, 0] - x[:, 1], strict=True)


@pytest.mark.parametrize(("steps", "passes"), [(None, 4), (7, 9)])
def test_an_iterable_dataset_is_passed_over_in_every_epoch_and_again_where_more_steps_are_asked(
    steps: int | None, passes: int
) -> None:
    train, validation, logged = Stream(), Stream(), []
    reading, task = Reading(steps_per_epoch=steps), build_task("regression")
    told: list[tuple[int, ...]] = []
    model = nn.Sequential(nn.Linear(6, 1))
    made = trainer(phase(epochs=3, optimizer="adam"), [], logged, task=task, reading=reading)
    made.progress = lambda *found: told.append(found[:3])
    made.fit(model, train, validation)
    assert told[-1] == (3, steps or 3, steps or 3)
    assert train.passes == passes  # without a number of steps, one pass to count them
    assert logged[-1]["loss"] < logged[0]["loss"]
    assert "validation_accuracy" not in logged[-1]
    assert logged[-1]["validation_score"] == evaluate(model, validation, torch.device("cpu"), task)


def test_an_iterable_dataset_without_a_whole_batch_is_refused() -> None:
    with pytest.raises(DataError, match="no batch of 64 examples; lower batch_size"):
        trainer(phase(batch_size=64), [], [], task=build_task("regression")).fit(nn.Linear(6, 1), Stream(), Stream())


def test_the_record_of_a_target_has_no_number_that_json_does_not_know() -> None:
    found = _target_record(Progress("free", 1, 20, "macs", 5.0, float("nan"), 10.0, False, {}))
    assert found == {"of": "macs", "asked": 5.0, "left": None, "dense": 10.0, "phase": "free", "reached": False}
