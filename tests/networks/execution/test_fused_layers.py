"""The switch of torch's fast path is put back, networks with such layers are found, attentions answer as torch's."""

from __future__ import annotations

import copy
import itertools
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from torch_growl.networks.execution.fused_layers import (
    FewerHeads,
    fast_path,
    has_fast_path,
    pack_heads_,
    unpack_heads_,
)


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


MASKS: dict[str, dict[str, Any]] = {
    "none": {},
    "padding": {"key_padding_mask": torch.arange(5) >= torch.tensor([[5], [3]])},
    "added padding": {"key_padding_mask": torch.tensor([[0.0, 0, 0, -3, 0], [0.0, -9, 0, 0, 0]])},
    "causal": {"attn_mask": torch.ones(5, 5, dtype=torch.bool).triu(1), "is_causal": True},
    "causal and padding": {
        "attn_mask": torch.ones(5, 5, dtype=torch.bool).triu(1),
        "key_padding_mask": torch.arange(5) >= torch.tensor([[5], [3]]),
        "is_causal": True,
    },
    "of each head": {"attn_mask": torch.randn(6, 5, 5, generator=torch.Generator().manual_seed(0))},
}


@pytest.mark.parametrize("masks", MASKS)
@pytest.mark.parametrize(
    "widths", [{}, {"kdim": 10, "vdim": 8}, {"bias": False}], ids=["packed", "separate", "no bias"]
)
def test_an_attention_that_calls_its_projection_answers_as_torchs(widths: dict[str, Any], masks: str) -> None:
    for batch_first, (need, average) in itertools.product((True, False), ((True, True), (True, False), (False, True))):
        model = nn.MultiheadAttention(12, 3, batch_first=batch_first, **widths).eval()
        inputs = tuple(torch.randn(2, 5, size) for size in (12, model.kdim, model.vdim))
        inputs = inputs if "kdim" in widths else inputs[:1] * 3
        first = inputs if batch_first else tuple(x.transpose(0, 1) for x in inputs)
        alone = {key: mask[0] if "padding" in key else mask[:3] if masks == "of each head" else mask
                 for key, mask in MASKS[masks].items() if isinstance(mask, Tensor)} | {
                     key: mask for key, mask in MASKS[masks].items() if not isinstance(mask, Tensor)}  # fmt: skip
        for given, settings in ((first, MASKS[masks]), (tuple(x[0] for x in inputs), alone)):
            other = copy.deepcopy(model)
            assert unpack_heads_(other) == [""]
            wanted = model(*given, need_weights=need, average_attn_weights=average, **settings)
            found = other(*given, need_weights=need, average_attn_weights=average, **settings)
            torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


def test_a_whole_attention_is_torchs_own_again_and_one_with_fewer_heads_counts_them() -> None:
    model = nn.MultiheadAttention(12, 3)
    types = type(model), type(model.out_proj)
    unpack_heads_(model)
    assert (type(model), type(model.out_proj)) == (FewerHeads, nn.Linear)
    pack_heads_(model)
    assert (type(model), type(model.out_proj)) == types
    unpack_heads_(model)
    model.in_proj_weight = nn.Parameter(torch.randn(24, 12))
    pack_heads_(model)
    assert (type(model), model.num_heads) == (FewerHeads, 2)


@pytest.mark.parametrize("settings", [{"add_bias_kv": True}, {"add_zero_attn": True}], ids=lambda one: next(iter(one)))
def test_attentions_with_other_keys_stay_torchs(settings: dict[str, bool]) -> None:
    assert unpack_heads_(nn.MultiheadAttention(12, 3, **settings)) == []


def test_what_torchs_attention_refuses_is_refused() -> None:
    model, x = nn.MultiheadAttention(12, 3, batch_first=True), torch.randn(2, 5, 12)
    unpack_heads_(model)
    with pytest.raises(RuntimeError, match="is_causal needs attn_mask"):
        model(x, x, x, is_causal=True)
    with pytest.raises(RuntimeError, match="must be 6, batch times heads"):
        model(x, x, x, attn_mask=torch.zeros(8, 5, 5))
