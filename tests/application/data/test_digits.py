"""The digits of scikit-learn: always the same splits."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.support.splits import everything
from torch_growl.application.data.datasets import load_data, load_digits_splits
from torch_growl.errors import InvalidTypeError, InvalidValueError


def test_digits_are_split_once_and_for_all() -> None:
    splits = load_data("digits", None, 0)
    parts = everything(splits)
    assert [len(part) for part in parts] == [1257, 180, 360]
    assert (splits.name, splits.input_shape, splits.pixel_shape, splits.n_classes) == ("digits", (64,), (8, 8), 10)
    for part in parts:
        assert part.x.dtype == torch.float32
        assert (float(part.x.min()), float(part.x.max())) == (0, 1)
        shares = torch.bincount(part.y, minlength=10) / len(part)
        assert float((shares - 0.1).abs().max()) < 0.01
    again = load_data("digits", None, 99)
    assert all(torch.equal(a.x, b.x) for a, b in zip(parts, everything(again), strict=True))
    together = torch.cat([torch.cat([part.x, part.y[:, None]], 1) for part in parts])
    assert len(together.unique(dim=0)) == 1797  # no image is in two parts
    small: Any = load_digits_splits(limit=50)
    assert (len(small.train), len(small.validation)) == (50, 180)
    assert torch.equal(small.train.x, parts[0].x[:50])


@pytest.mark.parametrize("limit", [0, 1258, -1, True, 2.0])
def test_a_limit_out_of_range(limit: Any) -> None:
    with pytest.raises((InvalidTypeError, InvalidValueError), match=r"limit must be an integer in \[1, 1257\]"):
        load_digits_splits(limit=limit)
