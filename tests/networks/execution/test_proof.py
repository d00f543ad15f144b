"""The proof: networks that agree pass it, and every kind of disagreement is described."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from torch_growl.errors import CompactionError
from torch_growl.networks.execution.proof import KeptChannels, Proof

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


def closed(change: Any, factor: float = 1.0) -> Around:
    """A network of one layer, ``layer``, whose weight is multiplied."""
    other = Around(change)
    with torch.no_grad():
        other.layer.weight.mul_(factor)
    return other


@pytest.mark.parametrize(
    "change", [lambda y: y * 0, lambda y: y > 100, lambda y: y.argmax(-1), lambda y: torch.ones(2)]
)
def test_an_output_that_shows_nothing_hides_no_layer(change: Any) -> None:
    proof = Proof(closed(change), [((X,), {})], 1e-3, {"layer": -1})
    kept = {"layer": KeptChannels(None, None)}
    assert proof.fault(closed(change), kept) == ""
    assert proof.fault(closed(change, 1.01), kept).startswith("the output of layer 'layer' differs by ")
    assert proof.fault(closed(change, 1.01)) == ""


def test_only_the_channels_that_are_kept_are_compared() -> None:
    proof = Proof(closed(lambda y: y[:, :1]), [((X,), {})], 1e-3, {"layer": -1})
    small = closed(lambda y: y[:, :1])
    small.layer = nn.Linear(3, 1)
    with torch.no_grad():
        small.layer.weight.copy_(network().weight[:1])
        small.layer.bias.zero_()
    assert proof.fault(small, {"layer": KeptChannels(None, [0])}) == ""
    assert proof.fault(small, {"layer": KeptChannels(None, [1])}).startswith("the output of layer 'layer' differs by ")
    assert "must be" in proof.fault(small, {"layer": KeptChannels(None, None)})


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_compared_in_a_wider_type(dtype: torch.dtype) -> None:
    given = [((X.to(dtype),), {})]
    proof = Proof(network().to(dtype), given, 1e-4)
    other = network().to(dtype)
    assert proof.fault(other) == ""
    with torch.no_grad():
        other.weight[0, 0] = 1 + 2**-7  # the next number in bfloat16
    assert proof.fault(other).startswith("output differs by ")
    assert proof.gaps == []


def test_a_network_of_half_precision_only_is_named() -> None:
    def half_only(y: Tensor) -> Tensor:
        if y.dtype != torch.bfloat16:
            raise TypeError(y.dtype)
        return y

    proof = Proof(Around(half_only).bfloat16(), [((X.bfloat16(),), {})], 1e-4)
    assert proof.fault(Around(half_only).bfloat16()) == ""
    assert proof.gaps == ["the network runs in half precision only, where differences up to 5% are not seen"]


def test_rounding_is_told_from_a_fault_in_float64() -> None:
    """Beside an element of 1e4, float32 leaves a rounding error that a small element's own size does not allow."""

    def shifted(y: Tensor) -> Tensor:
        return torch.cat([y, torch.full((len(y), 1), 1e4)], 1) - 0

    noise = torch.tensor([[3e-3, 0.0]])
    proof = Proof(Around(shifted), [((X,), {})], 1e-5)
    assert proof.fault(Around(lambda y: shifted(y + noise if y.dtype == torch.float32 else y))) == ""
    assert proof.fault(Around(lambda y: shifted(y + noise))).startswith("output differs by ")


def test_batches_of_1_and_2_are_compared_unless_the_network_refuses_them() -> None:
    def sizes(model: nn.Module) -> list[int]:
        return [len(args[0]) for args, _ in Proof(model, [((X,), {})], 1e-3).batches]

    assert sizes(network()) == [4, 4, 1, 2]

    def of_four(y: Tensor) -> Tensor:
        return y.reshape(4, 2)

    assert sizes(Around(of_four)) == [4, 4]


def test_a_network_that_takes_nothing_but_the_example_is_named() -> None:
    def known(y: Tensor) -> Tensor:
        if not torch.allclose(y, network()(X)):
            raise ValueError("unknown input")
        return y

    proof = Proof(Around(known), [((X,), {})], 1e-3)
    assert len(proof.batches) == 1
    assert proof.gaps == ["the network runs on the given examples only, so nothing else was compared"]


def test_infinite_outputs_are_compared_with_the_others() -> None:
    masked = torch.tensor([False, True])
    proof = Proof(Around(lambda y: y.masked_fill(masked, -torch.inf)), [((X,), {})], 1e-3)
    assert proof.fault(Around(lambda y: y.masked_fill(masked, -torch.inf))) == ""
    assert proof.fault(Around(lambda y: 1.1 * y.masked_fill(masked, -torch.inf))).startswith("output differs by ")
