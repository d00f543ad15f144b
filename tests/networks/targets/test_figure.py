"""A figure is what a real network has, wherever one was made; between them it grows with the count."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import torch_growl as tg
from tests.support.compact_battery import NETS, Net
from tests.support.pruned_networks import settle_
from torch_growl.networks.targets.counting import Counter
from torch_growl.networks.targets.figure import Figure, without_rows
from torch_growl.networks.targets.target import Target


def network() -> torch.nn.Sequential:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(40, 60), torch.nn.ReLU(), torch.nn.Linear(60, 10))


X = torch.randn(3, 40, generator=torch.Generator().manual_seed(1))


def file_size(model: torch.nn.Module, path: Path, dtype: str | None = None) -> int:
    tg.save(model, path, dtype=dtype)
    return path.stat().st_size


@pytest.mark.parametrize("dtype", [None, "float16", "int8"])
def test_the_file_that_is_checked_has_the_size_that_is_said(dtype: str | None, tmp_path: Path) -> None:
    model = network()
    figure = Figure(model, X, Target(file_bytes=0.2, dtype=dtype))
    assert figure.whole == file_size(model, tmp_path / "dense")
    assert figure.of(figure.counter.dense) == file_size(model, tmp_path / "dense", dtype)
    for rows in (5, 30, 55):
        gone = {"2": np.arange(60) < rows}
        size = file_size(tg.compact(without_rows(model, gone), X), tmp_path / "small", dtype)
        assert figure.check(gone) == figure.of(figure.counter.left(gone)) == size
    near = {"2": np.arange(60) < 33}
    size = file_size(tg.compact(without_rows(model, near), X), tmp_path / "small", dtype)
    assert figure.of(figure.counter.left(near)) == pytest.approx(size, rel=0.01)


@pytest.mark.parametrize(
    "net", [pytest.param(net, marks=() if net.name == "mlp" else pytest.mark.slow) for net in NETS], ids=str
)
@pytest.mark.parametrize("dtype", [None, "float16", "int8"])
def test_the_bytes_that_are_counted_are_those_of_the_dense_file(net: Net, dtype: str | None, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = settle_(net.build())
    counted = Counter(model, net.input(), dtype).dense
    size = file_size(model, tmp_path / "dense", dtype)
    header = int.from_bytes((tmp_path / "dense").read_bytes()[:8], "little") + 8
    assert counted.file_bytes == size - header


def test_a_real_network_replaces_those_that_contradict_it_and_those_that_are_near() -> None:
    figure = Figure(network(), X, Target(file_bytes=0.5))
    figure.load_state({"whole": 200, "points": [(100, 50), (200, 80), (300, 120)]})
    figure._add(250, 70)  # less than at 200
    assert figure.state()["points"] == [(100, 50), (250, 70), (300, 120)]
    figure._add(252, 75)
    assert figure.state()["points"] == [(100, 50), (252, 75), (300, 120)]
    figure._add(400, 100)
    assert figure.state()["points"] == [(100, 50), (252, 75), (400, 100)]


def test_a_resumed_training_asks_for_a_share_of_the_time_that_was_measured_first() -> None:
    first, again = (Figure(network(), X, Target(latency_ms=0.99, batch=512)) for _ in range(2))
    again.whole *= 1.5  # the machine is slower now
    again.load_state(first.state())
    assert (again.whole, again.asked, again.aim) == (first.whole, first.asked, first.aim)
    assert again._source is not None
    assert again._source.whole == first.whole


def test_a_target_that_the_dtype_alone_meets_is_refused() -> None:
    with pytest.raises(tg.GrowlError, match=r"target: [\d,]+ file_bytes are left if no row is removed; asked were"):
        Figure(network(), X, Target(file_bytes=0.9, dtype="int8"))


def test_a_copy_without_rows_is_in_eval_mode_and_the_network_stays() -> None:
    model = network().train()
    copied = without_rows(model, {"2": np.arange(60) < 20})
    assert not copied.training
    assert model.training
    weight = copied.get_parameter("2.weight")
    assert not weight[:, :20].any()
    assert torch.equal(weight[:, 20:], model[2].weight[:, 20:])
    assert model[2].weight.all()
