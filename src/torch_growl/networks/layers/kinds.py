"""The one place that knows layer types: how a layer's weight is seen as rows, resized, and counted.

A :class:`LayerKind` is looked up by **exact** type: a subclass of ``nn.Linear`` may never call its own forward
(``nn.MultiheadAttention.out_proj``), so what is not registered is not understood, and is listed with that reason.
Everything else in the library is written against the *row blocks* of a kind: a strided view of the weight with shape
``(groups, rows per group, …rest)``, through which rows are read, scaled and written whatever the memory format.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from torch_growl.errors import InvalidValueError, LayerError

__all__ = ["LayerKind", "Side", "kind_of", "register_layer", "row_norms", "rows_of", "scale_rows_", "write_rows_"]

Side = Literal["input", "output"]


@dataclass(frozen=True)
class LayerKind:
    """What the library knows about one layer type whose parameter ``weight`` has rows.

    Attributes:
        blocks: ``(module, weight, side) -> view`` of shape ``(groups, rows per group, …rest)``: a view of ``weight``,
            never a copy. Row ``g * rows_per_group + r`` is what input (or output) channel of that number owns.
        channel_dim: the channel dimension of the layer's input and output, counted from the end (−1 for a Linear).
        groups: ``module -> number of groups`` (1 for a Linear).
        resized: ``(module, inputs, outputs) -> module`` of the same settings, device and type, with that many input
            and output channels; its values are uninitialised. With groups, ``inputs`` is a multiple of them.
        macs: ``(module, input, output) -> multiply-adds`` of one call; one multiply-add is one MAC, a bias is none.
        is_convolution: whether it is one, for the default choice of layers.
    """

    blocks: Callable[[nn.Module, Tensor, Side], Tensor]
    channel_dim: int
    groups: Callable[[nn.Module], int]
    resized: Callable[[nn.Module, int, int], nn.Module]
    macs: Callable[[nn.Module, Tensor, Tensor], int]
    is_convolution: bool = False


def _linear_blocks(module: nn.Module, weight: Tensor, side: Side) -> Tensor:
    return (weight.t() if side == "input" else weight).unsqueeze(0)


def _one_group(module: nn.Module) -> int:
    return 1


def _linear_resized(module: nn.Module, inputs: int, outputs: int) -> nn.Module:
    old = cast(nn.Linear, module)
    factory: dict[str, Any] = {"device": old.weight.device, "dtype": old.weight.dtype}
    return cast(nn.Module, nn.utils.skip_init(nn.Linear, inputs, outputs, bias=old.bias is not None, **factory))


def _linear_macs(module: nn.Module, x: Tensor, y: Tensor) -> int:
    return y.numel() * x.shape[-1]


def _grouped(module: nn.Module, weight: Tensor) -> Tensor:
    groups = _conv_groups(module)
    return weight.view(groups, weight.shape[0] // groups, *weight.shape[1:])


def _conv_blocks(module: nn.Module, weight: Tensor, side: Side) -> Tensor:
    # weight: (out, in / groups, *kernel)
    if side == "output":
        return _grouped(module, weight)
    return _grouped(module, weight).transpose(1, 2)


def _transposed_blocks(module: nn.Module, weight: Tensor, side: Side) -> Tensor:
    # weight: (in, out / groups, *kernel)
    blocks = _grouped(module, weight)
    return blocks if side == "input" else blocks.transpose(1, 2)


def _conv_groups(module: nn.Module) -> int:
    return int(cast(Any, module).groups)


def _conv_resized(module: nn.Module, inputs: int, outputs: int) -> nn.Module:
    old = cast(Any, module)
    settings: dict[str, Any] = {
        name: getattr(old, name) for name in ("kernel_size", "stride", "padding", "dilation", "groups", "padding_mode")
    }
    if old.transposed:
        settings["output_padding"] = old.output_padding
    cls = cast(type[nn.Module], parametrize.type_before_parametrizations(module))
    factory = {"device": old.weight.device, "dtype": old.weight.dtype}
    return cast(nn.Module, nn.utils.skip_init(cls, inputs, outputs, bias=old.bias is not None, **settings, **factory))


def _conv_macs(module: nn.Module, x: Tensor, y: Tensor) -> int:
    # Every output position reads all kernels of its group; a transposed one is the same product seen from its input.
    old = cast(Any, module)
    positions = x if old.transposed else y
    channels = y.shape[-len(old.kernel_size) - 1] if old.transposed else x.shape[-len(old.kernel_size) - 1]
    taps = 1
    for size in old.kernel_size:
        taps *= size
    return int(positions.numel() * (channels // old.groups) * taps)


_LINEAR = LayerKind(_linear_blocks, -1, _one_group, _linear_resized, _linear_macs)


def _convolution(blocks: Callable[[nn.Module, Tensor, Side], Tensor], dims: int) -> LayerKind:
    return LayerKind(blocks, -1 - dims, _conv_groups, _conv_resized, _conv_macs, is_convolution=True)


_KINDS: dict[type[nn.Module], LayerKind] = {
    nn.Linear: _LINEAR,
    nn.Conv1d: _convolution(_conv_blocks, 1),
    nn.Conv2d: _convolution(_conv_blocks, 2),
    nn.Conv3d: _convolution(_conv_blocks, 3),
    nn.ConvTranspose1d: _convolution(_transposed_blocks, 1),
    nn.ConvTranspose2d: _convolution(_transposed_blocks, 2),
    nn.ConvTranspose3d: _convolution(_transposed_blocks, 3),
}


def _transposed_linear_blocks(module: nn.Module, weight: Tensor, side: Side) -> Tensor:
    # weight: (in, out)
    return (weight if side == "input" else weight.t()).unsqueeze(0)


def _transposed_linear_resized(module: nn.Module, inputs: int, outputs: int) -> nn.Module:
    old = cast(Any, module)
    cls = cast(Any, parametrize.type_before_parametrizations(module))
    with torch.random.fork_rng(devices=[]):  # it fills its weight with random numbers
        return cast(nn.Module, cls(outputs, inputs).to(device=old.weight.device, dtype=old.weight.dtype))


# Types of packages that need not be installed, by name.
_BY_NAME: dict[str, LayerKind] = {
    "transformers.pytorch_utils.Conv1D": LayerKind(
        _transposed_linear_blocks, -1, _one_group, _transposed_linear_resized, _linear_macs
    ),
}


def register_layer(cls: type[nn.Module], kind: LayerKind | type[nn.Module]) -> None:
    """Teach the library a layer type.

    Args:
        cls: the exact type; its subclasses are not included.
        kind: what it is: a :class:`LayerKind`, or a registered type that it behaves like in every respect.

    Raises:
        InvalidValueError: ``kind`` is a type that is not registered.
    """
    if isinstance(kind, type):
        if kind not in _KINDS:
            raise InvalidValueError(f"{kind.__name__} is not registered, so {cls.__name__} cannot be made like it")
        kind = _KINDS[kind]
    _KINDS[cls] = kind


def kind_of(module: nn.Module) -> LayerKind | None:
    """What is known of the module's exact type, parametrized or not; None when it is not registered."""
    cls = cast(type[nn.Module], parametrize.type_before_parametrizations(module))
    return _KINDS.get(cls) or _BY_NAME.get(f"{cls.__module__}.{cls.__qualname__}")


