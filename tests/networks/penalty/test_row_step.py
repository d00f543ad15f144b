"""The proximal step over many layers: the compiled passes against torch, layouts, moving weights, memory."""

from __future__ import annotations

import copy
import os
import time
import tracemalloc
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import nn

import torch_growl as tg
from tests.support.batteries import LAYERS, WIDE
from tests.support.reference_prox import reference_prox
from tests.support.tolerances import close
from torch_growl.errors import InvalidValueError, LayerError
from torch_growl.networks.layers import Side, row_norms, rows_of, scale_rows_
from torch_growl.networks.penalty import row_step, weight_memory
from torch_growl.networks.penalty.row_step import RowStep
from torch_growl.networks.penalty.step_layers import StepLayers
from torch_growl.networks.penalty.weight_memory import dense_layout

DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]


def on(modules: list[nn.Module], side: Side = "input", lam: float = 0.0) -> RowStep:
    n = [len(row_norms(module, side)) for module in modules]
    lams = [torch.linspace(2 * lam, lam, rows, dtype=torch.float64) for rows in n]
    pruned = [torch.zeros(rows, dtype=torch.bool) for rows in n]
    names = tuple(f"layer{i}" for i in range(len(n)))
    return RowStep(StepLayers(names, tuple(modules), tuple(lams), side, 1), pruned)


