"""The table of networks for the checks of compaction and storage; a new kind of network is a new row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.support.pruned_networks import settle_, zero_and_tie_


@dataclass(frozen=True)
class Net:
    """A network, the shape of its input, and the layers whose output channels can be removed."""

    name: str
    make: Callable[[], nn.Module]
    shape: tuple[int, ...]
    cut: tuple[str, ...] = ()
    dtype: torch.dtype = torch.float32
    block: int = 1  # rows of the first Linear that one channel makes

    def __str__(self) -> str:
        return self.name

    def input(self) -> Tensor:
        x = torch.randn(self.shape).to(self.dtype)
        return x.to(memory_format=torch.channels_last) if "channels-last" in self.name else x

    def build(self) -> nn.Module:
        model = self.make().to(self.dtype)
        return model.to(memory_format=torch.channels_last) if "channels-last" in self.name else model

    def trained(self) -> nn.Module:
        """Build it with the statistics of a trained network, zero rows and tied rows."""
        return zero_and_tie_(settle_(self.build()), self.block)


class MLP(nn.Module):
    def __init__(self, after: bool = True) -> None:
        super().__init__()
        self.fc1, self.fc2, self.fc3 = nn.Linear(20, 30), nn.Linear(30, 12), nn.Linear(12, 5)
        self.bn = nn.BatchNorm1d(30)
        self.drop = nn.Dropout(0.5)
        self.after = after

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn(torch.relu(self.fc1(x))) if self.after else torch.relu(self.bn(self.fc1(x)))
        return self.fc3(F.gelu(self.fc2(self.drop(x))))


class LeNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.c1, self.c2 = nn.Conv2d(1, 6, 5), nn.Conv2d(6, 16, 5)
        self.f1, self.f2, self.f3 = nn.Linear(16 * 4 * 4, 24), nn.Linear(24, 12), nn.Linear(12, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.c1(x)), 2)
        x = F.max_pool2d(F.relu(self.c2(x)), 2)
        x = x.view(x.size(0), -1)
        return self.f3(F.relu(self.f2(F.relu(self.f1(x)))))


def vgg() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 12, 3, padding=1, bias=False), nn.ReLU(), nn.BatchNorm2d(12), nn.AvgPool2d(2),
        nn.Conv2d(12, 10, 3, padding=1), nn.BatchNorm2d(10), nn.ReLU(), nn.Flatten(),
        nn.BatchNorm1d(40), nn.Linear(40, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(), nn.Linear(16, 7),
    )  # fmt: skip


def conv1d() -> nn.Module:
    return nn.Sequential(
        nn.Conv1d(4, 9, 3), nn.BatchNorm1d(9), nn.SiLU(), nn.Conv1d(9, 6, 3), nn.AdaptiveAvgPool1d(2), nn.Flatten(),
        nn.Linear(12, 3),
    )  # fmt: skip


def conv3d() -> nn.Module:
    return nn.Sequential(
        nn.Conv3d(2, 6, 2), nn.BatchNorm3d(6), nn.ReLU(), nn.MaxPool3d(2), nn.Conv3d(6, 9, 2), nn.Tanh(),
        nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(9, 3),
    )  # fmt: skip


def decoder() -> nn.Module:
    return nn.Sequential(
        nn.ConvTranspose2d(9, 12, 3, stride=2), nn.BatchNorm2d(12), nn.LeakyReLU(), nn.ConvTranspose2d(12, 8, 3),
        nn.Sigmoid(), nn.Conv2d(8, 3, 1),
    )  # fmt: skip


def grouped() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 12, 3), nn.ReLU(), nn.Conv2d(12, 8, 3, groups=2), nn.ReLU(),
        nn.ConvTranspose2d(8, 12, 3, groups=2), nn.ReLU(), nn.Conv2d(12, 4, 1),
    )  # fmt: skip


def separable() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.BatchNorm2d(8), nn.ReLU6(),
        nn.Conv2d(8, 12, 1), nn.Hardswish(), nn.Conv2d(12, 4, 1),
    )  # fmt: skip


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.a, self.b = nn.Conv2d(3, 9, 3, padding=1), nn.Conv2d(9, 12, 3, padding=1), nn.Conv2d(12, 9, 1)
        self.bn, self.head = nn.BatchNorm2d(12), nn.Linear(9, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        x = x + self.b(F.relu(self.bn(self.a(x))))
        return self.head(x.mean((2, 3)))


class Concatenation(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 6, 1), nn.Conv2d(3, 6, 1)
        self.c, self.d = nn.Conv2d(12, 9, 3), nn.Conv2d(9, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.d(F.relu(self.c(torch.cat([self.a(x), self.b(x)], 1))))


class FanOut(nn.Module):
    """One layer read by two others: a channel can be removed if neither reads it."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.left, self.right = nn.Linear(8, 30), nn.Linear(30, 40), nn.Linear(30, 40)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        x = torch.relu(self.stem(x))
        return {"left": self.left(x), "right": self.right(x)}


