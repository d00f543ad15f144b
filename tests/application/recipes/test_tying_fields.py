"""The fields that group rows: which settings go together."""

from __future__ import annotations

from typing import Any

import pytest

from torch_growl.application.recipes import load_recipe
from torch_growl.application.recipes.tying_fields import Tying
from torch_growl.errors import RecipeError

WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "ward without groups": ({"method": "ward"}, "method 'ward' needs groups"),
    "groups without ward": ({"groups": {"fc1": [0.5]}}, "groups need method 'ward' or 'least-squares'"),
    "least squares without groups": ({"method": "least-squares"}, "method 'least-squares' needs groups"),
    "drop without steps": ({"drop": 0.5}, "drop needs method 'ward', 'least-squares' or 'shrink'"),
    "shrink without left": ({"method": "shrink"}, "method 'shrink' needs left"),
    "left without shrink": ({"left": {"bytes": [0.5]}}, "left needs method 'shrink'"),
    "two measures": ({"method": "shrink", "left": {"bytes": [0.5], "macs": [0.5]}}, "left takes one of weights, macs"),
    "another measure": (
        {"method": "shrink", "left": {"latency_ms": [0.5]}},
        "left takes one of weights, macs and bytes",
    ),
    "growing": ({"method": "shrink", "left": {"bytes": [0.2, 0.4]}}, "left.bytes must be decreasing numbers above 0"),
    "no steps": ({"method": "shrink", "left": {"bytes": []}}, "left.bytes must be decreasing numbers above 0"),
    "uneven steps": ({"method": "ward", "groups": {"fc1": [9, 5], "fc2": [5]}}, "equally many steps for every layer"),
    "half a group": ({"method": "ward", "groups": {"fc1": [1.5]}}, "whole numbers ≥ 1 or shares between 0 and 1"),
}


@pytest.mark.parametrize("case", WRONG)
def test_settings_that_do_not_go_together_are_refused(case: str) -> None:
    fields, words = WRONG[case]
    with pytest.raises(RecipeError, match=words):
        load_recipe("digits", {"tying": fields})


def test_steps_are_counted() -> None:
    assert Tying().steps == 1
    assert Tying(method="ward", groups={"fc1": [9, 5, 3]}).steps == 3
    assert Tying(method="least-squares", groups={"fc1": [0.5, 3]}).steps == 2
    assert Tying(method="shrink", left={"macs": [0.5, 0.25]}).steps == 2


@pytest.mark.parametrize("method", ["ward", "least-squares", "shrink", "none"])
def test_the_last_step_is_chosen_by_the_target_s_accuracy_drop_unless_tying_has_its_own(method: str) -> None:
    steps = {"none": {}, "shrink": {"left": {"bytes": [0.5]}}}.get(method, {"groups": {"fc1": [0.5]}})
    tying, target = {"method": method, **steps}, {"accuracy_drop": 0.7}
    merge = None if method == "none" else {"epochs": 1, "lr": 0.1}
    found = load_recipe("digits", {"target": target, "tying": tying, "merge": merge})
    assert found.tying_drop == (None if method == "none" else 0.7)
    if method != "none":
        own = load_recipe("digits", {"target": target, "tying": {**tying, "drop": 0.2}, "merge": merge})
        assert own.tying_drop == 0.2
