"""The one timer of the package: median milliseconds of one call, several candidates side by side.

A machine drifts by the second, so candidates take turns within every round, in an order drawn anew, on the same random
inputs, which are new in every round. Calls run in ``torch.inference_mode``; on CUDA each one is waited for. The first
rounds are not counted: they compile and warm the caches. The median is robust against rare interruptions. On a busy
machine most calls of some milliseconds are interrupted: where the network has one thread, such a call counts its CPU
time, since the rest is the time of other programs, unless it has also waited by itself.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

from torch_growl.networks.execution.example_inputs import Inputs, random_like
from torch_growl.networks.execution.outputs import tensors

__all__ = ["WARMUP", "Candidate", "median_ms", "threads_set"]

Candidate = Callable[[Inputs], Any]
WARMUP = 5


def median_ms(
    candidates: Sequence[Candidate], example: Inputs, *, repeats: int, warmup: int = WARMUP, seed: int = 0
) -> list[float]:
    """Time the candidates and return the median milliseconds of each.

    Args:
        candidates: functions of one batch of inputs; none may modify it.
        example: inputs of the batch size that is timed. Each round draws random ones of its shapes and types.
        repeats: timed calls of each candidate, ≥ 1.
        warmup: rounds before them that are not timed, ≥ 0.
        seed: of the inputs and of the order within a round.
    """
    inputs, order = torch.Generator().manual_seed(seed), random.Random(seed)
    cuda = any(tensor.is_cuda for tensor in tensors(example))
    times: list[list[float]] = [[] for _ in candidates]
    with torch.random.fork_rng(devices=[]):
        for turn in range(-warmup, repeats):
            batch = random_like(example, inputs)
            for number in order.sample(range(len(candidates)), len(candidates)):
                took = _seconds(candidates[number], batch, cuda)
                if turn >= 0:
                    times[number].append(1000 * took)
    return [statistics.median(own) for own in times]


@torch.inference_mode()
def _seconds(candidate: Candidate, batch: Inputs, cuda: bool) -> float:
    if cuda:
        torch.cuda.synchronize()
    (taken, waited), used, start = _switches(), time.thread_time(), time.perf_counter()
    candidate(batch)
    if cuda:
        torch.cuda.synchronize()
    took, used = time.perf_counter() - start, time.thread_time() - used
    alone = not cuda and torch.get_num_threads() == 1
    taken_now, waited_now = _switches()
    return used if alone and taken_now > taken and waited_now == waited else took  # a call's own waits count


def _switches() -> tuple[int, int]:
    """Return how often the system has taken the processor from this thread, and how often the thread has waited."""
    if resource is None or not hasattr(resource, "RUSAGE_THREAD"):
        return 0, 0
    found = resource.getrusage(resource.RUSAGE_THREAD)
    return found.ru_nivcsw, found.ru_nvcsw


@contextmanager
def threads_set(count: int | None) -> Iterator[int]:
    """Give torch this many threads, and its former number afterwards.

    Args:
        count: ≥ 1; None: torch keeps its number.

    Yields:
        The number of threads in force.
    """
    before = torch.get_num_threads()
    if count is not None:
        torch.set_num_threads(count)
    try:
        yield torch.get_num_threads()
    finally:
        torch.set_num_threads(before)
