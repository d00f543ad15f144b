"""The latencies of two networks side by side, a verdict in words, and the reason where a runtime cannot time them."""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import torch_growl as tg
from torch_growl.errors import InvalidTypeError, InvalidValueError
from torch_growl.networks.execution.timing import WARMUP
from torch_growl.networks.measurement.latency import Comparison, compare_latency


class Sleeps(nn.Module):
    """A network that takes a known time."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds, self.layer = seconds, nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        time.sleep(self.seconds)
        return self.layer(x)


class Reshapes(nn.Module):
    """Runs at any batch size, but is exported for one."""

    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(2, -1)


@pytest.mark.slow
def test_the_slower_one_is_called_slower() -> None:
    x = torch.randn(2, 3)
    (fast,) = compare_latency(Sleeps(0.02), Sleeps(0.005), x, batch_sizes=(2,), runtimes=("eager",), repeats=3)
    assert fast.dense_ms is not None
    assert fast.dense_ms >= 20
    assert "faster" in fast.verdict
    (slow,) = compare_latency(Sleeps(0.005), Sleeps(0.02), x, batch_sizes=(2,), runtimes=("eager",), repeats=3)
    assert slow.ratio is not None
    assert slow.ratio < 0.9
    assert "slower" in slow.verdict


def test_verdicts() -> None:
    assert Comparison("eager", 1, 2.0, 1.0).verdict == "2.0x faster"
    assert Comparison("eager", 1, 1.0, 1.3).verdict == "1.3x slower"
    assert Comparison("eager", 1, 1.0, 1.02).verdict == "about the same"
    assert Comparison("eager", 1, None, None, "why").to_dict()["verdict"] == "why"


@pytest.mark.slow
def test_every_runtime_and_batch_is_timed_and_settings_are_as_before() -> None:
    dense, small = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 4)), nn.Linear(8, 4)
    x = torch.randn(2, 8)
    before, state = torch.get_num_threads(), torch.random.get_rng_state()
    found = compare_latency(dense, small, x, batch_sizes=(1, 5), runtimes=("eager", "onnxruntime"), repeats=3)
    assert [(c.runtime, c.batch) for c in found] == [(r, b) for r in ("eager", "onnxruntime") for b in (1, 5)]
    assert all(c.ratio is not None and c.ratio > 0 for c in found)
    assert torch.get_num_threads() == before
    assert torch.equal(torch.random.get_rng_state(), state)
    assert dense.training


def test_both_networks_run_with_the_threads_and_as_often_as_asked_for() -> None:
    seen: list[int] = []

    class Notes(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(torch.get_num_threads())
            return x

    before = torch.get_num_threads()
    asked = before + 1
    compare_latency(
        Notes(), Notes(), torch.randn(2, 3), batch_sizes=(2,), runtimes=("eager",), threads=asked, repeats=4
    )
    assert seen == [asked] * 2 * (WARMUP + 4)
    assert torch.get_num_threads() == before


def test_the_compiled_networks_are_what_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[nn.Module] = []

    def compile(network: nn.Module, dynamic: bool) -> nn.Module:
        assert not dynamic
        compiled.append(Sleeps(0.02 if isinstance(network, nn.Linear) else 0.005))
        return compiled[-1]

    monkeypatch.setattr(torch, "compile", compile)
    dense, small = nn.Linear(3, 2), nn.Sequential(nn.Linear(3, 2))
    (found,) = compare_latency(dense, small, torch.randn(2, 3), batch_sizes=(2,), runtimes=("compile",), repeats=3)
    assert len(compiled) == 2
    assert found.dense_ms >= 20 > found.compact_ms >= 5
    assert "faster" in found.verdict


@pytest.mark.slow
def test_a_runtime_that_cannot_time_a_network_has_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    class Loops(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x) * float(x.detach().numpy().sum())

    (found,) = compare_latency(
        Loops(), Loops(), torch.randn(2, 3), batch_sizes=(2,), runtimes=("onnxruntime",), repeats=3
    )
    assert found.ratio is None
    assert "numpy" in found.note
    assert found.verdict == found.note
    fixed = nn.Sequential(nn.Linear(3, 2), nn.Unflatten(1, (2, 1)), Reshapes())
    found_at = compare_latency(
        fixed, fixed, torch.randn(2, 3), batch_sizes=(2, 8), runtimes=("eager", "onnxruntime"), repeats=3
    )
    timed = {(c.runtime, c.batch): c.ratio is not None for c in found_at}
    assert timed == {("eager", 2): True, ("eager", 8): True, ("onnxruntime", 2): True, ("onnxruntime", 8): False}
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    (found,) = compare_latency(
        nn.Linear(3, 2), nn.Linear(3, 2), torch.randn(2, 3), batch_sizes=(2,), runtimes=("onnxruntime",), repeats=3
    )
    assert "onnxruntime cannot be imported; install with: pip install" in found.verdict


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"threads": 0}, "threads must be an integer ≥ 1, got 0"),
        ({"repeats": 0}, "repeats must be an integer ≥ 1, got 0"),
        ({"batch_sizes": ()}, "the number of batch_sizes must be an integer ≥ 1, got 0"),
        ({"batch_sizes": (0,)}, "batch_sizes must be an integer ≥ 1, got 0"),
        ({"runtimes": ("abacus",)}, "runtimes must be 'eager', 'compile' or 'onnxruntime', got 'abacus'"),
    ],
    ids=["threads", "repeats", "no batch size", "batch size", "runtimes"],
)
def test_arguments_out_of_range_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidValueError, match=re.escape(message)):
        compare_latency(nn.Linear(3, 2), nn.Linear(3, 2), torch.randn(2, 3), **wrong)


def test_other_things_than_modules_are_refused() -> None:
    x = torch.randn(2, 3)
    with pytest.raises(InvalidTypeError, match=r"dense must be a torch\.nn\.Module, got str"):
        compare_latency("dense", nn.Linear(3, 2), x)  # type: ignore[arg-type]
    with pytest.raises(InvalidTypeError, match=r"small must be a torch\.nn\.Module, got str"):
        compare_latency(nn.Linear(3, 2), "small", x)  # type: ignore[arg-type]


class Cancelling(nn.Module):
    """Outputs that are small differences of large numbers, of which rounding is a large part."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.other = nn.Linear(512, 16, bias=False), nn.Linear(512, 16, bias=False)
        with torch.no_grad():
            self.one.weight.copy_(torch.randn(16, 512, generator=torch.Generator().manual_seed(0)))
            self.other.weight.copy_(self.one.weight.flip(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.one(x) - self.other(x.flip(1)) + 0.002 * (1 + x[:, :16].abs())


def test_a_network_is_timed_in_onnxruntime_whose_outputs_are_mostly_rounding(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    x = torch.randn(2, 512, generator=torch.Generator().manual_seed(1))
    with pytest.raises(tg.GrowlError, match="the outputs in onnxruntime differ"):
        tg.export_onnx(Cancelling(), x, tmp_path / "network.onnx")
    (found,) = compare_latency(Cancelling(), Cancelling(), x, batch_sizes=(2,), runtimes=("onnxruntime",), repeats=3)
    assert found.note == ""
