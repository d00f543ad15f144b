"""Folding: sums of tied inputs are moved into the layer before, effects of constant inputs into the layer's bias.

**Linear chains.** If only linear operations lie between two layers and no other module reads the values between them,
the sum over a group c of the second layer's inputs is one output channel of the first layer, with the sum of the
members' weights:
``Σ_{i∈c} (s_i (W_i x + b_i) + t_i)``, where s and t are scale and shift of a batch normalisation between them.
Afterwards no layer needs the channels of the other members, and planning removes them.

**Constants.** ``W x + b = Σ_{i varies} w_i x_i + (b + Σ_{i constant} w_i x_i)``: afterwards the rows of constant
inputs are zero, and nothing needs the channels that make them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from torch_growl.mathematics.clustering import PRUNED, Partition
from torch_growl.networks.layers import own_memory_, registered_kind, row_blocks, rows_of, write_rows_
from torch_growl.networks.wiring import Wiring, folds_into_bias

__all__ = ["altered_modules", "constants_left", "fold_chains_", "fold_constants_", "foldable"]


@torch.no_grad()
def fold_chains_(model: nn.Module, wiring: Wiring, fixed: Collection[str]) -> tuple[str, ...]:
    """Fold every linear chain whose second layer has tied inputs.

    Args:
        model: a dense network; its weights are changed, its outputs are not.
        wiring: the wiring of ``model``.
        fixed: names of layers that must not be changed.

    Returns:
        The names of the layers whose tied inputs are now summed by the layer before them.
    """
    folded = []
    for name, makes, reads, norm, tied, channels in _chains(model, wiring, fixed):
        _fold_(makes, reads, norm, tied, channels)
        folded.append(name)
    return tuple(folded)


def _chains(model: nn.Module, wiring: Wiring, fixed: Collection[str]) -> Iterator[tuple[Any, ...]]:
    """Yield the name of the second layer of every chain to fold, and the arguments of :func:`_fold_`."""
    layers = {name: module for name, module in model.named_modules() if name in wiring.inputs}
    used = (*wiring.inputs.values(), *wiring.outputs.values(), *wiring.parameters.values(), wiring.reads)
    uses = _counted(wiring.count, used) if wiring.chains else None
    for name, (source, norms) in wiring.chains.items():
        if name in fixed or source in fixed or len(norms) > 1 or not _alone(wiring, uses, name, source, norms):
            continue
        makes, reads = layers[source], layers[name]
        if any(registered_kind(m).groups(m) != 1 for m in (makes, reads)):
            continue
        labels = np.array(Partition.from_rows(rows_of(reads).detach()).labels)
        groups = [np.flatnonzero(labels == label) for label in np.unique(labels) if label != PRUNED]
        tied = [members for members in groups if len(members) > 1]
        norm = cast(Any, model.get_submodule(norms[0])) if norms else None
        if not tied or (norm is not None and norm.running_var is None):
            continue
        place = {number: channel for channel, number in enumerate(wiring.outputs[source].tolist())}
        channels = [[place[int(wiring.inputs[name][i])] for i in members] for members in tied]
        yield name, makes, reads, norm, tied, channels


def _alone(wiring: Wiring, uses: Any, name: str, source: str, norms: tuple[str, ...]) -> bool:
    """Tell whether every channel of the source is exactly one input of the reader and is used nowhere else.

    ``uses`` is how often each class occurs in the wiring.
    """
    made, read = wiring.outputs[source], wiring.inputs[name]
    if len(made) != len(read) or len(np.unique(made)) != len(made) or set(made.tolist()) != set(read.tolist()):
        return False
    of_norms = [classes for key, classes in wiring.parameters.items() if key.rpartition(".")[0] in norms]
    others = uses - _counted(wiring.count, (made, read, *of_norms))
    return not (wiring.pinned[made].any() or others[made].any())


def _counted(count: int, groups: Iterable[NDArray[np.int64]]) -> Any:
    """Count how often each class occurs: ``(count,)``."""
    return sum((np.bincount(classes.ravel(), minlength=count) for classes in groups), np.zeros(count, np.int64))


def _fold_(makes: nn.Module, reads: nn.Module, norm: Any, tied: list[Any], channels: list[list[int]]) -> None:
    own_memory_(makes, reads, *([norm] if norm is not None else []))
    rows = rows_of(makes, "output").detach().clone()  # (outputs, …)
    wide = rows.double()
    bias = cast("Tensor | None", makes.bias)
    offset = torch.zeros(len(rows), dtype=torch.float64, device=rows.device) if bias is None else bias.double()
    if norm is not None:
        scale = (norm.running_var.double() + norm.eps).rsqrt()
        scale = scale if norm.weight is None else scale * norm.weight.double()
        shift = -norm.running_mean.double() * scale + (0 if norm.bias is None else norm.bias.double())
        if norm.weight is None or norm.bias is None:
            return
    inputs = rows_of(reads).detach().clone()
    for members, mine in zip(tied, channels, strict=True):
        first = mine[0]
        if norm is None:
            if bias is not None:
                bias[first] = offset[mine].sum().to(bias.dtype)
            rows[first] = wide[mine].sum(0).to(rows.dtype)
        else:
            rows[first] = (wide[mine] * scale[mine, None]).sum(0).to(rows.dtype)
            norm.running_mean[first] = 0
            norm.running_var[first] = 1
            norm.weight[first] = (1 + norm.eps) ** 0.5
            if bias is not None:
                bias[first] = 0
            norm.bias[first] = (offset[mine] * scale[mine] + shift[mine]).sum().to(norm.bias.dtype)
        inputs[torch.as_tensor(members[1:], device=inputs.device)] = 0
    write_rows_(makes, rows, "output")
    write_rows_(reads, inputs)


@torch.no_grad()
def fold_constants_(model: nn.Module, wiring: Wiring, fixed: Collection[str]) -> dict[str, int]:
    """Add the effect of every layer's constant inputs to its bias and set their rows to zero.

    A layer without a bias gets one if the effect is not zero.

    Args:
        model: a dense network; its weights are changed, its outputs are not.
        wiring: the wiring of ``model``.
        fixed: names of layers that must not be changed.

    Returns:
        The number of inputs whose rows are now zero, by layer.
    """
    folded = {}
    for name, module, values, found in _constants(model, wiring, fixed):
        own_memory_(module)
        blocks = row_blocks(module, "input").detach()  # (groups, rows of each, outputs of each, …)
        constants = torch.from_numpy(np.where(found, values, 0.0)).to(blocks.device)
        shape = (*blocks.shape[:2], *[1] * (blocks.ndim - 2))
        effect = (blocks.double() * constants.reshape(shape)).sum(dim=(1, *range(3, blocks.ndim))).flatten()
        bias = cast("Tensor | None", module.bias)
        if bias is not None:
            bias.copy_((bias.double() + effect).to(bias.dtype))
        elif bool(effect.any()):
            weight = cast(Tensor, module.weight)
            module.bias = nn.Parameter(effect.to(weight.dtype), requires_grad=weight.requires_grad)
        blocks.mul_(torch.from_numpy(~found).to(blocks).reshape(shape))
        folded[name] = int(found.sum())
    return folded


def _constants(model: nn.Module, wiring: Wiring, fixed: Collection[str]) -> Iterator[tuple[str, nn.Module, Any, Any]]:
    """Yield every layer with constant inputs to fold: its name, itself, the constants, and which of them."""
    for name, values in wiring.constants.items():
        if name in fixed or np.isnan(values).all():
            continue
        module = model.get_submodule(name)
        found = _nonzero(module, values) & folds_into_bias(module, values)
        if found.any():
            yield name, module, values, found


@torch.no_grad()
def foldable(model: nn.Module, wiring: Wiring, fixed: Collection[str]) -> tuple[bool, bool]:
    """Tell whether a network has constants to fold, and whether it has chains; the arguments are as above."""
    constants, chains = _constants(model, wiring, fixed), _chains(model, wiring, fixed)
    return next(constants, None) is not None, next(chains, None) is not None


def constants_left(module: nn.Module, values: Any) -> int:
    """Count the constant inputs of a layer that are read and cannot be added to its bias."""
    return int((_nonzero(module, values) & np.isfinite(values) & ~folds_into_bias(module, values)).sum())


def _nonzero(module: nn.Module, values: Any) -> Any:
    rows = (rows_of(module).detach() != 0).any(dim=1).cpu().numpy()
    return rows if len(rows) == len(values) else np.zeros(len(values), dtype=np.bool_)


def altered_modules(before: nn.Module, after: nn.Module) -> frozenset[str]:
    """Find the modules whose own parameters or buffers differ between two copies of a network."""
    old = {**dict(before.named_parameters()), **dict(before.named_buffers())}
    new = {**dict(after.named_parameters()), **dict(after.named_buffers())}
    return frozenset(name.rpartition(".")[0] for name in old if not torch.equal(old[name], new[name]))
