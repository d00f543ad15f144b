"""Ties and removals, compared with least squares for every choice of one more."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from torch_growl.mathematics.clustering import PRUNED, Partition
from torch_growl.networks.moments import Reader, merge_steps, merged_rows
from torch_growl.networks.moments.moments import Moments


def reader_of(n: int, taps: int, outputs: int, *, offset: bool = True) -> tuple[Reader, NDArray[np.float64]]:
    """A layer that reads correlated values whose means are not 0, and the values of 400 positions."""
    generator = np.random.default_rng(0)
    z = generator.normal(size=(400, n * taps)) @ (generator.normal(size=(n * taps, n * taps)) + 2 * np.eye(n * taps))
    z += 5 * generator.normal(size=n * taps)
    W = torch.from_numpy(generator.normal(size=(n * taps, outputs)))
    moments = Moments()
    moments.add(torch.from_numpy(z), torch.from_numpy(z) @ W)
    return Reader(moments, W, taps, offset), z


def least_error(reader: Reader, z: NDArray[np.float64], groups: list[list[int]]) -> float:
    """The mean squared error of the outputs, when each group of rows has one value and all others are removed."""
    taps = reader.taps
    inputs = np.concatenate([
        sum(z[:, row * taps : (row + 1) * taps] for row in members) for members in groups
    ], axis=1)  # fmt: skip
    if reader.offset:
        inputs, z = inputs - inputs.mean(0), z - z.mean(0)
    y = z @ reader.matrix.numpy()
    return float(np.square(y - inputs @ np.linalg.lstsq(inputs, y, rcond=None)[0]).sum())


def after(n: int, steps: list[tuple[int, int]]) -> list[list[int]]:
    """The groups of rows after some steps."""
    groups = {row: [row] for row in range(n)}
    for row, into in steps:
        members = groups.pop(row)
        if into != PRUNED:
            groups[into] += members
    return list(groups.values())


def best_choice(reader: Reader, z: NDArray[np.float64], groups: list[list[int]], *, removal: bool) -> float:
    """The least error after one more tie or removal, over all of them."""
    trials = [
        [*(own for own in groups if own is not first and own is not second), first + second]
        for first, second in combinations(groups, 2)
    ]
    trials += [[own for own in groups if own is not gone] for gone in groups] if removal else []
    return min(least_error(reader, z, trial) for trial in trials)


@pytest.mark.parametrize("removal", [True, False])
@pytest.mark.parametrize("offset", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize("taps", [1, 3])
def test_the_tie_or_removal_that_is_missed_least_is_next(taps: int, offset: bool, removal: bool) -> None:
    n = 7
    reader, z = reader_of(n, taps, 4, offset=offset)
    steps = merge_steps(reader, range(n), 1, removal=removal)
    assert len(steps) == n - 1
    assert any(into != PRUNED for _, into in steps)
    assert removal == any(into == PRUNED for _, into in steps)
    for number in range(n - 1):
        wanted = best_choice(reader, z, after(n, steps[:number]), removal=removal)
        assert least_error(reader, z, after(n, steps[: number + 1])) == pytest.approx(wanted, rel=1e-3)


def test_only_the_named_rows_change_and_at_least_some_stay() -> None:
    reader, _ = reader_of(40, 1, 3)
    steps = merge_steps(reader, range(5, 30), 9)
    assert len(steps) == 25 - 9
    assert {row for row, _ in steps} <= set(range(5, 30))
    assert {into for _, into in steps} <= {PRUNED, *range(5, 30)}
    assert len({row for row, _ in steps}) == len(steps), "a row goes once"


def test_zero_rows_and_ties_that_are_there_stay() -> None:
    reader, _ = reader_of(8, 2, 3)
    same = Partition((0, PRUNED, 1, 0, 2, 3, PRUNED, 4))
    reader.matrix[torch.tensor([2, 3, 12, 13])] = 0
    reader.matrix[6:8] = reader.matrix[:2]
    for groups in (4, 2, 1):
        found = merged_rows(reader, same, groups)
        assert found.n_groups == groups
        assert [label == PRUNED for label in found.labels] == [label == PRUNED for label in same.labels]
        assert found.labels[0] == found.labels[3]
    assert merged_rows(reader, same, 9) == same
