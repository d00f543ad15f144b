"""The numbers of channels to remove, compared with all possible ones."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from itertools import pairwise

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


def test_prices_that_were_not_computed_anew_change_nothing() -> None:
    """A price grows as others go, so that only moves whose last price is the lowest are counted again."""
    curves = [Curve([0, 8, 16, 31], [0.0, 0.01 * n, 0.05 * n, 0.3 * n]) for n in range(1, 8)]
    calls = 0

    def left(numbers: Sequence[int]) -> float:
        nonlocal calls
        calls += 1
        widths = [32 - number for number in numbers]
        return float(sum(a * b for a, b in pairwise(widths)))

    asked = 0.4 * left([0] * 7)
    found = allocated(curves, left, asked)
    assert left(found) <= asked
    assert calls < 4 * sum(found), "each of them was once counted for all moves of all curves"
    errors, numbers = [curve.at() for curve in curves], [0] * 7
    while left(numbers) > asked:  # the same, all prices computed anew
        trials = [[*numbers[:k], numbers[k] + s, *numbers[k + 1 :]] for k in range(7) for s in (1, 4)]
        trials = [trial for trial in trials if max(trial) < 32]

        def price(trial: list[int], before: list[int] = numbers) -> float:
            grown = sum(e[a] - e[b] for e, a, b in zip(errors, trial, before, strict=True))
            return float(grown / (left(before) - left(trial)))

        numbers = min(trials, key=price)
    assert sum(found) <= sum(numbers), "some are given back"
    assert all(abs(a - b) <= 4 for a, b in zip(found, numbers, strict=True))


def test_larger_steps_are_taken_where_small_ones_save_nothing() -> None:
    """The first curve's channels save something from the sixth on; the second one's errors are far larger."""
    curves = [Curve([0, 16], [0.0, 0.16]), Curve(range(17), [1.0 * n for n in range(17)])]

    def left(numbers: Sequence[int]) -> float:
        return 100.0 - max(0, numbers[0] - 5) - numbers[1]

    assert allocated(curves, left, 92.0) == [13, 0]


def test_nothing_goes_beyond_what_is_removed_already_where_that_is_enough() -> None:
    curves = [Curve([3, 8], [0.0, 0.5]), Curve([0, 4], [0.0, 0.1])]
    assert allocated(curves, lambda numbers: 20.0 - sum(numbers), 18.0) == [3, 0]
    assert allocated(curves, lambda numbers: 20.0 - sum(numbers), 16.0) == [3, 1]


def test_all_go_if_that_is_not_enough() -> None:
    assert allocated([Curve(range(4), [0.0, 1.0, 2.0, 3.0])], lambda numbers: 10.0 - numbers[0], 1.0) == [3]


def test_a_large_channel_is_traded_for_small_ones_where_that_leaves_less_error() -> None:
    """Two channels of 40 leave 20 of 50 asked for; one of them is back for the ten that then have to go."""
    curves = [Curve([0, 3], [0.0, 0.9]), Curve([0, 40], [0.0, 0.8])]
    calls = []

    def left(numbers: Sequence[int]) -> float:
        calls.append(1)
        return 100.0 - 40 * numbers[0] - numbers[1]

    assert allocated(curves, left, 50.0) == [1, 10]
    assert len(calls) < 100
