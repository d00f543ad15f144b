"""Sorting of magnitudes in descending order with their places, which takes most of the time of the sorted-ℓ1 prox.

A value becomes one 64-bit word ``key << 32 | place << 1 | sign``. IEEE bits of non-negative floats sort as integers, so
``key`` is the distance of |v|'s bits from the largest one's: all of them for float32, the leading 31 of those that
differ for float64. Two radix passes over the leading bits order all but close neighbours, insertion sort does the rest;
if values are so close together that insertion would take long, a merge sort replaces it, so time is O(n log n) for
every input. Values that are certainly zero in the prox are left out before.

Used by :mod:`torch_growl.mathematics.owl.prox_kernel`. Everything here works on one vector, ``v[lo:hi]`` of a longer
array.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from torch_growl.mathematics.compiled.compilation import jit

__all__ = ["descending32", "descending64"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Floats32 = NDArray[np.float32]
Ints32 = NDArray[np.int32]

_SMALL = 24  # below this length, insertion alone is fastest
_PATIENCE = 8  # insertion sort is given up after this number of moves per value
_PLACE = (1 << 31) - 1
_ABS32 = (1 << 31) - 1
_ABS64 = (1 << 63) - 1


@jit
def _digit(m: int) -> int:
    """Return the bits of a radix digit, as measured: few counters for short vectors, few collisions for long ones."""
    if m < 256:
        return 5
    if m < 2048:
        return 8
    if m < 8192:
        return 9
    return 11 if m < 131072 else 12


@jit
def _radix(words: Ints, spare: Ints, m: int, shift: int, digit: int) -> None:
    """Sort ``words[:m]`` by the 2·digit bits above ``shift``, ascending and stable; ``spare`` is overwritten."""
    width = 1 << digit
    mask = width - 1
    count = np.zeros(2 * width, np.int32)
    for k in range(m):
        key = words[k] >> shift
        count[key & mask] += 1
        count[width + ((key >> digit) & mask)] += 1
    low, high = 0, 0
    for d in range(width):
        here = count[d]
        count[d] = low
        low += here
        here = count[width + d]
        count[width + d] = high
        high += here
    for k in range(m):
        word = words[k]
        d = (word >> shift) & mask
        spare[count[d]] = word
        count[d] += 1
    shift += digit
    for k in range(m):
        word = spare[k]
        d = width + ((word >> shift) & mask)
        words[count[d]] = word
        count[d] += 1


@jit
def _insert_words(words: Ints, m: int, patience: int) -> bool:
    """Sort nearly sorted words by insertion; returns False, leaving a permutation, after about ``patience`` moves."""
    patience += _SMALL * _SMALL  # small vectors are always finished
    for k in range(1, m):
        word = words[k]
        j = k - 1
        if words[j] > word:
            while j >= 0 and words[j] > word:
                words[j + 1] = words[j]
                j -= 1
            words[j + 1] = word
            patience -= k - 1 - j
            if patience < 0:
                return False
    return True


@jit
def _insert(y: Floats, words: Ints, m: int, patience: int) -> bool:
    """Sort values in descending order, each with its word, as :func:`_insert_words` sorts words."""
    patience += _SMALL * _SMALL
    for k in range(1, m):
        value = y[k]
        j = k - 1
        if y[j] < value:
            word = words[k]
            while j >= 0 and y[j] < value:
                y[j + 1] = y[j]
                words[j + 1] = words[j]
                j -= 1
            y[j + 1] = value
            words[j + 1] = word
            patience -= k - 1 - j
            if patience < 0:
                return False
    return True


@jit
def _merge(y: Floats, words: Ints, m: int) -> None:
    """Sort values in descending order, each with its word, by a stable merge sort; allocates memory."""
    spare_y, spare_words = np.empty(m, np.float64), np.empty(m, np.int64)
    a, a_words, b, b_words = y, words, spare_y, spare_words
    width, rounds = 1, 0
    while width < m:
        for start in range(0, m, 2 * width):
            left, middle, end = start, min(start + width, m), min(start + 2 * width, m)
            right = middle
            for k in range(start, end):
                if left < middle and (right == end or a[left] >= a[right]):
                    b[k], b_words[k] = a[left], a_words[left]
                    left += 1
                else:
                    b[k], b_words[k] = a[right], a_words[right]
                    right += 1
        a, a_words, b, b_words = b, b_words, a, a_words
        width *= 2
        rounds += 1
    if rounds % 2 == 1:
        y[:m] = spare_y[:m]
        words[:m] = spare_words[:m]


@jit
def _window(widest: int, digit: int) -> int:
    """Return the number of low bits that two passes leave out, for keys up to ``widest``."""
    bits = 0
    while widest >> bits:
        bits += 1
    return max(0, bits - 2 * digit)


@jit
def descending32(v: Floats32, lo: int, hi: int, screen: float, words: Ints, spare: Ints, y: Floats) -> int:
    """Sort |v[lo:hi]| descending.

    Args:
        v: ``(n,)`` float32, finite.
        lo, hi: the part to sort, at most 2³¹ − 1 values.
        screen: values not larger than this, and zeros, are left out.
        words, spare: at least ``(hi − lo,)``, written: words in order, then those left out, by place.
        y: at least ``(hi − lo,)``, written: the magnitudes in order.

    Returns:
        The number of values that were not left out.
    """
    n = hi - lo
    bits = v.view(np.int32)
    screen = max(screen, 0.0)
    top = 0
    for k in range(lo, hi):
        top = max(top, int(bits[k] & _ABS32))
    m, widest = 0, 0
    for i in range(n):  # both places are written and one is kept: a branch here would be mispredicted half the time
        key = top - int(bits[lo + i] & _ABS32)
        word = (key << 32) | (i << 1) | int(bits[lo + i] < 0)
        stays = int(abs(v[lo + i]) > screen)
        words[m] = word
        spare[n - 1 - (i - m)] = word
        widest |= key * stays
        m += stays
    return _finish32(words, spare, y, n, m, top, widest)


@jit
def _finish32(words: Ints, spare: Ints, y: Floats, n: int, m: int, top: int, widest: int) -> int:
    for k in range(m, n):
        words[k] = spare[n - 1 - (k - m)]
    if m >= _SMALL and widest:
        digit = _digit(m)
        _radix(words, spare, m, 32 + _window(widest, digit), digit)
    ordered = _insert_words(words, m, _PATIENCE * m)
    keys = spare.view(np.int32)
    for k in range(m):
        keys[k] = top - (words[k] >> 32)
    magnitudes = spare.view(np.float32)
    for k in range(m):
        y[k] = magnitudes[k]
    if not ordered:
        _merge(y, words, m)
    return m


@jit
def descending64(
    v: Floats, lo: int, hi: int, screen: float, words: Ints, spare: Ints, y: Floats, before: Ints32
) -> int:
    """Sort |v[lo:hi]| descending, as :func:`descending32` does, for float64.

    Args:
        before: ``(hi − lo,)``, the sorted order of an earlier, similar vector, which is tried first; or empty.
    """
    n = hi - lo
    bits = v.view(np.int64)
    screen = max(screen, 0.0)
    top, bottom = 0, _ABS64
    for k in range(lo, hi):
        key = int(bits[k] & _ABS64)
        top = max(top, key)
        bottom = min(bottom, key if abs(v[k]) > screen else _ABS64)
    shift = 0
    while bottom <= top and (top - bottom) >> shift > _PLACE:
        shift += 1
    m = 0
    for k in range(n):
        i = k if len(before) == 0 else int(before[k])
        key = (top - int(bits[lo + i] & _ABS64)) >> shift
        word = (key << 32) | (i << 1) | int(bits[lo + i] < 0)
        words[m] = word
        spare[n - 1 - (k - m)] = word
        m += int(abs(v[lo + i]) > screen)
    for k in range(m, n):
        words[k] = spare[n - 1 - (k - m)]
    if len(before) > 0:
        for k in range(m):
            y[k] = abs(v[lo + ((words[k] >> 1) & _PLACE)])
        if _insert(y, words, m, 2 * m):
            return m
    if m >= _SMALL and top > bottom:
        digit = _digit(m)
        _radix(words, spare, m, 32 + _window((top - bottom) >> shift, digit), digit)
    for k in range(m):
        y[k] = abs(v[lo + ((words[k] >> 1) & _PLACE)])
    if not _insert(y, words, m, _PATIENCE * m):
        _merge(y, words, m)
    return m
