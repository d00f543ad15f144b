"""Sets random rows of every layer to zero or equal to one another, as training with GrOWL leaves them.

There are two kinds of zero rows. Those of the first kind are the same in all layers with as many rows, so that channels
which several such layers read can be removed; those of the second kind are of one layer only, which can merely drop
its inputs.
"""

from __future__ import annotations

import zlib

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from torch_growl.networks.layers import kind_of, rows_of, write_rows_

__all__ = ["SHARED", "ZERO", "damage_", "damaged_layers"]

ZERO = 0.3  # of a layer's rows
SHARED = 0.2  # of a layer's rows: zero in all layers with as many rows
TIED = 0.5  # of the rows that are left: in groups of two to four


def damaged_layers(model: nn.Module) -> dict[str, nn.Module]:
    """Return every layer of a registered type that has weights of its own."""
    return {
        name: module
        for name, module in model.named_modules()
        if kind_of(module) is not None and isinstance(getattr(module, "weight", None), Tensor)
    }


@torch.no_grad()
def damage_(model: nn.Module, seed: int = 0) -> nn.Module:
    """Set rows to zero and tie others in place; the choice depends on the seed and the layers' names alone.

    Args:
        model: a network; parametrized weights are written through their parametrization.
        seed: of everything drawn.
    """
    for name, module in damaged_layers(model).items():
        rows = rows_of(module).detach().clone()
        zero = _zero_rows(len(rows), name, seed)
        rows[zero] = 0.0
        generator = _generator(f"tied {name}", seed)
        gone = set(zero)
        alive = [i for i in torch.randperm(len(rows), generator=generator).tolist() if i not in gone]
        left = alive[: int(TIED * len(alive))]
        while len(left) > 1:
            size = int(torch.randint(2, 5, (), generator=generator))
            group, left = left[:size], left[size:]
            rows[group] = rows[group[0]].clone()
        _set_rows_(module, rows)
    return model


def _zero_rows(count: int, name: str, seed: int) -> list[int]:
    common = torch.randperm(count, generator=_generator(f"{count} rows", seed))[: int(SHARED * count)].tolist()
    rest = torch.randperm(count, generator=_generator(f"zero {name}", seed)).tolist()
    agreed = set(common)
    own = [i for i in rest if i not in agreed][: int(ZERO * count) - len(common)]
    return common + own


def _generator(what: str, seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(zlib.crc32(f"{seed} {what}".encode()))


def _set_rows_(module: nn.Module, rows: Tensor) -> None:
    if not parametrize.is_parametrized(module, "weight"):
        write_rows_(module, rows)
        return
    weight = module.weight.detach().clone()
    write_rows_(module, rows, weight=weight)
    module.weight = weight
