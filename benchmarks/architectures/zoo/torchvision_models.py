"""Builds the families of torchvision: classification, segmentation, and the backbones of detectors."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn

__all__ = ["BUILDERS"]

Built = tuple[nn.Module, Any]


def _image(size: int, batch: int = 2) -> torch.Tensor:
    return torch.randn(batch, 3, size, size)


def _plain(name: str, size: int = 64, **settings: Any) -> Built:
    """Build a member of a family with ten classes."""
    from torchvision import models

    return models.get_model(name, weights=None, num_classes=10, **settings), _image(size)


def _small_classifier(name: str, features: int) -> Built:
    """Build a network with its own convolutions and a classifier of 128 units a layer instead of thousands."""
    from torchvision import models

    with torch.device("meta"):
        model = models.get_model(name, weights=None)
    linear = [layer for layer in model.classifier if isinstance(layer, nn.Linear)]
    sizes = [features, 128, 128, 10]
    for old, new_in, new_out in zip(linear, sizes, sizes[1:], strict=False):
        where = next(key for key, layer in model.classifier.named_children() if layer is old)
        model.classifier[int(where)] = nn.Linear(new_in, new_out)
    model.to_empty(device="cpu")
    for module in model.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    return model, _image(64)


def _resnet(**settings: Any) -> Built:
    from torchvision.models.resnet import Bottleneck, ResNet

    return ResNet(Bottleneck, [1, 1, 1, 1], num_classes=10, **settings), _image(64)


def _efficientnet_v2() -> Built:
    from torchvision.models.efficientnet import EfficientNet, FusedMBConvConfig, MBConvConfig

    blocks = [
        FusedMBConvConfig(1, 3, 1, 24, 24, 1),
        FusedMBConvConfig(4, 3, 2, 24, 48, 2),
        MBConvConfig(4, 3, 2, 48, 64, 2),
        MBConvConfig(6, 3, 1, 64, 80, 2),
    ]
    return EfficientNet(blocks, dropout=0.2, last_channel=256, num_classes=10), _image(64)


def _convnext() -> Built:
    from torchvision.models.convnext import CNBlockConfig, ConvNeXt

    return ConvNeXt(
        [CNBlockConfig(32, 64, 2), CNBlockConfig(64, 128, 2), CNBlockConfig(128, None, 2)], num_classes=10
    ), _image(64)


def _vit() -> Built:
    from torchvision.models.vision_transformer import VisionTransformer

    model = VisionTransformer(32, 16, num_layers=3, num_heads=4, hidden_dim=64, mlp_dim=256, num_classes=10)
    nn.init.normal_(model.heads.head.weight, std=0.1)
    return model, _image(32)


def _swin(version: int) -> Built:
    from torchvision.models import swin_transformer as swin

    settings: dict[str, Any] = {"patch_size": [4, 4], "embed_dim": 32, "depths": [2, 2], "num_heads": [2, 4]}
    if version == 2:
        settings.update(block=swin.SwinTransformerBlockV2, downsample_layer=swin.PatchMergingV2)
    return swin.SwinTransformer(**settings, window_size=[4, 4], num_classes=10), _image(64)


def _maxvit() -> Built:
    from torchvision.models.maxvit import MaxVit

    model = MaxVit(
        (64, 64),
        stem_channels=16,
        partition_size=4,
        block_channels=[16, 32],
        block_layers=[2, 1],
        head_dim=8,
        stochastic_depth_prob=0.0,
        num_classes=10,
    )
    return model, _image(64)


def _video() -> Built:
    from torchvision.models.video.resnet import BasicBlock, BasicStem, Conv3DSimple, VideoResNet

    model = VideoResNet(BasicBlock, [Conv3DSimple] * 4, [1, 1, 1, 1], BasicStem, num_classes=10)
    return model, torch.randn(2, 3, 4, 24, 24)


def _fcn() -> Built:
    from torchvision.models import resnet18
    from torchvision.models._utils import IntermediateLayerGetter
    from torchvision.models.segmentation.fcn import FCN, FCNHead

    backbone = IntermediateLayerGetter(resnet18(weights=None), {"layer3": "aux", "layer4": "out"})
    return FCN(backbone, FCNHead(512, 5), FCNHead(256, 5)), _image(64)


def _segmentation(name: str) -> Built:
    from torchvision import models

    return models.get_model(name, weights=None, weights_backbone=None, num_classes=5), _image(64)


def _resnet_fpn() -> Built:
    from torchvision.models.detection.backbone_utils import resnet_fpn_backbone

    norm = nn.BatchNorm2d
    return resnet_fpn_backbone(backbone_name="resnet18", weights=None, norm_layer=norm, trainable_layers=5), _image(64)


def _mobilenet_fpn() -> Built:
    from torchvision.models.detection.backbone_utils import mobilenet_backbone

    norm = nn.BatchNorm2d
    return mobilenet_backbone(
        "mobilenet_v3_small", weights=None, fpn=True, norm_layer=norm, trainable_layers=6
    ), _image(64)


def _ssdlite() -> Built:
    from torchvision.models import mobilenet_v3_small
    from torchvision.models.detection.ssdlite import _mobilenet_extractor

    norm = partial(nn.BatchNorm2d, eps=0.001, momentum=0.03)
    return _mobilenet_extractor(mobilenet_v3_small(weights=None, norm_layer=norm), 6, norm), _image(96)


BUILDERS: dict[str, Callable[[], Built]] = {
    "alexnet (classifier of 128)": partial(_small_classifier, "alexnet", 256 * 6 * 6),
    "vgg11_bn (classifier of 128)": partial(_small_classifier, "vgg11_bn", 512 * 7 * 7),
    "resnet18": partial(_plain, "resnet18"),
    "resnet50 (1 block a stage)": _resnet,
    "wide_resnet50_2 (1 block a stage)": partial(_resnet, width_per_group=128),
    "resnext50_32x4d (1 block a stage)": partial(_resnet, groups=32, width_per_group=4),
    "densenet121": partial(_plain, "densenet121"),
    "googlenet": partial(_plain, "googlenet", aux_logits=False, init_weights=False),
    "inception_v3": partial(_plain, "inception_v3", 75, aux_logits=False, init_weights=False),
    "squeezenet1_1": partial(_plain, "squeezenet1_1"),
    "mobilenet_v2": partial(_plain, "mobilenet_v2"),
    "mobilenet_v3_small": partial(_plain, "mobilenet_v3_small"),
    "shufflenet_v2_x0_5": partial(_plain, "shufflenet_v2_x0_5"),
    "mnasnet0_5": partial(_plain, "mnasnet0_5"),
    "efficientnet_b0": partial(_plain, "efficientnet_b0"),
    "efficientnet_v2 (7 blocks)": _efficientnet_v2,
    "regnet_x_400mf": partial(_plain, "regnet_x_400mf"),
    "regnet_y_400mf": partial(_plain, "regnet_y_400mf"),
    "convnext (6 blocks)": _convnext,
    "vit_b_16 (3 layers of 64)": _vit,
    "swin_t (4 blocks of 32)": partial(_swin, 1),
    "swin_v2_t (4 blocks of 32)": partial(_swin, 2),
    "maxvit_t (3 blocks of 16)": _maxvit,
    "r3d_18 (1 block a stage)": _video,
    "fcn, resnet18": _fcn,
    "deeplabv3_mobilenet_v3_large": partial(_segmentation, "deeplabv3_mobilenet_v3_large"),
    "lraspp_mobilenet_v3_large": partial(_segmentation, "lraspp_mobilenet_v3_large"),
    "resnet18 FPN": _resnet_fpn,
    "mobilenet_v3_small FPN": _mobilenet_fpn,
    "ssdlite, mobilenet_v3_small": _ssdlite,
}
