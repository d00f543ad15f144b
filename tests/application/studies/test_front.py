"""The outcome of a study: the front, the best, hopeless trials, for metrics of both directions."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from torch_growl.application.studies.front import Point, best_of, front_of, is_hopeless, write_outcome
from torch_growl.application.tasks import ACCURACY, Metric

ERROR = Metric("error", False, "")


def points(*pairs: tuple[float, float]) -> list[Point]:
    return [Point(i, score, size, f"growl.strength={i}", f"trial-{i:04d}") for i, (score, size) in enumerate(pairs)]


MADE = points((0.95, 2.0), (0.97, 1.5), (0.94, 2.0), (0.90, 4.0), (0.90, 3.0), (0.97, 1.2))


def test_the_front_has_what_no_other_beats() -> None:
    assert [p.number for p in front_of(MADE, ACCURACY)] == [1, 0, 3]
    assert [p.number for p in front_of(MADE, ERROR)] == [3]  # with an error the lowest is best
    same = points((0.9, 2.0), (0.9, 2.0))
    assert len(front_of(same, ACCURACY)) == 2


def test_the_best_is_the_smallest_within_the_drop() -> None:
    found = {drop: best_of(MADE, ACCURACY, 0.97, drop) for drop in (0.5, 2.5, 10.0)}
    assert {drop: p and p.number for drop, p in found.items()} == {0.5: 1, 2.5: 0, 10.0: 3}
    assert best_of(MADE, ACCURACY, 0.99, 0.5) is None
    lower = best_of(MADE, ERROR, 0.9, 0.05)  # in the unit of the error
    assert lower is not None
    assert lower.number == 3


@pytest.mark.parametrize("metric", [ACCURACY, ERROR])
def test_a_trial_is_hopeless_if_three_finished_ones_were_better_and_smaller_at_its_epoch(metric: Metric) -> None:
    better, worse = (0.9, 0.8) if metric is ACCURACY else (0.8, 0.9)
    finished = [[[worse, 1.0], [better, 2.0]]] * 3
    assert is_hopeless([[worse, 1.0], [worse, 1.5]], finished, metric)
    assert not is_hopeless([[worse, 1.0], [worse, 1.5]], finished[:2], metric)
    assert not is_hopeless([[worse, 1.0], [worse, 2.5]], finished, metric)  # smaller
    assert not is_hopeless([[worse, 1.0], [better, 2.0]], finished, metric)  # equal
    assert not is_hopeless([[worse, 1.0]], finished, metric)  # at the first epoch they were no better
    assert not is_hopeless([[worse, 1.0]] * 3, finished, metric)  # they had no third epoch


def test_the_report_shows_front_best_and_counts(tmp_path: Path) -> None:
    kept = write_outcome(tmp_path, "digits", MADE, {"pruned": 2, "failed": 1}, ACCURACY, 0.97, 2.5)
    stored = json.loads((tmp_path / "study.json").read_text("utf-8"))
    assert {name: stored[name] for name in kept} == kept
    assert (kept["front"], kept["best"]) == ([1, 0, 3], 0)
    page = (tmp_path / "study.html").read_text("utf-8")
    assert "6 trials are complete, 2 were stopped as hopeless, 1 failed" in page
    assert '<a href="trial-0003/report.html">3</a>' in page
    assert "is that of trial 0" in page
    assert (tmp_path / "study.png").read_bytes().startswith(b"\x89PNG")
    none = write_outcome(tmp_path, "digits", MADE[:1], {"pruned": 0, "failed": 0}, ACCURACY, 0.99, 0.5)
    assert none["best"] is None
    assert "No trial is within 0.5" in (tmp_path / "study.html").read_text("utf-8")
