"""Trials go from light to heavy, bad ones lead back, and chance within one standard error does not end the search."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from torch_growl.networks.paths.trials import Trials

STEPS = 2000


def found(lost: Callable[[float], float], drop: float = 1.0, error: float = 0.0, least: float = 0.05) -> list[float]:
    """The shares of all good trials of a search; ``lost`` gives what a network of a share has lost."""
    trials, step, good, share, first = Trials(drop, error, least, None), 0, [], 1.0, True
    while not trials.at_the_end and (chosen := trials.next(STEPS - step, first=first)) is not None:
        first = False
        step += chosen[1]
        share = chosen[0]
        while (verdict := trials.judge(lost(share), share, left=STEPS - step, fits=step + 50 <= STEPS)) == "again":
            step += 50
        good += [share] * (verdict == "good")
        assert step <= STEPS
    return good


def test_trials_go_from_light_to_heavy_down_to_the_least_network() -> None:
    shares = found(lambda share: 0.0)
    assert shares[0] == 0.7
    assert shares == sorted(shares, reverse=True)
    assert shares[-1] < 0.05 / 0.97


@pytest.mark.parametrize("limit", [0.9, 0.6, 0.33, 0.12])
def test_the_limit_of_a_judge_without_chance_is_found_whatever_its_error_is(limit: float) -> None:
    for error in (0.0, 0.5):
        shares = found(lambda share: 0.0 if share >= limit else 9.0, error=error)
        assert limit <= min(shares) < 1.1 * limit


def test_a_trial_that_misses_narrowly_trains_on_once() -> None:
    trials = Trials(1.0, 0.0, 0.05, None)
    trials.next(STEPS, first=True)
    assert trials.judge(1.5, 0.7, left=STEPS, fits=True) == "again"
    assert trials.judge(1.5, 0.7, left=STEPS, fits=True) == "bad"
    assert Trials(1.0, 0.0, 0.05, None).judge(1.5, 0.7, left=STEPS, fits=False) == "bad"
    assert Trials(1.0, 0.0, 0.05, None).judge(2.1, 0.7, left=STEPS, fits=True) == "bad"


def test_within_one_standard_error_the_search_goes_on_once_and_two_in_a_row_are_bad() -> None:
    trials = Trials(1.0, 0.6, 0.05, None)
    assert trials.next(STEPS, first=True) is not None
    assert trials.judge(1.5, 0.7, left=STEPS, fits=False) == "doubtful"
    chosen = trials.next(STEPS, first=False)
    assert chosen is not None
    assert chosen[0] == pytest.approx(0.49)  # from the doubtful network, not from the dense one
    assert trials.good == 1.0
    assert trials.judge(1.5, 0.49, left=STEPS, fits=False) == "bad"
    chosen = trials.next(STEPS, first=False)
    assert chosen is not None
    assert chosen[0] == pytest.approx(0.7**0.5)  # taken back, less at a time
    assert Trials(1.0, 0.6, 0.05, None).judge(1.7, 0.7, left=STEPS, fits=False) == "bad"


def test_with_its_standard_error_a_noisy_judge_ends_the_search_later() -> None:
    def sizes(error: float) -> list[float]:
        ends = []
        for seed in range(60):
            rng = np.random.default_rng(seed)
            shares = found(lambda share, rng=rng: (1.0 if share >= 0.2 else 5.0) + rng.normal(0, 0.5), error=error)
            ends.append(min(shares, default=1.0))
        return ends

    without, with_error = sizes(0.0), sizes(1.0)
    assert np.mean(with_error) < 0.75 * np.mean(without)  # 0.26 and 0.42 where 0.2 is possible
    assert np.quantile(with_error, 0.9) < 0.6 * np.quantile(without, 0.9)


def test_a_first_share_at_which_nothing_would_go_counts_as_none() -> None:
    assert Trials(1.0, 0.0, 0.05, 0.98).next(STEPS, first=True) == Trials(1.0, 0.0, 0.05, None).next(STEPS, first=True)


def test_a_search_is_resumed_from_its_state() -> None:
    trials = Trials(1.0, 0.6, 0.05, 0.5)
    trials.next(STEPS, first=True)
    trials.judge(9.0, 0.5, left=STEPS, fits=True)
    trials.next(STEPS, first=False)
    again = Trials(1.0, 0.6, 0.05, 0.5)
    again.load_state(trials.state())
    assert again.state() == trials.state()
    assert again.next(STEPS // 2, first=False) == trials.next(STEPS // 2, first=False)


def test_a_resumed_search_keeps_the_least_share_and_a_state_of_an_older_version_has_none() -> None:
    state = Trials(1.0, 0.0, 0.3, None).state()
    again = Trials(1.0, 0.0, 0.05, None)
    again.load_state({name: value for name, value in state.items() if name != "least"})
    assert again.state()["least"] == 0.05
    again.load_state(state)
    assert again.state() == state
