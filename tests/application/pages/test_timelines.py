"""The chart of a training: stages apart, values held inside, gaps left open."""

from __future__ import annotations

import re

from torch_growl.application.pages.timelines import Track, timeline
from torch_growl.application.plots import Scale

ACCURACY = Scale("accuracy", True, "%")
STAGES = ["dense"] * 3 + ["train"] * 4 + ["retrain"]


def drawn(metric: list[Track], left: list[Track], stages: list[str] = STAGES) -> str:
    """The wide form of a chart of values from 80 to 100 %."""
    text = timeline(stages, metric, left, ACCURACY, limits=(0.8, 1.0), name="a training")
    assert "narrow" in text
    return text.split("</svg>")[0]


def lines(chart: str, look: str) -> list[list[tuple[float, float]]]:
    paths = re.findall(rf'<path class="line {look}" d="M([^"]*)"', chart)
    return [[(float(x), float(y)) for x, y in (step.split() for step in path.split("L"))] for path in paths]


def test_stages_are_named_and_separated() -> None:
    chart = drawn([Track("validation", "c1", (0.9,) * 8)], [])
    assert re.findall(r'class="ink"[^>]*>(\w+)<', chart) == ["dense", "train", "retrain"]
    assert chart.count('class="stage"') == 2


def test_values_out_of_the_limits_stay_at_the_edge() -> None:
    (line,) = lines(drawn([Track("validation", "c1", (0.1, 0.8, 0.9, 1.0, 1.0, 1.0, 1.0, 1.0))], []), "c1")
    heights = [y for _, y in line]
    assert heights[0] == heights[1] > heights[2] > heights[3]


def test_epochs_without_a_value_are_a_gap() -> None:
    values = (None, 1.0, 0.9, None, 0.5, 0.4, None, None)
    chart = drawn([Track("validation", "c1", (0.9,) * 8)], [Track("rows", "c3", values)])
    assert [len(line) for line in lines(chart, "c3")] == [2, 2]
    assert "left (%)" in chart
    assert "left (%)" not in drawn([Track("validation", "c1", (0.9,) * 8)], [])


def test_one_epoch_is_a_mark() -> None:
    chart = drawn([Track("validation", "c1", (0.9,))], [], ["dense"])
    assert 'class="mark c1"' in chart


def test_headings_of_short_stages_that_would_overlap_are_left_out() -> None:
    stages = ["dense"] * 100 + [f"merge{i}" for i in range(9)] + ["retrain"] * 100
    chart = drawn([Track("validation", "c1", (0.9,) * len(stages))], [], stages)
    assert re.findall(r'class="ink"[^>]*>(\w+)<', chart) == ["dense", "merge0", "merge1", "retrain"]
