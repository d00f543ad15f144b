"""The proximal step over many layers: the compiled passes against torch, layouts, moving weights, memory."""

from __future__ import annotations

import copy
import os
import time
import tracemalloc
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import prune

import torch_growl as tg
from tests.support.batteries import LAYERS, Case
from tests.support.reference_prox import reference_prox
from tests.support.tolerances import close
from torch_growl.errors import InvalidValueError, LayerError
from torch_growl.mathematics.owl import row_scaling
from torch_growl.networks.layers import Side, row_norms, rows_of, scale_rows_
from torch_growl.networks.penalty import row_step, weight_memory
from torch_growl.networks.penalty.capturable_step import CapturableStep
from torch_growl.networks.penalty.proximal_step import StepLayers
from torch_growl.networks.penalty.row_step import RowStep
from torch_growl.networks.penalty.weight_memory import dense_layout

WIDE = Case("linear-wide", lambda: nn.Linear(40_000, 9), (1, 40_000), 40_000, 9)
DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]


def on(modules: list[nn.Module], side: Side = "input", lam: float = 0.0) -> RowStep:
    n = [len(row_norms(module, side)) for module in modules]
    lams = [torch.linspace(2 * lam, lam, rows, dtype=torch.float64) for rows in n]
    pruned = [torch.zeros(rows, dtype=torch.bool) for rows in n]
    names = tuple(f"layer{i}" for i in range(len(n)))
    return RowStep(StepLayers(names, tuple(modules), tuple(lams), side, 1), pruned)


@pytest.mark.parametrize("side", ["input", "output"])
@pytest.mark.parametrize("case", [*LAYERS, WIDE], ids=str)
def test_every_dense_layout_is_read_and_scaled_where_it_lies(case: Case, side: Side) -> None:
    module = case.make()
    weight: Tensor = module.weight
    whole = dense_layout(module, weight, side)
    assert whole is not None, "this layout should take the compiled way"
    rows = rows_of(module, side).detach().clone()
    parts = np.array([(*whole, 0, 0)], dtype=np.int64)
    sums, norms = np.full(len(rows), np.nan), np.full(len(rows), np.nan)
    row_scaling.squares(parts, sums)
    row_scaling.combine(parts, sums, norms)
    torch.testing.assert_close(torch.from_numpy(norms), rows.double().norm(dim=1), rtol=1e-14, atol=0)
    scale = torch.rand(len(rows), dtype=torch.float64)
    scale[0] = 0.0
    row_scaling.rescale_(parts, scale.numpy())
    expected = rows * scale.float().unsqueeze(1)
    assert torch.equal(rows_of(module, side), expected)


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
    modules = [case.make() for case in [*LAYERS, WIDE]]
    modules += [nn.Linear(300, 70).double(), nn.Linear(9, 8).bfloat16()]
    copies = []
    for number in (1, 2, 3, 7, 64):
        torch.set_num_threads(number)
        copied = copy.deepcopy(modules)
        rows = on(copied, side, 0.01)
        for _ in range(3):
            rows([1.0] * len(copied), [1.0] * len(copied), True)
        assert len(rows._parts) > len(copied)
        assert (len(rows._shares()) > 1) == (number > 1)
        assert len(rows._shares()) <= number
        copies.append(copied)
    for others in zip(*copies, strict=True):
        for other in others[1:]:
            assert torch.equal(others[0].weight, other.weight)


@pytest.mark.parametrize("case", [*LAYERS, WIDE], ids=str)
def test_parts_hold_every_weight_once(case: Case, threads: None) -> None:
    module = case.make()
    for side in ("input", "output"):
        whole = dense_layout(module, module.weight, side)
        assert whole is not None
        parts = list(weight_memory.parts_of(whole))
        assert (len(parts) > 1) == (module.weight.numel() > 16 and max(whole[2:5]) > 1)
        assert len(parts) <= 8
        covered = np.zeros(module.weight.numel(), dtype=int)
        for (address, _, groups, outer, rows, inner), _ in parts:
            start = (address - module.weight.data_ptr()) // 4
            covered[start : start + groups * outer * rows * inner] += 1
        assert (covered == 1).all()


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
        kept = module.weight  # its memory stays taken, so that the next one lies elsewhere
        change()
        expected = copy.deepcopy(module)
        on([expected], lam=0.05)([1.0], [1.0], False)
        rows([1.0], [1.0], False)
        assert torch.equal(module.weight, expected.weight)
        assert not torch.equal(kept, module.weight) or kept is module.weight


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


def _narrowed(module: nn.Linear) -> None:
    module.weight.data = module.weight.data[:, :5]  # same parameter, address, strides and type


CHANGES = {
    "parametrized": (nn.utils.parametrizations.weight_norm, "no longer has a plain weight"),
    "pruned": (lambda m: prune.l1_unstructured(m, "weight", 0.3), "no longer has a plain weight"),
    "fewer rows": (_narrowed, "had 6 rows and now has 5; build a new GrOWL"),
    "more rows": (lambda m: setattr(m, "weight", nn.Parameter(torch.randn(7, 9))), "had 6 rows and now has 9"),
    "expanded": (lambda m: setattr(m.weight, "data", torch.randn(7, 1).expand(7, 6)), "share memory"),
}


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("kind", [RowStep, CapturableStep])
def test_a_layer_that_is_no_longer_what_it_was_is_refused(name: str, kind: type[RowStep | CapturableStep]) -> None:
    torch.manual_seed(0)
    modules = [nn.Linear(6, 5), nn.Linear(6, 7)]
    lams, pruned = (torch.full((6,), 0.1).double(),) * 2, [torch.zeros(6, dtype=torch.bool)] * 2
    row_step = kind(StepLayers(("a", "b"), tuple(modules), lams, "input", 1), pruned)
    row_step([1.0, 1.0], [1.0, 1.0], True)
    change, words = CHANGES[name]
    modules[0].weight.data = modules[0].weight.data.clone()  # this one only moved
    change(modules[1])
    before = modules[0].weight.clone()
    for _ in range(2):
        with pytest.raises(LayerError, match=f"layer 'b'.*{words}"):
            row_step([1.0, 1.0], [1.0, 1.0], True)
        assert torch.equal(modules[0].weight, before)


def test_after_a_refusal_the_step_goes_on_with_weights_that_moved_meanwhile() -> None:
    torch.manual_seed(0)
    modules = [nn.Linear(6, 5), nn.Linear(6, 7)]
    rows = on(modules, lam=0.05)
    rows([1.0] * 2, [1.0] * 2, False)
    whole, kept = modules[1].weight.data, modules[0].weight.data
    modules[0].weight.data = kept.clone()
    _narrowed(modules[1])
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
def test_a_learning_rate_that_is_none_is_refused(lr: float) -> None:
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
    with torch.profiler.profile(profile_memory=True) as profile:
        rows([1.0, 1.0], [1.0, 1.0], True)
    assert sum(max(event.self_cpu_memory_usage, 0) for event in profile.key_averages()) < 64 * 1024
