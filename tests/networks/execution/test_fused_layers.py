"""The switch of torch's fast path is put back, and networks with such layers are found at any depth."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from torch_growl.networks.execution.fused_layers import fast_path, has_fast_path


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("enabled", [True, False])
def test_the_switch_is_as_asked_in_the_block_and_as_before_after_it(before: bool, enabled: bool) -> None:
    with fast_path(before):
        with fast_path(enabled):
            assert torch.backends.mha.get_fastpath_enabled() == enabled
        assert torch.backends.mha.get_fastpath_enabled() == before


def test_an_error_in_the_block_leaves_the_switch_as_before() -> None:
    before = torch.backends.mha.get_fastpath_enabled()
    with pytest.raises(ZeroDivisionError), fast_path(not before):
        raise ZeroDivisionError
    assert torch.backends.mha.get_fastpath_enabled() == before


def test_transformer_layers_have_the_fast_path_at_any_depth() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, batch_first=True)
    assert has_fast_path(layer)
    assert has_fast_path(nn.Sequential(nn.Linear(8, 8), nn.Sequential(layer)))
    assert not has_fast_path(nn.Sequential(nn.Linear(8, 8), nn.MultiheadAttention(8, 2)))
