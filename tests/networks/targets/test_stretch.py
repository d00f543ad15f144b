"""Rows that were to go in one step, and cannot, shrink evenly from that step on."""

from __future__ import annotations

from tests.networks.targets.test_pressing import network, press
from torch_growl.networks.targets import Stretch, Target


def test_rows_shrink_evenly_from_the_step_that_is_told() -> None:
    model = network()
    stretch = Stretch(model, press(model, Target(weights=0.5)))
    assert stretch.untouched
    stretch.shrink_after(30)
    left = 1.0
    for step in range(31, 50):
        action = stretch.decide(step, first=10, end=50)
        if not action.shrinking:
            break
        left *= action.factor
        assert abs(left - (50 - step) / 20) < 1e-12
    assert not stretch.untouched
    assert step == 49
    assert action.gone
    assert stretch.met
