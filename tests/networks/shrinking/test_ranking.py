"""The order of removal, compared with least squares for every set of channels that is left."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from torch_growl.networks.moments import Reader
from torch_growl.networks.moments.moments import Moments
from torch_growl.networks.shrinking.channels import Alike
from torch_growl.networks.shrinking.ranking import ranked


@pytest.mark.parametrize("offset", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize("taps", [1, 3])
def test_the_channel_that_is_missed_least_goes_first(taps: int, offset: bool) -> None:
    generator = np.random.default_rng(0)
    n = 6
    mix = generator.normal(size=(n * taps, n * taps)) + np.eye(n * taps)
    readers, data = {}, {}
    for name, outputs in (("a", 4), ("b", 2)):
        z = generator.normal(size=(400, n * taps)) @ mix + 5 * generator.normal(size=n * taps)
        W = generator.normal(size=(n * taps, outputs))
        moments = Moments()
        moments.add(torch.from_numpy(z), torch.from_numpy(z @ W))
        readers[name] = Reader(moments, torch.from_numpy(W), taps, offset)
        z = z - z.mean(0) if offset else z
        data[name] = z, z @ W
    alike = Alike(("a", "b"), tuple({"a": np.array([i]), "b": np.array([n - 1 - i])} for i in range(n)))

    def error(left: list[int]) -> float:
        found = 0.0
        for name, (z, y) in data.items():
            rows = [int(alike.rows[channel][name][0]) for channel in left]
            columns = [row * taps + tap for row in rows for tap in range(taps)]
            rest = y - z[:, columns] @ np.linalg.lstsq(z[:, columns], y, rcond=None)[0]
            found += float(np.square(rest).sum() / np.square(y).sum())
        return found

    left, wanted = list(range(n)), []
    while len(left) > 1:
        best = min(left, key=lambda channel: error([c for c in left if c != channel]))
        wanted.append(best)
        left.remove(best)
    assert ranked(alike, readers) == wanted


def test_channels_that_are_gone_come_first_and_none_takes_over_to_them() -> None:
    """Channel 2 is a copy of channel 0, whose rows are as small as those of no other; it is gone already."""
    z = torch.randn(400, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    z[:, 2] = z[:, 0]
    W = torch.tensor([[3.0], [1.0], [0.0], [2.0]], dtype=torch.float64)
    moments = Moments()
    moments.add(z, z @ W)
    alike = Alike(("a",), tuple({"a": np.array([i])} for i in range(4)))
    assert ranked(alike, {"a": Reader(moments, W, 1)}, [2]) == [2, 1, 3]
