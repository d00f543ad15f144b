"""The inputs of a network's calls are recorded as they were, the last 640 examples of them."""

from __future__ import annotations

import copy
import gc
import math
import pickle
import warnings
from collections import namedtuple
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import vmap
from torch.nn.utils.rnn import pack_sequence

from torch_growl.networks.layers import plain_copy
from torch_growl.networks.moments import RecordedInputs, recorded_inputs


def x(examples: int = 4) -> Tensor:
    return torch.arange(3.0 * examples).view(examples, 3)


class Answers(nn.Module):
    """Takes its inputs by position, by name, or both; writes into the first one."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)

    def forward(self, x: Tensor, mask: Tensor | None = None, *others: Any, scale: float = 1.0, **more: Any) -> Tensor:
        out: Tensor = self.layer(x) * scale
        x.zero_()
        return out


class ByPosition(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)

    def forward(self, x: Tensor, /, scale: float = 1.0) -> Tensor:
        out: Tensor = self.layer(x) * scale
        return out


def recorded(model: nn.Module) -> RecordedInputs:
    found = RecordedInputs()
    found.start(model, lambda: True)
    return found


Pair = namedtuple("Pair", ["a", "b"])
UNKEPT: list[tuple[Any, str]] = [
    (Pair(1, x()), "Pair"),
    ([{"a": (1, Pair(1, 2))}], "Pair"),
    ({object(): 1}, "object"),
    (object(), "object"),
    (torch.float32, "dtype"),
    (pack_sequence([torch.ones(2, 3)]), "PackedSequence"),
]
CALLS: dict[str, tuple[tuple[Any, ...], dict[str, Any], Any]] = {
    "by position": ((x(),), {}, (x(),)),
    "two by position": ((x(), x()), {}, (x(), x())),
    "by name": ((), {"x": x(), "scale": 2.0}, {"x": x(), "scale": 2.0}),
    "both": ((x(),), {"mask": None, "scale": 2.0}, {"x": x(), "mask": None, "scale": 2.0}),
    "both, and one more name": ((x(),), {"labels": x()}, {"x": x(), "labels": x()}),
}


@pytest.mark.parametrize("name", CALLS)
def test_inputs_are_those_of_the_call_before_the_network_wrote_into_them(name: str) -> None:
    args, kwargs, expected = CALLS[name]
    model = Answers()
    found = recorded(model)
    model(*copy.deepcopy(args), **copy.deepcopy(kwargs))
    assert type(found.batches[0]) is type(expected)
    torch.testing.assert_close(found.batches, [expected])
    again = model(*copy.deepcopy(args), **copy.deepcopy(kwargs))
    batch = found.batches[0]
    torch.testing.assert_close(model(**batch) if isinstance(batch, dict) else model(*batch), again)


def test_what_cannot_be_given_again_or_kept_is_not_recorded() -> None:
    model, other = Answers(), ByPosition()
    found, by_position = recorded(model), recorded(other)
    with torch.no_grad():
        model(x())  # a validation
    assert found.refused == ""
    model(x(), None, 3, scale=2.0)  # neither by position nor by name alone
    assert "'others' can be given by position alone" in found.refused
    other(x(), scale=2.0)
    assert "'x' can be given by position alone" in by_position.refused
    for value, name in UNKEPT:
        model(x(), None, value)
        assert found.refused == f"its inputs hold a {name}"
    assert found.batches == []
    assert by_position.batches == []


def test_inputs_of_vmap_are_not_kept() -> None:
    model = nn.Linear(3, 2)
    found = recorded(model)
    assert vmap(lambda own: model(own * 1.0))(torch.ones(5, 4, 3)).shape == (5, 4, 2)
    assert found.refused == "its inputs hold a tensor of vmap or grad"
    assert copy.deepcopy(found).batches == found.state() == []


def test_batches_with_nan_or_infinite_values_are_left_out() -> None:
    model = nn.Linear(3, 2)
    found = recorded(model)
    for value in (1.0, math.nan, math.inf, 2.0):
        model(torch.full((4, 3), value))
    found.drop_infinite()
    assert [float(batch[0][0, 0]) for batch in found.batches] == [1.0, 2.0]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_inputs_of_an_autocast_network_are_those_that_it_takes_without(dtype: torch.dtype) -> None:
    model = nn.Linear(3, 2)
    found = recorded(model)
    with torch.autocast("cpu", torch.bfloat16):
        model(x().to(dtype))
    torch.testing.assert_close(found.batches, [(x(),)])
    assert model(*found.batches[0]).dtype == torch.float32


@pytest.mark.parametrize(
    ("sizes", "left"),
    [
        ([64] * 15, [64] * 10),
        ([1000] * 5, [1000] * 2),
        ([400] * 5, [400] * 2),
        ([600, 30, 20, 10], [600, 30, 20, 10]),
        ([5] * 8, [5] * 8),
    ],
)
def test_the_last_640_examples_stay_and_at_least_two_batches(sizes: list[int], left: list[int]) -> None:
    model = nn.Linear(3, 2)
    found = recorded(model)
    for size in sizes:
        model(x(size))
    assert [len(batch[0]) for batch in found.batches] == left


def test_large_inputs_stay_below_a_limit_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorded_inputs, "_BYTES", 3 * 60)
    model = nn.Linear(3, 2)
    found = recorded(model)
    for _ in range(6):
        model(x(5))  # 60 bytes
    assert len(found.batches) == 2


def test_an_error_ends_the_recording_and_not_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(inputs: Any) -> None:
        raise RuntimeError("out of memory\nand so on")

    model = nn.Linear(3, 2)
    found = recorded(model)
    model(x())
    monkeypatch.setattr(recorded_inputs, "copied", fails)
    assert model(x()).shape == (4, 2)
    assert found.batches == []
    assert "out of memory" in found.refused
    found.start(model, lambda: True)
    assert not found.is_started
    assert not model._forward_pre_hooks
    found.stop()
    assert found.refused == ""


def test_nothing_is_recorded_after_the_end_or_when_it_is_not_wanted_any_more() -> None:
    model = nn.Linear(3, 2)
    found = recorded(model)
    model(x())
    found.stop()
    model(x())
    assert found.batches == []
    assert not model._forward_pre_hooks
    found.start(model, lambda: False)
    with torch.no_grad():
        model(x())
    assert found.batches == []
    assert not model._forward_pre_hooks
    assert not model._forward_pre_hooks_with_kwargs


def test_a_recorder_that_nobody_holds_leaves_the_network() -> None:
    model = nn.Linear(3, 2)
    recorded(model)
    gc.collect()
    assert model(x()).shape == (4, 2)
    assert not model._forward_pre_hooks


def test_tracing_is_not_recorded() -> None:
    model = nn.Linear(3, 2)
    found = recorded(model)
    with warnings.catch_warnings():
        warnings.simplefilter("error", torch.jit.TracerWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.trace(model, (x(),), check_trace=False)
    assert found.batches == []


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda given: pickle.loads(pickle.dumps(given))], ids=["copy", "pickle"]
)
def test_copies_have_the_inputs_and_record_their_own(copied: Any) -> None:
    model = nn.Linear(3, 2)
    found = recorded(model)
    model(x())
    network, second = copied((model, found))
    torch.testing.assert_close(second.batches, [(x(),)])
    network(x())
    assert len(found.batches) == len(second.batches) == 1
    second.start(network, lambda: True)
    network(x())
    assert (len(found.batches), len(second.batches)) == (1, 2)
    alone = copied(model)
    assert len(alone(x())) == 4
    assert len(found.batches) == 1
    assert not alone._forward_pre_hooks
    assert not plain_copy(model)._forward_pre_hooks
    assert not plain_copy(model)._forward_pre_hooks_with_kwargs


def test_a_state_holds_the_inputs_and_is_loaded_onto_a_device() -> None:
    model = nn.Linear(3, 2)
    found = recorded(model)
    model(x())
    second = RecordedInputs()
    second.load(found.state(), torch.device("meta"))
    assert second.batches[0][0].device.type == "meta"
    second.load(found.state(), torch.device("cpu"))
    torch.testing.assert_close(second.batches, found.batches)
    assert second.batches[0][0] is not found.batches[0][0]


@pytest.mark.parametrize("fullgraph", [False, True])
def test_a_compiled_network_stays_whole_and_is_not_recorded(fullgraph: bool) -> None:
    torch._dynamo.reset()
    model = nn.Linear(3, 2)
    found = recorded(model)
    assert torch.compile(model, backend="eager", fullgraph=fullgraph)(x()).shape == (4, 2)
    assert len(found.batches) <= 1  # none inside the graph
