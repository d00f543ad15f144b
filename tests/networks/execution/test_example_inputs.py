"""Example inputs: the three ways to give them, and batches and random ones made from them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from torch_growl.errors import InvalidTypeError, InvalidValueError
from torch_growl.networks.execution.example_inputs import (
    batch_of,
    batch_size,
    call,
    copied,
    new_batch,
    random_like,
    split_examples,
    split_inputs,
    wide,
)

X, Y = torch.arange(6.0).reshape(3, 2), torch.arange(3)


def test_a_tensor_a_tuple_and_a_dict_are_inputs() -> None:
    assert split_inputs(X) == ((X,), {})
    assert split_inputs((X, 2)) == ((X, 2), {})
    assert split_inputs({"x": X, "n": 2}) == ((), {"x": X, "n": 2})


@pytest.mark.parametrize("given", ["x", 3, None, nn.Linear(2, 2)], ids=str)
def test_other_types_are_refused(given: Any) -> None:
    with pytest.raises(InvalidTypeError, match="example_inputs must be a tensor, a tuple .* or a dict .*, got "):
        split_inputs(given)


@pytest.mark.parametrize("given", [(), {}, (1, "x"), {"x": [None]}], ids=str)
def test_inputs_without_a_tensor_are_refused(given: Any) -> None:
    with pytest.raises(InvalidValueError, match="example_inputs must hold at least one tensor"):
        split_inputs(given)


def test_a_network_is_called_with_positional_and_named_inputs() -> None:
    class Product(nn.Module):
        def forward(self, a: int, *, b: int) -> tuple[int, int]:
            return a, b

    assert call(Product(), ((2,), {"b": 3})) == (2, 3)


def test_wide_inputs_are_float64_where_they_were_floating() -> None:
    (x, y, n), named = wide(((X.half(), Y, 1), {"z": X}))
    assert (x.dtype, y.dtype, n, named["z"].dtype) == (torch.float64, torch.int64, 1, torch.float64)


def test_a_batch_repeats_the_examples_in_order() -> None:
    table = torch.arange(4.0)
    (x, y, one), named = batch_of(((X, Y, torch.tensor(7.0)), {"table": table}), 5)
    assert y.tolist() == [0, 1, 2, 0, 1]
    assert torch.equal(x, X[[0, 1, 2, 0, 1]])
    assert (one, named["table"]) == (torch.tensor(7.0), table)  # a scalar, and a tensor that is not as long
    assert [batch_size(batch_of(((X,), {}), size)) for size in (1, 3, 8)] == [1, 3, 8]


@pytest.mark.parametrize("x", [torch.tensor(1.0), torch.zeros(0, 3)], ids=["scalar", "empty"])
def test_inputs_without_a_batch_are_refused(x: torch.Tensor) -> None:
    assert batch_size(((x,), {})) == 0
    with pytest.raises(InvalidValueError, match="need a batch dimension with at least one example"):
        batch_of(((x,), {}), 2)


def test_random_inputs_have_the_examples_shapes_types_and_spread() -> None:
    x = (torch.randn(64, 3, 8, 8) * 5 + 2).to(memory_format=torch.channels_last)
    generator = torch.Generator().manual_seed(0)
    (found, half, numbers, empty), _ = random_like(((x, x.half(), Y, torch.zeros(0)), {}), generator)
    assert found.shape == x.shape
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert not torch.equal(found, x)
    assert float(found.mean()) == pytest.approx(2, abs=0.2)
    assert float(found.std()) == pytest.approx(5, abs=0.2)
    assert half.dtype == torch.float16
    assert torch.equal(numbers, Y)
    assert numbers is not Y
    assert empty.shape == (0,)


def test_random_inputs_like_a_constant_are_not_constant() -> None:
    (found,), _ = random_like(((torch.zeros(100),), {}), torch.Generator().manual_seed(0))
    assert float(found.std()) == pytest.approx(1, abs=0.3)


def test_a_list_holds_several_examples() -> None:
    assert split_examples([X, (X, 2), {"x": X}]) == [((X,), {}), ((X, 2), {}), ((), {"x": X})]
    assert split_examples((X, 2)) == [((X, 2), {})]
    with pytest.raises(InvalidTypeError, match="must be one example here, got a list of examples"):
        split_inputs([X])
    with pytest.raises(InvalidValueError, match="got an empty list"):
        split_examples([])


def test_integers_are_drawn_anew_only_if_asked() -> None:
    ids, flags = torch.arange(10, 60).reshape(5, 10), torch.tensor([True, False] * 20)
    (found, drawn), _ = random_like(((ids, flags), {}), torch.Generator().manual_seed(0), integers=True)
    assert not torch.equal(found, ids)
    assert 10 <= int(found.min()) < int(found.max()) < 60
    assert found.dtype == torch.int64
    assert drawn.dtype == torch.bool
    assert not torch.equal(drawn, flags)
    (same,), _ = random_like(((ids,), {}), torch.Generator().manual_seed(0))
    assert torch.equal(same, ids)


def test_copies_share_no_memory_with_the_inputs() -> None:
    given = ((X, 1), {"y": [Y]})
    (x, one), named = copied(given)
    assert (one, torch.equal(x, X), torch.equal(named["y"][0], Y)) == (1, True, True)
    assert x.data_ptr() != X.data_ptr()
    assert named["y"][0].data_ptr() != Y.data_ptr()


def test_an_empty_batch_becomes_zeros() -> None:
    (x, table), _ = new_batch(((torch.zeros(0, 3), X), {}), 2)
    assert torch.equal(x, torch.zeros(2, 3))
    assert torch.equal(table, X)
