"""Compilations of kernels are notified, from the outermost one's begin to its end, and only while a block runs."""

from __future__ import annotations

import pytest
from numba import njit

from torch_growl.mathematics.compiled.events import compilations


@pytest.mark.slow
def test_a_compilation_is_notified_once_with_all_that_is_compiled_within_it() -> None:
    @njit
    def inner(x: int) -> int:
        return x + 1

    @njit
    def outer(x: int) -> int:
        return inner(x) * 2  # type: ignore[no-any-return]

    said: list[bool] = []
    with compilations(said.append):
        assert outer(2) == 6
        assert said == [True, False]
        assert outer(3) == 8  # compiled already
    assert said == [True, False]
    assert outer(2.0) == 6.0  # compiled for another type, after the block
    assert said == [True, False]


def test_a_failure_within_the_block_is_passed_on_and_ends_the_notice() -> None:
    with pytest.raises(ZeroDivisionError), compilations(lambda busy: None):
        raise ZeroDivisionError
