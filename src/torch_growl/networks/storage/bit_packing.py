"""Packing sets of channels and labels of inputs into bits; see docs/format.md.

Each value is stored in the shortest of a few codings and begins with the number of its coding, so a reader needs only
the sizes that it has checked against the network. Bits, and the bits of a number, are stored least significant first.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, from_numpy, uint8

from torch_growl.errors import FileFormatError
from torch_growl.mathematics.clustering import PRUNED

__all__ = ["decode_labels", "decode_set", "encode_labels", "encode_set"]

Bits = NDArray[np.bool_]
Numbers = NDArray[np.int64]
_CODING = 2  # bits of the coding's number
_SPARE = 1024  # bytes beyond the longest coding that are read and refused by their number of bits
_MASK, _MEMBERS, _OTHERS = 0, 1, 2
_CHOSEN, _TIED, _PLAIN = 0, 1, 2


def encode_set(members: tuple[int, ...], total: int) -> Tensor:
    """Pack a set of numbers: as a bit mask, or as a list of its members or of the others, whichever is shortest.

    Args:
        members: increasing numbers in 0 … total − 1.
        total: how many numbers there are.
    """
    mask = np.zeros(total, dtype=bool)
    mask[list(members)] = True
    return _bytes(_set_bits(mask))


def decode_set(stored: Tensor, total: int, where: str) -> tuple[int, ...]:
    """Unpack a set that :func:`encode_set` packed.

    Raises:
        FileFormatError: the bytes are not such a set; the message begins with ``where``.
    """
    stream = _Stream(stored, where, _most_bits(total))
    mask = _read_set(stream, total)
    stream.finish()
    return tuple(np.flatnonzero(mask).tolist())


def encode_labels(labels: tuple[int, ...], width: int, groups: int) -> Tensor:
    """Pack labels in the shortest coding that can hold them.

    Args:
        labels: for every arriving input −1, or an input of the smaller layer, 0 … width − 1.
        width: inputs of the smaller layer.
        groups: groups of the layer; the labels and the width are divided into this many equal parts.
    """
    found = np.array(labels, dtype=np.int64)
    plain = np.concatenate([_number(_PLAIN, _CODING), _numbers(found + 1, width)])
    candidates = [plain]
    alive = found != PRUNED
    group = np.arange(len(found)) // max(1, len(found) // groups)
    per_group = width // groups
    local, own = (found - group * per_group)[alive], group[alive]
    if ((local >= 0) & (local < per_group)).all():
        opens = np.zeros(len(local), dtype=bool)
        opens[np.unique(found[alive], return_index=True)[1]] = True
        if np.array_equal(local[opens], _ranks(own[opens])):  # numbered in order of first appearance
            chosen = _set_bits(alive)
            if opens.all():
                candidates.append(np.concatenate([_number(_CHOSEN, _CODING), chosen]))
            joins = _numbers(local[~opens], per_group - 1)
            candidates.append(np.concatenate([_number(_TIED, _CODING), chosen, opens, joins]))
    return _bytes(min(candidates, key=len))


def decode_labels(stored: Tensor, total: int, width: int, groups: int, where: str) -> tuple[int, ...]:
    """Unpack labels that :func:`encode_labels` packed; the caller must check that they fit the layer.

    Args:
        stored: the bytes.
        total: number of arriving inputs, a multiple of ``groups``.
        width: inputs of the smaller layer, a multiple of ``groups``.
        groups: groups of the layer.
        where: the beginning of messages.

    Raises:
        FileFormatError: the bytes are not such labels.
    """
    stream = _Stream(stored, where, _most_bits(total) + _CODING + total * (1 + width.bit_length()))
    coding = stream.number(_CODING)
    if coding == _PLAIN:
        labels = stream.numbers(total, width) - 1
    elif coding in (_CHOSEN, _TIED):
        alive = _read_set(stream, total)
        group = (np.arange(total) // max(1, total // groups))[alive]
        opens = stream.take(len(group)) if coding == _TIED else np.ones(len(group), dtype=bool)
        local = np.zeros(len(group), dtype=np.int64)
        local[opens] = _ranks(group[opens])
        local[~opens] = stream.numbers(int((~opens).sum()), width // groups - 1)
        if (local >= width // groups).any():
            raise FileFormatError(f"{where}: more inputs are chosen than its width of {width}")
        labels = np.full(total, PRUNED, dtype=np.int64)
        labels[alive] = group * (width // groups) + local
    else:
        raise FileFormatError(f"{where}: its labels are in an unknown coding {coding}")
    stream.finish()
    return tuple(labels.tolist())


def _ranks(groups: Numbers) -> Numbers:
    """Return each entry's place within its group, for a non-decreasing list of groups."""
    ranks: Numbers = np.arange(len(groups)) - np.searchsorted(groups, groups)
    return ranks


