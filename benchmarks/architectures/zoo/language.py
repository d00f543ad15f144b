"""Builds tiny text, speech and image networks of transformers, with random weights."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn

__all__ = ["BUILDERS"]

Built = tuple[nn.Module, Any]

_VOCABULARY = 97
_SHAPE = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 96}


def _tokens(length: int = 12) -> torch.Tensor:
    return torch.randint(3, _VOCABULARY, (2, length))


def _text(config: str, network: str, **settings: Any) -> Built:
    import transformers

    made = getattr(transformers, config)(vocab_size=_VOCABULARY, use_cache=False, **settings)
    return getattr(transformers, network)(made), {"input_ids": _tokens()}


def _gpt2() -> Built:
    """Build GPT-2, whose layers are of a type of transformers' own: a Linear with the transposed weight."""
    return _text("GPT2Config", "GPT2LMHeadModel", **_GPT2)


def _t5() -> Built:
    from transformers import T5Config, T5ForConditionalGeneration

    config = T5Config(
        vocab_size=_VOCABULARY, d_model=48, d_kv=12, d_ff=96, num_layers=2, num_heads=4, use_cache=False,
        decoder_start_token_id=0,
    )  # fmt: skip
    return T5ForConditionalGeneration(config), {"input_ids": _tokens(), "decoder_input_ids": _tokens(7)}


def _whisper() -> Built:
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    config = WhisperConfig(
        vocab_size=_VOCABULARY, num_mel_bins=16, d_model=48, encoder_layers=2, decoder_layers=2,
        encoder_attention_heads=4, decoder_attention_heads=4, encoder_ffn_dim=96, decoder_ffn_dim=96,
        max_source_positions=20, max_target_positions=20, pad_token_id=0, bos_token_id=1, eos_token_id=2,
        decoder_start_token_id=1, use_cache=False,
    )  # fmt: skip
    features = torch.randn(2, 16, 40)
    return WhisperForConditionalGeneration(config), {"input_features": features, "decoder_input_ids": _tokens(7)}


def _vit() -> Built:
    from transformers import ViTConfig, ViTForImageClassification

    config = ViTConfig(image_size=32, patch_size=8, num_labels=10, **_SHAPE)
    return ViTForImageClassification(config), {"pixel_values": torch.randn(2, 3, 32, 32)}


def _clip() -> Built:
    from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPVisionConfig

    text = CLIPTextConfig(
        vocab_size=_VOCABULARY, max_position_embeddings=16, pad_token_id=1, bos_token_id=0, eos_token_id=2, **_SHAPE
    )
    vision = CLIPVisionConfig(image_size=32, patch_size=8, **_SHAPE)
    config = CLIPConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=32)
    return CLIPModel(config), {"input_ids": _tokens(), "pixel_values": torch.randn(2, 3, 32, 32)}


_DISTIL = {"dim": 48, "hidden_dim": 96, "n_layers": 2, "n_heads": 4, "max_position_embeddings": 32}
_GPT2 = {"n_embd": 48, "n_layer": 2, "n_head": 4, "n_positions": 32, "bos_token_id": 1, "eos_token_id": 2}
_GROUPED = {**_SHAPE, "num_key_value_heads": 2, "max_position_embeddings": 32}

BUILDERS: dict[str, Callable[[], Built]] = {
    "BERT": partial(_text, "BertConfig", "BertForSequenceClassification", max_position_embeddings=32, **_SHAPE),
    "DistilBERT": partial(_text, "DistilBertConfig", "DistilBertForSequenceClassification", **_DISTIL),
    "RoBERTa": partial(_text, "RobertaConfig", "RobertaForMaskedLM", max_position_embeddings=32, **_SHAPE),
    "GPT-2": _gpt2,
    "Llama": partial(_text, "LlamaConfig", "LlamaForCausalLM", max_position_embeddings=32, **_SHAPE),
    "Mistral, grouped queries": partial(_text, "MistralConfig", "MistralForCausalLM", head_dim=12, **_GROUPED),
    "Qwen2": partial(_text, "Qwen2Config", "Qwen2ForCausalLM", **_GROUPED),
    "T5": _t5,
    "Whisper": _whisper,
    "ViT of transformers": _vit,
    "CLIP": _clip,
}
