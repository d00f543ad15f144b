"""A target of latency, on a machine whose time is the number of multiply-adds: what is timed there is exact."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import torch_growl as tg
from tests.support.digits_networks import digits, mlp, train
from torch_growl.networks.execution import Candidate, Inputs
from torch_growl.networks.targets import layer_timings
from torch_growl.networks.targets.counting import Counter
from torch_growl.networks.targets.figure import Figure, without_rows
from torch_growl.networks.targets.layer_timings import Latency

CALL = 20.0  # what every call takes, beside its multiply-adds


def multiply_adds(candidate: Candidate, batch: Inputs) -> float:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        candidate(batch)
    return counter.get_total_flops() / 2


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    def median_ms(candidates: list[Candidate], example: Inputs, **_: int) -> list[float]:
        return [CALL + multiply_adds(candidate, example) for candidate in candidates]

    monkeypatch.setattr(layer_timings, "median_ms", median_ms)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.depthwise = nn.Conv2d(3, 16, 3), nn.Conv2d(16, 16, 3, groups=16)
        self.last = nn.Linear(16, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.depthwise(torch.relu(self.first(x))))
        found: torch.Tensor = self.last(x.mean(dim=(2, 3))) + self.last(x.amax(dim=(2, 3)))
        return found


X = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.usefixtures("machine")
def test_the_sum_of_the_layers_is_that_of_all_their_calls() -> None:
    torch.manual_seed(0)
    model = Net()
    latency = Latency(model, X, 4, "eager")
    counter = Counter(model, X)
    calls = 4  # the last layer is called twice
    assert latency.whole == CALL + 4 * counter.dense.macs
    assert latency.estimate(counter.dense) == calls * CALL + 4 * counter.dense.macs
    half = counter.left({"last": np.arange(16) % 2 == 0, "depthwise": np.arange(16) % 2 == 0})
    assert half.layers["depthwise"].outputs == 8
    assert latency.estimate(half) == pytest.approx(calls * CALL + 4 * half.macs)


@pytest.mark.usefixtures("machine")
def test_a_selection_takes_time_and_a_layer_without_outputs_none() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 30), nn.ReLU(), nn.Linear(30, 4))
    latency, counter = Latency(model, X[0, :, 0, :4].repeat(1, 5), 1, "eager"), Counter(model, torch.randn(3, 20))
    gone = counter.left({"0": np.arange(20) < 10})
    assert gone.layers["0"] == (10, 30, True, 10 * 30 + 30, 10 * 30)
    assert latency.estimate(gone) == 2 * CALL + gone.macs + CALL
    nothing = gone.layers["0"]._replace(outputs=0)
    assert latency._times["0"][0].of(nothing) == 0


@pytest.mark.usefixtures("machine")
def test_the_figure_is_that_of_real_networks() -> None:
    torch.manual_seed(0)
    model = Net()
    figure = Figure(model, X, tg.Target(latency_ms=0.5))
    figure.check({"last": np.arange(16) < 12, "depthwise": np.arange(16) < 12})
    gone = {"last": np.arange(16) < 5}
    small = tg.compact(without_rows(model, gone), X)
    expected = CALL + tg.measure(small, X, latency=False).macs
    assert figure.of(figure.counter.left(gone)) == pytest.approx(expected, rel=0.02)
    assert figure.check(gone) == pytest.approx(expected)


@pytest.mark.slow
@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize("share", [0.6, 0.25])
def test_training_lands_on_the_latency(share: float) -> None:
    torch.manual_seed(0)
    model = mlp()
    growl = tg.GrOWL(model, target=tg.Target(latency_ms=share, batch=8), example_inputs=digits()[0][:4], min_rows=2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    growl.attach(optimizer, steps=150)
    state = torch.get_rng_state()
    _ = growl.progress
    assert torch.equal(torch.get_rng_state(), state)
    train(model, optimizer, 150)
    left = CALL + 8 * tg.measure(tg.compact(model, digits()[0][:4]), digits()[0][:4], latency=False).macs
    assert growl.progress.left == pytest.approx(left, rel=1e-3)
    assert 0.95 * share * growl.progress.dense < left <= share * growl.progress.dense
    assert growl.progress.reached
    assert f"of {growl.progress.dense:.4g} latency_ms left" in str(growl.progress)


@pytest.mark.usefixtures("machine")
def test_a_latency_that_cannot_be_reached_is_refused_with_what_can() -> None:
    torch.manual_seed(0)
    with pytest.raises(tg.GrowlError, match=r"at least [\d.]+ of [\d.e+]+ latency_ms are left.*asked were"):
        tg.GrOWL(mlp(), target=tg.Target(latency_ms=0.004), example_inputs=digits()[0][:4])


@pytest.mark.slow
@pytest.mark.parametrize("runtime", ["eager", "onnxruntime"])
def test_real_layers_and_networks_are_timed(runtime: str) -> None:
    if runtime == "onnxruntime":
        pytest.importorskip("onnxruntime")
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(2000, 2000), nn.ReLU(), nn.Linear(2000, 4)), torch.randn(3, 2000)
    state = torch.get_rng_state()
    latency, counter = Latency(model, x, 4, runtime), Counter(model, x)
    assert torch.equal(torch.get_rng_state(), state)
    gone = {"2": np.arange(2000) > 20}
    assert 0 < latency.estimate(counter.left(gone)) < 0.5 * latency.estimate(counter.dense)
    assert 0 < latency.measured(tg.compact(without_rows(model, gone), x)) < 0.7 * latency.whole


@pytest.mark.usefixtures("machine")
def test_all_processes_decide_by_the_times_of_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    def broadcast(values: list[object], src: int) -> None:
        assert src == 0
        values[0] = (7.0, {}) if isinstance(values[0], tuple) else 0.5

    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "broadcast_object_list", broadcast)
    model = mlp()
    latency = Latency(model, digits()[0][:4], 1, "eager")
    assert latency.whole == 7
    assert latency.measured(model) == 3.5
