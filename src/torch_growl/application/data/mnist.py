"""MNIST from its four official idx files, gzipped or not (LeCun, Cortes, Burges).

An idx file is a magic number (0, 0, type of the values, number of dimensions), the dimensions as big-endian 32-bit
numbers, and the values. At most one byte more than the expected size is read of a file, whatever its header says.
"""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path
from typing import IO

import torch
from torch import Tensor
from torch.nn import functional

from torch_growl.application.data.splits import Augmentation, Splits, TensorSplit, Transform, limited
from torch_growl.arguments import check_count
from torch_growl.errors import DataError

__all__ = ["load_mnist", "read_idx"]

_TRAIN, _VALIDATION, _TEST = 55_000, 5_000, 10_000
_SIDE = 28
_UNSIGNED_BYTE = 8
_CHUNK = 1 << 20


def load_mnist(root: str | Path, *, flat: bool = True, shift: int = 0, limit: int | None = None) -> Splits:
    """Load 55,000 training, 5,000 validation (the last of the training file) and 10,000 test images, in [0, 1].

    Args:
        root: a folder with the idx files in ``mnist/``, in ``MNIST/raw/`` or in itself, each gzipped or not.
        flat: inputs are ``(784,)``; otherwise ``(1, 28, 28)``; float32.
        shift: training images are shifted at random by up to this many pixels along each axis, 0 to 8.
        limit: number of training images used, from the first; None: all.

    Raises:
        DataError: a file is missing, cut off, too long, corrupt or of another shape.
        InvalidTypeError, InvalidValueError: an option has another type or is out of range.
    """
    root = Path(root)
    shape = (_SIDE * _SIDE,) if flat else (1, _SIDE, _SIDE)
    rows = limited(_TRAIN, limit)
    check_count("shift", shift, least=0, most=8, unit="pixels")
    x, y = _load_pair(root, "train", _TRAIN + _VALIDATION, shape)
    test_x, test_y = _load_pair(root, "t10k", _TEST, shape)
    return Splits(
        name="mnist",
        train=TensorSplit(_scaled(x[:rows]), y[:rows], _shifted(shift) if shift else None),
        validation=TensorSplit(_scaled(x[_TRAIN:]), y[_TRAIN:]),
        test=TensorSplit(_scaled(test_x), test_y),
        input_shape=shape,
        n_classes=10,
        pixel_shape=(_SIDE, _SIDE),
    )


def _shifted(by: int) -> Transform:
    """Make a transform that shifts images by up to ``by`` pixels and fills with black."""
    side = _SIDE + 2 * by
    corner = torch.arange(side * side).view(side, side)
    starts = range(2 * by + 1)
    places = torch.stack([corner[i : i + _SIDE, j : j + _SIDE].flatten() for i in starts for j in starts])

    def draw(count: int, generator: torch.Generator) -> tuple[Tensor]:
        return (torch.randint(len(places), (count,), generator=generator),)

    def move(x: Tensor, drawn: tuple[Tensor, ...] | None) -> Tensor:
        if drawn is None:
            return x
        chosen = places[drawn[0]]  # (b, 784)
        padded = functional.pad(x.view(-1, _SIDE, _SIDE), (by, by, by, by)).flatten(1)
        return padded.gather(1, chosen).view(x.shape)

    return Augmentation(draw, move)


def _scaled(x: Tensor) -> Tensor:
    return x.to(torch.float32).div_(255)


def _load_pair(root: Path, part: str, count: int, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Read images (uint8) and classes (int64) of one part."""
    x = read_idx(_find(root, f"{part}-images", 3), (count, _SIDE, _SIDE))
    path = _find(root, f"{part}-labels", 1)
    y = read_idx(path, (count,))
    if int(y.max()) > 9:
        raise DataError(f"{path}: labels must be 0 to 9, found {int(y.max())}")
    return x.reshape(count, *shape), y.to(torch.int64)


def _find(root: Path, stem: str, dimensions: int) -> Path:
    folders = [root / "mnist", root / "MNIST" / "raw", root]
    names = [f"{stem}{dot}idx{dimensions}-ubyte{suffix}" for suffix in (".gz", "") for dot in ("-", ".")]
    for folder in folders:
        for name in names:
            if (folder / name).is_file():
                return folder / name
    raise DataError(
        f"MNIST file {names[0]} (or {names[2]}) is in none of {', '.join(map(str, folders))}; "
        "put the four original *-ubyte.gz files there (torchvision.datasets.MNIST(root, download=True) fetches them)"
    )


def read_idx(path: Path, shape: tuple[int, ...]) -> Tensor:
    """Read an idx file of bytes and check it against an expected shape.

    Args:
        path: the file; decompressed if its name ends in ``.gz``.
        shape: the shape that its header and its length must have.

    Returns:
        A tensor of that shape, uint8.

    Raises:
        DataError: the file cannot be read, is cut off, corrupt or too long, or has another header.
    """
    header = 4 + 4 * len(shape)
    expected = header + math.prod(shape)
    content = _read_bounded(path, expected)
    words = [int.from_bytes(content[i : i + 4], "big") for i in range(0, min(header, len(content) // 4 * 4), 4)]
    magic = _UNSIGNED_BYTE << 8 | len(shape)
    if words and words[0] != magic:
        raise DataError(f"{path}: an idx file of {len(shape)} dimension(s) starts with {magic:#x}, found {words[0]:#x}")
    if len(words) == 1 + len(shape) and tuple(words[1:]) != shape:
        raise DataError(f"{path}: its shape must be {_times(shape)}, but its header has {_times(words[1:])}")
    if len(content) < expected:
        raise DataError(f"{path} is cut off: expected {expected:,} bytes{_unpacked(path)}, found {len(content):,}")
    if len(content) > expected:
        raise DataError(f"{path} is too long: expected {expected:,} bytes{_unpacked(path)}, found more")
    return torch.frombuffer(content, dtype=torch.uint8, offset=header).reshape(shape)


def _read_bounded(path: Path, expected: int) -> bytearray:
    """Read and decompress a file, up to one byte more than expected."""
    content = bytearray()
    try:
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
            _append(file, content, expected + 1)
    except (EOFError, zlib.error, OSError) as error:
        raise DataError(
            f"{path} is cut off or corrupt ({error}): expected {expected:,} bytes{_unpacked(path)}, "
            f"found {len(content):,} that can be read"
        ) from error
    return content


def _append(file: IO[bytes] | gzip.GzipFile, content: bytearray, most: int) -> None:
    while len(content) < most and (chunk := file.read(min(_CHUNK, most - len(content)))):
        content += chunk


def _unpacked(path: Path) -> str:
    return " unpacked" if path.suffix == ".gz" else ""


def _times(shape: tuple[int, ...] | list[int]) -> str:
    return "×".join(map(str, shape))