def _weight_blocks(module: nn.Module, side: Side, weight: Tensor | None = None) -> Tensor:
    kind = kind_of(module)
    if kind is None:
        raise LayerError(f"{type(module).__name__} has no rows view; register_layer() can give it one")
    return kind.blocks(module, cast(Tensor, module.weight) if weight is None else weight, side)


def rows_of(module: nn.Module, side: Side = "input", weight: Tensor | None = None) -> Tensor:
    """The layer's weight as a matrix ``(n_rows, row_length)``; a view where the layout allows it, else a copy.

    Args:
        module: a layer of a registered type; not modified.
        side: ``"input"``: a row is one input with all its outgoing weights; ``"output"``: one neuron or filter.
        weight: another tensor of the weight's shape to look at in its place.

    Raises:
        LayerError: the type is not registered.
    """
    blocks = _weight_blocks(module, side, weight)
    return blocks.flatten(0, 1).flatten(1) if blocks.ndim > 2 else blocks.flatten(0, 1).unsqueeze(1)


def row_norms(module: nn.Module, side: Side = "input") -> Tensor:
    """The ℓ2 norm of every row: ``(n_rows,)``, float32 (float64 for float64 weights), without a copy of the weight."""
    blocks = _weight_blocks(module, side).detach()
    dtype = torch.float64 if blocks.dtype == torch.float64 else torch.float32
    norms: Tensor = torch.linalg.vector_norm(blocks, dim=tuple(range(2, blocks.ndim)), dtype=dtype)
    return norms.flatten()


@torch.no_grad()
def scale_rows_(module: nn.Module, scale: Tensor, side: Side = "input") -> None:
    """Multiply row i of the layer's weight by ``scale[i]``, in place; a scale of 0 gives exact zeros.

    Args:
        module: a layer of a registered type; its weight is modified.
        scale: ``(n_rows,)``; cast to the weight's type.
    """
    blocks = _weight_blocks(module, side)
    shape = (*blocks.shape[:2], *([1] * (blocks.ndim - 2)))
    blocks.mul_(scale.to(blocks.dtype).reshape(shape))


def write_rows_(module: nn.Module, rows: Tensor, side: Side = "input", weight: Tensor | None = None) -> None:
    """Write a matrix ``(n_rows, row_length)`` back into the layer's weight, whatever its memory format.

    It is differentiable in ``rows`` when ``weight`` is a fresh tensor.

    Args:
        module: a layer of a registered type; its weight is modified, outside of autograd.
        weight: another tensor of the weight's shape to write into instead.
        rows: what :func:`rows_of` gives, changed.
    """
    blocks = _weight_blocks(module, side, cast(Tensor, module.weight).detach() if weight is None else weight)
    blocks.copy_(rows.reshape(blocks.shape))
