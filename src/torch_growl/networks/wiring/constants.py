"""Channels that are constant: the values of an activation that do not depend on the network's inputs.

A filter of zeros gives its bias everywhere, a normalisation whose scale is 0 gives its shift. Such a channel stays
constant through activations, pooling and products with parameters, and a layer that reads it can add its effect to
the bias. A channel whose values are equal in one run only is not constant: constancy follows from zero weights and from
the operations between, never from values. Constants that a padding of zeros makes different at the border are not
followed, because they would depend on the size of the input.
"""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from torch.utils.weak import WeakTensorKeyDictionary

from torch_growl.networks.layers import LayerKind, registered_kind, row_blocks

__all__ = ["Constants", "folds_into_bias"]

Values = NDArray[np.float64]
_KEEPS = {"clone", "contiguous", "alias", "detach", "_to_copy", "lift_fresh", "dropout"}
_MOVES = {"view", "_unsafe_view", "reshape", "_reshape_alias", "permute", "transpose", "t", "expand", "squeeze",
          "unsqueeze", "select", "slice", "split", "split_with_sizes", "unbind", "chunk", "narrow", "flip",
          "pixel_shuffle", "pixel_unshuffle", "channel_shuffle", "native_channel_shuffle", "repeat"}  # fmt: skip
_UNTAGGED = {"where", "prelu", "_prelu_kernel", "hardswish", "log_sigmoid_forward", "celu", "elu", "hardsigmoid",
             "hardtanh", "leaky_relu", "selu", "masked_fill"}  # fmt: skip
_NORMS = {"native_batch_norm", "_native_batch_norm_legit_no_training", "_native_batch_norm_legit", "batch_norm",
          "cudnn_batch_norm", "miopen_batch_norm", "_batch_norm_no_update", "native_group_norm", "native_layer_norm",
          "layer_norm", "group_norm"}  # fmt: skip
_POOLS = ("max_pool", "adaptive_avg_pool", "_adaptive_avg_pool", "avg_pool", "upsample_", "_upsample_",
          "reflection_pad", "replication_pad")  # fmt: skip
_SPACE = {"1": 1, "2": 2, "3": 3}
_NO = torch.tensor(False)


