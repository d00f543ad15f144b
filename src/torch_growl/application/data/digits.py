"""The handwritten digits of scikit-learn: 1,797 images of 8×8 pixels, which need no download."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from torch_growl.application.data.splits import Augmentation, Splits, TensorSplit, Transform, limited, stratified
from torch_growl.arguments import check_count, check_number

__all__ = ["load_digits_splits"]

_TEST, _VALIDATION, _SEED = 360, 180, 0
_SIDE = 8


def load_digits_splits(*, size: int = 8, shift: float = 0.0, limit: int | None = None) -> Splits:
    """Load 1,257 training, 180 validation and 360 test images: fixed splits, stratified by digit.

    Inputs are float32, ``(size²,)``, in [0, 1].

    Args:
        size: height and width, 8 to 64; images are enlarged by linear interpolation, so that neighbouring pixels are
            alike, as in images of a higher resolution.
        shift: training images are shifted at random by up to this many pixels along each axis, 0 to 8; values between
            two pixels are interpolated.
        limit: number of training images used, from the first; None: all.

    Raises:
        InvalidTypeError, InvalidValueError: an option has another type or is out of range.
    """
    check_count("size", size, least=_SIDE, most=8 * _SIDE, unit="pixels")
    check_number("shift", shift, least=0, most=_SIDE, unit="pixels")
    from sklearn.datasets import load_digits

    images, digits = load_digits(return_X_y=True)
    x = _enlarged(torch.from_numpy(images).to(torch.float32) / 16, size)
    y = torch.from_numpy(digits).to(torch.int64)
    rest, test = stratified(y, _TEST, seed=_SEED)
    kept, held_out = stratified(y[rest], _VALIDATION, seed=_SEED)
    train, validation = rest[kept], rest[held_out]
    train = train[: limited(len(train), limit)]
    return Splits(
        name="digits",
        train=TensorSplit(x[train], y[train], _shifted(shift, size) if shift else None),
        validation=TensorSplit(x[validation], y[validation]),
        test=TensorSplit(x[test], y[test]),
        input_shape=(size * size,),
        n_classes=10,
        pixel_shape=(size, size),
    )


def _enlarged(x: Tensor, size: int) -> Tensor:
    if size == _SIDE:
        return x
    return functional.interpolate(x.view(-1, 1, _SIDE, _SIDE), (size, size), mode="bilinear").flatten(1)


def _shifted(by: float, size: int) -> Transform:
    """Make a transform that shifts images by up to ``by`` pixels, with linear interpolation, and fills with black."""
    places = torch.arange(size, dtype=torch.float32)

    def draw(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        return torch.rand(count, 1, 1, generator=generator), torch.rand(count, 1, 1, generator=generator)

    def along_one_axis(drawn: Tensor) -> Tensor:
        """For each image the matrix, ``(count, size, size)``, that shifts the pixels of a column."""
        moved = places[:, None] + by * (2 * drawn - 1)
        return (1 - (moved - places).abs()).clamp(min=0)

    def move(x: Tensor, drawn: tuple[Tensor, ...] | None) -> Tensor:
        if drawn is None:
            return x
        down, across = map(along_one_axis, drawn)
        return (down @ x.view(-1, size, size) @ across.mT).view(x.shape)

    return Augmentation(draw, move)
