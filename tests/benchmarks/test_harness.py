"""The harness of all benchmarks: fresh inputs, verdicts, kept results."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.harness import command, results, timing
from benchmarks.harness.verdicts import judge

RESULTS = sorted(results.RESULTS.glob("*.json"))


def test_every_call_of_every_candidate_gets_an_input_of_its_own() -> None:
    given: dict[str, list[float]] = {"a": [], "b": []}
    times = timing.side_by_side(
        {name: calls.append for name, calls in given.items()}, lambda rng: float(rng.random()), rounds=5, warmup=2
    )
    assert len(given["a"]) == len(given["b"]) == 7
    assert len({*given["a"], *given["b"]}) == 14
    assert {name: summary["rounds"] for name, summary in times.items()} == {"a": 5, "b": 5}


def test_a_candidate_gets_what_it_likes() -> None:
    seen: list[Any] = []
    timing.side_by_side({"a": seen.append}, lambda rng: 3, rounds=1, warmup=0, prepare={"a": lambda value: value + 1})
    assert seen == [4]


def test_a_target_is_met_only_where_every_ratio_is_within_it() -> None:
    met = judge("so", 1.0, {"here": 0.5, "there": 1.0})
    assert (met["met"], met["held"], met["of"], met["worst"], met["where"]) == (True, 2, 2, 1.0, "there")
    missed = judge("so", 1.0, {"here": 0.5, "there": 1.1, "nowhere": float("nan")})
    assert not missed["met"]
    assert missed["held"] == 1
    assert set(missed["missed"]) == {"there", "nowhere"}
    assert not judge("so", 1.0, {})["met"]


def test_a_quick_run_is_not_kept_without_a_name(quiet: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command.keep(Namespace(name=None, quick=True), "prox", {})
    assert "nothing kept" in capsys.readouterr().out
    assert list(quiet.iterdir()) == []


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_a_kept_result_says_where_it_was_measured(path: Path) -> None:
    kept = json.loads(path.read_text("utf-8"))
    assert kept["command"].startswith("python -m benchmarks.")
    for field in ("processor", "cores", "torch", "python", "commit", "date", "packages"):
        assert kept["environment"][field], field


def test_there_are_kept_results() -> None:
    assert {"prox", "step", "pat", "growth"} <= {path.stem for path in RESULTS}