def _set_bits(mask: Bits) -> Bits:
    total = len(mask)
    found = [np.concatenate([_number(_MASK, _CODING), mask])]
    for coding, listed in ((_MEMBERS, mask), (_OTHERS, ~mask)):
        numbers = np.flatnonzero(listed)
        parts = [_number(coding, _CODING), _number(len(numbers), total.bit_length()), _numbers(numbers, total - 1)]
        found.append(np.concatenate(parts))
    return min(found, key=len)


def _most_bits(total: int) -> int:
    """Return the number of bits of the longest coding of a set of numbers below ``total``."""
    return _CODING + total.bit_length() + total * max(1, total.bit_length())


def _read_set(stream: _Stream, total: int) -> Bits:
    coding = stream.number(_CODING)
    if coding == _MASK:
        return stream.take(total)
    if coding not in (_MEMBERS, _OTHERS):
        raise FileFormatError(f"{stream.where}: a set is in an unknown coding {coding}")
    count = stream.number(total.bit_length())
    numbers = stream.numbers(count, total - 1)
    if (np.diff(numbers) <= 0).any() or (numbers >= total).any():
        raise FileFormatError(f"{stream.where}: the numbers of a set must increase and be below {total}")
    mask = np.full(total, coding == _OTHERS)
    mask[numbers] = coding == _MEMBERS
    return mask


def _number(value: int, bits: int) -> Bits:
    found: Bits = (np.int64(value) >> np.arange(bits) & 1).astype(bool)
    return found


def _numbers(values: Numbers, largest: int) -> Bits:
    """Return the bits of numbers in 0 … largest, each in as many bits as the largest needs."""
    places = np.arange(max(0, largest).bit_length())
    found: Bits = (values[:, None] >> places & 1).astype(bool).ravel()
    return found


def _bytes(bits: Bits) -> Tensor:
    return from_numpy(np.packbits(bits, bitorder="little"))


class _Stream:
    """Bits read from the front; reading past the end raises FileFormatError."""

    def __init__(self, stored: Tensor, where: str, most: int) -> None:
        self.where = where
        if stored.dtype != uint8 or stored.ndim != 1:
            raise FileFormatError(f"{where}: packed bits must be a list of uint8, got {stored.dtype}, {stored.ndim}-D")
        if len(stored) > most // 8 + _SPARE:  # before memory is taken for them
            raise FileFormatError(f"{where}: {len(stored)} bytes of packed bits, where {most} bits are the most")
        self.bits: Bits = np.unpackbits(stored.numpy(), bitorder="little").view(bool)
        self.place = 0

    def take(self, count: int) -> Bits:
        found = self.bits[self.place : self.place + count]
        if len(found) != count:
            raise FileFormatError(
                f"{self.where}: {count} bits are expected, but the packed bits end after {len(found)}"
            )
        self.place += count
        return found

    def number(self, bits: int) -> int:
        return int(self.numbers(1, (1 << bits) - 1)[0])

    def numbers(self, count: int, largest: int) -> Numbers:
        size = max(0, largest).bit_length()
        bits = self.take(count * size).reshape(count, size)
        found: Numbers = np.zeros(count, dtype=np.int64)
        for place in range(size):
            found |= bits[:, place].astype(np.int64) << place
        return found

    def finish(self) -> None:
        rest = self.bits[self.place :]
        if len(rest) >= 8 or rest.any():
            raise FileFormatError(f"{self.where}: {len(rest)} packed bits are left over, or not zero")
