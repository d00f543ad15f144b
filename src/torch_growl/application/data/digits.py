"""The handwritten digits of scikit-learn: 1,797 images of 8×8 pixels, which need no download."""

from __future__ import annotations

import torch

from torch_growl.application.data.splits import Splits, TensorSplit, limited, stratified

__all__ = ["load_digits_splits"]

_TEST, _VALIDATION, _SEED = 360, 180, 0


def load_digits_splits(*, limit: int | None = None) -> Splits:
    """Load 1,257 training, 180 validation and 360 test images: fixed splits, stratified by digit.

    Inputs are float32, ``(64,)``, in [0, 1].

    Args:
        limit: number of training images used, from the first; None: all.

    Raises:
        InvalidTypeError, InvalidValueError: ``limit`` is not an integer from 1 to 1,257.
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
