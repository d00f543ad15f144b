"""Packed sets and labels: what goes in comes out, in as few bits as the codings allow."""

from __future__ import annotations

import contextlib
import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from torch_growl.errors import FileFormatError
from torch_growl.networks.storage.bit_packing import decode_labels, decode_set, encode_labels, encode_set


@st.composite
def sets(draw: st.DrawFn) -> tuple[tuple[int, ...], int]:
    total = draw(st.integers(1, 300))
    count = draw(st.sampled_from([0, 1, total // 2, total - 1, total]))
    chance = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return tuple(sorted(chance.choice(total, count, replace=False).tolist())), total


@pytest.mark.slow
@given(sets())
@settings(max_examples=300, deadline=None)
def test_sets_come_back(case: tuple[tuple[int, ...], int]) -> None:
    members, total = case
    stored = encode_set(members, total)
    assert stored.dtype == torch.uint8
    assert decode_set(stored, total, "x") == members
    assert len(stored) <= (total + 2 + 7) // 8  # never more than a mask
    listed = 2 + total.bit_length() + min(len(members), total - len(members)) * (total - 1).bit_length()
    assert len(stored) <= (listed + 7) // 8


@st.composite
def labelled(draw: st.DrawFn) -> tuple[tuple[int, ...], int, int]:
    """Labels, width and groups: in order of first appearance or not, with padding or not."""
    groups, per_group = draw(st.sampled_from([1, 1, 1, 2, 3])), draw(st.integers(1, 90))
    width = draw(st.integers(1, per_group))
    chance = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kind = draw(st.sampled_from(["any", "selected", "tied"]))
    labels: list[int] = []
    for group in range(groups):
        if kind == "selected":
            own = np.full(per_group, -1)
            chosen = np.sort(chance.choice(per_group, min(width, per_group), replace=False))
            own[chosen] = np.arange(len(chosen))
        else:
            own = chance.integers(-1, width, per_group)
            if kind == "tied":
                order = {label: number for number, label in enumerate(dict.fromkeys(own[own >= 0].tolist()))}
                own = np.array([order.get(label, -1) for label in own.tolist()])
        labels += np.where(own < 0, -1, own + group * width).tolist()
    return tuple(labels), width * groups, groups


@pytest.mark.slow
@given(labelled())
@settings(max_examples=500, deadline=None)
def test_labels_come_back(case: tuple[tuple[int, ...], int, int]) -> None:
    labels, width, groups = case
    stored = encode_labels(labels, width, groups)
    assert decode_labels(stored, len(labels), width, groups, "x") == labels
    assert len(stored) <= (2 + len(labels) * width.bit_length() + 7) // 8  # never more than ⌈log2⌉ bits a value


def test_how_many_bytes_labels_take() -> None:
    chance = np.random.default_rng(0)
    alive = np.sort(chance.choice(784, 370, replace=False))
    labels = np.full(784, -1)
    labels[alive] = np.concatenate([np.arange(87), chance.integers(0, 87, 283)])
    bits = 2 + 2 + 784 + 370 + 283 * 7  # codings, which are alive, which open a group, the others' groups
    assert len(encode_labels(tuple(labels.tolist()), 87, 1)) == (bits + 7) // 8 == 393
    assert len(encode_labels(tuple(range(4096)), 4096, 1)) == 3  # nothing dropped: the empty list of others
    few = np.full(4096, -1)
    few[[5, 70, 4000]] = [0, 1, 2]
    assert len(encode_labels(tuple(few.tolist()), 3, 1)) == (2 + 2 + 13 + 3 * 12 + 7) // 8


@pytest.mark.slow
@given(st.binary(max_size=40), st.integers(1, 3), st.integers(1, 60), st.integers(1, 60))
@settings(max_examples=500, deadline=None)
def test_any_bytes_are_labels_or_refused(data: bytes, groups: int, per_group: int, width: int) -> None:
    stored = torch.tensor(list(data), dtype=torch.uint8)
    total = per_group * groups
    with contextlib.suppress(FileFormatError):
        assert len(decode_labels(stored, total, min(width, per_group) * groups, groups, "x")) == total
    with contextlib.suppress(FileFormatError):
        members = decode_set(stored, total, "x")
        assert list(members) == sorted(set(members))
        assert all(0 <= member < total for member in members)


@pytest.mark.parametrize("total", [1, 2, 7, 8, 9, 64, 1000])
def test_left_over_bits_are_refused(total: int) -> None:
    stored = encode_set((0,), total)
    with pytest.raises(FileFormatError, match="left over"):
        decode_set(torch.cat([stored, torch.zeros(1, dtype=torch.uint8)]), total, "x")


def test_a_table_that_is_longer_than_any_coding_is_refused_before_it_is_unpacked() -> None:
    table = torch.zeros(10_000_000, dtype=torch.uint8)
    tracemalloc.start()
    try:
        for decode in (lambda: decode_set(table, 100, "x"), lambda: decode_labels(table, 100, 10, 1, "x")):
            with pytest.raises(FileFormatError, match="x: 10000000 bytes of packed bits, where .* bits are the most"):
                decode()
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()
