"""Symmetric int8 quantization of weights, with one scale for each output channel.

``w ≈ q · scale`` with integer q in −127 … 127. Scales have at most 17 significant bits, so their product with the
seven bits of q is exact in float32: the dequantized weights of a float32 network differ from the original ones by at
most ``scale / 2``, without further rounding, and zero stays exactly zero.
"""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from torch_growl.errors import FileFormatError, LayerError
from torch_growl.networks.layers import registered_kind, registered_layers, row_blocks, scale_rows_, write_rows_

__all__ = ["dequantize", "quantizable", "quantize"]

LARGEST = 127
_SCALE_BITS = 17
_SMALLEST = 2.0**-126  # float32's smallest normal number
_CHUNK = 2**22  # weights quantized at a time


def quantizable(model: nn.Module) -> dict[str, nn.Module]:
    """Return the layers of registered types with floating-point weights, by the weight's name."""
    found = {}
    for name, module in registered_layers(model).items():
        weight = module._parameters.get("weight")
        if weight is not None and weight.is_floating_point():
            found[f"{name}.weight" if name else "weight"] = module
    return found


@torch.no_grad()
def quantize(module: nn.Module, name: str) -> tuple[Tensor, Tensor]:
    """Quantize a layer's weight.

    Args:
        module: a layer of a registered type; not modified.
        name: the weight's name in messages.

    Returns:
        The int8 weight in its own shape, and float32 scales ``(output channels,)``; 0 for a channel that is all zero.
        ``|weight − q · scale| ≤ scale / 2`` exactly (for float64 weights up to the rounding of one division).

    Raises:
        LayerError: weights are NaN, infinite, or so large that float32 cannot hold them.
    """
    weight = cast(Tensor, module.weight).detach().cpu()
    channels = row_blocks(module, "output", weight).flatten(0, 1)
    largest = np.zeros(len(channels))
    if weight.numel():
        largest = channels.abs().reshape(len(channels), -1).amax(dim=1).double().numpy()
    if not np.isfinite(largest).all():
        raise LayerError(f"{name!r} has NaN or infinite weights, which int8 cannot hold")
    mantissa, exponent = np.frexp(largest / LARGEST)
    rounded_up = np.ldexp(np.ceil(mantissa * 2**_SCALE_BITS), exponent - _SCALE_BITS)
    scale = np.where(largest > 0, np.maximum(rounded_up, _SMALLEST), 0.0)
    if (scale * LARGEST > np.finfo(np.float32).max).any():
        raise LayerError(f"{name!r} has weights of {largest.max():.3g}, too large for int8 with float32 scales")
    numbers = torch.empty(channels.shape, dtype=torch.int8)
    divisor = torch.from_numpy(np.where(scale > 0, scale, 1.0)).reshape(-1, *[1] * (channels.ndim - 1))
    step = max(1, _CHUNK // max(1, channels[:1].numel()))
    for start in range(0, len(channels), step):
        part = slice(start, start + step)
        numbers[part] = (channels[part].double() / divisor[part]).round().to(torch.int8)
    stored = torch.empty(weight.shape, dtype=torch.int8)
    write_rows_(module, numbers, "output", stored)
    return stored, torch.from_numpy(scale).float()


@torch.no_grad()
def dequantize(module: nn.Module, name: str, stored: Tensor, scale: Tensor) -> Tensor:
    """Return the weights that int8 numbers and scales represent, in float32.

    Args:
        module: the layer, whose weight has the stored one's shape; not modified.
        name: the weight's name in messages.
        stored: the int8 numbers, in the weight's shape.
        scale: the scales, ``(output channels,)``.

    Raises:
        FileFormatError: the scales are of another type or number, negative or not finite, or a number is −128.
    """
    outputs = registered_kind(module).n_rows(module, "output")
    if scale.dtype != torch.float32 or scale.shape != (outputs,):
        raise FileFormatError(
            f"the scales of {name!r} must be {outputs} of float32, the file's are {tuple(scale.shape)} {scale.dtype}"
        )
    if not bool(torch.isfinite(scale).all()) or bool((scale < 0).any()):
        raise FileFormatError(f"the scales of {name!r} must be finite and not negative")
    if bool((stored == -LARGEST - 1).any()):
        raise FileFormatError(f"{name!r} holds −128: int8 weights must be in −{LARGEST} … {LARGEST}")
    found = stored.float()
    scale_rows_(module, scale, "output", found)
    return found
