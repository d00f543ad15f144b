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


def test_enlarged_images_keep_their_mean_and_their_splits() -> None:
    plain: Any = load_digits_splits()
    large: Any = load_digits_splits(size=16)
    assert (large.input_shape, large.pixel_shape) == ((256,), (16, 16))
    assert torch.equal(large.test.y, plain.test.y)
    torch.testing.assert_close(large.test.x.mean(1), plain.test.x.mean(1))
    first = plain.test.x[0].view(8, 8)
    inside = 0.75 * (0.75 * first[2, 3] + 0.25 * first[2, 4]) + 0.25 * (0.75 * first[3, 3] + 0.25 * first[3, 4])
    torch.testing.assert_close(large.test.x[0].view(16, 16)[5, 7], inside)


def test_shifts_move_training_images_alone_by_parts_of_a_pixel() -> None:
    plain: Any = load_digits_splits(limit=40)
    moved: Any = load_digits_splits(shift=1, limit=40)
    everyone = torch.arange(40)
    assert torch.equal(moved.train.batch(everyone)[0], plain.train.x)  # without a generator
    assert moved.validation.transform is moved.test.transform is None
    x = moved.train.batch(everyone, torch.Generator().manual_seed(0))[0]
    assert x.shape == plain.train.x.shape
    assert 0 <= float(x.min()) <= float(x.max()) <= 1
    places = torch.arange(8.0)
    for axis in (1, 2):  # the centre of an image moves by at most a pixel, each by its own part of it
        centres = [
            (images.view(-1, 8, 8).sum(3 - axis) * places).sum(1) / images.sum(1) for images in (plain.train.x, x)
        ]
        by = centres[1] - centres[0]
        assert float(by.abs().max()) < 1.1
        assert float(by.std()) > 0.2


@pytest.mark.parametrize(("name", "wrong"), [("size", 7), ("size", 65), ("size", 16.0), ("shift", -1), ("shift", "1")])
def test_a_size_or_a_shift_out_of_range(name: str, wrong: Any) -> None:
    with pytest.raises((InvalidTypeError, InvalidValueError), match=f"{name} must be"):
        load_digits_splits(**{name: wrong})


@pytest.mark.parametrize("limit", [0, 1258, -1, True, 2.0])
def test_a_limit_out_of_range(limit: Any) -> None:
    with pytest.raises((InvalidTypeError, InvalidValueError), match=r"limit must be an integer in \[1, 1257\]"):
        load_digits_splits(limit=limit)
