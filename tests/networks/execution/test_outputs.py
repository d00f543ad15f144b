"""The comparison of outputs: which tensors an output holds, and which differences are allowed."""

from __future__ import annotations

from collections import OrderedDict, UserDict, namedtuple
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from torch_growl.networks.execution.outputs import (
    HALF_TOLERANCE,
    difference,
    exact_arithmetic,
    outputs_of,
    tensors,
    tensors_in,
)

A, B, C = (torch.full((2,), value) for value in (1.0, 2.0, 3.0))
Pair = namedtuple("Pair", ["first", "second"])


@dataclass
class Fields:
    """An object that pytree does not know."""

    logits: Tensor
    rest: Any = None


class Cache:
    """A pytree node whose fields are in another order than its children, as in transformers' caches."""

    def __init__(self, keys: list[Tensor], values: list[Tensor]) -> None:
        self.layers = list(zip(keys, values, strict=True))


pytree.register_pytree_node(
    Cache,
    lambda cache: ([[key for key, _ in cache.layers], [value for _, value in cache.layers]], None),
    lambda children, _: Cache(*children),
)


class One:
    """A pytree node whose only child is a tensor."""

    def __init__(self, content: Tensor) -> None:
        self.content = content


pytree.register_pytree_node(One, lambda one: ([one.content], None), lambda children, _: One(*children))

NESTED: dict[str, tuple[Any, list[tuple[str, Tensor]]]] = {
    "a tensor": (A, [("output", A)]),
    "nothing": ((None, 3, "x", {}), []),
    "a tuple in a dict": ({"b": (A, 1), "a": B}, [("output['b'][0]", A), ("output['a']", B)]),
    "an ordered dict": (OrderedDict(z=A, y=B), [("output['z']", A), ("output['y']", B)]),
    "a mapping that pytree does not know": (UserDict(z=A, y=[B]), [("output['z']", A), ("output['y'][0]", B)]),
    "a named tuple": (Pair(A, [B]), [("output[0]", A), ("output[1][0]", B)]),
    "an object": (Fields(A, {"k": B}), [("output.logits", A), ("output.rest['k']", B)]),
    "a pytree node of one tensor": (One(A), [("output[0]", A)]),
    "a pytree node": (
        Cache([A, C], [B, A]),
        [(f"output[{i}][{j}]", ((A, C), (B, A))[i][j]) for i in (0, 1) for j in (0, 1)],
    ),
}


@pytest.mark.parametrize("name", NESTED)
def test_every_tensor_is_found_with_its_path(name: str) -> None:
    value, wanted = NESTED[name]
    found = list(tensors_in(value))
    assert [path for path, _ in found] == [path for path, _ in wanted]
    assert all(a is b for (_, a), (_, b) in zip(found, wanted, strict=True))


@pytest.mark.parametrize("name", [name for name in NESTED if not isinstance(NESTED[name][0], Fields | UserDict)])
def test_the_order_is_that_of_torch_export(name: str) -> None:
    value = NESTED[name][0]
    wanted = [leaf for leaf in pytree.tree_leaves(value) if isinstance(leaf, Tensor)]
    assert all(a is b for a, b in zip(tensors(value), wanted, strict=True))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64])
def test_a_difference_up_to_the_tolerance_is_allowed(dtype: torch.dtype) -> None:
    tolerance = HALF_TOLERANCE.get(dtype, 2.0**-10)
    wanted = torch.tensor([64.0, 0.0, -32.0], dtype=dtype)
    for part, fits in ((0.75, True), (1.5, False)):
        found = wanted.clone()
        found[1] = part * tolerance * 64
        here = difference("output", found, wanted, 2.0**-10)
        assert here.relative == pytest.approx(part * tolerance, rel=0.01)
        assert here.excess == pytest.approx(part, rel=0.01)
        assert (here.fault == "") == fits
        if not fits:
            assert here.fault.startswith("output differs by ")
            assert here.fault.endswith(f", more than {tolerance:g} × its largest value 64")


def test_a_looser_tolerance_than_that_of_half_precision_is_kept() -> None:
    found, wanted = torch.tensor([1.0, 0.2]).half(), torch.tensor([1.0, 0.0]).half()
    assert difference("output", found, wanted, 0.3).fault == ""
    assert difference("output", found, wanted, 0.1).fault != ""


