"""Heads of attention, family by family: those that hardly matter are removed whole, with all that makes them."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import torch_growl as tg
from tests.support.attention_networks import FAMILIES, HEADS, WIDTH, built, gpt2_with_cache
from tests.support.compaction_checks import by_name
from torch_growl.networks.execution import split_examples, unpack_heads_
from torch_growl.networks.moments import float_outputs
from torch_growl.networks.targets import Counter, Left

SIZE = WIDTH // HEADS
FAST = ("layers of one's own", "nn.MultiheadAttention")


def scale_head_(model: nn.Module, reader: str, head: int, factor: float) -> None:
    weight = model.get_submodule(reader).weight
    assert isinstance(weight, torch.Tensor)
    rows = weight if reader.endswith("c_proj") else weight.T  # Conv1D of transformers has its rows first
    with torch.no_grad():
        rows[SIZE * head : SIZE * (head + 1)] *= factor


def weights(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(
    "family", [pytest.param(name, marks=() if name in FAST else pytest.mark.slow) for name in FAMILIES]
)
def test_a_head_that_hardly_matters_is_removed_whole(family: str, tmp_path: Path) -> None:
    model, inputs, reader = built(family)
    weak = range(2)  # the queries of one group go together
    for head in weak:
        scale_head_(model, reader, head, 1e-3)
    batches = [inputs() for _ in range(2)]
    small = tg.shrink(model, batches, tg.Target(weights=0.6))
    cuts = by_name(small)
    assert cuts[reader].width <= WIDTH - SIZE, cuts
    made: list[object] = [cut for cut in cuts.values() if cut.kept is not None and cut.outputs_left % SIZE == 0]
    made += [cut for cut in tg.structure_of(small).parameters if cut.names[0] == "in_proj_weight"]
    packed = family.startswith(("GPT-2", "ViT of timm", "nn."))
    assert len(made) >= (1 if packed else 3), "what makes queries, keys and values"

    pruned = copy.deepcopy(model)
    for head in weak:
        scale_head_(pruned, reader, head, 0.0)
    exact = tg.compact(pruned, batches[0])
    tg.save(exact, tmp_path / "file")
    loaded = tg.load(tmp_path / "file", built(family)[0])
    for batch in split_examples(batches):
        wanted = float_outputs(pruned, batch)
        for network in (exact, loaded):
            torch.testing.assert_close(float_outputs(network, batch), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_heads_whose_keys_and_values_are_outputs_stay_with_a_warning_and_the_cache_works_on_smaller_ones() -> None:
    torch.manual_seed(0)
    model, inputs, reader = gpt2_with_cache()
    batches = [inputs() for _ in range(2)]
    with pytest.warns(tg.GrowlWarning, match=r"of 'transformer\.h\.0\.attn\.c_attn': .* use_cache=False"):
        small = tg.shrink(model, batches, tg.Target(weights=0.9))
    assert by_name(small)[reader].arriving is None
    scale_head_(model.eval(), reader, 1, 0.0)
    small = tg.compact(model, {**batches[0], "use_cache": False})
    assert by_name(small)[reader].width == WIDTH - SIZE
    ids = batches[0]["input_ids"]
    for network in (model, small):
        network.generation_config.update(max_new_tokens=6, do_sample=False, pad_token_id=0, eos_token_id=None)
    with torch.no_grad():
        torch.testing.assert_close(small.generate(ids), model.generate(ids))
        past = small(ids[:, :5]).past_key_values
        torch.testing.assert_close(
            small(ids[:, 5:], past_key_values=past).logits, model(ids).logits[:, 5:], rtol=1e-4, atol=1e-5
        )


@pytest.mark.parametrize(
    "family", ["nn.MultiheadAttention", pytest.param("nn.TransformerEncoderLayer", marks=pytest.mark.slow)]
)
def test_what_is_left_without_heads_of_torchs_attention_is_counted_in_every_measure(family: str) -> None:
    model, inputs, reader = built(family)
    x, pruned = inputs(), copy.deepcopy(model)
    unpack_heads_(model)
    counter, gone = Counter(model, x), np.arange(WIDTH) < 2 * SIZE
    for head in range(2):
        scale_head_(pruned, reader, head, 0.0)
    found = tg.measure(tg.compact(pruned, x), x, latency=False)
    assert counter.left({reader: gone}) == Left(found.weights, found.macs, found.bytes)
