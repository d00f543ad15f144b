"""The tying of a network: found by grouping similar rows, or read from rows that are equal already."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import nn

from torch_growl.arguments import check_choice, check_number
from torch_growl.errors import InvalidTypeError, InvalidValueError, LayerError
from torch_growl.mathematics.clustering import PRUNED, Partition, cluster_rows, merge_rows
from torch_growl.networks.execution import split_examples
from torch_growl.networks.layers import (
    LayerInfo,
    Side,
    check_network,
    choose_layers,
    inspect_layers,
    matching,
    plain_copy,
    registered_kind,
    rows_of,
    warn_of_adapters,
)
from torch_growl.networks.moments import PairedRuns, Reader, merged_rows
from torch_growl.networks.tying.parametrization import tied_layers
from torch_growl.networks.tying.tying import LayerTying, Tying

__all__ = ["check_readers", "existing_tying", "find_tying", "with_equal_rows"]

_NOT_FITTED = {
    "grouped": "has groups",
    "other": "is transposed, shares its weight, is not called, or reads more values than moments are kept of",
}


@torch.no_grad()
def find_tying(
    model: nn.Module,
    layers: Iterable[str] | None = None,
    *,
    preference: float = 0.8,
    overrides: Mapping[str, float] | None = None,
    max_ratio: float = 0.95,
    method: Literal["affinity", "exact", "ward", "least-squares", "none"] = "affinity",
    groups: int | float | Mapping[str, int | float] | None = None,
    inputs: Any = None,
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
            equal. ``"least-squares"``: the same, but those rows are merged whose tie changes the layer's outputs least
            once all rows are fitted again, as :func:`torch_growl.compensate_` does: their weights are alike, or their
            inputs are, or other rows make up for the difference. It needs ``inputs``. ``"none"``: no groups, pruned
            rows only.
        groups: with ``"ward"`` and ``"least-squares"``: the number of groups to leave in a layer, a whole number ≥ 1,
            or a share of its nonzero rows, below 1; or one for each layer, by name or pattern, later ones take
            precedence. Layers without one are not tied.
        inputs: with ``"least-squares"``: batches of the network's inputs, one as for :func:`torch_growl.compact` or a
            list, on its device; a few hundred examples, no labels.
        side: which side's rows are grouped.

    Raises:
        LayerError: an unknown or ineligible layer is named, or a layer has NaN or infinite weights; with
            ``"least-squares"`` a layer's outputs are not products of its inputs and rows alone (transposed and grouped
            convolutions, a shared weight), or its inputs are NaN or infinite.
        InvalidValueError, InvalidTypeError: ``preference``, ``max_ratio``, ``method``, ``groups`` or ``inputs`` is
            outside its range or of the wrong type, or ``groups`` or ``inputs`` is given to a method that does not use
            it, or not to one that does.

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
    check_choice("method", method, ("affinity", "exact", "ward", "least-squares", "none"))
    merging = method in ("ward", "least-squares")
    if merging != (groups is not None):
        raise InvalidValueError(
            "method='ward' or 'least-squares' and groups= go together: rows are merged until so many groups are left"
        )
    if (method == "least-squares") != (inputs is not None):
        raise InvalidValueError("method='least-squares' and inputs= go together: rows are compared by what they read")
    if inputs is not None and side != "input":
        raise InvalidValueError("method='least-squares' compares rows that are inputs; side must be 'input'")
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
    wanted_readers = [info for info in chosen if info.name in targets]
    readers = {} if inputs is None else _readers(model, wanted_readers, inputs)
    found = []
    for info in chosen:
        W = rows_of(info.module, side)  # (n_rows, row_length)
        if not bool(torch.isfinite(W).all()):
            raise LayerError(f"layer {info.name!r} has NaN or infinite weights; it cannot be tied")
        if method == "none" or (merging and info.name not in targets):
            partition, tied = _untied(W), False
        elif method == "ward":
            partition, tied = merge_rows(W, _number_of_groups(targets[info.name], W)), True
        elif method == "least-squares":
            number = _number_of_groups(targets[info.name], W)
            partition, tied = merged_rows(readers[info.name], Partition.from_rows(W), number), True
        else:
            partition, tied = cluster_rows(W, preferences[info.name], method=method).partition, True
            if partition.n_groups > max_ratio * partition.nonzero:
                partition, tied = _untied(W), False
        found.append(LayerTying(info.name, partition, info.row_length, side, tied))
    return Tying(tuple(found))


def _readers(model: nn.Module, layers: Sequence[LayerInfo], inputs: Any) -> dict[str, Reader]:
    """Return the moments of what some layers read from batches of inputs, by their names."""
    network, runs = _runs(model, layers, inputs)
    moments = runs.own_moments([info.name for info in layers])
    return {name: Reader.of(network, name, own[0], runs.norms) for name, own in moments.items()}


def check_readers(model: nn.Module, layers: Iterable[str], inputs: Any) -> None:
    """Check that the rows of some layers can be tied by least squares.

    Args:
        model: the network; not modified.
        layers: names or patterns.
        inputs: a batch, or several.

    Raises:
        LayerError: as :func:`find_tying`.
    """
    infos = inspect_layers(model)
    _runs(model, [info for pattern in layers for info in matching(pattern, infos)], inputs)


def _runs(model: nn.Module, layers: Sequence[LayerInfo], inputs: Any) -> tuple[nn.Module, PairedRuns]:
    network = plain_copy(model).eval()
    runs = PairedRuns(network, split_examples(inputs))
    for info in layers:
        grouped = registered_kind(info.module).groups(info.module) > 1
        if grouped or info.name not in runs.order:
            raise LayerError(
                f"layer {info.name!r} ({info.type_name}) cannot be tied by least squares: it "
                f"{_NOT_FITTED['grouped' if grouped else 'other']}; use method='ward' for it"
            )
    return network, runs


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


def with_equal_rows(tying: Tying, model: nn.Module) -> Tying:
    """Return a tying in which rows that are equal already stay so, in the layers that it leaves untied.

    Args:
        tying: of the network's layers, found on it.
        model: the network; not modified.
    """
    left = {layer.name: layer.side for layer in tying if not layer.tied}
    equal = {name: existing_tying(model, [name], side)[name] for name, side in left.items()}
    return Tying(tuple(equal.get(layer.name, layer) for layer in tying))
