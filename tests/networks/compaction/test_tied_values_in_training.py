"""A compact network trains as the network does after ``tie_``: its steps, copies, files and tools."""

from __future__ import annotations

import copy
import pickle
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import torch_growl as tg
from tests.support.pruned_networks import set_rows_
from torch_growl.networks.compaction import SumInputs
from torch_growl.networks.layers import registered_layers
from torch_growl.networks.tying import existing_tying

Make = Callable[[Any], torch.optim.Optimizer]
SGD: dict[str, Make] = {
    "plain": lambda p: torch.optim.SGD(p, 0.02),
    "momentum and weight decay": lambda p: torch.optim.SGD(p, 0.02, momentum=0.9, weight_decay=0.01),
    "nesterov": lambda p: torch.optim.SGD(p, 0.01, momentum=0.9, nesterov=True, weight_decay=0.1),
    "dampening": lambda p: torch.optim.SGD(p, 0.02, momentum=0.9, dampening=0.5, weight_decay=0.01),
}
PAIRS = [(0, 4, 5), (1, 7)]  # tied rows of different numbers
LAYERS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "Linear": (lambda: nn.Linear(8, 16), (4, 8)),
    "Conv1d": (lambda: nn.Conv1d(8, 6, 3), (4, 8, 7)),
    "Conv2d": (lambda: nn.Conv2d(8, 6, 3, padding=1), (4, 8, 5, 5)),
    "Conv3d": (lambda: nn.Conv3d(8, 6, 2), (2, 8, 3, 3, 3)),
    "ConvTranspose1d": (lambda: nn.ConvTranspose1d(8, 6, 3), (4, 8, 5)),
    "ConvTranspose2d": (lambda: nn.ConvTranspose2d(8, 6, 3, stride=2), (4, 8, 4, 4)),
    "ConvTranspose3d": (lambda: nn.ConvTranspose3d(8, 6, 2), (2, 8, 3, 3, 3)),
    "channels_last": (lambda: nn.Conv2d(8, 6, 3).to(memory_format=torch.channels_last), (4, 8, 5, 5)),
}


def tied(layer: nn.Module) -> nn.Module:
    """A network of one layer, two groups of whose rows are tied, with row 2 zero."""
    return nn.Sequential(set_rows_(layer, zero=[2], tied=PAIRS)).double()


def enforced(dense: nn.Module) -> nn.Module:
    """The copy of a network in which equal rows are tied by ``tie_`` and zero rows are held."""
    model = copy.deepcopy(dense)
    return tg.tie_(model, existing_tying(model, list(registered_layers(model))))


def step(model: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor) -> None:
    optimizer.zero_grad()
    out = model(x)
    (out.sin().mean() + out.square().mean()).backward()
    optimizer.step()


