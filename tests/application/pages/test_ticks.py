"""Ticks are round, not too many, and inside of their limits."""

from __future__ import annotations

import pytest

from torch_growl.application.pages.ticks import factor_text, round_factors, round_values, value_text


@pytest.mark.parametrize(
    ("low", "high", "found"),
    [
        (0, 100, [0, 20, 40, 60, 80, 100]),
        (97.3, 100.2, [98, 99, 100]),
        (0.01, 0.05, [0.01, 0.02, 0.03, 0.04, 0.05]),
        (3, 3, [3]),
    ],
)
def test_values_are_round(low: float, high: float, found: list[float]) -> None:
    assert round_values(low, high) == pytest.approx(found)


@pytest.mark.parametrize("span", [1e-5, 0.3, 7, 123, 4e8])
def test_there_are_never_too_many_values(span: float) -> None:
    found = round_values(1.0, 1.0 + span, 5)
    assert 1 <= len(found) <= 6
    assert all(1.0 - 1e-9 <= value <= (1.0 + span) * (1 + 1e-9) for value in found)


def test_factors_are_round_and_few() -> None:
    assert round_factors(0.9, 2.4) == pytest.approx([1, 1.5, 2])
    assert round_factors(0.9, 60, 6) == pytest.approx([1, 2, 5, 10, 20, 50])
    assert len(round_factors(1e-3, 1e9, 5)) <= 5


def test_texts_have_the_decimals_that_ticks_need() -> None:
    assert [value_text(value, 0.5) for value in (97.5, -1)] == ["97.5", "−1.0"]
    assert value_text(1200, 200) == "1,200"
    assert [factor_text(value) for value in (1.5, 20, 1500)] == ["1.5x", "20x", "1,500x"]
