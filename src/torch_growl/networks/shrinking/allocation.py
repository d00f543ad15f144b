"""The numbers of channels to remove: the outputs' error against what is saved, measured for each kind alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

__all__ = ["Curve", "allocated"]

_CLOSE = 0.99  # of what is asked: what is left between it and that is near enough
_TRADES = 2000  # counts at most, to come as near


@dataclass(frozen=True)
class Curve:
    """The outputs' error when the first channels of one order are removed, and all else stays.

    Attributes:
        removed: numbers of channels, increasing, from those that are removed already to the most that may go.
        errors: the error at each of them; 0 at the first.
    """

    removed: Sequence[int]
    errors: Sequence[float]

    def at(self) -> NDArray[np.float64]:
        """The error at 0, 1, … channels, never decreasing, interpolated between the measured ones."""
        numbers = np.arange(self.removed[-1] + 1)
        return np.interp(numbers, self.removed, np.maximum.accumulate(np.asarray(self.errors, dtype=np.float64)))


def allocated(curves: Sequence[Curve], left: Callable[[Sequence[int]], float], asked: float) -> list[int]:
    """Choose how many channels of each kind go, so that at most what is asked for is left.

    One step after the other is taken where the error grows least for what it saves, errors counted as a sum; at the
    end channels are given back, the dearest first, while the target stays met. Larger steps are tried where smaller
    ones save nothing: a few rows of a layer can need more bytes for the index of the others than they have. Where
    channels are so large that less than 0.99 of what is asked for is left, one of a kind is traded for some of another
    as long as more is left then, and less error.

    Args:
        curves: one for each kind of channel.
        left: counts what is left when these numbers of channels are removed.
        asked: the most that may be left.

    Returns:
        The numbers; all that may go, if that is not enough.
    """
    errors = [curve.at() for curve in curves]
    first = [curve.removed[0] for curve in curves]
    numbers = list(first)
    now = left(numbers)
    moves = [(kind, step) for kind, error in enumerate(errors) for steps in _steps(len(error)) for step in steps]
    known = dict.fromkeys(moves, -np.inf)  # prices grow as more goes: one that was computed before is a lower bound
    while now > asked:
        best: tuple[float, list[int], float, int] | None = None
        for move in sorted(moves, key=known.__getitem__):
            if best is not None and best[0] <= known[move] < np.inf:
                break
            kind, step = move
            if numbers[kind] + step >= len(errors[kind]):
                continue
            small, large = _steps(len(errors[kind]))
            if step in large and any(known[kind, other] < np.inf for other in (*small, *large) if other < step):
                continue
            trial = [*numbers[:kind], numbers[kind] + step, *numbers[kind + 1 :]]
            then = left(trial)
            grown = float(errors[kind][trial[kind]] - errors[kind][numbers[kind]])
            known[move] = grown / (now - then) if then < now else np.inf
            if best is None or known[move] < best[0]:
                best = known[move], trial, then, kind
        if best is None:
            break
        numbers, now = best[1], best[2]
        known |= {move: -np.inf for move in moves if move[0] == best[3]}
    return _traded(errors, first, _given_back(errors, first, numbers, left, asked), left, asked)


def _steps(count: int) -> tuple[list[int], list[int]]:
    """The numbers of channels that are removed at a time, and larger ones for kinds of which these save nothing."""
    small = {1, max(1, count // 8)}
    return sorted(small), sorted({max(1, count // 2), max(1, 3 * count // 4)} - small)


def _given_back(
    errors: Sequence[NDArray[np.float64]],
    first: Sequence[int],
    numbers: list[int],
    left: Callable[[Sequence[int]], float],
    asked: float,
) -> list[int]:
    def dearest(kind: int) -> float:
        return float(errors[kind][numbers[kind]] - errors[kind][numbers[kind] - 1]) if numbers[kind] else 0.0

    for kind in sorted(range(len(numbers)), key=dearest, reverse=True):
        while numbers[kind] > first[kind]:
            trial = [*numbers[:kind], numbers[kind] - 1, *numbers[kind + 1 :]]
            if left(trial) > asked:
                break
            numbers = trial
    return numbers


def _traded(
    errors: Sequence[NDArray[np.float64]],
    first: Sequence[int],
    numbers: list[int],
    left: Callable[[Sequence[int]], float],
    asked: float,
) -> list[int]:
    """Give back a channel of one kind for the fewest of another that have to go in its place, where that is better."""

    def total(trial: Sequence[int]) -> float:
        return sum(float(error[number]) for error, number in zip(errors, trial, strict=True))

    counts, now = 1, left(numbers)
    while now < _CLOSE * asked and counts < _TRADES:
        best, least, then = numbers, total(numbers), now
        for back, gone in permutations(range(len(numbers)), 2):
            trial = list(numbers)
            trial[back] -= 1
            while trial[back] >= first[back] and trial[gone] + 1 < len(errors[gone]) and counts < _TRADES:
                trial[gone] += 1
                if total(trial) >= least:
                    break
                counts += 1
                if (found := left(trial)) <= asked:
                    if found > now:
                        best, least, then = trial, total(trial), found
                    break
        if best is numbers:
            break
        numbers, now = best, then
    return numbers