def assert_trained_alike(one: nn.Module, other: nn.Module, x: Tensor, make: Make = SGD["nesterov"]) -> None:
    """Train two networks for fifty steps, which change the outputs; they must stay equal."""
    first, optimizers = other(x), [make(model.parameters()) for model in (one, other)]
    for _ in range(50):
        for model, optimizer in zip((one, other), optimizers, strict=True):
            step(model, optimizer, x)
    assert float((other(x) - first).detach().abs().max()) > 0.02
    torch.testing.assert_close(one(x), other(x), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("make", SGD.values(), ids=SGD)
@pytest.mark.parametrize("name", LAYERS)
def test_steps_of_sgd_are_those_of_the_network_after_tie(name: str, make: Make) -> None:
    torch.manual_seed(0)
    layer, shape = LAYERS[name]
    dense, x = tied(layer()), torch.randn(shape, dtype=torch.float64)
    small = tg.compact(dense, x)
    assert any(isinstance(module, SumInputs) for module in small.modules())
    assert_trained_alike(small, enforced(dense), x, make)


def test_padding_of_a_grouped_convolution_stays_zero() -> None:
    """Two groups of rows that leave different numbers: the smaller one is padded with a row that nothing trains."""
    torch.manual_seed(0)
    layer = set_rows_(nn.Conv2d(12, 6, 3, groups=2), zero=[0, 2], tied=[(1, 4), (7, 11)])
    dense, x = nn.Sequential(layer).double(), torch.randn(4, 12, 5, 5, dtype=torch.float64)
    small = tg.compact(dense, x)
    slots = tg.structure_of(small).layers[0].slots
    assert [] in slots
    assert_trained_alike(small, enforced(dense), x)
    assert not small[0].layer.weight[:3, slots.index([])].any()


def test_padding_of_rounded_sizes_stays_zero() -> None:
    torch.manual_seed(0)
    dense, x = nn.Sequential(set_rows_(nn.Linear(9, 40), zero=[0, 3, 5])).double(), torch.randn(8, 9).double()
    small = tg.compact(dense, x, round_to=8)
    assert tg.structure_of(small).layers[0].slots[6:] == [[], []]
    assert_trained_alike(small, enforced(dense), x)
    assert not small[0].layer.weight[:, -2:].any()


class TwoReaders(nn.Module):
    """Two layers that read the same tensor, whose sums are computed once, and one after them."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.out = nn.Linear(8, 6), nn.Linear(8, 6), nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        return self.out((self.q(x) * self.k(x)).relu())


def several() -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    dense = TwoReaders()
    for layer in (dense.q, dense.k):
        set_rows_(layer, zero=[3], tied=PAIRS)
    set_rows_(dense.out, tied=[(0, 1, 2, 4)])
    return dense.double(), torch.randn(16, 8, dtype=torch.float64)


def stored(small: nn.Module, x: Tensor, folder: Path) -> nn.Module:
    tg.save(small, folder / "small.safetensors")
    return tg.load(folder / "small.safetensors", TwoReaders().double())


COPIES: dict[str, Callable[[nn.Module, Tensor, Path], nn.Module]] = {
    "itself": lambda small, x, folder: small,
    "deep copy": lambda small, x, folder: copy.deepcopy(small),
    "pickle": lambda small, x, folder: pickle.loads(pickle.dumps(small)),
    "compact file": stored,
    "torch.compile": lambda small, x, folder: torch.compile(small, fullgraph=True, backend="aot_eager"),
}
SLOW = ("torch.compile",)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in COPIES]
)
def test_copies_and_loaded_networks_train_as_tied(name: str, tmp_path: Path) -> None:
    dense, x = several()
    small = COPIES[name](tg.compact(dense, x), x, tmp_path)
    torch.testing.assert_close(small(x), dense(x))
    assert_trained_alike(small, enforced(dense), x)


def test_a_network_compacted_twice_trains_as_tied() -> None:
    """The second sums are of values that stand for several rows each."""
    torch.manual_seed(0)
    dense, x = tied(nn.Linear(8, 16)), torch.randn(16, 8, dtype=torch.float64)
    first = tg.compact(dense, x)
    with torch.no_grad():
        groups = tg.structure_of(first).layers[0].slots
        one, other = groups.index([0, 4, 5]), groups.index([1, 7])
        first[0].layer.weight[:, other] = first[0].layer.weight[:, one]
    set_rows_(dense[0], tied=[(0, 1, 4, 5, 7)])
    with pytest.warns(tg.GrowlWarning, match="compact already"):
        twice = tg.compact(first, x)
    assert sum(p.numel() for p in twice.parameters()) < sum(p.numel() for p in first.parameters())
    assert_trained_alike(twice, enforced(dense), x)


def test_outputs_in_training_are_bit_equal_to_those_without_gradients() -> None:
    dense, x = several()
    small = tg.compact(dense, x)
    with torch.no_grad():
        wanted = small(x)
    assert torch.equal(small(x), wanted)
    assert small.q.weight is small.q.layer.weight


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_gradients_of_half_precision_are_means_too(dtype: torch.dtype) -> None:
    dense, x = several()
    small = tg.compact(dense, x)
    small(x).square().mean().backward()
    half = copy.deepcopy(small).to(dtype)
    half(x.to(dtype)).square().mean().backward()
    for wanted, found in zip(small.parameters(), half.parameters(), strict=True):
        assert found.grad.dtype == dtype
        torch.testing.assert_close(
            found.grad.double(), wanted.grad, rtol=0.1, atol=0.02 * float(wanted.grad.abs().max())
        )


def test_gradients_by_torch_func_are_those_of_backward() -> None:
    dense, x = several()
    small = tg.compact(dense, x)
    small(x).square().sum().backward()

    def loss(parameters: dict[str, Tensor], x: Tensor) -> Tensor:
        return torch.func.functional_call(small, parameters, (x,)).square().sum()

    parameters = {name: p.detach() for name, p in small.named_parameters()}
    whole = torch.func.grad(loss)(parameters, x)
    each = torch.func.vmap(torch.func.grad(loss), (None, 0))(parameters, x)
    for name, parameter in small.named_parameters():
        torch.testing.assert_close(whole[name], parameter.grad)
        torch.testing.assert_close(each[name].sum(0), parameter.grad)


def test_threads_that_call_one_network_leave_it_whole() -> None:
    dense, x = several()
    small = tg.compact(dense, x)
    wanted, weights, wrong = small(x).detach(), dict(small.named_parameters()), []

    def call() -> None:
        wrong.extend(1 for _ in range(50) if not torch.equal(small(x).detach(), wanted))

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert all(weights[name] is parameter for name, parameter in small.named_parameters())


@pytest.mark.filterwarnings("ignore:`torch.jit.trace.*deprecated:DeprecationWarning")
def test_recorded_networks_hold_nothing_of_training() -> None:
    """``torch.export``, ``torch.jit.trace`` and ``torch.fx`` in grad mode record the network that is used."""
    dense, x = several()
    small = tg.compact(dense, x)
    program = torch.export.export(small, (x,), strict=False)
    assert "lerp" not in program.graph_module.code
    assert "lerp" not in str(torch.jit.trace(small, (x,)).inlined_graph)
    assert "lerp" not in torch.fx.symbolic_trace(small).code


def test_frozen_weights_stay_frozen() -> None:
    dense, x = several()
    small = tg.compact(dense, x)
    small.q.weight.requires_grad_(False)
    small(x).sum().backward()
    assert small.q.weight.grad is None
    assert small.k.weight.grad is not None