LARGE: list[Tensor] = [
    torch.tensor([[1.0, -2, 0.5, -1e4]] * 2),
    torch.tensor([[1.0, -2, 0.5, 0.7, *[-1e30] * 60]] * 2),
    torch.tensor([1.0, -2, 0.5, *(1e4 + i for i in range(40))]),
    torch.cat([torch.linspace(0.5, 1, 64), torch.zeros(900), torch.full((900,), 1e6)]),
]


@pytest.mark.parametrize("number", range(len(LARGE)))
def test_large_elements_hide_no_others(number: int) -> None:
    wanted = LARGE[number]
    for place in (0, -1):
        found = wanted.clone()
        found.view(-1)[place] *= 1.01
        here = difference("output", found, wanted, 1e-5)
        assert here.fault
        assert here.excess > 2
    near = wanted * (1 + 5e-6)
    assert difference("output", near, wanted, 1e-5).fault == ""


def test_a_difference_within_the_tolerance_of_the_largest_element_may_be_rounding() -> None:
    wanted = torch.tensor([1.0, -2, 0.5, -1e4])
    assert difference("output", wanted + 0.05, wanted, 1e-5).rounding
    assert not difference("output", wanted + 5, wanted, 1e-5).rounding
    assert difference("output", torch.tensor([1]), torch.tensor([2]), 1e-5).rounding


INF, NAN = float("inf"), float("nan")
UNEQUAL: list[tuple[Tensor, Tensor, str]] = [
    (A, torch.ones(3), r"x must be (3,) torch.float32, got (2,) torch.float32"),
    (A, A.double(), r"x must be (2,) torch.float64, got (2,) torch.float32"),
    (torch.tensor([1, 2]), torch.tensor([1, 3]), "x (torch.int64) differs"),
    (torch.tensor([True]), torch.tensor([False]), "x (torch.bool) differs"),
    (torch.tensor([NAN, 1]), torch.tensor([1.0, 1]), "x is not finite in other places"),
    (torch.tensor([1.0, 1]), torch.tensor([INF, 1]), "x is not finite in other places"),
    (torch.tensor([-INF, 1]), torch.tensor([INF, 1]), "x is not finite in other places"),
    (torch.tensor([1e-9, 0]), torch.zeros(2), "x differs by 1e-09, more than 0.5 × its largest value 0"),
]


@pytest.mark.parametrize("number", range(len(UNEQUAL)))
def test_what_no_tolerance_allows(number: int) -> None:
    found, wanted, message = UNEQUAL[number]
    here = difference("x", found, wanted, 0.5)
    assert (here.relative, here.excess, here.fault) == (INF, INF, message)


@pytest.mark.parametrize(
    "value",
    [torch.tensor([NAN, INF, -INF, 1]), torch.tensor([NAN]), torch.zeros(3), torch.zeros(0), torch.arange(4)],
    ids=str,
)
def test_a_tensor_agrees_with_itself(value: Tensor) -> None:
    here = difference("x", value.clone(), value, 1e-9)
    assert (here.relative, here.excess, here.fault) == (0.0, 0.0, "")


class Draws(nn.Module):
    """A network that draws random numbers and changes its input."""

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        x += 1
        return {"sum": x + torch.rand(3), "input": x}


def test_running_is_repeatable_and_leaves_inputs_and_generators_alone() -> None:
    x = torch.zeros(3)
    first = outputs_of(Draws(), ((x,), {}))
    torch.rand(1)
    before = torch.get_rng_state()
    again = outputs_of(Draws(), ((x,), {}))
    assert [path for path, _ in first] == ["output['sum']", "output['input']"]
    assert all(torch.equal(a, b) for (_, a), (_, b) in zip(first, again, strict=True))
    assert torch.equal(first[1][1], torch.ones(3))
    assert torch.equal(x, torch.zeros(3))
    assert torch.equal(torch.get_rng_state(), before)


def test_exact_arithmetic_records_no_gradients() -> None:
    model = nn.Linear(2, 2)
    with exact_arithmetic(model):
        assert not model(torch.ones(2)).requires_grad
    assert model(torch.ones(2)).requires_grad
