"""The modules before a smaller layer select and sum in any type, once for several readers, and under torch's tools."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import pytest
import torch
from torch import Tensor, fx, nn

from torch_growl.errors import InvalidValueError
from torch_growl.networks.compaction.compactor import compact
from torch_growl.networks.compaction.inputs import (
    PlaceInputs,
    SelectInputs,
    SharedInputs,
    SumInputs,
    index_bytes,
    make_inputs,
    sum_without_scatter,
)
from torch_growl.networks.compaction.structure import structure_of
from torch_growl.networks.storage.compact_file import load, load_dense, save

GROUPS = [[4, 0, 3], [1], [5, 2]]


def by_hand(x: torch.Tensor, groups: list[list[int]], dim: int) -> torch.Tensor:
    return torch.stack([sum(x.select(dim, index) for index in members) for members in groups], dim)  # type: ignore[misc]


@pytest.mark.parametrize(
    ("shape", "dim"), [((7,), -1), ((3, 7), -1), ((2, 3, 7), -1), ((7, 4, 4), -3), ((2, 7, 5), -2)]
)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_sum_is_the_sum_of_every_group(shape: tuple[int, ...], dim: int, dtype: torch.dtype) -> None:
    x = torch.randint(-8, 8, shape).to(dtype)  # exact in every type
    found = SumInputs(GROUPS, dim)(x)
    assert found.dtype == dtype
    assert torch.equal(found, by_hand(x, GROUPS, dim))
    assert torch.equal(sum_without_scatter(x, GROUPS, dim), found)


@pytest.mark.parametrize(("shape", "dim"), [((3, 7), -1), ((2, 7, 4, 4), -3)])
def test_select_takes_inputs_in_order(shape: tuple[int, ...], dim: int) -> None:
    x = torch.randn(shape)
    assert torch.equal(SelectInputs([5, 1, 1], dim)(x), torch.stack([x.select(dim, i) for i in (5, 1, 1)], dim))


@pytest.mark.parametrize(("shape", "dim"), [((2,), -1), ((3, 2), -1), ((2, 2, 4, 4), -3), ((2, 2, 5), -2)])
def test_inputs_are_placed_among_zeros(shape: tuple[int, ...], dim: int) -> None:
    x = torch.randn(shape)
    none = torch.zeros_like(x.select(dim, 0))
    found = PlaceInputs([1, 4], 5, dim)(x)
    assert torch.equal(found, torch.stack([none, x.select(dim, 0), none, none, x.select(dim, 1)], dim))


@pytest.mark.parametrize("dim", [-1, -3])
@pytest.mark.parametrize("sizes", [[1], [4], [1, 1], [2, 2, 2], [13, 1, 8, 7, 2, 1], [31]])
def test_sums_without_a_scatter_are_the_same_for_groups_of_any_sizes(sizes: list[int], dim: int) -> None:
    order = torch.randperm(sum(sizes) + 3).tolist()
    groups = [[order.pop() for _ in range(size)] for size in sizes]
    shape = (2, sum(sizes) + 3) if dim == -1 else (2, sum(sizes) + 3, 2, 2)
    x = torch.randint(-8, 8, shape).float()
    assert torch.equal(sum_without_scatter(x, groups, dim), by_hand(x, groups, dim))


def test_the_input_is_not_modified_and_gradients_reach_every_member() -> None:
    x = torch.randn(3, 7, requires_grad=True)
    before = x.detach().clone()
    SumInputs(GROUPS, -1)(x).sum().backward()
    assert torch.equal(x.detach(), before)
    assert x.grad is not None
    assert x.grad[0].tolist() == [1, 1, 1, 1, 1, 1, 0]


def test_unchanged_inputs_need_no_module() -> None:
    assert make_inputs([[0], [1], [2]], 3, -1) is None
    assert index_bytes([[0], [1], [2]], 3) == 0


@pytest.mark.parametrize("groups", [[[0], [1]], [[1], [0], [2]], [[2]], GROUPS])
def test_bytes_are_those_of_the_buffers(groups: list[list[int]]) -> None:
    module = make_inputs(groups, 6, -1)
    assert type(module) is (SumInputs if max(map(len, groups)) > 1 else SelectInputs)
    assert all(buffer.dtype == torch.int32 for buffer in module.buffers())
    assert sum(buffer.nbytes for buffer in module.buffers()) == index_bytes(groups, 6)


@pytest.mark.slow
@pytest.mark.parametrize("module", [SelectInputs([5, 2], -3), SumInputs(GROUPS, -3)], ids=["select", "sum"])
def test_modules_can_be_traced_exported_compiled_and_copied(module: nn.Module) -> None:
    x = torch.randn(2, 7, 3, 3)
    expected = module(x)
    assert torch.equal(fx.symbolic_trace(module)(x), expected)
    assert torch.equal(torch.export.export(module, (x,)).module()(x), expected)
    assert torch.equal(copy.deepcopy(module)(x), expected)
    assert torch.equal(torch.compile(module, backend="aot_eager", fullgraph=True)(x), expected)
    assert module.state_dict() == {}


def test_additions_are_counted() -> None:
    assert SumInputs(GROUPS, -3).additions(torch.zeros(2, 7, 3, 3)) == 3 * 2 * 9


def test_repr_shows_the_numbers_of_inputs() -> None:
    assert repr(SumInputs(GROUPS, -1)) == "SumInputs(6 -> 3, dim=-1)"
    assert repr(SelectInputs([5, 2], -3)) == "SelectInputs(2, dim=-3)"


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(InvalidValueError, match="counted from the end"):
        SelectInputs([0], 1)
    with pytest.raises(InvalidValueError, match="at least one input"):
        SumInputs([[0], []], -1)
    with pytest.raises(InvalidValueError, match="integers ≥ 0"):
        SelectInputs([-1], -1)
    with pytest.raises(InvalidValueError, match="non-empty"):
        SumInputs([], -1)


class Three(nn.Module):
    """Three layers that read the same tensor, two of which take the same of it."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.a, self.b, self.c = nn.LayerNorm(20), nn.Linear(20, 12), nn.Linear(20, 9), nn.Linear(20, 9)
        with torch.no_grad():
            for layer in (self.a, self.b, self.c):
                layer.weight[:, 6:] = layer.weight[:, 5:6]
            self.c.weight[:, :3] = 0

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(x))
        return torch.cat([self.a(x), self.b(x), self.c(x)], -1)


