"""Convolutional networks that other tools fail on.

``MAPS`` holds what stands between two convolutions, ``PATHS`` networks of several paths.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from tests.support.reported import Report, net

__all__ = ["MAPS", "PATHS"]

IMAGE = ((3, 8, 8),)


class FrozenBatchNorm(nn.Module):
    """Detection networks' batch normalisation: statistics, weight and bias are buffers."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.rand(channels) + 0.5)
        self.register_buffer("bias", torch.randn(channels))
        self.register_buffer("running_mean", torch.randn(channels))
        self.register_buffer("running_var", torch.rand(channels) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        scale = self.weight * (self.running_var + 1e-5).rsqrt()
        shift = self.bias - self.running_mean * scale
        return x * scale.reshape(1, -1, 1, 1) + shift.reshape(1, -1, 1, 1)


class C2f(nn.Module):
    """YOLOv8's block: chunks, a list that grows, all of them joined."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(inputs, 16, 1), nn.Conv2d(32, outputs, 1)
        self.middle = nn.ModuleList(nn.Conv2d(8, 8, 3, padding=1) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        parts = list(F.silu(self.first(x)).chunk(2, 1))
        parts.extend(layer(parts[-1]) for layer in self.middle)
        return self.last(torch.cat(parts, 1))


class SqueezeExcitation(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.down, self.up = nn.Conv2d(channels, 8, 1), nn.Conv2d(8, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.up(self.down(x.mean((2, 3), keepdim=True)).relu()).sigmoid()


class PartialConvolution(nn.Module):
    """FasterNet's: the first quarter of the channels is convolved."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.sizes = [channels // 4, channels - channels // 4]
        self.part = nn.Conv2d(self.sizes[0], self.sizes[0], 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        first, rest = torch.split(x, self.sizes, 1)
        return torch.cat((self.part(first), rest), 1)


def shuffle(x: Tensor, groups: int = 4) -> Tensor:
    batch, channels, height, width = x.shape
    x = x.view(batch, groups, channels // groups, height, width).transpose(1, 2).contiguous()
    return x.view(batch, channels, height, width)


def between(*parts: Callable[[], Any], reads: int = 16) -> Callable[[], nn.Module]:
    """Return a function that builds a convolution of 16 channels, other modules or functions, and a convolution."""

    def rule(self: Any, x: Tensor) -> Tensor:
        x = self.a(x)
        for part in self.parts:
            x = part(x)
        return self.b(x)

    def layers() -> dict[str, nn.Module]:
        made = [part() for part in parts]
        return {"a": nn.Conv2d(3, 16, 3, padding=1), "parts": nn.ModuleList(made), "b": nn.Conv2d(reads, 5, 1)}

    return net(rule, layers)


class Apply(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def moved(function: Callable[[Tensor], Tensor], reads: int = 16) -> Callable[[], nn.Module]:
    return between(lambda: Apply(function), reads=reads)


def padded(mode: str) -> Callable[[], nn.Module]:
    return between(lambda: nn.Conv2d(16, 16, 3, padding=1, padding_mode=mode), nn.ReLU)


MAPS = [
    Report("PReLU with one parameter", between(nn.PReLU), IMAGE, ("a",)),
    Report("PReLU with a parameter for each channel", between(lambda: nn.PReLU(16)), IMAGE, ("a",)),
    Report("BatchNorm without affine", between(lambda: nn.BatchNorm2d(16, affine=False)), IMAGE, ("a",)),
    Report("InstanceNorm", between(lambda: nn.InstanceNorm2d(16)), IMAGE, ("a",)),
    Report("InstanceNorm with affine", between(lambda: nn.InstanceNorm2d(16, affine=True)), IMAGE, ("a",)),
    Report("SyncBatchNorm", between(lambda: nn.SyncBatchNorm(16), nn.ReLU), IMAGE, ("a",)),
    Report("FrozenBatchNorm of buffers", between(lambda: FrozenBatchNorm(16), nn.ReLU), IMAGE, ("a",)),
    Report("squeeze-and-excitation", between(lambda: SqueezeExcitation(16)), IMAGE, ("a",)),
    Report("partial convolution by split", between(lambda: PartialConvolution(16)), IMAGE, ("parts.0.part",)),
    Report("C2f chunks", between(lambda: C2f(16, 16)), IMAGE, ("a",)),
    Report("circular padding", padded("circular"), IMAGE, ("a", "parts.0")),
    Report("reflected padding", padded("reflect"), IMAGE, ("a", "parts.0")),
    Report("replicated padding", padded("replicate"), IMAGE, ("a", "parts.0")),
    Report(
        "grouped transposed convolution",
        between(lambda: nn.ConvTranspose2d(16, 16, 2, stride=2, groups=4), nn.ReLU),
        IMAGE,
        ("a",),
        block=4,
    ),
    Report(
        "spectral norm as a parametrization",
        between(nn.ReLU, lambda: spectral_norm(nn.Conv2d(16, 16, 3, padding=1)), nn.ReLU),
        IMAGE,
        ("a", "parts.1"),
    ),
    Report("strided slice of channels", moved(lambda x: x[:, ::2], 8), IMAGE, cut=("a",)),
    Report("flipped channels", moved(lambda x: x.flip(1)), IMAGE, ("a",)),
    Report("rolled channels", moved(lambda x: x.roll(3, 1)), IMAGE),
    Report("pixel unshuffle", moved(lambda x: F.pixel_unshuffle(x, 2), 64), IMAGE, ("a",), block=4),
    Report("channel shuffle", moved(shuffle), IMAGE, ("a",), block=4),
    Report("FFT over the image", moved(lambda x: torch.fft.irfft2(torch.fft.rfft2(x) * 2, s=(8, 8))), IMAGE),
]


def one_channel_mask(self: Any, x: Tensor) -> Tensor:
    x = self.a(x)
    return self.b(x * self.mask(x).sigmoid())


def branches(self: Any, x: Tensor) -> Tensor:
    return self.last(torch.cat([self.a(x), self.b(x).relu(), self.c(F.max_pool2d(x, 3, 1, 1))], 1))


def levels(self: Any, x: Tensor) -> list[Tensor]:
    first = self.a(x).relu()
    second = self.b(first).relu()
    third = self.c(second).relu()
    return [self.head(self.tower(level).relu()) for level in (first, second, third)]


def three_times(self: Any, x: Tensor) -> Tensor:
    x = self.a(x)
    for _ in range(3):
        x = x + self.block(x)
    return self.b(x)


def block() -> nn.Module:
    return nn.Sequential(nn.Conv2d(16, 24, 3, padding=1), nn.BatchNorm2d(24), nn.ReLU(), nn.Conv2d(24, 16, 1))


def down() -> nn.Module:
    return nn.Conv2d(16, 16, 3, stride=2, padding=1)


PATHS = [
    Report(
        "one-channel mask times 32 channels",
        net(
            one_channel_mask,
            lambda: {"a": nn.Conv2d(3, 32, 3), "mask": nn.Conv2d(32, 1, 1), "b": nn.Conv2d(32, 5, 1)},
        ),
        IMAGE,
        ("a",),
    ),
    Report(
        "one output channel is not depthwise",
        lambda: nn.Sequential(
            nn.Conv2d(1, 1, 3), nn.ReLU(), nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Conv2d(16, 1, 1), nn.Conv2d(1, 5, 1)
        ),
        ((1, 8, 8),),
        ("2",),
    ),
    Report(
        "concatenated branches of different widths",
        net(
            branches,
            lambda: {
                "a": nn.Conv2d(3, 8, 1),
                "b": nn.Conv2d(3, 13, 3, padding=1),
                "c": nn.Conv2d(3, 5, 1),
                "last": nn.Conv2d(26, 4, 1),
            },
        ),
        IMAGE,
        ("a", "b", "c"),
    ),
    Report(
        "one head over many levels",
        net(
            levels,
            lambda: {
                "a": nn.Conv2d(3, 16, 3, padding=1),
                "b": down(),
                "c": down(),
                "tower": nn.Conv2d(16, 12, 1),
                "head": nn.Conv2d(12, 4, 1),
            },
        ),
        IMAGE,
        ("a", "b", "c", "tower"),
    ),
    Report(
        "a block called three times",
        net(three_times, lambda: {"a": nn.Conv2d(3, 16, 3, padding=1), "block": block(), "b": nn.Conv2d(16, 5, 1)}),
        IMAGE,
        ("a", "block.0", "block.3"),
    ),
]
