"""A metric: its values and differences in words, in the direction that is better."""

from __future__ import annotations

import math

import pytest

from torch_growl.application.tasks.metric import ACCURACY, Metric, metric_of, scores_of

RMSE, PERPLEXITY = Metric("RMSE", False, "mm"), Metric("perplexity", False)
R2 = Metric("R²", True)


@pytest.mark.parametrize(
    ("metric", "value", "said"),
    [
        (ACCURACY, 0.98312, "98.31 %"),
        (ACCURACY, 1.0, "100.00 %"),
        (RMSE, 54.2371, "54.24 mm"),
        (RMSE, 0.0123456, "0.01235 mm"),
        (RMSE, 81234.5, "81,234 mm"),
        (RMSE, 0.0, "0.00 mm"),
        (R2, -0.5, "−0.5000"),
        (PERPLEXITY, math.inf, "∞"),
        (RMSE, -math.inf, "−∞ mm"),
        (PERPLEXITY, math.nan, "–"),
        (PERPLEXITY, None, "–"),
    ],
)
def test_values_are_shares_in_per_cent_or_numbers_with_their_unit(
    metric: Metric, value: float | None, said: str
) -> None:
    assert metric.text(value) == said


@pytest.mark.parametrize(
    ("metric", "before", "after", "said"),
    [
        (ACCURACY, 0.98312, 0.98115, "−0.20 points"),
        (ACCURACY, 0.5, 0.5, "+0.00 points"),
        (RMSE, 54.2, 55.5, "+1.30 mm"),
        (PERPLEXITY, 4.0, 3.5, "−0.500"),
        (PERPLEXITY, 4.0, math.inf, "–"),
    ],
)
def test_differences_have_a_sign_and_for_shares_are_points(
    metric: Metric, before: float, after: float, said: str
) -> None:
    assert metric.points(before, after) == said


def test_what_is_lost_follows_the_direction() -> None:
    assert ACCURACY.lost(0.9, 0.8) == pytest.approx(0.1)
    assert RMSE.lost(5.0, 6.0) == 1.0
    assert RMSE.lost(6.0, 5.0) == -1.0
    assert [ACCURACY.is_worse(0.98, value) for value in (0.99, 0.975, 0.96)] == [False, False, True]
    assert [RMSE.is_worse(50.0, value) for value in (20.0, 50.4, 50.6)] == [False, False, True]
    assert [R2.is_worse(-2.0, value) for value in (-1.0, -2.01, -2.1)] == [False, False, True]


def test_a_label_of_an_axis_has_the_unit_and_the_direction_where_lower_is_better() -> None:
    assert [metric.label for metric in (ACCURACY, RMSE, R2)] == ["accuracy (%)", "RMSE (mm), lower is better", "R²"]
    assert [metric.title for metric in (ACCURACY, RMSE)] == ["Accuracy", "RMSE"]


def test_a_result_of_schema_1_has_the_accuracy() -> None:
    old = {"schema": 1, "accuracy": {"dense": 0.9}}
    assert (metric_of(old), scores_of(old)) == (ACCURACY, {"dense": 0.9})
    new = {"schema": 2, "metric": RMSE.to_dict(), "score": {"dense": 5.0}}
    assert (metric_of(new), scores_of(new)) == (RMSE, {"dense": 5.0})
