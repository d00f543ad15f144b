"""The registry of layer types: for each type, the row blocks of its weight, its sizes, how to resize it, its MACs.

A :class:`LayerKind` is looked up by **exact** type, because a subclass of ``nn.Linear`` may never call its own forward
(``nn.MultiheadAttention.out_proj``). A type that is not registered is left alone and listed with that reason. All other
code reads and writes weights through :mod:`torch_growl.networks.layers.rows`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, cast

import torch
from torch import Tensor, nn

from torch_growl.errors import InvalidValueError, LayerError
from torch_growl.networks.sharding import layer_type, whole_shaped

__all__ = ["LayerKind", "LayerSizes", "Side", "kind_of", "register_layer", "registered_kind", "registered_layers"]

Side = Literal["input", "output"]


class LayerSizes(NamedTuple):
    """The numbers of input channels, output channels and groups of a layer."""

    inputs: int
    outputs: int
    groups: int


@dataclass(frozen=True)
class LayerKind:
    """The description of one layer type whose parameter ``weight`` has rows.

    Attributes:
        blocks: ``(module, weight, side) -> view`` of shape ``(groups, rows per group, …rest)``: a view of ``weight``,
            never a copy. Row ``g * rows_per_group + r`` holds the weights of the input (or output) channel with that
            number.
        channel_dim: the channel dimension of the layer's input and output, counted from the end (−1 for a Linear).
        groups: ``module -> number of groups`` (1 for a Linear).
        resized: ``(module, inputs, outputs) -> module`` of the same settings, device and type, with that many input
            and output channels; its values are uninitialised. With groups, ``inputs`` is a multiple of them.
        macs: ``(module, input, output) -> multiply-adds`` of one call; one multiply-add is one MAC, a bias is none.
        is_convolution: whether the type is a convolution, for the default choice of layers.
        weight_dims: the number of dimensions of the weight; a weight of another number is refused. None: any.
        affine: whether the output is the product of input and weight plus ``bias``, which is None or has one number for
            each output channel, and ``resized`` makes a bias if the module has one. Constant inputs of such a layer can
            be added to its bias.

    Example:
        A layer that computes ``x @ weight``, described and registered:

        >>> import torch
        >>> import torch_growl as tg
        >>> class Product(torch.nn.Module):
        ...     def __init__(self, inputs, outputs):
        ...         super().__init__()
        ...         self.weight = torch.nn.Parameter(torch.ones(inputs, outputs))
        ...
        ...     def forward(self, x):
        ...         return x @ self.weight
        >>> kind = tg.LayerKind(
        ...     blocks=lambda module, weight, side: (weight if side == "input" else weight.t()).unsqueeze(0),
        ...     channel_dim=-1,
        ...     groups=lambda module: 1,
        ...     resized=lambda module, inputs, outputs: Product(inputs, outputs),
        ...     macs=lambda module, x, y: y.numel() * x.shape[-1],
        ... )
        >>> kind.sizes(Product(6, 4))
        LayerSizes(inputs=6, outputs=4, groups=1)
        >>> tg.register_layer(Product, kind)
    """

    blocks: Callable[[nn.Module, Tensor, Side], Tensor]
    channel_dim: int
    groups: Callable[[nn.Module], int]
    resized: Callable[[nn.Module, int, int], nn.Module]
    macs: Callable[[nn.Module, Tensor, Tensor], int]
    is_convolution: bool = False
    weight_dims: int | None = None
    affine: bool = False

    def n_rows(self, module: nn.Module, side: Side) -> int:
        """The number of rows of one side: of input channels or of output channels."""
        groups, per_group = self.blocks(module, whole_shaped(cast(Tensor, module.weight)), side).shape[:2]
        return groups * per_group

    def sizes(self, module: nn.Module) -> LayerSizes:
        """The numbers of input channels, output channels and groups of a layer of this type."""
        return LayerSizes(self.n_rows(module, "input"), self.n_rows(module, "output"), self.groups(module))


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
    cls = layer_type(module)
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


_LINEAR = LayerKind(_linear_blocks, -1, _one_group, _linear_resized, _linear_macs, weight_dims=2, affine=True)


def _convolution(blocks: Callable[[nn.Module, Tensor, Side], Tensor], dims: int) -> LayerKind:
    return LayerKind(
        blocks,
        -1 - dims,
        _conv_groups,
        _conv_resized,
        _conv_macs,
        is_convolution=True,
        weight_dims=dims + 2,
        affine=True,
    )


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
    cls = cast(Any, layer_type(module))
    with torch.random.fork_rng(devices=[]):  # it fills its weight with random numbers
        return cast(nn.Module, cls(outputs, inputs).to(device=old.weight.device, dtype=old.weight.dtype))


# Types of packages that need not be installed, by name.
_BY_NAME: dict[str, LayerKind] = {
    "transformers.pytorch_utils.Conv1D": LayerKind(
        _transposed_linear_blocks, -1, _one_group, _transposed_linear_resized, _linear_macs, weight_dims=2, affine=True
    ),
}


def register_layer(cls: type[nn.Module], kind: LayerKind | type[nn.Module]) -> None:
    """Register a layer type, so that its rows can be penalised, tied and removed.

    Args:
        cls: the exact type; its subclasses are not included.
        kind: its :class:`LayerKind`, or a registered type that it behaves like in every respect.

    Raises:
        InvalidValueError: ``kind`` is a type that is not registered.

    Example:
        >>> import torch
        >>> import torch_growl as tg
        >>> class MyLinear(torch.nn.Linear):
        ...     pass
        >>> tg.inspect_layers(MyLinear(6, 4))[0].reason
        'type has no registered rows view'
        >>> tg.register_layer(MyLinear, torch.nn.Linear)
        >>> tg.inspect_layers(MyLinear(6, 4))[0].eligible
        True
    """
    if isinstance(kind, type):
        if kind not in _KINDS:
            raise InvalidValueError(f"{kind.__name__} is not registered, so {cls.__name__} cannot be made like it")
        kind = _KINDS[kind]
    _KINDS[cls] = kind


def kind_of(module: nn.Module) -> LayerKind | None:
    """The kind registered for the module's exact type, parametrized and sharded or not; None when there is none."""
    cls = layer_type(module)
    return _KINDS.get(cls) or _BY_NAME.get(f"{cls.__module__}.{cls.__qualname__}")


def registered_kind(module: nn.Module) -> LayerKind:
    """The kind registered for the module's exact type.

    Raises:
        LayerError: there is none.
    """
    kind = kind_of(module)
    if kind is None:
        raise LayerError(f"{type(module).__name__} has no rows view; register_layer() can give it one")
    return kind


def registered_layers(model: nn.Module) -> dict[str, nn.Module]:
    """The layers of registered types by dotted name, in the order of registration."""
    return {name: module for name, module in model.named_modules() if kind_of(module) is not None}
