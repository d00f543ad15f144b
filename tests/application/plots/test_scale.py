"""The scale of a metric: its factor, and its words for headings and axes."""

from __future__ import annotations

from torch_growl.application.plots.scale import Scale


def test_an_axis_names_the_unit_and_the_direction_if_lower_is_better() -> None:
    assert Scale("accuracy", True, "%").label == "accuracy (%)"
    assert Scale("perplexity", False).label == "perplexity, lower is better"
    assert Scale("RMSE", False, "mm").label == "RMSE (mm), lower is better"


def test_shares_are_shown_in_per_cent_and_other_values_as_they_are() -> None:
    assert Scale("accuracy", True, "%").factor == 100
    assert Scale("RMSE", False, "mm").factor == 1
    assert Scale("mean IoU", True, "%").title == "Mean IoU"
