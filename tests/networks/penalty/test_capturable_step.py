"""The step that never waits for its device: the same result as the other one, no synchronisation, CUDA graphs."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import pytest
import torch
from torch import nn

import torch_growl as tg
from torch_growl.errors import GrowlWarning, LayerError
from torch_growl.networks.layers import rows_of
from torch_growl.networks.penalty.capturable_step import CapturableStep
from torch_growl.networks.penalty.step_layers import StepLayers

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def network(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3),
        nn.ReLU(),
        nn.Conv2d(8, 12, 3, groups=2).to(memory_format=torch.channels_last),
        nn.Flatten(),
        nn.Linear(12, 40),
        nn.Linear(40, 9),
        nn.Linear(9, 3),
    )


def nudge(*models: nn.Module, size: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weights in zip(*(model.parameters() for model in models), strict=True):
            noise = torch.randn(weights[0].shape, generator=generator) * size
            for weight in weights:
                weight.add_(noise.to(weight.device))


@pytest.mark.parametrize("side", ["input", "output"])
@pytest.mark.parametrize(("form", "strength"), [("scale-free", 20.0), ("paper", 0.6), ("paper", 10.0)])
def test_it_gives_the_result_of_the_other_step(form: Any, strength: float, side: Any) -> None:
    """Fifty steps in which rows are pruned, and with a strength at which ``min_rows`` limits every layer."""
    models = network(), network()
    plain, capturable = (
        tg.GrOWL(model, strength=strength, form=form, side=side, min_rows=3, capturable=flag)
        for model, flag in zip(models, (False, True), strict=True)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", GrowlWarning)
        for step in range(50):
            nudge(*models, size=0.01, seed=step)
            for growl in (plain, capturable):
                growl.prox_({name: 0.02 * (i + 1) for i, name in enumerate(growl.layers)})
            with torch.no_grad():
                for one, other in zip(models[0].parameters(), models[1].parameters(), strict=True):
                    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)  # norms are float32 there
                    other.copy_(one)
        states = plain.state_dict(), capturable.state_dict()
    assert plain.nonzero() == capturable.nonzero()
    assert any(rows.any() for rows in states[0]["dead"].values())
    for name, rows in states[0]["dead"].items():
        assert torch.equal(rows, states[1]["dead"][name])
    assert states[0]["floored"] == states[1]["floored"]
    assert (states[0]["floored"] == list(plain.layers)) == (strength == 10.0)


def test_pruned_rows_stay_zero_between_steps_and_over_a_restart() -> None:
    model = network()
    with torch.no_grad():
        model[4].weight.mul_(torch.linspace(0.1, 3, 12))  # each application prunes some more
    growl = tg.GrOWL(model, strength=0.39, form="paper", layers=["4"], capturable=True)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    growl.attach(optimizer, every=3)
    pruned = torch.zeros(12, dtype=torch.bool)
    for step in range(9):
        for weight in model.parameters():
            weight.grad = torch.full_like(weight, 0.001)  # moves every weight, those of pruned rows too
        before = rows_of(model[4]).detach().clone()
        optimizer.step()
        rows = rows_of(model[4]).detach()
        assert growl.steps == (step + 1) // 3
        assert bool((rows[pruned] == 0).all())
        if (step + 1) % 3:
            torch.testing.assert_close(rows[~pruned], before[~pruned] - 0.001)
        else:
            assert int(pruned.sum()) < int((rows == 0).all(dim=1).sum()) < 12
            pruned = (rows == 0).all(dim=1)
    state = growl.state_dict()
    assert torch.equal(state["dead"]["4"], pruned)
    other = network(1)
    again = tg.GrOWL(other, layers=["4"], capturable=True)
    again.load_state_dict(state)
    again.prox_(0.0)
    assert torch.equal((rows_of(other[4]) == 0).all(dim=1), pruned)


def test_a_broken_weight_changes_nothing_and_check_raises_it_once() -> None:
    model = network()
    growl = tg.GrOWL(model, strength=0.2, form="paper", capturable=True)
    with torch.no_grad():
        model[4].weight[3, 2] = torch.nan
    before = copy.deepcopy(model)
    growl.prox_(1.0)
    for one, other in zip(model.parameters(), before.parameters(), strict=True):
        assert torch.equal(one.nan_to_num(7.0), other.nan_to_num(7.0))
    with pytest.raises(LayerError, match="'4' had weights or a learning rate that are NaN"):
        growl.state_dict()
    assert not any(rows.any() for rows in growl.state_dict()["dead"].values())


def test_a_layer_kept_by_min_rows_is_warned_about_once() -> None:
    growl = tg.GrOWL(network(), strength=1e4, form="paper", capturable=True)
    growl.prox_(1.0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        growl.check()
    (warning,) = caught
    assert all(repr(name) in str(warning.message) for name in growl.layers)
    assert growl.floored == set(growl.layers)
    growl.prox_(1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        growl.check()


def test_a_tensor_is_a_learning_rate() -> None:
    models = [network() for _ in range(3)]
    rate = torch.tensor(0.3)
    for model, lr in zip(models, (0.3, rate, {"4": rate, "5": 0.3, "2": rate}), strict=True):
        tg.GrOWL(model, strength=1.0, form="paper", layers=["2", "4", "5"], capturable=True).prox_(lr)
    for others in zip(*(model.parameters() for model in models), strict=True):
        torch.testing.assert_close(others[0], others[1])
        torch.testing.assert_close(others[0], others[2])
    assert not torch.allclose(models[0][4].weight, network()[4].weight)


def test_layers_on_two_devices_are_refused() -> None:
    model = network()
    model[5].to("meta")
    layers = StepLayers(("a", "b"), (model[4], model[5]), (torch.ones(4, dtype=torch.float64),) * 2, "input", 1)
    with pytest.raises(LayerError, match="on one device, they are on (cpu, meta|meta, cpu)"):
        CapturableStep(layers, [torch.zeros(4, dtype=torch.bool)] * 2)


def test_nothing_is_read_back_to_the_host() -> None:
    """The meta device has no values: reading one, or a shape that depends on one, raises."""
    with pytest.raises(RuntimeError):
        bool(torch.ones(2, device="meta").all())  # the yardstick measures
    with pytest.raises((RuntimeError, NotImplementedError)):
        torch.ones(2, device="meta").nonzero()
    modules = nn.Linear(30, 20, device="meta"), nn.Conv2d(6, 5, 3, device="meta")
    lams = torch.ones(30, dtype=torch.float64), torch.ones(6, dtype=torch.float64)
    pruned = [torch.zeros(30, dtype=torch.bool), torch.zeros(6, dtype=torch.bool)]
    step = CapturableStep(StepLayers(("a", "b"), modules, lams, "input", 4), pruned)
    for scale_free in (True, False):
        step([0.1, 0.1], [10.0, 5.0], scale_free)
        step([torch.ones((), device="meta"), 0.1], [10.0, 5.0], scale_free)
    step.zero_pruned()
    with pytest.raises((RuntimeError, NotImplementedError)):
        step.check()  # the one that does read


@needs_cuda
@pytest.mark.parametrize("capturable", [False, True])
def test_on_cuda_it_is_the_step_on_the_cpu(capturable: bool) -> None:
    models = network(), network().cuda()
    growls = [tg.GrOWL(model, strength=0.15, form="paper", capturable=capturable) for model in models]
    for step in range(20):
        nudge(*models, size=0.01, seed=step)
        for growl in growls:
            growl.prox_(0.05)
    assert growls[0].nonzero() == growls[1].nonzero()
    for one, other in zip(models[0].parameters(), models[1].parameters(), strict=True):
        torch.testing.assert_close(one, other.cpu(), rtol=1e-5, atol=1e-6)


@needs_cuda
def test_a_cuda_graph_holds_the_step() -> None:
    models = network().cuda(), network().cuda()
    growls = [tg.GrOWL(model, strength=0.15, form="paper", capturable=i == 1) for i, model in enumerate(models)]
    rate = torch.tensor(0.0, device="cuda", dtype=torch.float64)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            growls[1].prox_(rate)  # a rate of 0 changes nothing
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        growls[1].prox_(rate)
    for step in range(20):
        nudge(*models, size=0.01, seed=step)
        rate.fill_(0.05 if step % 2 else 0.03)
        growls[0].prox_(0.05 if step % 2 else 0.03)
        graph.replay()
    for one, other in zip(models[0].parameters(), models[1].parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
    growls[1].check()


@needs_cuda
@pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype:UserWarning")
def test_cuda_never_synchronises() -> None:
    growl = tg.GrOWL(network().cuda(), capturable=True)
    growl.prox_(0.1)
    torch.cuda.set_sync_debug_mode("error")
    try:
        growl.prox_(0.1)
    finally:
        torch.cuda.set_sync_debug_mode("default")
