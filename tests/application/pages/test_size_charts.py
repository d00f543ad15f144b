"""The chart of a metric against size: smaller is right, better is up, and labels do not run into each other."""

from __future__ import annotations

import re

import pytest

from torch_growl.application.pages.size_charts import Point, Series, chart_limits, size_chart
from torch_growl.application.plots import Scale

ACCURACY, RMSE = Scale("accuracy", True, "%"), Scale("RMSE", False, "mm")


def places(chart: str, title: str) -> tuple[float, float]:
    """The place of a mark in the wide form."""
    found = re.search(rf'd="M([\d.]+) ([\d.]+)[^"]*"><title>{title}</title>', chart)
    assert found is not None, title
    return float(found[1]), float(found[2])


def chart(scale: Scale, *points: Point, **more: float) -> str:
    return size_chart([Series("runs", "c1", "circle", points)], scale, of="bytes", name="a chart", **more)


@pytest.mark.parametrize(("scale", "good", "bad"), [(ACCURACY, 0.98, 0.95), (RMSE, 50.0, 54.0)])
def test_smaller_is_right_and_better_is_up(scale: Scale, good: float, bad: float) -> None:
    found = chart(scale, Point(2, good, title="first"), Point(8, bad, title="second"))
    first, second = places(found, "first"), places(found, "second")
    assert first[0] < second[0]
    assert first[1] < second[1]
    assert scale.label in found


def test_equal_factors_are_equally_far_apart() -> None:
    found = chart(ACCURACY, *(Point(size, 0.9, title=f"x{size}") for size in (1, 4, 16)))
    first, second, third = (places(found, f"x{size}")[0] for size in (1, 4, 16))
    assert second - first == pytest.approx(third - second, abs=0.2)


def test_the_target_and_the_dense_network_are_lines() -> None:
    found = chart(ACCURACY, Point(2, 0.9), dense=0.95, asked=3.0)
    assert found.count('class="dotted"') == found.count('class="asked"') == 2
    assert "target 3x" in found
    assert 'class="asked"' not in chart(ACCURACY, Point(2, 0.9))


def test_limits_have_room_and_end_where_values_do() -> None:
    assert chart_limits([0.98, 0.98], ACCURACY) == pytest.approx((97.0, 99.0))
    low, high = chart_limits([0.999, 0.5], ACCURACY)
    assert low < 50
    assert 100 <= high < 110
    assert chart_limits([0.1], RMSE)[0] >= 0


def test_labels_of_near_points_do_not_overlap() -> None:
    found = chart(ACCURACY, *(Point(4 + 0.01 * i, 0.9, f"label {i}") for i in range(3)))
    wide = found.split("</svg>")[0]
    heights = [float(y) for y in re.findall(r'class="name" x="[\d.]+" y="([\d.]+)"[^>]*>label', wide)]
    assert len(heights) == 3
    assert min(abs(a - b) for i, a in enumerate(heights) for b in heights[:i]) > 14


def test_faint_marks_outside_of_the_chart_are_left_out() -> None:
    path = Series("epochs", "c6", "circle", (Point(2, 0.1, title="low"), Point(2, 0.9, title="near")), faint=True)
    run = Series("run", "c1", "circle", (Point(3, 0.9),))
    found = size_chart([path, run], ACCURACY, of="bytes", name="a chart")
    assert "<title>near</title>" in found
    assert "<title>low</title>" not in found
    assert found.count("<li>") == 2