@pytest.mark.parametrize("scale_free", [True, False])
@pytest.mark.parametrize("side", ["input", "output"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_step_is_the_plain_prox_of_every_layer(dtype: torch.dtype, side: Side, scale_free: bool) -> None:
    torch.manual_seed(0)
    modules = [case.make().to(dtype) for case in [*LAYERS, WIDE]]
    rates = [0.3 * (i + 1) for i in range(len(modules))]
    expected = []
    for module, rate in zip(modules, rates, strict=True):
        exact = dtype in (torch.float32, torch.float64)
        v = rows_of(module, side).detach().double().norm(dim=1) if exact else row_norms(module, side).double()
        lam = torch.linspace(0.02, 0.01, len(v), dtype=torch.float64) * rate
        if scale_free:
            lam /= len(v) ** 0.5 * v.norm()
        x = torch.tensor(reference_prox(v.tolist(), lam.tolist()), dtype=torch.float64)
        if not x.any():
            x[v.argmax()] = v.max()  # at least one row is kept
        if scale_free:
            x *= v.norm() / x.norm()
        copied = copy.deepcopy(module)
        scale_rows_(copied, x / v, side)
        expected.append(copied.weight)
    on(modules, side, 0.01)(rates, [1.0] * len(rates), scale_free)
    for module, weight in zip(modules, expected, strict=True):
        torch.testing.assert_close(module.weight, weight, **close(dtype))


def test_layers_of_several_types_and_layouts_in_one_network() -> None:
    torch.manual_seed(0)
    strided = nn.Linear(8, 6)
    strided.weight = nn.Parameter(torch.randn(8, 6).t())  # memory the other way round
    odd = nn.Linear(8, 6)
    odd.weight = nn.Parameter(torch.randn(6, 16)[:, ::2])  # gaps between the values
    modules = [nn.Linear(5, 4).double(), strided, nn.Conv2d(3, 4, 3).bfloat16(), odd, nn.Linear(7, 3)]
    assert dense_layout(odd, odd.weight, "input") is None
    assert dense_layout(strided, strided.weight, "input") is not None
    whole = copy.deepcopy(modules)
    on(modules, lam=0.1)([1.0] * 5, [1.0] * 5, False)
    for i, module in enumerate(whole):
        on([module], lam=0.1)([1.0], [1.0], False)
        assert torch.equal(module.weight, modules[i].weight)


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Small weights are cut as large ones are, and threads go over them."""
    monkeypatch.setattr(weight_memory, "_LEAST", 16)
    monkeypatch.setattr(row_step, "_THREADS_FROM", 1)
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("side", ["input", "output"])
def test_the_number_of_threads_changes_no_bit(side: Side, threads: None) -> None:
    torch.manual_seed(0)
    modules = [case.make() for case in [*LAYERS, WIDE]] + [nn.Linear(300, 70).double(), nn.Linear(9, 8).bfloat16()]
    copies = []
    for number in (1, 2, 3, 7, 64):
        torch.set_num_threads(number)
        copied = copy.deepcopy(modules)
        rows = on(copied, side, 0.01)
        for _ in range(3):
            rows([1.0] * len(copied), [1.0] * len(copied), True)
        assert len(rows._parts) > len(copied)
        assert (len(rows._threads()) > 1) == (number > 1)
        assert len(rows._threads()) <= number
        copies.append(copied)
    for others in zip(*copies, strict=True):
        for other in others[1:]:
            assert torch.equal(others[0].weight, other.weight)


def test_a_forked_process_has_threads_of_its_own(threads: None) -> None:
    torch.set_num_threads(2)
    layer = nn.Linear(30, 20)
    rows = on([layer], lam=0.01)
    rows([1.0], [1.0], True)
    child = os.fork()
    if child == 0:  # pragma: no cover
        rows([1.0], [1.0], True)
        os._exit(0)
    for _ in range(200):
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            break
        time.sleep(0.05)
    else:
        os.kill(child, 9)
        pytest.fail("the child hangs")
    assert status == 0


def test_weights_that_move_between_steps_are_found() -> None:
    torch.manual_seed(0)
    module = nn.Conv2d(6, 10, 3)
    rows = on([module], lam=0.05)
    for change in (
        lambda: setattr(module, "weight", nn.Parameter(torch.randn(10, 6, 3, 3))),
        lambda: module.to(memory_format=torch.channels_last),
        lambda: setattr(module.weight, "data", torch.randn(10, 6, 3, 3)),
        lambda: module.double(),
        lambda: module.bfloat16(),
        lambda: module.float(),
    ):
        old = module.weight.detach()  # its memory stays taken, so that the next one lies elsewhere
        before = old.clone()
        change()
        assert module.weight.data_ptr() != old.data_ptr()
        new = module.weight.detach().clone()
        expected = copy.deepcopy(module)
        on([expected], lam=0.05)([1.0], [1.0], False)
        rows([1.0], [1.0], False)
        assert torch.equal(module.weight, expected.weight)
        assert not torch.equal(module.weight, new)
        assert torch.equal(old, before), "the weight that was replaced is left as it was"


def test_a_weight_transposed_where_it_lies_is_found() -> None:
    """Same parameter, address and type: only its strides tell."""
    torch.manual_seed(0)
    module = nn.Linear(7, 7)
    rows = on([module], lam=0.05)
    rows([1.0], [1.0], False)
    at = module.weight.data_ptr()
    module.weight.data = module.weight.data.t()
    assert module.weight.data_ptr() == at
    expected = copy.deepcopy(module)
    on([expected], lam=0.05)([1.0], [1.0], False)
    rows([1.0], [1.0], False)
    assert torch.equal(module.weight, expected.weight)


def test_after_a_refusal_the_step_continues_with_weights_that_moved_meanwhile() -> None:
    torch.manual_seed(0)
    modules = [nn.Linear(6, 5), nn.Linear(6, 7)]
    rows = on(modules, lam=0.05)
    rows([1.0] * 2, [1.0] * 2, False)
    whole, kept = modules[1].weight.data, modules[0].weight.data
    modules[0].weight.data = kept.clone()
    modules[1].weight.data = modules[1].weight.data[:, :5]
    with pytest.raises(LayerError, match="'layer1' had 6 rows"):
        rows([1.0] * 2, [1.0] * 2, False)
    modules[1].weight.data = whole
    expected = copy.deepcopy(modules)
    on(expected, lam=0.05)([1.0] * 2, [1.0] * 2, False)
    rows([1.0] * 2, [1.0] * 2, False)
    for module, wanted in zip(modules, expected, strict=True):
        assert torch.equal(module.weight, wanted.weight)


def test_a_copied_penalty_works_on_its_own_copy() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 3))
    growl = tg.GrOWL(model, strength=5.0)
    growl.prox_(0.1)
    before = model[0].weight.clone()
    other = copy.deepcopy(growl)
    other.prox_(0.1)
    assert torch.equal(model[0].weight, before)
    growl.prox_(0.1)
    assert not torch.equal(model[0].weight, before)
    assert torch.equal(next(iter(other._layers.values())).weight, model[0].weight)


def test_autograd_notices_that_weights_were_changed() -> None:
    layer = nn.Linear(4, 3)
    x = torch.randn(2, 4, requires_grad=True)
    loss = layer(x).square().sum()
    on([layer], lam=0.01)([1.0], [1.0], False)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_broken_layer_leaves_all_as_they_were(bad: float, dtype: torch.dtype) -> None:
    modules = [nn.Linear(6, 5).to(dtype), nn.Linear(6, 5).to(dtype), nn.Linear(6, 5)]
    with torch.no_grad():
        modules[1].weight[2, 3] = bad
    before = [module.weight.clone() for module in modules]
    rows = on(modules, lam=5.0)
    with pytest.raises(LayerError, match="'layer1' has NaN or infinite weights in 1 of its 6 rows"):
        rows([1.0] * 3, [1.0] * 3, False)
    for module, weight in zip(modules, before, strict=True):
        assert torch.equal(module.weight.nan_to_num(), weight.nan_to_num())
    assert not any(rows.pruned(i).any() for i in range(3))


@pytest.mark.parametrize("lr", [-0.1, float("nan"), float("inf")])
def test_a_learning_rate_that_is_negative_or_not_finite_is_refused(lr: float) -> None:
    layer = nn.Linear(6, 5)
    before = layer.weight.clone()
    with pytest.raises(InvalidValueError, match="layer 'layer0': the learning rate must be finite and ≥ 0"):
        on([layer], lam=0.1)([lr], [1.0], False)
    assert torch.equal(layer.weight, before)


def test_tiny_and_huge_weights() -> None:
    """Squares of float32 values neither vanish nor overflow."""
    for size in (1e-30, 1e30):
        layer = nn.Linear(3, 4)
        with torch.no_grad():
            layer.weight.copy_(torch.tensor([1.0, 2.0, 3.0]).expand(4, 3) * size)
        before = layer.weight.clone()
        on([layer])([0.0], [1.0], False)
        assert torch.equal(layer.weight, before)


def test_nothing_is_allocated_that_grows_with_the_weights() -> None:
    """Scratch memory counts rows; a weight of 8 MiB must not show."""
    modules = [nn.Linear(64, 32_768), nn.Linear(64, 64)]
    rows = on(modules, lam=0.01)
    rows([1.0, 1.0], [1.0, 1.0], True)
    tracemalloc.start()
    rows([1.0, 1.0], [1.0, 1.0], True)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 512 * 1024

    def allocated(work: Callable[[], object]) -> int:
        """Bytes that torch allocates on the CPU."""
        with torch.profiler.profile(profile_memory=True) as profile:
            work()
        return sum(max(event.self_cpu_memory_usage, 0) for event in profile.key_averages())

    assert allocated(lambda: modules[1].weight.clone()) >= 4 * 64 * 64, "the yardstick measures"
    assert allocated(lambda: rows([1.0, 1.0], [1.0, 1.0], True)) < 64 * 1024
