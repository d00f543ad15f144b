"""Ratios in words: a larger figure is called larger, and no ratio is below 1."""

from __future__ import annotations

import pytest

from torch_growl.networks.measurement.ratios import in_words


@pytest.mark.parametrize(
    ("ratio", "said"),
    [
        (18.24, "18.2x smaller"),
        (1.04, "1.04x smaller"),
        (0.98, "1.02x larger"),
        (0.8, "1.2x larger"),
        (0.042, "23.8x larger"),
        (12345.6, "12,346x smaller"),
        (1.004, "about the same"),
        (0.996, "about the same"),
        (None, "–"),
        (0.0, "–"),
        (float("nan"), "–"),
        (float("inf"), "–"),
    ],
)
def test_a_ratio_is_worded_by_the_larger_side(ratio: float | None, said: str) -> None:
    assert in_words(ratio, "smaller", "larger") == said


def test_the_limit_and_the_words_for_equal_figures_can_be_given() -> None:
    assert in_words(1.02, "faster", "slower", same=0.03, equal="no faster") == "no faster"
    assert in_words(1.04, "faster", "slower", same=0.03, equal="no faster") == "1.04x faster"
