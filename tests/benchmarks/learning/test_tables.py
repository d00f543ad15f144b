"""What the tables of the experiments compute."""

from __future__ import annotations

import pytest

from benchmarks.learning.pages import mnist_tables


def test_instability_is_the_papers() -> None:
    assert mnist_tables.instability([[1, 1, 0, 0]] * 5) == 0
    assert mnist_tables.instability([[1, 1, 0], [1, 0, 0]]) == pytest.approx(0.25)  # |m − m̄| = ½ of 2 rows in both
