"""The device and the processes of a run."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn

import torch_growl as tg
from tests.support.fake_processes import playing
from torch_growl.application.training.processes import Sharding, accelerator_for, sharding_asked
from torch_growl.errors import GrowlWarning, InvalidValueError
from torch_growl.networks.compaction import FedLayer
from torch_growl.networks.sharding import is_sharded, sharded_modules


def test_a_launch_of_several_processes_that_started_one_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_USE_CPU", "False")  # what accelerate launch --num_processes N sets on a CPU
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert accelerator_for("cpu", "no").num_processes == 1  # --num_processes 1
    monkeypatch.setenv("MASTER_PORT", "29500")
    with pytest.warns(GrowlWarning, match="has started one process.*--multi_gpu"):
        accelerator_for("cpu", "no")


def test_a_device_that_this_machine_lacks_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(InvalidValueError, match="this machine has no CUDA device; use --device cpu"):
        accelerator_for("cuda", "no")


def test_gradients_are_those_of_one_batch_whatever_accelerate_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4")
    weight = torch.ones(1, requires_grad=True)
    accelerator_for("cpu", "no").backward(2 * weight.sum())
    assert weight.grad == torch.tensor([2.0])


def test_what_accelerate_launch_sets_for_fsdp2_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    assert sharding_asked("no") is None
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    monkeypatch.setenv("FSDP_VERSION", "2")
    monkeypatch.setenv("FSDP_ACTIVATION_CHECKPOINTING", "false")
    assert sharding_asked("bf16") == Sharding()
    for name, value in {
        "FSDP_AUTO_WRAP_POLICY": "size_based_wrap",
        "FSDP_MIN_NUM_PARAMS": "50",
        "FSDP_TRANSFORMER_CLS_TO_WRAP": "Block, Linear",
        "FSDP_RESHARD_AFTER_FORWARD": "false",
        "FSDP_OFFLOAD_PARAMS": "true",
    }.items():
        monkeypatch.setenv(name, value)
    assert sharding_asked("no") == Sharding("SIZE_BASED_WRAP", ("Block", "Linear"), 50, False, True)
    monkeypatch.setenv("FSDP_MIN_NUM_PARAMS", "1e6")
    found = sharding_asked("no")
    assert found is not None
    assert found.least == 10**6


@pytest.mark.parametrize(
    ("changes", "precision", "message"),
    [
        ({"FSDP_VERSION": "1"}, "no", "accelerate uses FSDP1.*--fsdp_version 2"),
        ({"FSDP_ACTIVATION_CHECKPOINTING": "true"}, "no", "FSDP_ACTIVATION_CHECKPOINTING = 'true'.*leave it out"),
        ({"FSDP_IGNORED_MODULES": "head"}, "no", "FSDP_IGNORED_MODULES = 'head'.*leave it out"),
        ({"FSDP_AUTO_WRAP_POLICY": "MINE"}, "no", "'MINE' must be one of NO_WRAP, TRANSFORMER_BASED_WRAP"),
        ({"FSDP_MIN_NUM_PARAMS": "many"}, "no", "FSDP_MIN_NUM_PARAMS = 'many' must be a number of weights"),
        ({"FSDP_MIN_NUM_PARAMS": "-1"}, "no", "FSDP_MIN_NUM_PARAMS = '-1' must be a number of weights"),
        ({}, "fp16", "precision fp16 is not for weights that FSDP2 shards"),
    ],
)
def test_what_a_run_does_not_have_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, changes: dict[str, str], precision: str, message: str
) -> None:
    for name, value in {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2", **changes}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InvalidValueError, match=message):
        sharding_asked(precision)


class Block(nn.Sequential):
    """A module with a class of its own."""


def blocks() -> nn.Module:
    return nn.Sequential(Block(nn.Linear(4, 4), nn.ReLU()), nn.ModuleList([Block(nn.Linear(4, 20))]), nn.Linear(20, 2))


@pytest.mark.parametrize(
    ("sharding", "names"),
    [
        (Sharding(), []),
        (Sharding("TRANSFORMER_BASED_WRAP", ("Block",)), ["0", "1.0"]),
        (Sharding("SIZE_BASED_WRAP", least=50), ["1.0", "1.0.0"]),
        (Sharding(offloads=True), []),
    ],
)
def test_the_units_are_sharded_and_the_network_with_what_is_left(sharding: Sharding, names: list[str]) -> None:
    model = blocks()
    with playing(0, 1):
        sharding.shard_(model, torch.device("cpu"))
        units = [name for name, module in model.named_modules() if module in sharded_modules(model)]
        assert units == ["", *names]
        assert all(map(is_sharded, model.parameters()))
        sharding.shard_(model, torch.device("cpu"))  # it is sharded already


def test_a_compact_layer_is_one_unit_with_its_inputs() -> None:
    model = nn.Sequential(nn.Linear(40, 30), nn.ReLU(), nn.Linear(30, 2))
    with torch.no_grad():
        model[0].weight[:, 10:] = model[0].weight[:, :1]  # the sum of 30 inputs is one input
    small = tg.compact(model, torch.randn(3, 40))
    assert any(isinstance(module, FedLayer) for module in small.modules())
    with playing(0, 1):
        Sharding("TRANSFORMER_BASED_WRAP", ("Linear",)).shard_(small, torch.device("cpu"))
        fed = [module for module in sharded_modules(small) if isinstance(module, FedLayer)]
        assert fed
        assert not any(module in sharded_modules(small) for each in fed for module in each.children())


class Tied(nn.Module):
    """An embedding whose weight is the head's too, beside a block that shares a weight within itself."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.block, self.head = (
            nn.Embedding(50, 8),
            Block(nn.Linear(8, 8), nn.Linear(8, 8)),
            nn.Linear(8, 50),
        )
        self.head.weight, self.block[1].weight = self.embed.weight, self.block[0].weight

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.head(self.block(self.embed(ids)))


def test_modules_that_share_a_weight_are_in_one_unit() -> None:
    torch.manual_seed(0)
    model, ids = Tied(), torch.arange(12)
    wanted = model(ids).detach()
    with playing(0, 1):
        Sharding("SIZE_BASED_WRAP", least=10).shard_(model, torch.device("cpu"))
        assert sharded_modules(model) == [model, model.block]
        assert model.head.weight is model.embed.weight
        assert model.block[0].weight is model.block[1].weight
        torch.testing.assert_close(model(ids), wanted)


def test_a_class_that_the_network_lacks_is_named_before_any_training() -> None:
    with pytest.raises(InvalidValueError, match=r"= 'Blok' must name classes.*there are Block, Linear"):
        Sharding("TRANSFORMER_BASED_WRAP", ("Blok",)).check(blocks())
    Sharding("TRANSFORMER_BASED_WRAP", ("Block",)).check(blocks())
