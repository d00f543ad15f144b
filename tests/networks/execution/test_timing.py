"""The one timer: turns, fresh inputs, the median of the timed calls, and everything as it was afterwards."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from torch_growl.networks.execution import timing
from torch_growl.networks.execution.timing import Candidate, median_ms, threads_set


class Clock:
    """Stands for ``time``: a call takes what its candidate adds to ``now``."""

    now = 0.0

    waited = 0.0

    def perf_counter(self) -> float:
        return self.now

    def thread_time(self) -> float:
        return self.now - self.waited


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(timing, "time", made)
    return made


def taking(clock: Clock, *seconds: float) -> Candidate:
    """A candidate whose calls take these times, one after the other."""
    times = iter(seconds)

    def run(batch: Any) -> None:
        clock.now += next(times)

    return run


def waiting(clock: Clock, seconds: float, waited: float) -> tuple[Candidate, list[Any]]:
    """A call that takes so many seconds, of which it waits some, and the list of its calls so far."""
    calls: list[Any] = []

    def run(batch: Any) -> None:
        calls.append(batch)
        clock.now += seconds
        clock.waited += waited

    return run, calls


def test_the_median_of_the_calls_after_the_warm_up_in_milliseconds(clock: Clock) -> None:
    slow, fast = taking(clock, 9, 9, 0.4, 0.1, 0.2), taking(clock, 8, 8, 0.03, 0.01, 5)
    example = (torch.randn(2, 3),), {}
    assert median_ms([slow, fast], example, repeats=3, warmup=2) == pytest.approx([200, 30])


@pytest.mark.parametrize(("threads", "ms"), [(1, 200), (2, 5200)])
def test_a_call_that_is_interrupted_counts_its_own_time_where_there_is_one_thread(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, threads: int, ms: float
) -> None:
    call, calls = waiting(clock, 5.2, 5)
    monkeypatch.setattr(timing, "_switches", lambda: (len(calls), 0))
    with threads_set(threads):
        assert median_ms([call], ((torch.ones(2),), {}), repeats=3) == pytest.approx([ms])


@pytest.mark.parametrize("interrupted", [False, True])
def test_a_call_that_waits_by_itself_counts_the_time_that_passes(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, interrupted: bool
) -> None:
    call, calls = waiting(clock, 0.3, 0.3)
    monkeypatch.setattr(timing, "_switches", lambda: (len(calls) if interrupted else 0, len(calls)))
    with threads_set(1):
        assert median_ms([call], ((torch.ones(2),), {}), repeats=3) == pytest.approx([300])


def test_candidates_take_turns_in_changing_order_on_the_same_fresh_inputs() -> None:
    calls: list[tuple[str, Tensor]] = []

    def named(name: str) -> Candidate:
        def run(batch: Any) -> None:
            assert torch.is_inference_mode_enabled()
            calls.append((name, batch[0][0]))

        return run

    median_ms([named("a"), named("b")], ((torch.randn(3, 2),), {}), repeats=8, warmup=2)
    rounds = [calls[start : start + 2] for start in range(0, len(calls), 2)]
    assert len(rounds) == 10
    assert all({name for name, _ in turn} == {"a", "b"} for turn in rounds)
    assert {turn[0][0] for turn in rounds} == {"a", "b"}
    assert all(torch.equal(turn[0][1], turn[1][1]) and turn[0][1].shape == (3, 2) for turn in rounds)
    assert not torch.equal(rounds[0][0][1], rounds[1][0][1])


def test_the_state_of_random_numbers_is_as_before() -> None:
    state = torch.random.get_rng_state()
    median_ms([lambda batch: torch.randn(3)], ((torch.ones(2),), {}), repeats=1)
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize("more", [None, 1])
def test_threads_are_set_and_put_back_after_an_error_too(more: int | None) -> None:
    before = torch.get_num_threads()
    seen = []

    def fails() -> None:
        with threads_set(more and before + more) as count:
            seen.extend([count, torch.get_num_threads()])
            raise RuntimeError("of the candidate")

    with pytest.raises(RuntimeError, match="of the candidate"):
        fails()
    assert seen == [before + (more or 0)] * 2
    assert torch.get_num_threads() == before
