"""The structure of a compact network is a plain value that survives copying and pickling."""

from __future__ import annotations

import copy
import pickle

import torch

from tests.support.compact_battery import pruned_mlp
from torch_growl.networks.compaction.compactor import compact
from torch_growl.networks.compaction.structure import Structure, structure_of


def test_the_record_survives_copying_and_pickling() -> None:
    small = compact(pruned_mlp(), torch.randn(3, 20))
    record = structure_of(small)
    assert structure_of(copy.deepcopy(small)) == record
    assert pickle.loads(pickle.dumps(record)) == record
    assert isinstance(record, Structure)
    assert "20 → 16" in str(record)
