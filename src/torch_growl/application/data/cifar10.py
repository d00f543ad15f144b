"""CIFAR-10 from its official batches, binary or Python (Krizhevsky, "Learning Multiple Layers of Features", 2009)."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from torch_growl.application.data.pickles import read_python_batch
from torch_growl.application.data.splits import Augmentation, Splits, TensorSplit, Transform, limited, stratified
from torch_growl.arguments import check_choice, check_count
from torch_growl.errors import DataError

__all__ = ["cropped", "load_cifar10", "read_binary_batch"]

Normalize = Literal["per-image", "channels"]

_ROWS, _RECORD, _PIXELS = 10_000, 3_073, 3_072
_SHAPE = (3, 32, 32)
_VALIDATION, _SEED = 5_000, 0
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_BINARY, _PYTHON = "cifar-10-batches-bin", "cifar-10-batches-py"


def load_cifar10(
    root: str | Path,
    *,
    normalize: Normalize = "per-image",
    augment: bool = True,
    padding: int = 2,
    limit: int | None = None,
) -> Splits:
    """Load 45,000 training, 5,000 validation (500 of each class, always the same) and 10,000 test images.

    Images are stored as uint8 and converted to float32 ``(3, 32, 32)`` in batches.

    Args:
        root: a folder that contains ``cifar-10-batches-bin/`` (preferred) or ``cifar-10-batches-py/``, or one of these
            folders itself. The Python batches are pickles; no code in them is executed.
        normalize: ``"per-image"``: every image to mean 0 and deviation 1, as in the paper; ``"channels"``: pixels in
            [0, 1] minus (.485, .456, .406), divided by (.229, .224, .225).
        augment: training images are padded with black, cropped at random and mirrored at random.
        padding: black pixels at each side, 0 to 16; 2 gives the paper's 36×36.
        limit: number of training images used, in the order of the files; None: all.

    Raises:
        DataError: a file is missing, of another size or corrupt, or would execute code.
        InvalidTypeError, InvalidValueError: an option has another type or is out of range.
    """
    check_choice("normalize", normalize, ("per-image", "channels"))
    check_count("padding", padding, least=0, most=16, unit="pixels")
    rows = limited(5 * _ROWS - _VALIDATION, limit)
    *train, test = _load_batches(Path(root))
    x, y = torch.cat([images for images, _ in train]), torch.cat([labels for _, labels in train])
    kept, held_out = stratified(y, _VALIDATION, seed=_SEED)
    kept = kept[:rows]
    plain = _transform(normalize, None)
    return Splits(
        name="cifar10",
        train=TensorSplit(x[kept], y[kept], _transform(normalize, padding if augment else None)),
        validation=TensorSplit(x[held_out], y[held_out], plain),
        test=TensorSplit(*test, plain),
        input_shape=_SHAPE,
        n_classes=10,
    )


# ── files ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _load_batches(root: Path) -> list[tuple[Tensor, Tensor]]:
    """Read images ``(10000, 3, 32, 32)``, uint8, and classes of five training batches and the test batch."""
    stems = [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]
    for folder in (root / _BINARY, root):
        if (folder / f"{stems[0]}.bin").is_file():
            return [read_binary_batch(_existing(folder / f"{stem}.bin")) for stem in stems]
    for folder in (root / _PYTHON, root):
        if (folder / stems[0]).is_file():
            return [_checked(_existing(folder / stem), *read_python_batch(folder / stem)) for stem in stems]
    raise DataError(
        f"CIFAR-10 is in none of {root / _BINARY}, {root / _PYTHON}, {root}: no data_batch_1.bin and no data_batch_1; "
        "unpack cifar-10-binary.tar.gz or cifar-10-python.tar.gz from https://www.cs.toronto.edu/~kriz/cifar.html there"
    )


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise DataError(f"CIFAR-10 file {path.name} is missing in {path.parent}, where others are; unpack them again")
    return path


def read_binary_batch(path: Path) -> tuple[Tensor, Tensor]:
    """Read a binary batch: 10,000 records of a label byte and 3,072 bytes of pixels, red plane first.

    Returns:
        Images ``(10000, 3, 32, 32)``, uint8, and classes ``(10000,)``, int64.

    Raises:
        DataError: its size is not 30,730,000 bytes, or a label is not in 0 to 9.
    """
    expected, found = _ROWS * _RECORD, path.stat().st_size
    if found != expected:
        state = "cut off" if found < expected else "too long"
        raise DataError(f"{path} is {state}: expected {expected:,} bytes, found {found:,}")
    records = torch.frombuffer(bytearray(path.read_bytes()), dtype=torch.uint8).reshape(_ROWS, _RECORD)
    return _checked(path, records[:, 1:].contiguous(), records[:, 0])


def _checked(path: Path, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    if x.shape != (_ROWS, _PIXELS) or y.shape != (_ROWS,):
        raise DataError(
            f"{path}: expected {_ROWS:,} images of {_PIXELS:,} bytes with a label each, found images of shape "
            f"{tuple(x.shape)} and {y.numel():,} labels"
        )
    if int(y.max()) > 9 or int(y.min()) < 0:
        raise DataError(f"{path}: labels must be 0 to 9, found {int(y.min())} to {int(y.max())}")
    return x.reshape(-1, *_SHAPE), y.to(torch.int64)


# ── inputs of the network ───────────────────────────────────────────────────────────────────────────────────────────


def _transform(normalize: Normalize, padding: int | None) -> Transform:
    """Make a transform from uint8 images to inputs of a network; with a padding it augments them."""
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (_MEAN, _STD))

    def draw(count: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        return () if padding is None else _drawn(count, padding, generator)

    def transform(x: Tensor, drawn: tuple[Tensor, ...] | None) -> Tensor:
        if padding is not None and drawn is not None:
            x = cropped(x, padding, *drawn)
        x = x.to(torch.float32).div_(255)
        if normalize == "channels":
            return x.sub_(mean).div_(std)
        spread, centre = torch.std_mean(x, dim=(1, 2, 3), correction=0, keepdim=True)
        least = 1 / (255 * _PIXELS**0.5)  # a uniform image stays 0; TensorFlow's bound, there for pixels from 0 to 255
        return x.sub_(centre).div_(spread.clamp_min(least))

    return Augmentation(draw, transform)


def _drawn(count: int, padding: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Draw where images that are padded with black are cropped, and which half of them is mirrored."""
    top, left = torch.randint(0, 2 * padding + 1, (2, count), generator=generator)
    return top, left, torch.randint(0, 2, (count,), generator=generator, dtype=torch.bool)


def cropped(x: Tensor, padding: int, top: Tensor, left: Tensor, mirrored: Tensor) -> Tensor:
    """Pad images with black and crop each at its own place.

    Args:
        x: images, ``(b, c, h, w)``, any type; not modified.
        padding: pixels at each side, ≥ 0.
        top, left: where each image's crop begins, ``(b,)``, 0 to 2 · padding.
        mirrored: which crops are mirrored left to right, ``(b,)``, bool.

    Returns:
        Images of the shape and type of ``x``.
    """
    height, width = x.shape[-2:]
    crops = F.pad(x, (padding,) * 4).unfold(2, height, 1).unfold(3, width, 1)  # (b, c, tops, lefts, h, w), a view
    chosen = crops[torch.arange(len(x)), :, top, left]  # (b, c, h, w)
    return torch.where(mirrored[:, None, None, None], chosen.flip(3), chosen)