def test_a_selection_that_two_layers_share_is_computed_once(tmp_path: Path) -> None:
    model = Three()
    x = torch.randn(3, 20)
    small = compact(model, x)
    assert [layer.shares for layer in structure_of(small).layers] == [None, "a", None]
    assert small.a.inputs is small.b.inputs
    calls: list[int] = []
    for module in small.modules():
        if isinstance(module, SumInputs):
            module.register_forward_hook(lambda *_: calls.append(1))
    for _ in range(3):
        torch.testing.assert_close(small(x), model(x))
    assert len(calls) == 6
    save(small, tmp_path / "f")
    loaded = load(tmp_path / "f", Three())
    assert loaded.a.inputs is loaded.b.inputs
    assert structure_of(loaded) == structure_of(small)
    torch.testing.assert_close(load_dense(tmp_path / "f", Three())(x), model(x))
    exported = torch.export.export(loaded, (x,)).module()
    torch.testing.assert_close(exported(x), model(x))
    loaded(x).sum().backward()
    assert loaded.b.layer.weight.grad is not None
    copied = copy.deepcopy(loaded)
    assert copied.a.inputs is copied.b.inputs
    torch.testing.assert_close(pickle.loads(pickle.dumps(copied))(x), model(x))


def test_a_shared_result_is_never_used_for_another_tensor() -> None:
    shared = SharedInputs(SelectInputs([0, 2], -1), 2)
    x = torch.randn(2, 3)
    first = shared(x)
    x.mul_(2)  # the same tensor, changed since
    assert torch.equal(shared(x), 2 * first)
    y = torch.randn(2, 3)
    shared(y)
    assert torch.equal(shared(x), x[:, [0, 2]])
    with torch.no_grad():
        shared(y)
    z = y.clone().requires_grad_()
    shared(z)
    assert shared(z).requires_grad
    with torch.inference_mode():
        a = torch.randn(2, 3)
        assert torch.equal(shared(a), a[:, [0, 2]])
    assert torch.equal(shared(y), y[:, [0, 2]])


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning")
@pytest.mark.parametrize("layout", [torch.strided, torch.jagged])
@pytest.mark.parametrize("inputs", [SelectInputs([3, 0], -1), SumInputs([[3, 1], [0]], -1)], ids=["select", "sum"])
def test_a_nested_tensor_is_selected_or_summed_part_by_part(inputs: nn.Module, layout: torch.layout) -> None:
    parts = [torch.randn(3, 5), torch.randn(6, 5)]
    x = torch.nested.nested_tensor(parts, layout=layout)
    found = inputs(x)
    for part, wanted in zip(found.unbind(), parts, strict=True):
        assert torch.equal(part, inputs(wanted))
    assert found.layout == layout
    if layout == torch.jagged:
        assert (found + inputs(x)).is_nested  # it has the lengths of x, so it can be added to others made from x
