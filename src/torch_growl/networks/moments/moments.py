"""Second moments of what a layer reads and of what it should give, summed over batches in float64."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torch_growl.networks.layers import kind_of, registered_kind, row_blocks

__all__ = ["Moments", "error_of", "has_moments", "inputs_of", "matrices_of", "outputs_of_layer", "write_matrices_"]

MOST_VALUES = 8192  # 512 MiB of second moments in float64


def has_moments(module: nn.Module) -> bool:
    """Tell whether every output element of the layer is a product of the values that :func:`inputs_of` gives.

    So it is for Linear layers and convolutions; not for transposed convolutions, whose outputs are sums of a number of
    products that differs from place to place. Layers whose outputs are computed from more than
    :data:`MOST_VALUES` values are left out, since their moments would not fit into memory.
    """
    kind = kind_of(module)
    if kind is None or not kind.affine or getattr(module, "transposed", False):
        return False
    if not (kind.is_convolution or kind.channel_dim == -1):
        return False
    return cast(Tensor, module.weight).numel() // kind.n_rows(module, "output") <= MOST_VALUES


def matrices_of(module: nn.Module) -> list[Tensor]:
    """The weight of every group as a float64 matrix ``(inputs · taps, outputs)``; the taps of one input follow one
    another."""
    blocks = row_blocks(module).detach().double()  # (groups, inputs, outputs, *taps)
    return [own.flatten(2).transpose(1, 2).flatten(0, 1) if own.ndim > 2 else own for own in blocks]


@torch.no_grad()
def write_matrices_(module: nn.Module, matrices: Sequence[Tensor]) -> None:
    """Write matrices of :func:`matrices_of`'s shapes into the weight, rounded to its type."""
    for own, matrix in zip(row_blocks(module), matrices, strict=True):
        if own.ndim > 2:
            matrix = matrix.reshape(own.shape[0], -1, own.shape[1]).transpose(1, 2)
        own.copy_(matrix.reshape(own.shape))


def inputs_of(module: nn.Module, x: Tensor) -> Tensor:
    """The values that output elements are computed from: ``(positions, inputs · taps)``, padding included; those of one
    group follow one another."""
    if not registered_kind(module).is_convolution:
        return x.reshape(-1, x.shape[-1])
    layer = cast(Any, module)
    dims = len(layer.kernel_size)
    x = x if x.ndim == dims + 2 else x.unsqueeze(0)
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    x = F.pad(x, layer._reversed_padding_repeated_twice, mode=mode)
    for dim, (size, stride, dilation) in enumerate(
        zip(layer.kernel_size, layer.stride, layer.dilation, strict=True), start=2
    ):
        x = x.unfold(dim, (size - 1) * dilation + 1, stride)[..., ::dilation]
    x = x.movedim(1, dims + 1)  # (batch, *positions, channels, *taps)
    return x.flatten(dims + 1).flatten(0, dims)


def outputs_of_layer(module: nn.Module, y: Tensor) -> Tensor:
    """The outputs as ``(positions, outputs)``, in the order of :func:`inputs_of`."""
    kind = registered_kind(module)
    if kind.is_convolution:
        y = y if y.ndim == 1 - kind.channel_dim else y.unsqueeze(0)
        y = y.movedim(kind.channel_dim, -1)
    return y.reshape(-1, y.shape[-1])


@dataclass
class Moments:
    """Sums over positions of one layer: of the values read z, of the wanted outputs y, and of their products."""

    count: int = 0
    z: Any = 0.0  # (D,)
    y: Any = 0.0  # (outputs,)
    zz: Any = 0.0  # (D, D)
    zy: Any = 0.0  # (D, outputs)
    yy: float = 0.0

    def add(self, z: Tensor, y: Tensor) -> None:
        """Add positions: ``z`` of shape ``(positions, D)``, ``y`` of shape ``(positions, outputs)``."""
        z, y = z.detach().double(), y.detach().double()
        self.count += len(z)
        self.z, self.y = self.z + z.sum(0), self.y + y.sum(0)
        self.zz, self.zy = self.zz + z.t() @ z, self.zy + z.t() @ y
        self.yy += float(y.square().sum())

    def centred(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Means of z and y, covariance of z, and covariance of z and y."""
        z, y = self.z / self.count, self.y / self.count
        return z, y, self.zz / self.count - torch.outer(z, z), self.zy / self.count - torch.outer(z, y)

    def error(self, matrix: Tensor, bias: Tensor | float) -> float:
        """The mean squared difference of ``z @ matrix + bias`` from y."""
        z, y = self.z / self.count, self.y / self.count
        offset = torch.zeros_like(y) + bias
        square = ((self.zz / self.count @ matrix) * matrix).sum() + offset.square().sum() + 2 * (z @ matrix) @ offset
        cross = (self.zy / self.count * matrix).sum() + y @ offset
        return max(0.0, float(square - 2 * cross) + self.yy / self.count)


def error_of(moments: Sequence[Moments], fits: Sequence[tuple[Tensor, Tensor | float]]) -> float:
    """The mean squared error of a layer's outputs, as a share of the wanted ones' mean square.

    Args:
        moments: of every group.
        fits: for every group its matrix and its bias.
    """
    whole = sum(own.yy / own.count for own in moments)
    return sum(own.error(*fit) for own, fit in zip(moments, fits, strict=True)) / whole if whole else 0.0
