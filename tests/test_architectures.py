"""Real architectures, rows zeroed and tied by chance: the compact network answers as the dense one, and is smaller.

How much smaller, in which form and why, and what Torch-Pruning makes of the same networks, is in
docs/architectures.md, made by ``python -m benchmarks.architectures``.
"""

from __future__ import annotations

import pytest
import torch

import torch_growl as tg
from benchmarks.zoo import ARCHITECTURES, SOURCES, build, fresh_inputs
from benchmarks.zoo.compare import difference, spread
from benchmarks.zoo.damage import damage_

TOLERANCE = 1e-5


def test_the_families_are_there() -> None:
    assert len(ARCHITECTURES) == sum(map(len, SOURCES.values())) >= 48
    assert min(len(SOURCES["torchvision"]) - 18, len(SOURCES["timm"]) - 12, len(SOURCES["transformers"]) - 8) > 0


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_damaged_network_is_compacted_exactly(name: str) -> None:
    model, inputs = build(name)
    damage_(model)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    small = tg.compact(model, inputs)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    fresh = fresh_inputs(inputs, 7)
    assert spread(model, fresh, inputs) > 100 * TOLERANCE  # one that answers the same to everything proves nothing
    assert difference(model, small, fresh) <= TOLERANCE
    dense_size, size = (tg.measure(network, inputs, latency=False) for network in (model, small))
    assert size.weights < dense_size.weights
    assert size.macs <= dense_size.macs
