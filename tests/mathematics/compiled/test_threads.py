"""Threads for compiled code: every share is run once, at the same time, and errors are not lost."""

from __future__ import annotations

import threading

import pytest

from torch_growl.mathematics.compiled.threads import run_all


@pytest.mark.parametrize("number", [1, 2, 5])
def test_every_share_is_run_once_the_first_in_the_calling_thread(number: int) -> None:
    seen: dict[int, str] = {}
    lock = threading.Lock()

    def work(share: int) -> None:
        with lock:
            assert share not in seen
            seen[share] = threading.current_thread().name

    run_all(work, range(number))
    assert sorted(seen) == list(range(number))
    assert seen[0] == threading.current_thread().name
    assert all(name.startswith("growl") for share, name in seen.items() if share > 0)


def test_the_shares_run_at_the_same_time() -> None:
    together = threading.Barrier(3, timeout=10)  # breaks unless three threads wait at once
    run_all(lambda share: together.wait(), range(3))


@pytest.mark.parametrize("failing", [0, 1, 2])
def test_an_error_in_any_share_is_raised(failing: int) -> None:
    def work(share: int) -> None:
        if share == failing:
            raise ArithmeticError(f"share {share}")

    with pytest.raises(ArithmeticError, match=f"share {failing}"):
        run_all(work, range(3))
