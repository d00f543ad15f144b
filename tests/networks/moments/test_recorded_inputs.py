"""The inputs of a network's calls are recorded as they were, the last 640 examples of them."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from torch_growl.networks.layers import plain_copy
from torch_growl.networks.moments import RecordedInputs, recorded_inputs


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


def x(examples: int = 4) -> Tensor:
    return torch.arange(3.0 * examples).view(examples, 3)


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
    model(x(), None, 3, scale=2.0)  # neither by position nor by name alone
    model(x(), None, object())  # no value that a file can hold
    other(x(), scale=2.0)  # its first input has no name
    with torch.no_grad():
        model(x())  # a validation
    assert found.batches == []
    assert by_position.batches == []


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
    assert "out of memory" in found.error
    found.start(model, lambda: True)
    assert not found.is_started
    found.stop()
    assert found.error == ""


def test_nothing_is_recorded_after_the_end_or_when_it_is_not_wanted_any_more() -> None:
    model = nn.Linear(3, 2)
    found = recorded(model)
    model(x())
    found.stop()
    model(x())
    assert found.batches == []
    assert not model._forward_pre_hooks
    found.start(model, lambda: False)
    model(x())
    assert found.batches == []
    assert not model._forward_pre_hooks


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
    assert len(copied(model)(x())) == 4  # the network alone
    assert len(found.batches) == 1
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
