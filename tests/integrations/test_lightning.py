"""GrowlCallback in Lightning's Trainer: all phases by fit, resumed bit-equal, several optimizers, precisions, SWA."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import torch_growl as tg
from tests.support.small_mlp import mlp
from torch_growl.errors import InvalidTypeError, InvalidValueError

pytestmark = [
    pytest.mark.slow,  # importing Lightning takes seconds
    pytest.mark.filterwarnings("ignore"),  # theirs
]
X = torch.randn(4, 10, generator=torch.Generator().manual_seed(1))
# 40 steps, 4 an epoch: free until step 4, shrinking until 20, tied from 30 on. Checkpoint 0 is of step 4.
PHASES = {"free": 0, "shrinking": 2, "holding": 5, "tied": 8}
RISING = {"warm-up": 0, "penalised": 3}


def equal(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    first, second = a.state_dict(), b.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def callback(**given: Any) -> Any:
    from torch_growl.integrations.lightning import GrowlCallback

    usual = {"target": tg.Target(macs=0.6), "leave": "compact", "tie": 0.5, "min_rows": 2}
    return GrowlCallback(**{**usual, **given})


def rising() -> Any:
    return callback(target=None, strength=5.0, leave="regularized", tie=None, warmup=0.5)


def trained(*given: Any, **settings: Any) -> Any:
    from tests.support.tiny_lightning import trained

    return trained(*given, **settings)


def checkpoints(folder: Path) -> Any:
    from tests.support.tiny_lightning import checkpoints

    return checkpoints(folder)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any, Any]:
    folder, used = tmp_path_factory.mktemp("fit"), callback()
    made = trained(folder, [used, checkpoints(folder)], epochs=10, enable_checkpointing=True)
    return folder, made, used


@pytest.mark.parametrize("phase", PHASES)
def test_a_training_stopped_in_a_phase_and_resumed_ends_bit_equal(
    uninterrupted: tuple[Path, Any, Any], tmp_path: Path, phase: str
) -> None:
    folder, whole, first = uninterrupted
    used = callback()
    resumed = trained(tmp_path, [used], epochs=10, resume=folder / f"{PHASES[phase]}.ckpt")
    assert equal(resumed.lightning_module, whole.lightning_module)
    assert used.phases.tying == first.phases.tying is not None
    assert equal(used.network, first.network)


RECOVERY = {"distill": 0.5, "distill_features": 1.0, "average": 0.8, "recalibrate": True}


def test_a_training_with_every_recovery_is_resumed_bit_equal(tmp_path: Path) -> None:
    first, folder = callback(**RECOVERY), tmp_path / "whole"
    whole = trained(folder, [first, checkpoints(folder)], enable_checkpointing=True)
    last = torch.load(folder / "5.ckpt", weights_only=False)["state_dict"]["model.fc3.weight"]
    assert not torch.equal(whole.lightning_module.model.fc3.weight, last), "the average replaces the last weights"
    for epoch in (1, 4):  # shrinking, tied
        used = callback(**RECOVERY)
        resumed = trained(tmp_path, [used], resume=folder / f"{epoch}.ckpt")
        assert equal(resumed.lightning_module, whole.lightning_module)
        assert equal(used.network, first.network)
    assert "training_step" not in vars(whole.lightning_module)
    assert tg.measure(first.network, X, latency=False).macs <= 0.6 * tg.measure(mlp(), X, latency=False).macs


@pytest.mark.parametrize("form", ["tensor", "dict"])
def test_distillation_is_that_of_a_loss_written_by_hand(tmp_path: Path, form: str) -> None:
    from tests.support.tiny_lightning import Module

    teacher = mlp().eval()
    torch.nn.init.normal_(teacher.fc1.weight)

    class Plain(Module):
        def training_step(self, batch: Any, number: int) -> Any:
            loss = super().training_step(batch, number)
            return loss if form == "tensor" else {"loss": loss, "more": 1}

    class ByHand(Module):
        def training_step(self, batch: Any, number: int) -> Any:
            output = self(batch[0])
            with torch.no_grad():
                wanted = torch.nn.functional.softmax(teacher(batch[0]) / 3, dim=1)
            loss = torch.nn.functional.cross_entropy(output, batch[1])
            softened = torch.nn.functional.cross_entropy(output / 3, wanted)  # the divergence but for a constant
            return 0.6 * loss + 0.4 * 9 * softened

    used = callback(
        target=None, strength=0.0, tie=None, leave="regularized", distill=0.4, temperature=3.0, teacher=teacher
    )
    settings = {"epochs": 2, "accumulate_grad_batches": 2}
    found, expected = trained(tmp_path, [used], Plain(), **settings), trained(tmp_path, [], ByHand(), **settings)
    torch.testing.assert_close(found.lightning_module.state_dict(), expected.lightning_module.state_dict())
    plain = trained(tmp_path, [], Plain(), **settings)
    assert not torch.allclose(plain.lightning_module.model.fc3.weight, found.lightning_module.model.fc3.weight)


@pytest.fixture
def one_process() -> Iterator[None]:
    """Ends the process group that a trainer leaves, and takes its environment variables back."""
    before = dict(os.environ)
    yield
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
    os.environ.clear()
    os.environ.update(before)


@pytest.mark.usefixtures("one_process")
def test_distillation_under_ddp_is_that_without(tmp_path: Path) -> None:
    import torch.distributed as dist

    given = {"target": None, "strength": 0.0, "tie": None, "leave": "regularized", "distill": 0.4, "teacher": mlp()}
    torch.nn.init.normal_(given["teacher"].fc1.weight)
    ddp = {"strategy": "ddp", "devices": 1, "use_distributed_sampler": False}
    expected = trained(tmp_path, [callback(**given)], epochs=1)
    try:
        found = trained(tmp_path, [callback(**given)], epochs=1, **ddp)
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()
    torch.testing.assert_close(found.lightning_module.state_dict(), expected.lightning_module.state_dict())


def test_an_exception_takes_the_hooks_off(tmp_path: Path) -> None:
    from tests.support.tiny_lightning import Module

    class Stopped(Module):
        def on_train_batch_start(self, batch: Any, number: int) -> None:
            raise OSError

    module = Stopped()
    with pytest.raises(OSError, match=""):
        trained(tmp_path, [callback(distill=0.5, distill_features=1.0)], module)
    assert not any(each._forward_hooks for each in module.modules())
    assert "training_step" not in vars(module)


def test_a_loss_that_cannot_have_a_teachers_part_is_refused_by_name(tmp_path: Path) -> None:
    from tests.support.tiny_lightning import Module, TwoOptimizers

    with pytest.raises(InvalidValueError, match="automatic_optimization = False"):
        trained(tmp_path, [callback(distill=0.5)], TwoOptimizers())

    class Inside(Module):
        def training_step(self, batch: Any, number: int) -> Any:
            return torch.nn.functional.cross_entropy(self.model(batch[0]), batch[1])

    module = Inside()
    with pytest.raises(InvalidValueError, match="part='model'"):
        trained(tmp_path, [callback(distill=0.5)], module)
    assert "training_step" not in vars(module)
    used = callback(distill=0.5, part="model", example_inputs=X, target=None, strength=1.0, tie=None)
    trained(tmp_path, [used], module, epochs=1)


@pytest.mark.parametrize("phase", RISING)
def test_a_strength_that_rises_is_resumed_bit_equal(tmp_path: Path, phase: str) -> None:
    whole = trained(tmp_path, [rising(), checkpoints(tmp_path)], enable_checkpointing=True)
    file = tmp_path / f"{RISING[phase]}.ckpt"
    assert equal(trained(tmp_path, [rising()], resume=file).lightning_module, whole.lightning_module)
    assert not equal(trained(tmp_path, [], resume=file).lightning_module, whole.lightning_module)


def test_strength_zero_changes_nothing(tmp_path: Path) -> None:
    plain = trained(tmp_path, [], epochs=2)
    penalised = trained(tmp_path, [callback(target=None, strength=0.0, tie=None)], epochs=2)
    assert equal(plain.lightning_module, penalised.lightning_module)


def test_the_network_left_is_smaller_tied_and_gives_the_same_outputs(uninterrupted: tuple[Path, Any, Any]) -> None:
    _, whole, used = uninterrupted
    for layer in used.phases.tying:
        assert layer.partition.holds(whole.lightning_module.get_submodule(layer.name).weight.T)
    assert tg.measure(used.network, X, latency=False).macs <= 0.6 * tg.measure(mlp(), X, latency=False).macs
    with torch.no_grad():
        expected = whole.lightning_module.eval()(X)
        torch.testing.assert_close(used.network.eval()(X), expected, rtol=1e-4, atol=1e-5)


def test_loggers_get_rows_and_what_is_left(tmp_path: Path) -> None:
    from lightning.pytorch.loggers import CSVLogger

    logger = CSVLogger(tmp_path)
    trained(tmp_path, [callback()], epochs=6, logger=logger, log_every_n_steps=4)
    with open(Path(logger.log_dir) / "metrics.csv", encoding="utf-8") as file:
        lines = [line for line in csv.DictReader(file) if line["growl/rows"]]
    assert [line["step"] for line in lines] == ["4", "8", "12", "16", "20", "24"]
    assert float(lines[-1]["growl/rows"]) < float(lines[0]["growl/rows"])
    assert float(lines[-1]["growl/left"]) <= 0.6 < float(lines[0]["growl/left"])
    assert float(lines[-1]["growl/groups"]) > 0


def swa() -> Any:
    from lightning.pytorch.callbacks import StochasticWeightAveraging

    return StochasticWeightAveraging(0.05, swa_epoch_start=2)


def ema() -> Any:
    from lightning.pytorch.callbacks import EMAWeightAveraging

    return EMAWeightAveraging(decay=0.9)


WAYS: dict[str, tuple[dict[str, Any], list[Any]]] = {
    "accumulation": ({"accumulate_grad_batches": 2, "epochs": 12}, []),
    "bf16-mixed": ({"precision": "bf16-mixed"}, []),
    "bf16-true": ({"precision": "bf16-true"}, []),
    "64-true": ({"precision": "64-true"}, []),
    "clipping": ({"gradient_clip_val": 0.5}, []),
    "max_steps": ({"epochs": 20, "max_steps": 24}, []),
    "SWA, which ends with an epoch for BatchNorm": ({}, [swa]),
    "EMA": ({}, [ema]),
}


@pytest.mark.parametrize("way", WAYS)
def test_the_target_is_reached_with(way: str, tmp_path: Path) -> None:
    settings, others = WAYS[way]
    used = callback()
    made = trained(tmp_path, [used, *(make() for make in others)], **settings)
    assert used.phases.steps == 24
    assert (
        tg.measure(used.network, X.to(used.network.model.fc1.weight.dtype), latency=False).macs
        <= 0.6 * tg.measure(mlp(), X, latency=False).macs
    )
    with torch.no_grad():
        x = X.to(made.lightning_module.model.fc1.weight.dtype)
        expected = made.lightning_module.eval()(x)
        torch.testing.assert_close(used.network.eval()(x), expected, rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize("limit", ["epochs", "max_steps"])
def test_several_optimizers_train_one_network(tmp_path: Path, limit: str) -> None:
    from tests.support.tiny_lightning import TwoOptimizers

    used = callback()
    settings = {"epochs": 6} if limit == "epochs" else {"epochs": 60, "max_steps": 48}
    made = trained(tmp_path, [used], TwoOptimizers(), **settings)
    assert used.phases.steps == 24
    assert len(made.optimizers) == 2
    assert tg.measure(used.network, X, latency=False).macs <= 0.6 * tg.measure(mlp(), X, latency=False).macs


def test_a_part_of_the_module_is_the_network(tmp_path: Path) -> None:
    used = callback(part="model", example_inputs=X)
    made = trained(tmp_path, [used])
    assert type(used.network) is type(mlp())
    assert tg.measure(used.network, X, latency=False).macs <= 0.6 * tg.measure(mlp(), X, latency=False).macs
    assert used.growl.layers == ("fc1", "fc2", "fc3")
    with pytest.raises(InvalidValueError, match="'net': Module has no such network"):
        callback(part="net")._network_of(made.lightning_module)


def test_what_is_not_served_is_refused_by_name(tmp_path: Path) -> None:
    from lightning.pytorch.strategies import FSDPStrategy

    from torch_growl.integrations.lightning import _check_served, _examples

    with pytest.raises(InvalidValueError, match="FSDPStrategy is not served"):
        _check_served(SimpleNamespace(strategy=FSDPStrategy()))
    with pytest.raises(InvalidValueError, match="no optimizer"):
        _check_served(SimpleNamespace(strategy=None, optimizers=[]))
    with pytest.raises(InvalidTypeError, match="example_input_array"):
        _examples(SimpleNamespace(example_input_array=None), None)
    with pytest.raises(InvalidValueError, match="steps"):
        callback()._total(SimpleNamespace(estimated_stepping_batches=float("inf")))
