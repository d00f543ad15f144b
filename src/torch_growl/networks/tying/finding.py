"""The tying of a network: found by grouping similar rows, or read from rows that are equal already."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Literal

import torch
from torch import nn

from torch_growl.arguments import check_choice, check_number
from torch_growl.errors import InvalidTypeError, InvalidValueError, LayerError
from torch_growl.mathematics.clustering import PRUNED, Partition, cluster_rows, merge_rows
from torch_growl.networks.layers import (
    Side,
    check_network,
    choose_layers,
    inspect_layers,
    matching,
    rows_of,
    warn_of_adapters,
)
from torch_growl.networks.tying.parametrization import tied_layers
from torch_growl.networks.tying.tying import LayerTying, Tying

__all__ = ["existing_tying", "find_tying"]


@torch.no_grad()
def find_tying(
    model: nn.Module,
    layers: Iterable[str] | None = None,
    *,
    preference: float = 0.8,
    overrides: Mapping[str, float] | None = None,
    max_ratio: float = 0.95,
    method: Literal["affinity", "exact", "ward", "none"] = "affinity",
    groups: int | float | Mapping[str, int | float] | None = None,
    side: Side = "input",
) -> Tying:
    """Find the nonzero rows of every layer and the groups of similar ones among them (the paper's stage (i)).

    Args:
        model: a trained network; not modified.
        layers: names or patterns, as for :class:`torch_growl.GrOWL`; ``growl.layers`` gives the penalised ones.
        preference: rows are tied to an exemplar only at similarity ≥ preference, in (0, 1]; the paper uses 0.6 for
            MNIST and 0.8 for VGG. A larger one ties fewer rows and loses less accuracy.
        overrides: another preference for some layers, by name or pattern, later ones take precedence; 1 ties equal
            rows only.
        max_ratio: a layer whose groups / nonzero rows exceeds this is left untied, because little would be shared; in
            (0, 1], the paper uses 0.95. 1 ties every layer.
        method: ``"affinity"``: affinity propagation on the row similarity; ``"exact"``: the proven best groups, for
            components of some hundred rows (:func:`torch_growl.cluster_rows`); ``"ward"``: rows of the most similar
            direction are merged until ``groups`` are left, for tying in steps: merge some rows,
            :func:`torch_growl.tie_`, retrain, :func:`torch_growl.untie_`, merge more; rows that are equal already stay
            equal. ``"none"``: no groups, pruned rows only.
        groups: with ``"ward"``: the number of groups to leave in a layer, a whole number ≥ 1, or a share of its nonzero
            rows, below 1; or one for each layer, by name or pattern, later ones take precedence. Layers without one
            are not tied.
        side: which side's rows are grouped.

    Raises:
        LayerError: an unknown or ineligible layer is named, or a layer has NaN or infinite weights.
        InvalidValueError, InvalidTypeError: ``preference``, ``max_ratio``, ``method`` or ``groups`` is outside its
            range or of the wrong type, or one of ``"ward"`` and ``groups`` is given without the other.

    Example:
        >>> import torch
        >>> import torch_growl as tg
        >>> model = torch.nn.Sequential(torch.nn.Linear(5, 2))
        >>> rows = [[3.0, 4.0], [3.1, 4.0], [0.0, 0.0], [4.0, -3.0], [4.0, -3.1]]  # one for each input
        >>> model[0].weight.data = torch.tensor(rows).T
        >>> tying = tg.find_tying(model, ["0"], preference=0.9)
        >>> tying["0"].partition.labels  # row 2 is pruned, two pairs share a value
        (0, 0, -1, 1, 1)
        >>> tying.compression()
        2.5
    """
    check_network("model", model)
    check_choice("method", method, ("affinity", "exact", "ward", "none"))
    if (method == "ward") != (groups is not None):
        raise InvalidValueError("method='ward' and groups= go together: rows are merged until so many groups are left")
    check_number("max_ratio", max_ratio, above=0, most=1)
    for value in (preference, *(overrides or {}).values()):
        check_number("preference", value, above=0, most=1)
    chosen = choose_layers(model, layers, side)
    warn_of_adapters([info.name for info in chosen])
    preferences = {info.name: preference for info in chosen}
    for pattern, value in (overrides or {}).items():
        preferences.update((info.name, value) for info in matching(pattern, chosen))
    targets: dict[str, int | float] = {}
    for pattern, wanted in (groups if isinstance(groups, Mapping) else {} if groups is None else {"*": groups}).items():
        targets.update((info.name, _checked_groups(wanted)) for info in matching(pattern, chosen))
    found = []
    for info in chosen:
        W = rows_of(info.module, side)  # (n_rows, row_length)
        if not bool(torch.isfinite(W).all()):
            raise LayerError(f"layer {info.name!r} has NaN or infinite weights; it cannot be tied")
        if method == "none" or (method == "ward" and info.name not in targets):
            partition, tied = _untied(W), False
        elif method == "ward":
            partition, tied = merge_rows(W, _number_of_groups(targets[info.name], W)), True
        else:
            partition, tied = cluster_rows(W, preferences[info.name], method=method).partition, True
            if partition.n_groups > max_ratio * partition.nonzero:
                partition, tied = _untied(W), False
        found.append(LayerTying(info.name, partition, info.row_length, side, tied))
    return Tying(tuple(found))


def _checked_groups(wanted: Any) -> int | float:
    if isinstance(wanted, bool) or not isinstance(wanted, int | float):
        raise InvalidTypeError(f"groups must be a number, got {type(wanted).__name__}")
    if not (0 < wanted < 1 or (wanted >= 1 and wanted == int(wanted))):
        raise InvalidValueError(f"groups must be a whole number ≥ 1 or a share between 0 and 1, got {wanted}")
    return wanted


def _number_of_groups(wanted: int | float, W: torch.Tensor) -> int:
    nonzero = int((W != 0).any(dim=1).sum())
    return int(wanted) if wanted >= 1 else max(1, round(wanted * nonzero))


def _untied(W: torch.Tensor) -> Partition:
    """The partition in which every nonzero row is alone in its group."""
    zero = (W == 0).all(dim=1)
    return Partition.from_labels(torch.where(zero, PRUNED, torch.arange(len(W), device=W.device)))


@torch.no_grad()
def existing_tying(model: nn.Module, layers: Collection[str], side: Side = "input") -> Tying:
    """Read the tying that a network has already: all-zero rows are pruned, bit-equal rows share a value.

    Args:
        model: any network; not modified. A layer tied by :func:`torch_growl.tie_` has the tying enforced there.
        layers: names of the layers to read; others are left out, and names that do not exist are ignored.
        side: which side's rows are compared.
    """
    enforced = tied_layers(model)
    found = []
    for info in inspect_layers(model):
        if info.name not in layers:
            continue
        if info.name in enforced:
            tied = enforced[info.name][1]
            W, partition = rows_of(info.module, tied.side), Partition.from_labels(tied.labels)
            found.append(LayerTying(info.name, partition, W.shape[1], tied.side))
        else:
            W = rows_of(info.module, side)  # (n_rows, row_length)
            found.append(LayerTying(info.name, Partition.from_rows(W), W.shape[1], side))
    return Tying(tuple(found))
