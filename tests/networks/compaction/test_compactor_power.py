"""The proof sees a wrong network whatever hides its outputs: large elements, constants, masks, integers, precision."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.support.compaction_checks import by_name
from torch_growl.errors import CompactionError, GrowlWarning, InvalidTypeError, InvalidValueError
from torch_growl.networks.compaction.compactor import compact
from torch_growl.networks.execution import split_inputs


class Pair(nn.Module):
    """Two layers, of whose 24 channels between them 8 are not needed, and code around them."""

    def __init__(self, between: Callable[[Tensor], Tensor] = torch.relu, after: Callable[[Tensor], Any] = lambda y: y):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.between, self.after = nn.Linear(12, 24), nn.Linear(24, 5), between, after
        with torch.no_grad():
            self.b.weight[:, 1::3] = 0

    def forward(self, x: Tensor) -> Any:
        return self.after(self.b(self.between(self.a(x))))


def of_width(h: Tensor) -> Tensor:
    """Divide by the number of channels, which removing channels changes."""
    return h.relu() / h.shape[-1] ** 0.5


LAST = torch.tensor([False, False, False, False, True])
CLOSED: dict[str, Callable[[Tensor], Any]] = {
    "plain": lambda y: y,
    "one column masked": lambda y: y.masked_fill(LAST, -1e4),
    "most columns masked": lambda y: y.masked_fill(~LAST, torch.finfo(y.dtype).min),
    "most columns shifted by a mask": lambda y: y - 1e4 * ~LAST,
    "times zero": lambda y: y * 0,
    "argmax": lambda y: y.argmax(-1),
    "signs": lambda y: y > 1e3,
    "a large constant beside": lambda y: (y, torch.full((1,), 1e30)),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "dtype"),
    [*((name, torch.float32) for name in CLOSED), ("plain", torch.float64)]
    + [("one column masked", half) for half in (torch.bfloat16, torch.float16)],
)
def test_no_output_hides_a_network_that_depends_on_its_width(name: str, dtype: torch.dtype) -> None:
    x = torch.randn(4, 12, dtype=dtype)
    left = by_name(compact(Pair(of_width, CLOSED[name]).to(dtype), x))
    assert left["a"].kept is None
    assert "differs by" in left["a"].reason
    assert left["b"].form == "local"
    assert by_name(compact(Pair(torch.relu, CLOSED[name]).to(dtype), x))["a"].outputs_left == 16


class Tokens(nn.Module):
    """A network of token ids."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table, self.pair = nn.Embedding(50, 12), Pair()

    def forward(self, ids: Tensor) -> Any:
        h = self.pair.a(self.table(ids)).relu()
        return self.pair.b(h * h[..., 1:2] if bool((ids == 7).any()) else h)


def test_integers_are_drawn_anew_within_the_examples_range() -> None:
    """The example holds no 7, which the network treats in another way."""
    ids = torch.tensor([[0, 1, 2, 3, 4, 5, 6, 8, 9] * 5] * 2)
    left = by_name(compact(Tokens(), ids))["pair.a"]
    assert left.kept is None or 1 in left.kept


@pytest.mark.parametrize("batch", [1, 4])
def test_a_network_that_writes_into_its_inputs_leaves_the_example_alone(batch: int) -> None:
    x = torch.randn(batch, 12)
    before = x.clone()

    class Writes(Pair):
        def forward(self, x: Tensor) -> Any:
            return super().forward(x.add_(1))

    assert by_name(compact(Writes(), x))["a"].outputs_left == 16
    assert torch.equal(x, before)


LEAVES: dict[str, Callable[[Tensor], Tensor]] = {
    "numpy": lambda h: torch.from_numpy(h.relu().numpy() * 2),
    "lists": lambda h: torch.tensor(h.relu().tolist()),
    "item by item": lambda h: torch.stack([torch.stack([torch.tensor(v.item()) for v in row]) for row in h]),
}


@pytest.mark.parametrize("name", LEAVES)
def test_values_that_leave_torch_keep_their_channels(name: str) -> None:
    left = by_name(compact(Pair(LEAVES[name]), torch.randn(4, 12)))
    assert (left["a"].form, left["b"].form, left["b"].width) == ("none", "local", 16)
    assert left["a"].reason


def test_an_empty_batch_is_no_obstacle() -> None:
    left = by_name(compact(Pair(), torch.randn(0, 12)))
    assert left["b"].width == 16


def test_layers_that_read_one_value_only_are_named() -> None:
    with pytest.warns(GrowlWarning, match="not proven: layer '1.a' was given one and the same value everywhere"):
        compact(nn.Sequential(Zero(), Pair()), torch.randn(4, 12))


class Zero(nn.Module):
    """A mask that is closed."""

    def forward(self, x: Tensor) -> Tensor:
        return x * 0


def test_a_layer_that_is_never_called_is_named_and_left() -> None:
    class Unused(Pair):
        def __init__(self) -> None:
            super().__init__()
            self.auxiliary = nn.Linear(24, 3)
            with torch.no_grad():
                self.auxiliary.weight[:, :20] = 0

    with pytest.warns(GrowlWarning, match="not proven: layer 'auxiliary' was never called: left as given"):
        small = compact(Unused(), torch.randn(4, 12))
    assert isinstance(small.auxiliary, nn.Linear)
    assert by_name(small)["a"].outputs_left == 16
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert by_name(compact(Unused(), torch.randn(4, 12), full=False))["auxiliary"].width == 4


class Large(Pair):
    """A branch on the values of the input."""

    def forward(self, x: Tensor) -> Any:
        h = self.a(x).relu()
        return self.b(h * h[:, 1:2] if bool((x > 100).any()) else h)


def test_all_examples_of_a_list_are_recorded_and_proven() -> None:
    small_values, large = torch.randn(4, 12), 200 + torch.randn(3, 12)
    both = compact(Large(), [small_values, (large,)])
    left = by_name(both)["a"]
    assert left.kept is not None
    assert 1 in left.kept
    assert left.outputs_left == 17
    model = Large().eval()
    for x in (small_values, large):
        torch.testing.assert_close(both(x), model(x), rtol=1e-4, atol=1e-4)


def test_lists_are_examples() -> None:
    with pytest.raises(InvalidValueError, match="at least one example, got an empty list"):
        compact(Pair(), [])
    with pytest.raises(CompactionError, match="does not run on example_inputs"):
        compact(Pair(), [torch.randn(4, 12), torch.randn(4, 11)])
    with pytest.raises(InvalidTypeError, match="must be one example here, got a list of examples"):
        split_inputs([torch.randn(4, 12)])
