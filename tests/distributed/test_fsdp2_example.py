"""The example of FSDP2 runs on two processes, plain and with a target, on real data."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

from tests.support.processes import on_processes

TRAINERS = Path(__file__).resolve().parents[2] / "examples" / "trainers"


@on_processes(2)
def test_the_example_reaches_its_target(rank: int, world: int) -> None:
    sys.path.insert(0, str(TRAINERS))
    try:
        rows = runpy.run_path(str(TRAINERS / "fsdp2_digits.py"))["main"](epochs=3)
    finally:
        sys.path.remove(str(TRAINERS))
    assert len(rows) == (2 if rank == 0 else 0)
    if rank == 0:
        plain, small = rows
        assert small["macs"] <= 0.25 * plain["macs"]
        assert small["weights"] < plain["weights"]
        assert plain["score"] > 70
        assert small["score"] > 50
