"""The sizes and lengths of trials, and what follows from each one's score.

Sizes are shares of the weights. Trials are short and take 0.3 of what is left until one is bad; from then on they are
long and take less. Where the standard error of a score is known, chance decides within one of it beyond the drop: such
a trial is doubtful, the search goes on from it to a smaller size, and only a second one in a row is bad.
"""

from __future__ import annotations

import math
from typing import Any, Literal

__all__ = ["Trials", "Verdict"]

Verdict = Literal["good", "again", "doubtful", "bad"]

_RATIO, _LEAST_RATIO = 0.7, 0.6  # of the weights, from one good trial to the next
_CLOSE = 0.97  # shares at which the search ends
_NARROWLY = 2.0  # times the accuracy drop, within which a trial trains on once
_SLOW = 5  # trials, among which the steps that are left are divided after the first bad one
_STATE = ("good", "bad", "ratio", "length", "share", "retried", "doubtful", "reached_share", "least")


class Trials:
    """The trials of one search.

    Args:
        drop: the accuracy drop, > 0.
        error: the standard error of a score; 0: not known.
        least: the least share that can be left, in (0, 1).
        begin_at: the share of the first trial; None, or so large that nothing would go: 0.7.

    Attributes:
        good: the share of the last good trial; 1 before one.
        share: that of the trial now.
    """

    def __init__(self, drop: float, error: float, least: float, begin_at: float | None) -> None:
        self._drop, self._error, self._least = drop, error, least
        self._begin_at = None if begin_at is None or begin_at > _CLOSE else begin_at
        self.good, self.share = 1.0, 1.0
        self._bad = 0.0  # the share of the largest long trial that was bad; 0: none was
        self._ratio, self._length = _RATIO, 0  # of the next trial to the last; steps of a trial after a bad one
        self._retried = False  # whether the trial has trained on once
        self._doubtful = 0  # doubtful trials in a row
        self._reached_share = 1.0  # what the trial before left, good or doubtful

    @property
    def number_left(self) -> int:
        """The number of trials to the least network, as the steps are divided before the first bad one."""
        return max(0, math.ceil(math.log(self._least / self.good) / math.log(_RATIO))) + _SLOW

    def next(self, left: int, *, first: bool) -> tuple[float, int] | None:
        """Choose the share and the steps of the next trial.

        Args:
            left: steps until the last trial ends.
            first: whether it is the first one.

        Returns:
            Both, or None: there is none.
        """
        if self._doubtful:
            share = max(self._least, self._reached_share * self._ratio)
        else:
            share = max(self._least, self.good * self._ratio, math.sqrt(self.good * self._bad))
        length = self._length or left // self.number_left
        if self._begin_at is not None and first:
            share, length = max(self._least, self._begin_at), left // _SLOW
        if share > _CLOSE * self._reached_share or left < max(3, length // 2):
            return None
        self.share, self._retried = share, False
        return share, length if left >= 2 * length else left

    @property
    def at_the_end(self) -> bool:
        """Tell whether no rows can go below the last good trial."""
        return self.good <= self._least / _CLOSE

    def judge(self, lost: float, share: float, *, left: int, fits: bool) -> Verdict:
        """Judge a trial by how much worse its score is than the dense network's.

        Args:
            lost: by how much.
            share: the share of the weights that it has left.
            left: steps until the last trial ends.
            fits: whether it can train on as long again until then.

        Returns:
            good: it is within the drop; again: it trains on; doubtful: the next trial goes on from it; bad: it is taken
            back.
        """
        if lost <= self._drop:
            self.good = self._reached_share = share
            self._doubtful = 0
            if self._length and lost <= max(self._drop / 2, self._error):
                self._ratio = max(_LEAST_RATIO, self._ratio**1.5)
            return "good"
        if lost <= max(_NARROWLY * self._drop, self._drop + self._error) and not self._retried and fits:
            self._retried = True
            return "again"
        if lost <= self._drop + self._error and not self._doubtful:
            self._doubtful, self._reached_share = 1, share
            return "doubtful"
        self._ratio = math.sqrt(self._ratio)
        self._bad = max(self._bad, self.share) if self._length else 0.0
        self._length = self._length or left // _SLOW
        self._doubtful, self._reached_share = 0, self.good
        return "bad"

    def state(self) -> dict[str, Any]:
        """The state for a resumed run: plain values only."""
        return {name: getattr(self, name if name in ("good", "share") else f"_{name}") for name in _STATE}

    def load_state(self, state: dict[str, Any]) -> None:
        """Load a state; those of older versions lack the least share."""
        for name in _STATE:
            attribute = name if name in ("good", "share") else f"_{name}"
            setattr(self, attribute, state.get(name, self._least) if name == "least" else state[name])
