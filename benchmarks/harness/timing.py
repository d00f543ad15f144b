"""Times several ways of doing one thing side by side.

A shared machine drifts by the second, so candidates take turns within every round, in an order drawn anew, each on an
input made for that call alone: timing one input again and again teaches the branch predictor, and sorting kernels then
look up to four times faster than they are. What counts is the ratio of medians.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

__all__ = ["one_thread", "side_by_side", "summary"]


def one_thread() -> None:
    """Set one thread for every library; call it before anything is timed."""
    from threadpoolctl import threadpool_limits

    torch.set_num_threads(1)
    threadpool_limits(1)


def side_by_side(
    candidates: Mapping[str, Callable[[Any], object]],
    fresh: Callable[[np.random.Generator], Any],
    *,
    rounds: int,
    burst: int = 1,
    warmup: int = 3,
    seed: int = 0,
    prepare: Mapping[str, Callable[[Any], Any]] | None = None,
    done: Callable[[str, float], None] | None = None,
) -> dict[str, dict[str, float]]:
    """Time candidates in turn, each call on a fresh input.

    Args:
        candidates: name → function of one input.
        fresh: makes an input from a generator; not timed.
        rounds: turns of every candidate.
        burst: timed calls in a turn, each on its own input. With more than one, a call that is not timed goes before
            them: what a call of microseconds costs then depends on its own code, not on how much of it the candidate
            that ran before has in common with it and left in the caches.
        warmup: rounds before them that are not timed (compilation, caches).
        seed: of the generator; every candidate of a round gets inputs of one distribution, never the same one.
        prepare: name → conversion of an input to what that candidate likes best (its type, its layout); not timed.
        done: called after each timed call with its name and seconds.

    Returns:
        For each name ``{"median", "q1", "q3", "min", "rounds"}``, times in microseconds; rounds counts timed calls.
    """
    rng = np.random.default_rng(seed)
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    names = list(candidates)
    collecting = gc.isenabled()
    gc.disable()
    try:
        for turn in range(warmup + rounds):
            for name in rng.permutation(names):
                inputs = [fresh(rng) for _ in range(burst + (burst > 1))]
                if prepare and name in prepare:
                    inputs = [prepare[name](given) for given in inputs]
                call = candidates[name]
                for k, given in enumerate(inputs):
                    start = time.perf_counter_ns()
                    call(given)
                    took = (time.perf_counter_ns() - start) / 1e9
                    if turn >= warmup and (k > 0 or burst == 1):
                        seconds[name].append(took)
                        if done:
                            done(name, took)
    finally:
        if collecting:
            gc.enable()
    return {name: summary(taken) for name, taken in seconds.items()}


def summary(seconds: list[float]) -> dict[str, float]:
    """Return median, quartiles and minimum in microseconds."""
    micro = sorted(1e6 * s for s in seconds)
    q1, _, q3 = statistics.quantiles(micro, n=4) if len(micro) > 1 else (micro[0],) * 3
    return {
        "median": round(statistics.median(micro), 3),
        "q1": round(q1, 3),
        "q3": round(q3, 3),
        "min": round(micro[0], 3),
        "rounds": len(micro),
    }
