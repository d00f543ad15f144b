"""Measures the peak memory of one GrOWL step on one large layer, in a process of its own.

Run it with ``python -m benchmarks.training_step.step_memory``.

Two measures: what torch's allocator was asked for, from its profiler, and how far the process's resident set rose,
which includes the arrays of numpy and of the compiled kernels. The kernels are compiled and the layer is made before
both.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.harness.resident import peak, restart_peak
from benchmarks.training_step.held import held_bytes
from torch_growl import GrOWL

__all__ = ["in_a_process", "peak_memory"]


def in_a_process(rows: int, row_length: int) -> dict[str, Any]:
    """Run :func:`peak_memory` in a fresh interpreter."""
    command = [sys.executable, "-m", "benchmarks.training_step.step_memory", str(rows), str(row_length)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    return dict(json.loads(done.stdout.splitlines()[-1]))


def peak_memory(rows: int, row_length: int) -> dict[str, Any]:
    """Return the bytes that GrOWL keeps beyond a float32 layer of that shape, and the peak of its first ``prox_``.

    Memory of ``prox_`` is counted beyond what was there before it, so beyond what GrOWL keeps from the start.
    """
    torch.set_num_threads(1)
    _step(64, 8)
    model = nn.Sequential(nn.Linear(rows, row_length, bias=False))
    growl = GrOWL(model, layers=["0"])
    before = restart_peak()
    growl.prox_(0.1)
    resident = peak() - before
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        growl.prox_(0.1)
    weights = rows * row_length * 4
    found = {"rows": rows, "row_length": row_length, "weights": weights, "kept": held_bytes(growl, model)}
    return {**found, "resident": resident, "torch": _most(profile)}


def _step(rows: int, row_length: int) -> None:
    model = nn.Sequential(nn.Linear(rows, row_length, bias=False))
    GrOWL(model, layers=["0"]).prox_(0.1)


def _most(profile: torch.profiler.profile) -> int:
    """Return the largest sum of allocations less frees, in order of time."""
    events: Any = profile.profiler.kineto_results.events()  # type: ignore[union-attr]
    held = most = 0
    for event in sorted((e for e in events if e.name() == "[memory]"), key=lambda e: e.start_ns()):
        held += event.nbytes()
        most = max(most, held)
    return most


if __name__ == "__main__":
    print(json.dumps(peak_memory(int(sys.argv[1]), int(sys.argv[2]))))
