"""The numbers of channels to remove, compared with all possible ones."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest

from torch_growl.networks.shrinking.allocation import Curve, allocated


def test_a_curve_never_decreases_and_is_interpolated() -> None:
    assert Curve([0, 2, 4], [0.0, 0.5, 0.3]).at().tolist() == [0.0, 0.25, 0.5, 0.5, 0.5]


@pytest.mark.parametrize("asked", [55.0, 40.0, 25.0, 12.0])
def test_convex_curves_give_the_best_numbers(asked: float) -> None:
    curves = [Curve(range(8), [0.02 * n**2 for n in range(8)]), Curve(range(6), [0.1 * n**1.5 for n in range(6)])]

    def left(numbers: Sequence[int]) -> float:
        return 64.0 - 4 * numbers[0] - 6 * numbers[1]

    found = allocated(curves, left, asked)
    cost = [curve.at() for curve in curves]
    possible = [n for n in itertools.product(range(8), range(6)) if left(n) <= asked]
    best = min(cost[0][a] + cost[1][b] for a, b in possible)
    assert left(found) <= asked
    assert cost[0][found[0]] + cost[1][found[1]] <= 1.15 * best


def test_channels_that_are_not_needed_for_the_target_are_given_back() -> None:
    """Eight cheap channels save one each; the dear one that must follow saves enough alone."""
    curves = [Curve(range(9), [0.01 * n for n in range(9)]), Curve([0, 1], [0.0, 1.0])]
    assert allocated(curves, lambda numbers: 100.0 - numbers[0] - 45 * numbers[1], 60.0) == [0, 1]


def test_all_go_if_that_is_not_enough() -> None:
    assert allocated([Curve(range(4), [0.0, 1.0, 2.0, 3.0])], lambda numbers: 10.0 - numbers[0], 1.0) == [3]
