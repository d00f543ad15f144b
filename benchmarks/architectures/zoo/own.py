"""Builds small networks from parts that tracing tools have trouble with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

__all__ = ["BUILDERS"]

Built = tuple[nn.Module, Any]


class Recurrent(nn.Module):
    """A Linear, an LSTM or GRU, and a Linear."""

    def __init__(self, kind: type[nn.LSTM] | type[nn.GRU]) -> None:
        super().__init__()
        self.into = nn.Linear(20, 48)
        self.recurrent = kind(48, 32, num_layers=2, batch_first=True, bidirectional=True)
        self.hidden = nn.Linear(64, 40)
        self.out = nn.Linear(40, 5)

    def forward(self, x: Tensor) -> Tensor:
        states, _ = self.recurrent(F.relu(self.into(x)))
        return self.out(F.relu(self.hidden(states)))


class UNet(nn.Module):
    """A U-Net of two levels with skips by concatenation and transposed convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.down1, self.down2, self.bottom = self._double(3, 16), self._double(16, 32), self._double(32, 64)
        self.up2, self.up1 = nn.ConvTranspose2d(64, 32, 2, 2), nn.ConvTranspose2d(32, 16, 2, 2)
        self.merge2, self.merge1 = self._double(64, 32), self._double(32, 16)
        self.out = nn.Conv2d(16, 4, 1)

    @staticmethod
    def _double(inputs: int, outputs: int) -> nn.Sequential:
        layers: list[nn.Module] = []
        for before in (inputs, outputs):
            layers += [nn.Conv2d(before, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()]
        return nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        first = self.down1(x)
        second = self.down2(F.max_pool2d(first, 2))
        bottom = self.bottom(F.max_pool2d(second, 2))
        second = self.merge2(torch.cat([self.up2(bottom), second], dim=1))
        return self.out(self.merge1(torch.cat([self.up1(second), first], dim=1)))


class FusedAttention(nn.Module):
    """Attention with one Linear for queries, keys and values, reshaped and unbound, with a residual connection."""

    def __init__(self, width: int = 48, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.projection = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        batch, length, width = x.shape
        qkv = self.qkv(self.norm1(x)).reshape(batch, length, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(batch, length, width)
        x = x + self.projection(mixed)
        return x + self.mlp(self.norm2(x))


def _weight_norm() -> Built:
    model = nn.Sequential(
        weight_norm(nn.Conv1d(6, 32, 3, padding=1)),
        nn.ReLU(),
        nn.Conv1d(32, 48, 3, padding=2, dilation=2),
        nn.ReLU(),
        weight_norm(nn.Conv1d(48, 32, 3, padding=4, dilation=4)),
        nn.ReLU(),
        weight_norm(nn.Conv1d(32, 32, 1)),
        nn.ReLU(),
        nn.Conv1d(32, 5, 1),
    )
    return model, torch.randn(2, 6, 40)


def _super_resolution() -> Built:
    model = nn.Sequential(
        nn.Conv2d(3, 32, 5, padding=2),
        nn.ReLU(),
        nn.Conv2d(32, 64, 3, padding=1),
        nn.PixelShuffle(2),
        nn.Conv2d(16, 12, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(12, 12, 3, padding=1),
        nn.PixelShuffle(2),
    )
    return model, torch.randn(2, 3, 12, 12)


def _transformer_encoder() -> Built:
    layer = nn.TransformerEncoderLayer(48, 4, 96, batch_first=True, norm_first=True)
    encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
    return nn.Sequential(nn.Linear(20, 48), encoder, nn.Linear(48, 10)), torch.randn(2, 9, 20)


BUILDERS: dict[str, Callable[[], Built]] = {
    "LSTM between Linear": lambda: (Recurrent(nn.LSTM), torch.randn(2, 7, 20)),
    "GRU between Linear": lambda: (Recurrent(nn.GRU), torch.randn(2, 7, 20)),
    "weight_norm convolutions": _weight_norm,
    "U-Net": lambda: (UNet(), torch.randn(2, 3, 32, 32)),
    "pixel shuffle": _super_resolution,
    "fused qkv with reshape": lambda: (
        nn.Sequential(nn.Linear(20, 48), FusedAttention(), FusedAttention(), nn.Linear(48, 10)),
        torch.randn(2, 9, 20),
    ),
    "nn.TransformerEncoder": _transformer_encoder,
}
