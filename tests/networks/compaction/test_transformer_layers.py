"""Torch's own transformer layers, whose fused kernel reads the weights of the layers inside them."""

from __future__ import annotations

import itertools
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.support.compaction_checks import by_name
from torch_growl.errors import GrowlWarning
from torch_growl.networks.compaction.compactor import compact
from torch_growl.networks.execution.fused_layers import fast_path
from torch_growl.networks.storage.compact_file import load, load_dense, save

pytestmark = pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning")  # torch gives it itself

WIDTH, HIDDEN = 24, 32
PRUNED = {
    "hidden units are removed": lambda layer: layer.linear2.weight[:, 5:].zero_(),
    "inputs are selected": lambda layer: layer.linear1.weight[:, 4:].zero_(),
    "inputs are summed": lambda layer: layer.linear1.weight[:, 6:].copy_(layer.linear1.weight[:, :1].repeat(1, 18)),
    "hidden units are removed and summed": lambda layer: layer.linear2.weight[:, 5:].copy_(
        torch.cat([layer.linear2.weight[:, :1].repeat(1, 9), layer.linear2.weight.new_zeros(WIDTH, 18)], 1)
    ),
}


def network(prune: str | None = None, layers: int = 2, **settings: Any) -> nn.Module:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(WIDTH, 4, HIDDEN, batch_first=True, **settings)
    nested = not layer.norm_first and bool(layer.activation_relu_or_gelu)
    model = nn.TransformerEncoder(layer, layers, enable_nested_tensor=nested).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
        for one in model.layers:
            if prune is not None:
                PRUNED[prune](one)
    return model


