"""Handwritten digits that come with scikit-learn: 1,797 images of 8×8 pixels, so that a first run needs no download."""

from __future__ import annotations

import torch

from torch_growl.application.data.splits import Splits, TensorSplit, limited, stratified

__all__ = ["load_digits_splits"]

_TEST, _VALIDATION, _SEED = 360, 180, 0


def load_digits_splits(*, limit: int | None = None) -> Splits:
    """1,257 training, 180 validation and 360 test images, with the same shares of the digits, always the same ones.

    Pixels are divided by 16, so they are in [0, 1]; inputs are flat, ``(64,)``, float32.

    Args:
        limit: use only the first so many training images; None: all.

    Raises:
        DataError: ``limit`` is not from 1 to 1,257.
    """
    from sklearn.datasets import load_digits

    images, digits = load_digits(return_X_y=True)
    x = torch.from_numpy(images).to(torch.float32) / 16
    y = torch.from_numpy(digits).to(torch.int64)
    rest, test = stratified(y, _TEST, seed=_SEED)
    kept, held_out = stratified(y[rest], _VALIDATION, seed=_SEED)
    train, validation = rest[kept], rest[held_out]
    train = train[: limited(len(train), limit)]
    return Splits(
        name="digits",
        train=TensorSplit(x[train], y[train]),
        validation=TensorSplit(x[validation], y[validation]),
        test=TensorSplit(x[test], y[test]),
        input_shape=(64,),
        n_classes=10,
        pixel_shape=(8, 8),
    )
