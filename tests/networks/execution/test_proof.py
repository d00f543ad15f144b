"""The proof: networks that agree pass it, and every kind of disagreement is described."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from torch_growl.errors import CompactionError
from torch_growl.networks.execution.proof import Proof

X: Tensor = torch.linspace(-1, 1, 12).reshape(4, 3)


def network() -> nn.Linear:
    layer = nn.Linear(3, 2)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, 0, 0], [0, 2.0, 0]]))
        layer.bias.zero_()
    return layer


class Around(nn.Module):
    """A network whose output is changed by a function."""

    def __init__(self, change: Any) -> None:
        super().__init__()
        self.layer, self.change = network(), change

    def forward(self, x: Tensor) -> Any:
        return self.change(self.layer(x))


@pytest.mark.parametrize(("factor", "agrees"), [(1.0, True), (1 + 0.9e-3, True), (1 + 1.1e-3, False), (0.0, False)])
def test_a_network_agrees_within_the_tolerance(factor: float, agrees: bool) -> None:
    proof = Proof(network(), [((X,), {})], 1e-3)
    other = network()
    with torch.no_grad():
        other.weight.mul_(factor)
    fault = proof.fault(other)
    assert (fault == "") == agrees
    if not agrees:
        assert fault.startswith("output differs by ")
        assert ", more than 0.001 × its largest value " in fault


def test_random_inputs_show_what_the_example_hides() -> None:
    other = network()
    with torch.no_grad():
        other.weight[:, 2] = 5  # reads an input that is zero in the example
    example = X.clone()
    example[:, 2] = 0
    given, hidden = [((example,), {})], other(example)
    assert torch.equal(hidden, network()(example))
    assert "output differs by" in Proof(network(), given, 1e-3).fault(other)


def test_the_largest_of_several_differences_is_described() -> None:
    proof = Proof(Around(lambda y: {"a": y, "b": y}), [((X,), {})], 1e-3)
    fault = proof.fault(Around(lambda y: {"a": 1.01 * y, "b": 1.5 * y}))
    assert fault.startswith("output['b'] differs by ")


FAULTS: list[tuple[Any, str]] = [
    (lambda y: (y,), "its outputs are nested differently"),
    (lambda y: y[:, :1], "output must be (4, 2) torch.float32, got (4, 1) torch.float32"),
    (lambda y: y.double(), "output must be (4, 2) torch.float32, got (4, 2) torch.float64"),
    (lambda y: y / 0, "output is not finite in other places"),
    (lambda y: y @ y, "it raises RuntimeError: mat1 and mat2 shapes cannot be multiplied (4x2 and 4x2)"),
]


@pytest.mark.parametrize("number", range(len(FAULTS)))
def test_other_faults_are_described(number: int) -> None:
    change, message = FAULTS[number]
    proof = Proof(network(), [((X,), {})], 1e-3)
    assert proof.fault(Around(lambda y: y)) == ""
    assert proof.fault(Around(change)) == message


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda y: 3, "output holds no tensor"),
        (lambda y: y / 0, "the network's own output on example_inputs is not finite"),
        (lambda y: y @ y, "the network does not run on example_inputs: mat1 and mat2"),
    ],
)
def test_a_network_that_cannot_be_compared_is_refused(change: Any, message: str) -> None:
    with pytest.raises(CompactionError, match=message):
        Proof(Around(change), [((X,), {})], 1e-3)


def test_the_networks_are_not_changed() -> None:
    model, other = network(), network()
    before = copy.deepcopy(model.state_dict())
    Proof(model, [((X,), {})], 1e-3).fault(other)
    for network_ in (model, other):
        assert all(torch.equal(value, before[name]) for name, value in network_.state_dict().items())
