"""Tiny random networks with attention, of the families whose heads can be removed; nothing is downloaded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

WIDTH, HEADS, HIDDEN = 24, 4, 20
Built = tuple[nn.Module, Callable[[], Any], str]  # the network, a batch of inputs, the layer that reads the heads


def _images() -> Tensor:
    return torch.randn(6, 3, 8, 8)


def _tokens() -> dict[str, Tensor]:
    return {"input_ids": torch.randint(1, 40, (6, 9))}


def _padded() -> dict[str, Tensor]:
    return {**_tokens(), "attention_mask": (torch.arange(9) < torch.tensor([[9], [4], [9], [6], [9], [9]])).long()}


def _vit(implementation: str) -> Built:
    from transformers import ViTConfig, ViTForImageClassification

    config = ViTConfig(
        hidden_size=WIDTH, num_hidden_layers=1, num_attention_heads=HEADS, intermediate_size=HIDDEN, image_size=8,
        patch_size=4, num_labels=5, attn_implementation=implementation,
    )  # fmt: skip
    return ViTForImageClassification(config), _images, "vit.layers.0.attention.o_proj"


def _bert(implementation: str) -> Built:
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(
        vocab_size=40, hidden_size=WIDTH, num_hidden_layers=1, num_attention_heads=HEADS, intermediate_size=HIDDEN,
        max_position_embeddings=16, num_labels=3, attn_implementation=implementation,
    )  # fmt: skip
    return BertForSequenceClassification(config), _padded, "bert.encoder.layer.0.attention.output.dense"


def _distilbert(implementation: str) -> Built:
    from transformers import DistilBertConfig, DistilBertForSequenceClassification

    config = DistilBertConfig(
        vocab_size=40, dim=WIDTH, n_layers=1, n_heads=HEADS, hidden_dim=HIDDEN, max_position_embeddings=16,
        num_labels=3, attn_implementation=implementation,
    )  # fmt: skip
    return DistilBertForSequenceClassification(config), _padded, "distilbert.transformer.layer.0.attention.out_lin"


def _gpt2(implementation: str, cache: bool = False) -> Built:
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=40, n_embd=WIDTH, n_layer=1, n_head=HEADS, n_inner=HIDDEN, n_positions=24, bos_token_id=0,
        eos_token_id=0, tie_word_embeddings=False, use_cache=cache, attn_implementation=implementation,
    )  # fmt: skip
    return GPT2LMHeadModel(config), _tokens, "transformer.h.0.attn.c_proj"


def _llama(implementation: str, groups: int) -> Built:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=40, hidden_size=WIDTH, num_hidden_layers=1, num_attention_heads=HEADS, num_key_value_heads=groups,
        intermediate_size=HIDDEN, max_position_embeddings=24, use_cache=False, attn_implementation=implementation,
    )  # fmt: skip
    return LlamaForCausalLM(config), _tokens, "model.layers.0.self_attn.o_proj"


def _timm() -> Built:
    from timm.models.vision_transformer import VisionTransformer

    model = VisionTransformer(
        img_size=8, patch_size=4, embed_dim=WIDTH, depth=1, num_heads=HEADS, mlp_ratio=1.25, num_classes=5
    )
    return model, _images, "blocks.0.attn.proj"


class Separate(nn.Module):
    """Attention with a layer each for queries, keys and values; its code has the size of a head in it."""

    def __init__(self, size: int = WIDTH // HEADS) -> None:
        super().__init__()
        self.first, self.last, self.size = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 4), size
        self.query, self.key, self.value = (nn.Linear(WIDTH, WIDTH) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        shape = (*x.shape[:2], -1, self.size)
        q, k, v = (layer(x).view(shape).transpose(1, 2) for layer in (self.query, self.key, self.value))
        y = nn.functional.scaled_dot_product_attention(q, k, v)
        return self.last(y.transpose(1, 2).flatten(2))


class OfTorch(nn.Module):
    """An attention of torch, alone or in an encoder layer."""

    def __init__(self, layer: bool) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 4)
        self.encoder = nn.TransformerEncoderLayer(WIDTH, HEADS, HIDDEN, batch_first=True) if layer else None
        self.attention = None if layer else nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        y = self.attention(x, x, x)[0] if self.encoder is None else self.encoder(x)
        return self.last(y)


FAMILIES: dict[str, Callable[[], Built]] = {
    "ViT of transformers, eager": lambda: _vit("eager"),
    "ViT of transformers, sdpa": lambda: _vit("sdpa"),
    "BERT": lambda: _bert("sdpa"),
    "DistilBERT, eager": lambda: _distilbert("eager"),
    "GPT-2": lambda: _gpt2("sdpa"),
    "Llama, eager": lambda: _llama("eager", 4),
    "Llama, grouped queries": lambda: _llama("sdpa", 2),
    "ViT of timm": _timm,
    "nn.MultiheadAttention": lambda: (OfTorch(False), lambda: torch.randn(40, 5, WIDTH), "attention.out_proj"),
    "nn.TransformerEncoderLayer": lambda: (
        OfTorch(True),
        lambda: torch.randn(40, 5, WIDTH),
        "encoder.self_attn.out_proj",
    ),
    "layers of one's own": lambda: (Separate(), lambda: torch.randn(40, 5, WIDTH), "last"),
}


def built(name: str) -> Built:
    """A family's network in eval mode with weights of usual size, its inputs, and the layer that reads the heads."""
    torch.manual_seed(0)
    model, inputs, reader = FAMILIES[name]()
    for parameter in model.parameters():
        if parameter.ndim > 1:
            nn.init.normal_(parameter, std=0.3)
    return model.eval(), inputs, reader


def gpt2_with_cache() -> Built:
    """GPT-2 that returns the keys and values of all heads with every call."""
    return _gpt2("sdpa", cache=True)
