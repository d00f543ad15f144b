"""The rules of ATen operations: which channels each one keeps apart, moves, couples or mixes.

There are five kinds. Operations that only *move* data are run on the identities. *Pointwise* ones couple the channels
that meet at one place. *Local* ones (pooling, interpolation) and *mixing* ones (softmax, reductions) keep channels
apart if none lie along the dimensions that they mix. *Products* of two activations contract one dimension. All channels
that are read by any other operation must stay, with its name as the reason.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from torch_growl.networks.wiring.combining import PRODUCTS, record_pointwise
from torch_growl.networks.wiring.identities import FIXED, constant_along, squashed, tensor_leaves, varying
from torch_growl.networks.wiring.recording import LinearChain, Resize
from torch_growl.networks.wiring.watching import Watch

__all__ = ["follow"]

Handler = Callable[[Watch, Any, tuple[Any, ...], dict[str, Any], Any], None]

_SAME = {"clone", "contiguous", "alias", "detach", "_to_copy", "lift_fresh", "zeros_like", "ones_like", "empty_like",
         "full_like", "rand_like", "randn_like", "native_dropout", "bernoulli"}  # fmt: skip
_MOVES = {"view", "_unsafe_view", "reshape", "_reshape_alias", "permute", "transpose", "t", "expand", "squeeze",
          "unsqueeze", "select", "slice", "split", "split_with_sizes", "unbind", "chunk", "narrow", "flip", "roll",
          "repeat", "pixel_shuffle", "pixel_unshuffle", "channel_shuffle", "unfold", "movedim", "diagonal",
          "repeat_interleave", "tile", "view_as", "unsafe_split", "unsafe_split_with_sizes", "unsafe_chunk",
          "native_channel_shuffle"}  # fmt: skip
_TAKES = {"index_select", "index", "gather", "embedding"}  # by indices, which have no channels of their own
_RESIZING = {"view", "_unsafe_view", "reshape", "split", "split_with_sizes", "expand", "chunk"}
_POINTWISE = {"copy_", "masked_fill", "masked_fill_", "where", "prelu", "_prelu_kernel", "rrelu_with_noise",
              "hardswish", "hardswish_", "log_sigmoid_forward", "dropout", "fill_", "zero_", "tril", "triu",
              # torch 2.6 does not tag these, or not their in-place forms
              "celu", "elu", "hardsigmoid", "hardtanh", "leaky_relu", "selu"}  # fmt: skip
# The number of last dimensions along which neighbours are mixed.
_LOCAL = {
    **{f"{kind}{d}d{end}": d for kind in ("max_pool", "avg_pool", "adaptive_avg_pool", "_adaptive_avg_pool",
       "adaptive_max_pool") for d in (1, 2, 3) for end in ("", "_with_indices")},
    **{f"upsample_{kind}": d for kind, d in (("nearest1d", 1), ("nearest2d", 2), ("nearest3d", 3), ("linear1d", 1),
       ("bilinear2d", 2), ("bicubic2d", 2), ("trilinear3d", 3), ("_nearest_exact1d", 1), ("_nearest_exact2d", 2))},
    **{f"_upsample_{kind}": d for kind, d in (("nearest_exact1d", 1), ("nearest_exact2d", 2), ("bilinear2d_aa", 2),
       ("bicubic2d_aa", 2))},
    **{f"{kind}_pad{d}d": d for kind in ("reflection", "replication") for d in (1, 2, 3)},
    "grid_sampler_2d": 2, "grid_sampler_3d": 3, "im2col": 2,
}  # fmt: skip
# Reductions, and the position of their dimensions among the arguments.
_MIXING = {"_softmax": 1, "softmax": 1, "_log_softmax": 1, "log_softmax": 1, "_safe_softmax": 1, "mean": 1, "sum": 1,
           "amax": 1, "amin": 1, "max": 1, "min": 1, "var": 1, "std": 1, "var_mean": 1, "std_mean": 1, "logsumexp": 1,
           "linalg_vector_norm": 2, "norm": 2, "cumsum": 1, "cumprod": 1, "argmax": 1, "argmin": 1, "any": 1, "all": 1,
           "sort": 1, "topk": 2, "prod": 1, "nansum": 1}  # fmt: skip
_NORMS = {"native_batch_norm", "_native_batch_norm_legit_no_training", "_native_batch_norm_legit", "batch_norm",
          "cudnn_batch_norm", "miopen_batch_norm", "_batch_norm_no_update"}  # fmt: skip
_LINEAR = {"clone", "contiguous", "alias", "detach", "mean", "avg_pool1d", "avg_pool2d", "avg_pool3d",
           "_adaptive_avg_pool2d", "_adaptive_avg_pool3d", "adaptive_avg_pool1d"}  # fmt: skip


def follow(watch: Watch, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
    """Record the effect of an operation on the channels of the tensors that it reads.

    Args:
        watch: the run that is recorded.
        func: the ATen operation.
        args, kwargs: its arguments.
        result: its result.
    """
    leaves = tensor_leaves((args, kwargs))
    if not any(watch.of(value) is not None for value in leaves):
        return
    name = func.__name__.partition(".")[0]
    base = name.removesuffix("_") if not name.startswith("_") else name
    _continue_chain(watch, leaves, result, name, base)
    if name in _SAME or base in _SAME:
        _same(watch, leaves, result)
    elif base in _MOVES:
        _moved(watch, func, args, kwargs, result, base)
    elif name in ("cat", "stack"):
        _joined(watch, func, args, kwargs, result)
    elif name in _TAKES:
        _taken(watch, func, args, kwargs, result, name)
    elif name == "constant_pad_nd":
        _padded(watch, args, result)
    elif base in _LOCAL:
        _local(watch, leaves, result, _LOCAL[base], name)
    elif base in _MIXING:
        _mixed(watch, args, kwargs, result, _MIXING[base], name)
    elif name in _NORMS:
        _batch_norm(watch, leaves, result)
    elif name in ("native_group_norm", "group_norm"):
        _group_norm(watch, args, result, name)
    elif name in ("native_layer_norm", "layer_norm", "_fused_rms_norm", "rms_norm"):
        _layer_norm(watch, args, result, name)
    elif name == "glu":
        _gated(watch, args, kwargs, result)
    elif name in PRODUCTS:
        PRODUCTS[name](watch, args, kwargs, result)
    elif torch.Tag.pointwise in func.tags or base in _POINTWISE or name in _POINTWISE:
        record_pointwise(watch, leaves, result, inplace=name.endswith("_") and name != "_to_copy")
    else:
        watch.pin_unknown(leaves, name)


def _continue_chain(watch: Watch, leaves: list[Tensor], result: Any, name: str, base: str) -> None:
    """Continue a linear chain through operations that treat all channels the same, and through batch normalisations."""
    chain, results = watch.chain_to(leaves[0]), tensor_leaves(result)
    if chain is None or not results:
        return
    if name in _NORMS and all(value.ndim <= 1 for value in leaves[1:]):
        watch.keep_chain(results[0], LinearChain(chain.source, (*chain.norms, watch.module)))
    elif len(leaves) == 1 and (name in _LINEAR or base in _MOVES):
        for value in results:
            watch.keep_chain(value, chain)


def _same(watch: Watch, leaves: list[Tensor], result: Any) -> None:
    ids = watch.of(leaves[0])
    for value in tensor_leaves(result):
        if ids is not None and value.shape == ids.shape:
            watch.keep(value, ids)


def _moved(watch: Watch, func: Any, args: Any, kwargs: Any, result: Any, name: str) -> None:
    ids = watch.of(args[0])
    if ids is None:
        return
    if name in ("view", "_unsafe_view", "_reshape_alias", "reshape") and isinstance(result, Tensor):
        found: Any = ids.reshape(result.shape)
    else:
        found = func(ids, *args[1:], **kwargs)
    if name in ("slice", "narrow") and any(found.shape[dim] != ids.shape[dim] for dim in varying(squashed(ids))):
        watch.by_number(0)
    _note(watch, result, found)
    if name in _RESIZING:
        for value in tensor_leaves(result):
            mine = watch.of(value)
            if mine is not None:
                watch.recording.resizes.append(Resize(watch.module, mine))


def _note(watch: Watch, result: Any, found: Any) -> None:
    for value, ids in zip(tensor_leaves(result), tensor_leaves(found), strict=True):
        watch.keep(value, ids)


def _joined(watch: Watch, func: Any, args: Any, kwargs: Any, result: Any) -> None:
    parts = [watch.of_or_fixed(value) for value in args[0]]
    dim = (args[1] if len(args) > 1 else kwargs.get("dim", 0)) % result.ndim
    if func.__name__.startswith("cat"):
        _meet_beside(watch, [ids for ids in parts if ids.numel()], dim)
    watch.keep(result, func(parts, *args[1:], **kwargs))


def _meet_beside(watch: Watch, parts: list[Tensor], dim: int) -> None:
    """Couple the slices of tensors that are joined along one dimension: all of them must keep the same ones."""
    if not parts or all(constant_along(ids, [d for d in range(ids.ndim) if d != dim]) for ids in parts):
        return
    lines = [ids.narrow(dim, 0, 1) for ids in parts]
    for ids in parts:
        watch.recording.couple(ids, lines[0])


def _taken(watch: Watch, func: Any, args: Any, kwargs: Any, result: Tensor, name: str) -> None:
    numbers = tensor_leaves((args[1:], kwargs))
    ids = watch.of(args[0])
    if any(watch.of(value) is not None for value in numbers) or ids is None:
        watch.pin_unknown([args[0], *numbers], name)
        return
    if name == "index" and any(value.dtype == torch.bool for value in numbers):
        watch.pin_unknown([args[0]], name)
        return
    if name == "index":
        taken = [dim for dim, value in enumerate(args[1]) if value is not None]
    else:
        taken = [0 if name == "embedding" else args[1]]
    if not constant_along(ids, taken) and name != "embedding":
        watch.recording.pin(ids, f"its output is read by {name}, which chooses channels by number")
        return
    if name == "embedding":  # of (entries, size), only the last has channels
        watch.recording.couple(ids, ids.narrow(0, 0, 1))
        ids = ids.narrow(0, 0, 1).expand(ids.shape)
    watch.keep(result, func(ids, *args[1:], **{k: v for k, v in kwargs.items() if k not in ("scale_grad_by_freq",)}))


def _padded(watch: Watch, args: Any, result: Tensor) -> None:
    ids = watch.of(args[0])
    if ids is None:
        return
    amounts = args[1]
    for number in range(len(amounts) // 2):
        dim = ids.ndim - 1 - number
        before, after = amounts[2 * number], amounts[2 * number + 1]
        if dim not in varying(ids):
            shape = list(ids.shape)
            shape[dim] = result.shape[dim]
            ids = ids.narrow(dim, 0, 1).expand(shape) if ids.shape[dim] else torch.full(shape, FIXED)
        else:
            pad = [0] * (2 * number) + [before, after]
            ids = torch.constant_pad_nd(ids, pad, FIXED)
            before, after = max(before, 0), max(after, 0)
            new = watch.by_number(before + after)
            if new is not None:
                last = ids.shape[dim] - after
                ids.movedim(dim, -1)[..., :before] = new[:before]
                ids.movedim(dim, -1)[..., last:] = new[before:]
    watch.keep(result, ids)


def _local(watch: Watch, leaves: list[Tensor], result: Any, mixed: int, name: str) -> None:
    ids = watch.of(leaves[0])
    if ids is None or not constant_along(ids, range(-mixed, 0)) or name == "im2col":
        watch.pin_unknown(leaves, name)
        return
    for dim in range(ids.ndim - mixed, ids.ndim):
        ids = ids.narrow(dim, 0, 1)
    for value in tensor_leaves(result):
        watch.keep(value, ids.expand(value.shape))


def _mixed(watch: Watch, args: Any, kwargs: Any, result: Any, place: int, name: str) -> None:
    x = args[0]
    ids = watch.of(x)
    if ids is None:
        return
    dims = args[place] if len(args) > place else kwargs.get("dim")
    if isinstance(dims, Tensor) or (name in ("max", "min") and len(args) == 1):
        dims = None
    dims = range(x.ndim) if dims is None or dims == [] else [dims] if isinstance(dims, int) else dims
    gone = sorted({dim % x.ndim for dim in dims})
    if not constant_along(ids, gone):
        watch.recording.pin(ids, f"its output is read by {name} in {watch.place}, which mixes channels")
        return
    for value in tensor_leaves(result):
        if value.ndim == x.ndim:
            mine = ids
            for dim in gone:
                mine = mine.narrow(dim, 0, 1)
            watch.keep(value, mine.expand(value.shape))
        elif value.ndim == x.ndim - len(gone):
            mine = ids
            for dim in reversed(gone):
                mine = mine.select(dim, 0)
            watch.keep(value, mine)


def _batch_norm(watch: Watch, leaves: list[Tensor], result: Any) -> None:
    y = tensor_leaves(result)[0]
    ids = watch.of(leaves[0])
    if ids is None or not constant_along(ids, [d for d in range(y.ndim) if d != 1]):
        watch.pin_unknown(leaves, "batch_norm")
        return
    lead = [1, -1] + [1] * (y.ndim - 2)
    for value in leaves[1:]:
        mine = watch.of_or_fixed(value)
        if value.ndim == 1:
            watch.recording.couple(ids, mine.reshape(lead))
    watch.keep(y, ids)


def _group_norm(watch: Watch, args: tuple[Any, ...], result: Any, name: str) -> None:
    native = name == "native_group_norm"
    x, weight, bias, groups = args[0], args[1 if native else 2], args[2 if native else 3], args[6 if native else 1]
    ids = watch.of(x)
    leaves = [value for value in (x, weight, bias) if value is not None]
    if ids is None or groups == 1 or not constant_along(ids, [d for d in range(x.ndim) if d != 1]):
        watch.pin_unknown(leaves, "group_norm")
        return
    found, channels = watch.recording, ids.movedim(1, -1).reshape(-1, x.shape[1])[0]
    for value in leaves[1:]:
        found.couple(channels, watch.of_or_fixed(value))
    members = channels.reshape(groups, -1)
    found.couple(members, members[:, :1])
    found.group_norms[watch.module] = (channels, groups)
    watch.keep(tensor_leaves(result)[0], ids)


def _layer_norm(watch: Watch, args: Any, result: Any, name: str) -> None:
    x, shape = args[0], args[1]
    ids = watch.of(x)
    leaves = [value for value in args if isinstance(value, Tensor)]
    apart = ids is not None and constant_along(ids, range(-len(shape), 0))
    if not apart:
        for value in leaves:
            mine = watch.of(value)
            if mine is not None:
                where = watch.module or name
                watch.recording.pin(mine, f"its output is normalised together with other channels in {where}")
        return
    assert ids is not None
    for dim in range(ids.ndim - len(shape), ids.ndim):
        ids = ids.narrow(dim, 0, 1)
    watch.keep(tensor_leaves(result)[0], ids.expand(x.shape))


def _gated(watch: Watch, args: Any, kwargs: Any, result: Tensor) -> None:
    """Couple the two halves: the result is one half times the sigmoid of the other."""
    ids = watch.of(args[0])
    if ids is None:
        return
    dim = args[1] if len(args) > 1 else kwargs.get("dim", -1)
    left, right = ids.chunk(2, dim)
    watch.recording.couple(left, right)
    watch.keep(result, left)
