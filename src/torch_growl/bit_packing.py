"""Lists of small integers and flags as bits: little-endian within and across bytes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

__all__ = ["bits_for", "pack", "pack_flags", "packed_bytes", "unpack", "unpack_flags"]


def bits_for(largest: int) -> int:
    """How many bits a number from 0 to ``largest`` takes; at least 1."""
    return max(1, largest.bit_length())


def packed_bytes(count: int, bits: int) -> int:
    """How many bytes ``count`` numbers of ``bits`` bits take."""
    return -(-count * bits // 8)


def pack(values: Sequence[int], bits: int) -> Tensor:
    """Numbers from 0 to 2^bits − 1 as uint8: ``(⌈len · bits / 8⌉,)``; bit k of number i is bit ``i · bits + k``."""
    numbers = np.asarray(values, dtype=np.int64).reshape(-1, 1)
    flags = (numbers >> np.arange(bits)) & 1
    return torch.from_numpy(np.packbits(flags.astype(np.uint8).reshape(-1), bitorder="little"))


def unpack(packed: Tensor, count: int, bits: int) -> list[int]:
    """What :func:`pack` packed.

    Raises:
        ValueError: ``packed`` is no uint8 vector of that length, or bits after the last number are set.
    """
    if packed.dtype != torch.uint8 or packed.shape != (packed_bytes(count, bits),):
        raise ValueError(
            f"must be {packed_bytes(count, bits)} bytes of uint8, got {tuple(packed.shape)} {packed.dtype}"
        )
    flags = np.unpackbits(packed.numpy(), bitorder="little")
    if flags[count * bits :].any():
        raise ValueError("has bits set after its last number")
    numbers = flags[: count * bits].reshape(count, bits).astype(np.int64) << np.arange(bits)
    found: list[int] = numbers.sum(axis=1).tolist()
    return found


def pack_flags(places: Sequence[int], count: int) -> Tensor:
    """A mask of ``count`` bits with those at the given places set, as uint8: ``(⌈count / 8⌉,)``."""
    mask = np.zeros(count, dtype=np.bool_)
    mask[list(places)] = True
    return torch.from_numpy(np.packbits(mask, bitorder="little"))


def unpack_flags(packed: Tensor, count: int) -> tuple[int, ...]:
    """The places that are set.

    Raises:
        ValueError: as for :func:`unpack`.
    """
    return tuple(np.flatnonzero(unpack(packed, count, 1)).tolist())