class HardView(nn.Module):
    """The size of the flattened maps is written into forward: the convolution before it cannot lose channels."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.c, self.f1, self.f2 = (
            nn.Conv2d(3, 9, 3),
            nn.Conv2d(9, 6, 3),
            nn.Linear(24, 12),
            nn.Linear(12, 4),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.c(F.relu(self.stem(x))))
        return self.f2(F.relu(self.f1(x.view(-1, 24))))


class ReadsSize(nn.Module):
    """Its forward uses a channel count that the trace does not see: removing f1's channels changes the outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.f1, self.f2, self.f3 = nn.Linear(1, 30), nn.Linear(30, 12), nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.f3(F.relu(self.f2(self.f1(x) / self.f1.out_features)))


class ReadsWeight(nn.Module):
    """It reads f1's weight itself, so no module can be put before f1."""

    def __init__(self) -> None:
        super().__init__()
        self.f1, self.f2 = nn.Linear(8, 30), nn.Linear(30, 40)

    def forward(self, x: Tensor) -> Tensor:
        return self.f2(F.relu(F.linear(x, self.f1.weight, self.f1.bias)))


class Encoder(nn.Module):
    """In eval mode torch's layer reads the weights of its parts itself."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.head = nn.TransformerEncoderLayer(12, 3, 30, batch_first=True), nn.Linear(12, 30)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(x))


class Untraceable(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.f1, self.f2 = nn.Linear(8, 30), nn.Linear(30, 40)

    def forward(self, x: Tensor) -> Tensor:
        x = self.f1(x)
        if x.sum() > 0:
            x = x * 2
        return self.f2(x)


class Shared(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.f, self.head = nn.Linear(8, 30), nn.Linear(30, 30), nn.Linear(30, 40)
        self.again = self.f

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.again(torch.relu(self.f(self.stem(x)))))


class TiedWeight(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(30, 30), nn.Linear(30, 30), nn.Linear(30, 12)
        self.b.weight = self.a.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.c(self.b(self.a(x)))


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up, self.mix, self.norm = (
            nn.Linear(8, 12),
            nn.MultiheadAttention(12, 3, batch_first=True),
            nn.LayerNorm(12),
        )
        self.f1, self.f2 = nn.Linear(12, 30), nn.Linear(30, 8)

    def forward(self, x: Tensor) -> Tensor:
        x = self.up(x)
        x = self.norm(x + self.mix(x, x, x, need_weights=False)[0])
        return self.f2(F.gelu(self.f1(x)))


class Unused(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.f1, self.f2, self.spare = nn.Linear(8, 30), nn.Linear(30, 12), nn.Linear(30, 40)

    def forward(self, x: Tensor, spare: bool = False) -> Any:
        x = self.f1(x)
        return self.spare(x) if spare else (self.f2(x), [x.argmax(1)])


def pooled() -> nn.Module:
    """Global pooling, whose result has other strides in channels-last format."""
    return nn.Sequential(
        nn.Conv2d(3, 9, 3, padding=1), nn.ReLU(), nn.Conv2d(9, 12, 3, padding=1), nn.BatchNorm2d(12),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 5),
    )  # fmt: skip


class Restrided(nn.Module):
    """Reads a convolution through copying forms of as_strided, which do not keep channels apart."""

    def __init__(self, scatter: bool) -> None:
        super().__init__()
        self.a, self.b, self.head, self.scatter = nn.Conv2d(3, 9, 3), nn.Conv2d(9, 6, 3), nn.Linear(6, 4), scatter

    def forward(self, x: Tensor) -> Tensor:
        y = self.a(x)
        y = (
            torch.as_strided_scatter(y, y * 2, y.shape, y.stride(), 0)
            if self.scatter
            else torch.as_strided_copy(y, y.shape, y.stride(), 0)
        )
        return self.head(self.b(y).mean((2, 3)))


def pruned_mlp() -> MLP:
    model = settle_(MLP())
    with torch.no_grad():
        model.fc1.weight[:, [1, 2, 3]] = 0
        model.fc1.weight[:, 6] = model.fc1.weight[:, 5]
        model.fc2.weight[:, :10] = 0
        model.fc3.weight[:, [0, 11]] = 0
    return model


def frozen() -> nn.Module:
    return MLP().requires_grad_(False)


NETS = [
    Net("mlp", MLP, (3, 20), ("fc1", "fc2")),
    Net("mlp-bn-before", lambda: MLP(False), (3, 20), ("fc1", "fc2")),
    Net("mlp-float64", MLP, (3, 20), ("fc1", "fc2"), torch.float64),
    Net("mlp-bfloat16", MLP, (3, 20), ("fc1", "fc2"), torch.bfloat16),
    Net("mlp-float16", MLP, (3, 20), ("fc1", "fc2"), torch.float16),
    Net("mlp-frozen", frozen, (3, 20), ("fc1", "fc2")),
    Net("lenet", LeNet, (2, 1, 28, 28), ("c1", "c2", "f1", "f2"), block=16),
    Net("vgg", vgg, (2, 3, 8, 8), ("0", "4", "8", "13"), block=4),
    Net("vgg-channels-last", vgg, (2, 3, 8, 8), ("0", "4", "8", "13"), block=4),
    Net("pooled", pooled, (2, 3, 8, 8), ("0", "2")),
    Net("pooled-channels-last", pooled, (2, 3, 8, 8), ("0", "2")),
    Net("as-strided-copy", lambda: Restrided(False), (2, 3, 8, 8), ("b",)),
    Net("as-strided-scatter", lambda: Restrided(True), (2, 3, 8, 8), ("b",)),
    Net("conv1d", conv1d, (2, 4, 12), ("0", "3"), block=2),
    Net("conv3d", conv3d, (2, 2, 6, 6, 6), ("0", "4")),
    Net("decoder", decoder, (2, 9, 4, 4), ("0", "3")),
    Net("grouped", grouped, (2, 3, 9, 9)),
    Net("separable", separable, (2, 3, 6, 6), ("0", "2", "5")),
    Net("residual", Residual, (2, 3, 6, 6), ("stem", "a", "b")),
    Net("concatenation", Concatenation, (2, 3, 6, 6), ("a", "b", "c")),
    Net("fan-out", FanOut, (3, 8), ("stem",)),
    Net("hard-view", HardView, (2, 3, 6, 6), ("stem", "f1")),
    Net("reads-size", ReadsSize, (3, 1), ("f2",)),
    Net("reads-weight", ReadsWeight, (3, 8)),
    Net("encoder", Encoder, (2, 4, 12), ("layer.linear1",)),
    Net("untraceable", Untraceable, (3, 8)),
    Net("shared", Shared, (3, 8), ("stem", "f")),
    Net("tied-weight", TiedWeight, (3, 30)),
    Net("attention", Attention, (2, 4, 8), ("f1",)),
    Net("unused", Unused, (3, 8)),
]
assert NETS