class Constants:
    """Follows one run and finds the constant inputs of every layer.

    Attributes:
        found: for every layer that was called, ``(inputs,)``: the value of each constant input, NaN for the others. An
            input must have the same value in all calls.
    """

    def __init__(self, model: nn.Module, fixed: Any) -> None:
        self.found: dict[str, Values] = {}
        self._fixed = fixed
        self._parameters = {id(value) for value in model.parameters()}
        self._flags = WeakTensorKeyDictionary()  # for each tensor with constants: where they are, of its shape
        self._memories = {id(value): _memory(value) for value in model.parameters()}

    def of(self, value: Any) -> Tensor | None:
        """Flags of the constant elements of a tensor, expanded where they do not differ; None if there is none."""
        if not isinstance(value, Tensor):
            return None
        if id(value) in self._parameters:
            return torch.ones((1,) * value.ndim, dtype=torch.bool).expand(value.shape)
        return cast("Tensor | None", self._flags.get(value))

    def _keep(self, value: Tensor, flags: Tensor | None) -> None:
        if flags is not None and bool(flags.any()):
            self._flags[value] = flags.expand(value.shape)
        elif value in self._flags:
            del self._flags[value]

    def follow(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
        """Record which elements of an operation's results are constant."""
        leaves = _leaves((args, kwargs))
        known = any(value in self._flags or id(value) in self._parameters for value in leaves)
        written = _written(func, args, kwargs)
        if not known and not written:
            return
        flags = self._result(func, func.__name__.partition(".")[0], args, kwargs, leaves, result) if known else None
        for value in written:
            self._forget(value)
        for value, mine in zip(_leaves(result), flags if isinstance(flags, tuple | list) else [flags], strict=False):
            self._keep(value, mine)

    def _forget(self, written: Tensor) -> None:
        """Remove the flags of all tensors that share memory with one that was written."""
        memory = _memory(written)
        for value in [value for value in self._flags if _memory(value) == memory]:
            del self._flags[value]
        self._parameters -= {number for number, own in self._memories.items() if own == memory}

    def _result(
        self, func: Any, name: str, args: Any, kwargs: Any, leaves: list[Tensor], result: Any
    ) -> Tensor | tuple[Tensor, ...] | list[Tensor] | None:
        base = name.removesuffix("_") if not name.startswith("_") else name
        first = self.of(leaves[0])
        if torch.Tag.nondeterministic_seeded in func.tags or kwargs.get("out") is not None:
            return None
        if base in _KEEPS:
            return first
        if base in _MOVES:
            if first is None:
                return None
            if base in ("view", "_unsafe_view", "_reshape_alias", "reshape"):
                return first.reshape(result.shape)
            return cast("Tensor | tuple[Tensor, ...]", func(first, *args[1:], **kwargs))
        if name == "cat":
            parts = [_NO.expand(part.shape) if (own := self.of(part)) is None else own for part in args[0]]
            return cast(Tensor, func(parts, *args[1:], **kwargs))
        if name == "constant_pad_nd":
            return None if first is None else torch.constant_pad_nd(first, args[1], True)
        if base.startswith(_POOLS):
            return self._pooled(base, args, leaves[0], first, result)
        if name in ("mean", "amax", "amin"):
            return self._reduced(args, kwargs, leaves[0], first)
        if name in _NORMS:
            return self._normalised(name, args, first)
        if torch.Tag.pointwise in func.tags or base in _UNTAGGED:
            return self._pointwise(base, leaves)
        return None

    def _pointwise(self, base: str, leaves: list[Tensor]) -> Tensor | None:
        flags = [self.of(value) for value in leaves]
        found = _NO
        if all(own is not None for own in flags):
            found = torch.tensor(True)
            for own in flags:
                found = found & _slim(cast(Tensor, own))
        if base == "mul":
            for value, own in zip(leaves, flags, strict=True):
                if own is not None:  # zero times anything finite is zero
                    found = found | (_slim(own) & (value == 0).cpu())
        return found

    def _pooled(self, base: str, args: Any, x: Tensor, flags: Tensor | None, result: Any) -> Tensor | None:
        dims = next((_SPACE[letter] for letter in base if letter in _SPACE), 0)
        padded = base.startswith("avg_pool") and len(args) > 3 and bool(np.any(args[3]))
        if flags is None or padded or not dims:
            return None
        y = _leaves(result)[0]
        return self._even(x, flags, list(range(x.ndim - dims, x.ndim))).expand(y.shape)

    def _reduced(self, args: Any, kwargs: Any, x: Tensor, flags: Tensor | None) -> Tensor | None:
        dims = args[1] if len(args) > 1 else kwargs.get("dim")
        if flags is None or dims is None or not x.ndim:
            return None
        gone = sorted({dim % x.ndim for dim in ([dims] if isinstance(dims, int) else dims)})
        flags = self._even(x, flags, gone)
        if not (args[2] if len(args) > 2 else kwargs.get("keepdim", False)):
            for dim in reversed(gone):
                flags = flags.select(dim, 0)
        return flags

    def _even(self, x: Tensor, flags: Tensor, dims: list[int]) -> Tensor:
        """Flags, of size 1 along ``dims``, of where all elements along them are constant and equal."""
        if not x.numel() or x.dtype == torch.bool or x.is_complex():
            return _NO.expand([1 if d in dims else n for d, n in enumerate(x.shape)])
        flat = _slim(flags)
        for dim in dims:
            flat = flat.all(dim, keepdim=True)
        low, high = x.amin(dims, keepdim=True), x.amax(dims, keepdim=True)
        rounding = 8 * torch.finfo(x.dtype).eps if x.is_floating_point() else 0
        return flat & (high - low <= rounding * torch.maximum(high.abs(), low.abs())).cpu()

    def _normalised(self, name: str, args: Any, first: Tensor | None) -> Tensor | None:
        """A normalisation whose scale is 0 gives its shift; that of a batch in eval mode keeps constants."""
        x = args[0]
        place = {"layer_norm": 2, "native_layer_norm": 2, "group_norm": 2}.get(name, 1)
        weight, bias = args[place], args[place + 1]
        dim = -1 if "layer_norm" in name else 1
        lead = [1] * x.ndim
        found = _NO
        if weight is not None and (bias is None or self._all_known(bias)) and weight.ndim == 1 and x.ndim > 1:
            lead[dim] = -1
            if self._all_known(weight):
                found = (weight == 0).cpu().reshape(lead)
            if _running(name, args) and first is not None:
                found = found | _slim(first)
        return found

    def _all_known(self, value: Tensor) -> bool:
        flags = self.of(value)
        return flags is not None and bool(flags.all())

    # ── layers ──────────────────────────────────────────────────────────────────────────────────────────────────

    def layer(self, name: str, module: nn.Module, x: Tensor, y: Any) -> None:
        """Record the constant inputs of one call of a registered layer, and the constant channels of its output."""
        kind = registered_kind(module)
        values = np.full(x.shape[kind.channel_dim], np.nan)
        flags = self.of(x)
        if flags is not None and x.is_floating_point() and x.numel():
            dim = kind.channel_dim % x.ndim
            rest = [other for other in range(x.ndim) if other != dim]
            even = self._even(x.detach(), flags, rest) if rest else flags
            one = x.detach()
            for other in rest:
                one = one.narrow(other, 0, 1)
            constant = even.flatten().numpy()
            values[constant] = one.flatten().double().cpu().numpy()[constant]
            values[~np.isfinite(values)] = np.nan
        before = self.found.get(name)
        if before is not None:
            values = np.where(before == values, values, np.nan) if len(before) == len(values) else before * np.nan
        self.found[name] = values
        if isinstance(y, Tensor):
            self._keep(y, None)
            if kind.affine and name not in self._fixed:
                made = torch.from_numpy(self._outputs(module, kind, values))
                lead = [1] * y.ndim
                lead[kind.channel_dim] = -1
                self._keep(y, made.reshape(lead))

    def _outputs(self, module: nn.Module, kind: LayerKind, values: Values) -> NDArray[np.bool_]:
        """Tell for each output channel whether it is constant: it reads no input but constants that can be folded."""
        blocks = row_blocks(module, "input").detach()
        folded = folds_into_bias(module, values).reshape(blocks.shape[:2])
        weights = blocks[..., None].flatten(3) if blocks.ndim > 2 else blocks[..., None, None]
        reads = (weights != 0).any(dim=3).cpu().numpy()  # (groups, rows of each, outputs of each)
        found: NDArray[np.bool_] = ~(reads & ~folded[:, :, None]).any(axis=1).flatten()
        return found


def folds_into_bias(module: nn.Module, values: Values) -> NDArray[np.bool_]:
    """Tell which inputs of a layer add the same to every position of its output, so that its bias can do it.

    Args:
        module: a layer of a registered type.
        values: ``(inputs,)``: the values of its constant inputs; NaN for the others.
    """
    kind = registered_kind(module)
    if not kind.affine:
        return np.zeros(len(values), dtype=np.bool_)
    own = cast(Any, module)
    even = not kind.is_convolution or (
        not own.transposed and (own.padding_mode != "zeros" or not any(own._reversed_padding_repeated_twice))
    )
    found: NDArray[np.bool_] = np.isfinite(values) if even else values == 0
    return found


def _leaves(value: Any) -> list[Tensor]:
    return [leaf for leaf in pytree.tree_leaves(value) if isinstance(leaf, Tensor)]


def _written(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Tensor]:
    """The tensors that an operation writes into."""
    found = []
    for place, argument in enumerate(func._schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            found += _leaves(args[place] if place < len(args) else kwargs.get(argument.name))
    return found


def _running(name: str, args: Any) -> bool:
    """Tell whether a normalisation uses the running statistics."""
    decided = name in ("native_batch_norm", "batch_norm", "cudnn_batch_norm", "miopen_batch_norm")
    return name == "_native_batch_norm_legit_no_training" or (decided and args[5] is False)


def _memory(value: Tensor) -> int:
    try:
        return int(value.untyped_storage()._cdata)
    except (NotImplementedError, RuntimeError):  # a tensor without memory of its own
        return 0


def _slim(flags: Tensor) -> Tensor:
    """The same flags with size 1 along every dimension in which they are expanded."""
    for dim in range(flags.ndim):
        if flags.shape[dim] > 1 and flags.stride(dim) == 0:
            flags = flags.narrow(dim, 0, 1)
    return flags