def examples() -> dict[str, dict[str, Tensor]]:
    """A batch, one sequence, and a batch with padding at the end, for which torch makes a nested tensor."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(3, 7, WIDTH, generator=generator)
    padding = torch.arange(7) >= torch.tensor([[7], [4], [5]])
    return {"batch": {"src": x}, "sequence": {"src": x[0]}, "padded": {"src": x, "src_key_padding_mask": padding}}


def assert_same_in_both_ways(model: nn.Module, small: nn.Module) -> None:
    for inputs, enabled in itertools.product(examples().values(), (True, False)):
        with torch.no_grad(), fast_path(enabled):
            wanted, found = model(**inputs), small(**inputs)
        assert (found - wanted).abs().max() < 1e-5 * wanted.abs().max()
        torch.testing.assert_close(small(**inputs).detach(), model(**inputs).detach(), rtol=1e-4, atol=1e-4)


# every example with the defaults, and one of them with each other pair of settings
SETTINGS = list(itertools.product([False, True], ["relu", "gelu", F.silu]))
EVERY = [(*SETTINGS[0], example) for example in examples()]
EVERY += [(*one, list(examples())[number % 3]) for number, one in enumerate(SETTINGS[1:])]


@pytest.mark.slow
@pytest.mark.parametrize("prune", PRUNED)
@pytest.mark.parametrize(("norm_first", "activation", "example"), EVERY)
def test_an_encoder_is_cut_and_right_with_and_without_the_fast_path(
    norm_first: bool, activation: Any, prune: str, example: str, tmp_path: Path
) -> None:
    settings = {"norm_first": norm_first, "activation": activation}
    model = network(prune, **settings)
    small = compact(model, examples()[example])
    for number in range(2):
        first, second = (by_name(small)[f"layers.{number}.linear{k}"] for k in (1, 2))
        if prune.startswith("hidden"):
            assert first.outputs_left < HIDDEN / 2
            assert second.width == 5
        else:
            assert first.width < 7
    assert_same_in_both_ways(model, small)
    save(small, tmp_path / "f")
    assert_same_in_both_ways(model, load(tmp_path / "f", network(**settings)))
    assert_same_in_both_ways(model, load_dense(tmp_path / "f", network(**settings)))


def fused(model: nn.Module) -> bool:
    with torch.no_grad(), torch.profiler.profile() as profile:
        model(**examples()["batch"])
    return any("_transformer_encoder_layer_fwd" in event.key for event in profile.key_averages())


@pytest.mark.slow
@pytest.mark.parametrize("prune", PRUNED)
def test_the_fused_kernel_is_left_only_where_inputs_are_selected_or_summed(prune: str) -> None:
    model = network(prune)
    assert fused(model)
    assert fused(compact(model, examples()["batch"])) == (prune == "hidden units are removed")
    assert fused(model)


def test_a_nested_tensor_is_an_input_of_the_compact_layer_too() -> None:
    model = network("inputs are summed", layers=1).layers[0]
    small = compact(model, torch.randn(2, 5, WIDTH))
    x = torch.nested.nested_tensor([torch.randn(3, WIDTH), torch.randn(6, WIDTH)])
    with torch.no_grad():
        for found, wanted in zip(small(x).unbind(), model(x).unbind(), strict=True):
            torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:enable_nested_tensor is True:UserWarning")
@pytest.mark.parametrize("norm_first", [False, True])
def test_a_decoder_layer_and_a_whole_transformer_are_cut(norm_first: bool) -> None:
    torch.manual_seed(0)
    layer = nn.TransformerDecoderLayer(WIDTH, 4, HIDDEN, batch_first=True, norm_first=norm_first).eval()
    whole = nn.Transformer(WIDTH, 4, 1, 1, HIDDEN, batch_first=True, norm_first=norm_first).eval()
    inputs = (torch.randn(3, 7, WIDTH), torch.randn(3, 5, WIDTH))
    for model in (layer, whole):
        with torch.no_grad():
            for module in model.modules():
                if isinstance(module, nn.TransformerEncoderLayer | nn.TransformerDecoderLayer):
                    module.linear1.weight[:, 4:] = 0
                    module.linear2.weight[:, 8:] = 0
        small = compact(model, inputs)
        cuts = by_name(small)
        assert all(cut.width == 4 and cut.outputs_left == 8 for name, cut in cuts.items() if name.endswith("linear1"))
        for enabled in (True, False):
            with torch.no_grad(), fast_path(enabled):
                torch.testing.assert_close(small(*inputs), model(*inputs), rtol=1e-4, atol=1e-4)


def without_heads_(model: nn.Module, heads: int) -> nn.Module:
    """Set all that reads the first heads of every attention of torch to zero."""
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.MultiheadAttention):
                module.out_proj.weight[:, : heads * module.head_dim] = 0
    return model


def attentions(model: nn.Module) -> list[nn.MultiheadAttention]:
    return [module for module in model.modules() if isinstance(module, nn.MultiheadAttention)]


@pytest.mark.parametrize("example", ["batch", pytest.param("padded", marks=pytest.mark.slow)])
def test_whole_heads_of_torchs_attention_are_removed(example: str, tmp_path: Path) -> None:
    model = without_heads_(network(layers=2), 1)
    without_heads_(model.layers[1], 3)
    small = compact(model, examples()[example])
    assert [(a.num_heads, tuple(a.in_proj_weight.shape)) for a in attentions(small)] == [(3, (54, 24)), (1, (18, 24))]
    assert_same_in_both_ways(model, small)
    save(small, tmp_path / "f")
    assert_same_in_both_ways(model, load(tmp_path / "f", network()))
    dense = load_dense(tmp_path / "f", network())
    assert_same_in_both_ways(model, dense)
    assert [type(a) for a in attentions(dense)] == [nn.MultiheadAttention] * 2
    without_heads_(small.layers[0], 1)
    with pytest.warns(GrowlWarning, match="compact already"):
        again = compact(small, examples()[example])
    assert [a.num_heads for a in attentions(again)] == [2, 1]
    save(again, tmp_path / "g")
    assert_same_in_both_ways(small, load(tmp_path / "g", small))


class Attends(nn.Module):
    """An attention of torch with what may keep its heads."""

    def __init__(self, keeps: str = "", **settings: Any) -> None:
        super().__init__()
        self.attention, self.last = nn.MultiheadAttention(WIDTH, 4, batch_first=True, **settings), nn.Linear(WIDTH, 3)
        self.keeps = keeps

    def forward(self, x: Tensor) -> Any:
        other = self.attention.in_proj_weight.sum() if self.keeps == "read before" else 0
        mask = torch.zeros(4 * len(x), x.shape[1], x.shape[1]) if self.keeps == "mask" else None
        y, weights = self.attention(x, x, x, attn_mask=mask)
        other = self.attention.in_proj_weight.sum() if self.keeps == "read after" else other
        y = self.last(y) + (weights.mean() if self.keeps == "weights" else other)
        return (y, weights) if self.keeps == "weights out" else y


@pytest.mark.parametrize(
    ("keeps", "settings"),
    [*((keeps, {}) for keeps in ("", "read before", "read after", "mask", "weights", "weights out")),
     ("", {"add_bias_kv": True}), ("", {"add_zero_attn": True}), ("", {"bias": False})],
)  # fmt: skip
def test_heads_stay_where_other_code_reads_them(keeps: str, settings: dict[str, Any]) -> None:
    torch.manual_seed(0)
    model, x = without_heads_(Attends(keeps, **settings).eval(), 1), torch.randn(3, 5, WIDTH)
    stays = bool(keeps) or bool(settings.keys() & {"add_bias_kv", "add_zero_attn"})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", GrowlWarning)
        small = compact(model, x)
    assert [a.num_heads for a in attentions(small)] == [4 if stays else 3]
    torch.testing.assert_close(small(x), model(x), rtol=1e-4, atol=1e-5)
