"""Tied training: exact by construction, the paper's averaging under SGD, alive through state_dict and deepcopy."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

import torch_growl as tg
from tests.support.batteries import LAYERS, Case
from torch_growl.errors import InvalidTypeError, LayerError
from torch_growl.mathematics.clustering.partition import PRUNED, Partition
from torch_growl.networks.layers import rows_of
from torch_growl.networks.tying.tying import LayerTying, Tying


def tying_of(layer: nn.Module, labels: tuple[int, ...], side: str = "input", name: str = "0") -> Tying:
    return Tying((LayerTying(name, Partition(labels), rows_of(layer, side).shape[1], side),))


def labels_for(n: int) -> tuple[int, ...]:
    """Some pruned, some tied, some alone, whatever n is."""
    return tuple([0, 1, 0, PRUNED, 2, 1, 0, 3, PRUNED, 2, 4, 1][:n])


@pytest.mark.parametrize("side", ["input", "output"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("case", LAYERS, ids=str)
def test_tying_holds_and_is_the_mean_of_every_group(case: Case, dtype: torch.dtype, side: str) -> None:
    layer = case.make().to(dtype)
    model = nn.Sequential(layer)
    rows = rows_of(layer, side).detach().double()
    labels = labels_for(len(rows))
    stride = layer.weight.stride()
    before = sum(p.numel() for p in model.parameters())
    assert tg.tie_(model, tying_of(layer, labels, side)) is model
    partition = Partition(labels)
    tied = rows_of(layer, side).detach()
    assert partition.holds(tied)
    tolerance = {torch.float32: 1e-6, torch.float64: 1e-14, torch.bfloat16: 1e-2}[dtype]  # two roundings of √s
    for group in range(partition.n_groups):
        members = [i for i, label in enumerate(partition.labels) if label == group]
        torch.testing.assert_close(tied[members[0]].double(), rows[members].mean(0), rtol=tolerance, atol=tolerance)
    assert layer.weight.stride() == stride
    assert layer.weight.dtype == dtype
    fewer = (partition.n_rows - partition.n_groups) * rows.shape[1]
    assert sum(p.numel() for p in model.parameters()) == before - fewer
    layer(case.input().to(dtype)).float().sum().backward()
    assert layer.parametrizations.weight.original.grad.shape == (partition.n_groups, rows.shape[1])
    tg.untie_(model)
    assert torch.equal(rows_of(layer, side), tied)
    assert type(layer) is type(case.make())


@pytest.mark.parametrize("settings", [{}, {"momentum": 0.9}, {"momentum": 0.9, "nesterov": True, "weight_decay": 0.01}])
def test_sgd_on_the_centroids_is_the_papers_group_averaging(settings: dict[str, float]) -> None:
    torch.manual_seed(0)
    labels = (0, 0, 0, 1, 1, PRUNED, 2, 1)
    plain = nn.Sequential(nn.Linear(8, 5), nn.Tanh(), nn.Linear(5, 3)).double()
    tied = copy.deepcopy(plain)
    tg.tie_(tied, tying_of(tied[0], labels))
    plain[0].weight.data.copy_(tied[0].weight.detach())
    member = [[i for i, label in enumerate(labels) if label == group] for group in range(3)]

    def average(columns: torch.Tensor) -> None:
        for group in member:
            columns[:, group] = columns[:, group].mean(1, keepdim=True)
        columns[:, 5] = 0

    one = torch.optim.SGD(plain.parameters(), lr=0.1, **settings)
    two = torch.optim.SGD(tied.parameters(), lr=0.1, **settings)
    for i in range(50):
        x = torch.randn(16, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(i))
        for model, optimizer in ((plain, one), (tied, two)):
            optimizer.zero_grad()
            (model(x) - x[:, :3].sin()).pow(2).mean().backward()
            optimizer.step()
        average(plain[0].weight.data)
    torch.testing.assert_close(tied[0].weight, plain[0].weight, rtol=1e-12, atol=1e-13)
    assert not torch.allclose(tied[0].weight[:, 0], tied[0].weight[:, 6])


def test_the_optimizer_keeps_its_momentum_through_tying_and_untying() -> None:
    torch.manual_seed(0)
    labels = (0, 0, 1, 2, PRUNED, 1)
    model = nn.Sequential(nn.Linear(6, 4)).double()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

    def step() -> None:
        optimizer.zero_grad()
        (model(torch.ones(3, 6, dtype=torch.float64)) ** 2).sum().backward()
        optimizer.step()

    step()
    original = model[0].weight
    momentum = optimizer.state[original]["momentum_buffer"].clone()  # (4, 6)
    tg.tie_(model, tying_of(model[0], labels), optimizer)
    assert model[0].parametrizations.weight.original is original
    carried = optimizer.state[original]["momentum_buffer"]
    expected = torch.stack(
        [(momentum[:, 0] + momentum[:, 1]) / 2**0.5, (momentum[:, 2] + momentum[:, 5]) / 2**0.5, momentum[:, 3]]
    )
    torch.testing.assert_close(carried, expected)
    step()
    tg.untie_(model, optimizer)
    assert optimizer.state[model[0].weight]["momentum_buffer"].shape == (4, 6)
    step()


def test_other_optimizers_start_afresh_on_tied_layers() -> None:
    model = nn.Sequential(nn.Linear(6, 4), nn.Linear(4, 2))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        model(torch.randn(5, 6)).sum().backward()
        optimizer.step()
        if not hasattr(model[0], "parametrizations"):
            tg.tie_(model, tying_of(model[0], (0, 0, 1, 1, PRUNED, 2)), optimizer)
            assert model[0].parametrizations.weight.original not in optimizer.state
            assert optimizer.state[model[1].weight]["step"] == 1
    assert Partition((0, 0, 1, 1, PRUNED, 2)).holds(rows_of(model[0]))


@pytest.mark.slow
def test_state_dict_and_deepcopy_and_compile() -> None:
    labels = (0, 0, 1, PRUNED, 2, 2)

    def build(seed: int) -> nn.Sequential:
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 2))
        return tg.tie_(model, tying_of(model[0], labels))

    model = build(0)
    other = build(1)
    other.load_state_dict(model.state_dict())
    x = torch.randn(3, 6)
    assert torch.equal(other(x), model(x))
    clone = copy.deepcopy(model)
    assert torch.equal(clone(x), model(x))
    clone[0].parametrizations.weight.original.data.mul_(2)
    assert not torch.equal(clone(x), model(x))
    assert Partition(labels).holds(rows_of(clone[0]))
    compiled = torch.compile(model, backend="eager")
    compiled(x).sum().backward()
    assert model[0].parametrizations.weight.original.grad is not None


def test_a_layer_with_all_rows_pruned_is_zero() -> None:
    model = nn.Sequential(nn.Linear(3, 2))
    tg.tie_(model, tying_of(model[0], (PRUNED,) * 3))
    assert bool((model[0].weight == 0).all())


def test_what_cannot_be_tied_is_refused_and_nothing_changes() -> None:
    model = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2), nn.BatchNorm1d(2))
    good = LayerTying("0", Partition((0, 0, 1, 1)), 3)
    cases = [
        (LayerTying("9", Partition((0,)), 1), "unknown layer '9'"),
        (LayerTying("1", Partition((0, 0)), 2), "layer '1' has 3 rows of 2, the tying 2 of 2: it was made for another"),
        (LayerTying("2", Partition((0, 0)), 1), r"layer '2' \(BatchNorm1d\) cannot be tied"),
    ]
    for bad, words in cases:
        with pytest.raises(LayerError, match=words):
            tg.tie_(model, Tying((good, bad)))
        assert not hasattr(model[0], "parametrizations")
    model[0].weight.data[0, 0] = float("inf")
    with pytest.raises(LayerError, match="layer '0' has NaN or infinite weights"):
        tg.tie_(model, Tying((good,)))
    with pytest.raises(LayerError, match="no layer of this network is tied"):
        tg.untie_(model)
    with pytest.raises(InvalidTypeError, match="model must be a torch.nn.Module"):
        tg.tie_(None, Tying(()))  # type: ignore[arg-type]
    with pytest.raises(InvalidTypeError, match="tying must be a Tying"):
        tg.tie_(model, {})  # type: ignore[arg-type]


def test_tying_twice_is_refused() -> None:
    model = nn.Sequential(nn.Linear(4, 3))
    tying = tying_of(model[0], (0, 0, 1, 1))
    tg.tie_(model, tying)
    with pytest.raises(LayerError, match="cannot be tied: weight is parametrized .*untie_"):
        tg.tie_(model, tying)


def test_untying_a_copy_leaves_the_original_tied() -> None:
    model = nn.Sequential(nn.Linear(4, 3))
    tg.tie_(model, tying_of(model[0], (0, 0, 1, PRUNED)))
    weight = model[0].weight.detach().clone()
    clone = tg.untie_(copy.deepcopy(model))
    assert torch.equal(model[0].weight, weight)
    assert torch.equal(clone[0].weight, weight)
    assert hasattr(model[0], "parametrizations")
    assert isinstance(clone[0]._parameters["weight"], nn.Parameter)
