"""Builds networks of timm whose families torchvision lacks."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn

__all__ = ["BUILDERS"]

Built = tuple[nn.Module, Any]


def _timm(name: str, size: int = 64, **settings: Any) -> Built:
    import timm

    model = timm.create_model(name, pretrained=False, num_classes=10, **settings)
    return model, torch.randn(2, 3, size, size)


def _mixer(block: str, mlp_ratio: Any) -> Built:
    from timm.models import mlp_mixer

    model = mlp_mixer.MlpMixer(
        10, img_size=64, patch_size=16, num_blocks=2, embed_dim=64, mlp_ratio=mlp_ratio,
        block_layer=getattr(mlp_mixer, block),
    )  # fmt: skip
    return model, torch.randn(2, 3, 64, 64)


def _gmlp() -> Built:
    from timm.models import mlp_mixer

    model = mlp_mixer.MlpMixer(
        10, img_size=64, num_blocks=2, embed_dim=64, mlp_ratio=6,
        block_layer=mlp_mixer.SpatialGatingBlock, mlp_layer=mlp_mixer.GatedMlp,
    )  # fmt: skip
    return model, torch.randn(2, 3, 64, 64)


def _convmixer() -> Built:
    from timm.models.convmixer import ConvMixer

    return ConvMixer(dim=64, depth=3, kernel_size=7, patch_size=8, num_classes=10), torch.randn(2, 3, 64, 64)


def _poolformer() -> Built:
    from timm.models.metaformer import GroupNorm1, MetaFormer

    model = MetaFormer(num_classes=10, depths=(1, 1, 1, 1), dims=(16, 24, 48, 64), norm_layers=GroupNorm1)
    return model, torch.randn(2, 3, 64, 64)


_TINY = {"depth": 2, "embed_dim": 48, "num_heads": 3}

BUILDERS: dict[str, Callable[[], Built]] = {
    "resnet10t": partial(_timm, "resnet10t"),
    "res2net50_26w_4s (1 block a stage)": partial(_timm, "res2net50_26w_4s", layers=[1, 1, 1, 1]),
    "ghostnet_050": partial(_timm, "ghostnet_050"),
    "lcnet_050": partial(_timm, "lcnet_050"),
    "dla46_c": partial(_timm, "dla46_c"),
    "repvgg_a0": partial(_timm, "repvgg_a0"),
    "mixer_s16 (2 blocks of 64)": partial(_mixer, "MixerBlock", (0.5, 4.0)),
    "resmlp (2 blocks of 64)": partial(_mixer, "ResBlock", 4),
    "gmlp (2 blocks of 64)": _gmlp,
    "vit_tiny_patch16 (2 layers of 48)": partial(_timm, "vit_tiny_patch16_224", img_size=64, **_TINY),
    "deit_tiny_distilled (2 layers of 48)": partial(_timm, "deit_tiny_distilled_patch16_224", img_size=64, **_TINY),
    "eva02_tiny (2 layers of 48)": partial(_timm, "eva02_tiny_patch14_224", 56, img_size=56, **_TINY),
    "convmixer (3 blocks of 64)": _convmixer,
    "mobilevit_xxs": partial(_timm, "mobilevit_xxs"),
    "edgenext_xx_small": partial(_timm, "edgenext_xx_small"),
    "poolformer_s12 (4 blocks of 16 to 64)": _poolformer,
    "pvt_v2_b0": partial(_timm, "pvt_v2_b0"),
    "xcit_nano (2 layers of 48)": partial(
        _timm, "xcit_nano_12_p16_224", img_size=64, depth=2, embed_dim=48, num_heads=4
    ),
    "hrnet_w18_small": partial(_timm, "hrnet_w18_small"),
}
