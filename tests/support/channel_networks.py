"""Networks whose channels are coupled in different ways, with an example input for each."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from torch_growl.application.models.residual import resnet_cifar

__all__ = ["NETWORKS", "network"]

Norm = Callable[[int], nn.Module]


def plain_cnn() -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(3, 12, 3, bias=False), nn.BatchNorm2d(12), nn.ReLU()),
        *(nn.Conv2d(12, 16, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(64, 10)),
    )


class Projected(nn.Module):
    """A residual block whose shortcut is a 1×1 convolution, after a stem and before a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.a, self.bn_a = nn.Conv2d(8, 16, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(16)
        self.b, self.bn_b = nn.Conv2d(16, 12, 3, padding=1, bias=False), nn.BatchNorm2d(12)
        self.shortcut, self.bn_s = nn.Conv2d(8, 12, 1, stride=2, bias=False), nn.BatchNorm2d(12)
        self.gate, self.head = nn.Linear(12, 12), nn.Linear(12, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.stem(x)).relu()
        x = (self.bn_b(self.b(self.bn_a(self.a(x)).relu())) + self.bn_s(self.shortcut(x))).relu()
        x = x * self.gate(x.mean((2, 3))).sigmoid()[:, :, None, None]  # squeeze and excitation
        return self.head(x.mean((2, 3)))


def depthwise() -> nn.Module:
    def separable(inputs: int, outputs: int) -> list[nn.Module]:
        deep = nn.Conv2d(inputs, inputs, 3, padding=1, groups=inputs, bias=False)
        point = nn.Conv2d(inputs, outputs, 1, bias=False)
        return [deep, nn.BatchNorm2d(inputs), nn.ReLU(), point, nn.BatchNorm2d(outputs), nn.ReLU()]

    first = [nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU()]
    last = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10)]
    return nn.Sequential(*first, *separable(8, 12), *separable(12, 16), *last)


class Transformer(nn.Module):
    """One block of attention and one feed-forward block over the columns of an image."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Linear(30, 16), nn.Linear(16, 10)
        self.q, self.k, self.v, self.out = (nn.Linear(16, 16) for _ in range(4))
        self.norm1, self.norm2 = nn.LayerNorm(16), nn.LayerNorm(16)
        self.up, self.down = nn.Linear(16, 24), nn.Linear(24, 16)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x.flatten(1, 2).transpose(1, 2))
        y = self.norm1(x)
        q, k, v = (layer(y).unflatten(-1, (-1, 4)).transpose(1, 2) for layer in (self.q, self.k, self.v))
        y = nn.functional.scaled_dot_product_attention(q, k, v)
        x = x + self.out(y.transpose(1, 2).flatten(2))
        x = x + self.down(self.up(self.norm2(x)).relu())
        return self.head(x.mean(1))


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "plain CNN": plain_cnn,
    "1×1 shortcut and gate": Projected,
    "padded shortcuts": lambda: resnet_cifar(depth=8, width=0.5),
    "depthwise": depthwise,
    "transformer": Transformer,
}


def network(name: str) -> tuple[nn.Module, Tensor, Tensor]:
    """A network in training mode, inputs and labels."""
    torch.manual_seed(0)
    return NETWORKS[name](), torch.randn(16, 3, 10, 10), torch.arange(16) % 10
