"""The least that a diagnosis gives is the least that a target can ask for, and its layers hold it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import torch_growl as tg
from torch_growl.networks.diagnosis import feasibility
from torch_growl.networks.diagnosis.feasibility import Feasibility


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(20, 40), nn.ReLU(), nn.Linear(40, 40), nn.ReLU(), nn.Linear(40, 6))


X = torch.randn(3, 20, generator=torch.Generator().manual_seed(0))


def found(model: nn.Module, **given: object) -> Feasibility:
    return tg.doctor(model, X, **given).feasibility  # type: ignore[arg-type]


@pytest.mark.parametrize("of", ["weights", "macs", "bytes", "file_bytes"])
@pytest.mark.parametrize("min_rows", [4, 7])
def test_a_target_can_ask_for_the_least_and_for_no_less(of: str, min_rows: int) -> None:
    reach = {each.of: each for each in found(network(), min_rows=min_rows).measures}[of]
    assert 0 < reach.least < reach.dense
    tg.GrOWL(network(), target=tg.Target(**{of: reach.least}), example_inputs=X, min_rows=min_rows)
    with pytest.raises(tg.GrowlError, match="at least"):
        tg.GrOWL(network(), target=tg.Target(**{of: reach.least - 1}), example_inputs=X, min_rows=min_rows)
    with pytest.raises(tg.GrowlError, match="must be less than the dense"):
        tg.GrOWL(network(), target=tg.Target(**{of: reach.dense}), example_inputs=X, min_rows=min_rows)


def test_rows_that_are_zero_already_do_not_lower_the_least() -> None:
    model = network()
    with torch.no_grad():
        for i in (2, 4):
            model[i].weight[:, :10] = 0
    for mine, whole in zip(found(model).measures[:3], found(network()).measures[:3], strict=True):
        assert mine.least == whole.least


def test_the_least_is_the_size_of_the_smallest_network() -> None:
    model = network()
    reach = {each.of: each for each in found(model, layers=["2"]).measures}
    with torch.no_grad():
        model[2].weight[:, 4:] = 0
    small = tg.measure(tg.compact(model, X), X, latency=False)
    assert (reach["weights"].least, reach["macs"].least, reach["bytes"].least) == (
        small.weights, small.macs, small.bytes,
    )  # fmt: skip
    assert reach["weights"].dense == sum(p.numel() for p in model.parameters())


def test_the_layers_that_hold_the_least_come_with_their_reasons() -> None:
    held = found(network(), layers=["2"]).holders
    assert [holder.layer for holder in held] == ["4", "2", "0"]
    last = held[0]  # of 4 · 20 + 4, 4 · 40 + 40 and 40 · 6 + 6
    assert last.weight_share == pytest.approx(246 / 530)
    assert last.mac_share == pytest.approx(240 / 480)
    assert last.reason == "not among the given layers"
    assert held[1].reason == "4 rows stay, for all outputs that others need"


def test_the_latency_is_timed_when_it_is_asked_for() -> None:
    assert [each.of for each in found(network()).measures] == ["weights", "macs", "bytes", "file_bytes"]
    timed = found(network(), latency=True).measures[-1]
    assert timed.of == "latency_ms"
    assert timed.least > 0
    assert timed.dense > 0


def test_a_network_that_cannot_be_compacted_has_an_obstacle_and_no_figures(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails(*_: object) -> None:
        raise tg.GrowlError("this network cannot be compacted")

    monkeypatch.setattr(feasibility, "compact", fails)
    result = found(network())
    assert result.measures == ()
    assert result.lines() == ["What can be left is not known: this network cannot be compacted"]


def test_rows_of_outputs_have_an_obstacle() -> None:
    assert found(network(), side="output").obstacle == "compact() removes inputs, and the rows are outputs"


@pytest.mark.slow
def test_lines_fit_80_columns() -> None:
    wide = nn.Sequential(nn.Linear(20, 4000), nn.ReLU(), nn.Linear(4000, 4000), nn.ReLU(), nn.Linear(4000, 6))
    table = found(wide, latency=True).lines()[:6]
    assert max(map(len, table)) <= 80
    assert table[0].split() == ["can", "be", "left", "at", "least", "at", "most,", "below"]
    assert table[1].split()[0] == "weights"
