"""What is said of a target: on the way, in the end, and when it is not reached."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.made_up_run import edit, page
from torch_growl.application.reports.target_notes import target_line, target_progress


def with_target(**changes: Any) -> dict[str, Any]:
    record = {"of": "macs", "asked": 500.0, "left": 300, "pruned": 480, "dense": 1000, "reached": True, "why": None}
    return {"target": {**record, **changes}}


def test_the_line_about_the_target_names_what_is_left_before_and_after_tying() -> None:
    assert target_line({}) == target_line({"target": None}) == ""
    assert target_line(with_target()) == (
        "target reached: 300 of 1,000 MACs are left (30.0 %), at most 500 (50.0 %) were asked; "
        "480 (48.0 %) before tying"
    )
    assert "before tying" not in target_line(with_target(pruned=300))


@pytest.mark.usefixtures("quick")
def test_a_target_that_is_not_reached_stands_out_on_the_page_with_the_reason(run: Path) -> None:
    edit(run, lambda result: result.update(with_target(left=700, pruned=700, reached=False, why="rows are kept")))
    found = page(run)
    line = "target not reached: 700 of 1,000 MACs are left (70.0 %), at most 500 (50.0 %) were asked; rows are kept"
    assert f'<p class="target missed">{line}</p>' in found.source


def test_an_accuracy_drop_is_said_in_points() -> None:
    lost = {"of": "accuracy_drop", "asked": 0.7, "left": 0.614, "pruned": 0.3, "dense": 98.9}
    assert target_line(with_target(**lost)) == (
        "target reached: 0.61 points of validation accuracy are lost, at most 0.7 were allowed; 0.30 before tying"
    )
    metric = {"name": "RMSE", "higher_is_better": False, "unit": "mm"}
    assert "0.61 mm of validation RMSE are lost" in target_line({**with_target(**lost), "metric": metric})
    said = target_progress({"of": "accuracy_drop", "asked": 0.35, "left": 40, "dense": 100})
    assert said == "weights 40.0 % left, drop of 0.35 allowed"


def test_on_the_way_it_is_said_what_is_left_and_what_was_asked() -> None:
    said = target_progress({"of": "macs", "asked": 500.0, "left": 623, "dense": 1000})
    assert said == "MACs 62.3 % left, 50.0 % asked"


def test_milliseconds_have_three_digits() -> None:
    timed = {"of": "latency_ms", "asked": 0.5, "left": 0.4937, "pruned": 0.4937, "dense": 1.0}
    assert "0.494 of 1 ms are left (49.4 %), at most 0.5 (50.0 %) were asked" in target_line(with_target(**timed))
