"""A smaller network for a target, without training and without labels."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from torch_growl.arguments import check_choice, check_number, check_type
from torch_growl.errors import InvalidValueError
from torch_growl.mathematics.clustering import PRUNED, Partition
from torch_growl.networks.compaction import compact
from torch_growl.networks.execution import Inputs
from torch_growl.networks.layers import (
    check_network,
    plain_copy,
    registered_kind,
    registered_layers,
    rows_of,
    write_rows_,
)
from torch_growl.networks.moments import (
    LayerToFit,
    PairedRuns,
    Reader,
    float_outputs,
    merge_steps,
    output_error,
    split_batches,
)
from torch_growl.networks.shrinking.allocation import Curve, allocated
from torch_growl.networks.shrinking.channels import Alike, alike_channels
from torch_growl.networks.shrinking.compensation import compensate_
from torch_growl.networks.shrinking.ranking import ranked
from torch_growl.networks.targets import Counter, Summed, Target
from torch_growl.networks.tying import averaged_rows

__all__ = ["shrink"]

_SHARES = (0.25, 0.5, 0.75, 0.95)  # of the channels of one kind, at which the outputs' error is measured
_SHARES_OF_ROWS = (*_SHARES[:-1], 0.85, 0.9, 0.95, 0.98)  # of the rows that read channels which stay
_DAMPING = 1e-3
_COUNTED = ("weights", "macs", "bytes")


def shrink(model: nn.Module, inputs: Any, target: Target, *, least: float = 0.0, ties: bool = True) -> nn.Module:
    """Make a smaller network for a target without training: remove channels, and let the rest take over from them.

    For each kind of channel (those that the same layers read and make) the order is found in which they cost least,
    and the error of the network's outputs is measured with some of them removed; then channels go where the outputs
    suffer least for what is saved. Where a channel itself must stay, as those of the network's inputs, a row that reads
    it is removed or tied to another one, whichever costs less. What rows carried goes to those that stay
    (:func:`compensate_`), and the network is compacted.

    Args:
        model: the network; not modified.
        inputs: at least two batches, a list, as for :func:`compensate_`; a few hundred examples. No labels are needed.
        target: weights, macs or bytes.
        least: share of the channels of each kind that stays, 0 ≤ least < 1, and at least one channel. Least squares can
            nearly empty some layers; 0.5 keeps the widths even for a training afterwards.
        ties: whether rows may be tied; the compact network then sums their inputs.

    Returns:
        The compact network, as of :func:`torch_growl.compact`.

    Raises:
        InvalidTypeError: an argument has another type.
        InvalidValueError: there is one batch only, the target is of another measure or cannot be met, or
            ``least`` is out of range.
        CompactionError: the network cannot be copied or compacted.

    Warns:
        GrowlWarning: as :func:`compensate_` and :func:`torch_growl.compact`.

    Example:
        >>> import torch
        >>> import torch_growl as tg
        >>> model = torch.nn.Sequential(torch.nn.Linear(6, 32), torch.nn.ReLU(), torch.nn.Linear(32, 2))
        >>> small = tg.shrink(model, [torch.randn(64, 6) for _ in range(4)], tg.Target(weights=0.5))
        >>> sum(p.numel() for p in small.parameters()) <= 0.5 * sum(p.numel() for p in model.parameters())
        True
    """
    check_network("model", model, values=True)
    check_type("target", target, Target)
    check_choice("target", target.of, _COUNTED)
    check_number("least", least, least=0, below=1)
    batches = split_batches(inputs)
    dense = plain_copy(model).eval()
    choice = _Choice(dense, *batches, Counter(dense, inputs[0]), least, ties)
    small = copy.deepcopy(dense)
    _change_(small, choice.partitions(target))
    compensate_(small, dense, inputs)
    return compact(small, inputs[0]).train(model.training)


Steps = Sequence[tuple[int, int]]  # a channel of one kind that goes, and the one its row is tied to, or PRUNED


class _Choice:
    """Finds the rows to remove from a dense network, and those to tie."""

    def __init__(
        self, dense: nn.Module, fitting: list[Inputs], held: list[Inputs], counter: Counter, least: float, ties: bool
    ) -> None:
        self._dense, self._held, self._counter, self._stays = dense, held, counter, least
        modules = registered_layers(dense)
        self._runs = PairedRuns(dense, fitting)
        moments = self._runs.own_moments()
        layers = counter.cuttable
        self._sizes = {name: registered_kind(modules[name]).n_rows(modules[name], "input") for name in layers}
        self._equal = {name: np.array(Partition.from_rows(rows_of(modules[name])).labels) for name in layers}
        self._readers = {
            name: Reader.of(dense, name, moments[name][0], self._runs.norms) for name in layers if name in moments
        }
        kinds = alike_channels(counter.wiring, layers)
        self._kinds = [kind for kind in kinds if any(name in self._readers for name in kind.readers)]
        found = [self._order(kind, ties) for kind in self._kinds]
        self._orders, self._there = [order for order, _ in found], [there for _, there in found]
        self._wanted = [float_outputs(dense, batch) for batch in held]
        self._scratch = copy.deepcopy(dense)
        chosen = zip(self._kinds, self._orders, self._there, strict=True)
        self._curves = [self._curve(kind, order, there) for kind, order, there in chosen]

    def _order(self, kind: Alike, ties: bool) -> tuple[Steps, int]:
        """The steps, those first that the dense network has taken already, and the number of these."""
        if kind.stay:
            return self._order_of_rows(kind, ties)
        gone = [
            channel
            for channel, rows in enumerate(kind.rows)
            if all(bool((self._equal[name][own] == PRUNED).all()) for name, own in rows.items())
        ]
        if len(gone) == len(kind):
            gone = []
        return [(channel, PRUNED) for channel in ranked(kind, self._readers, gone)], len(gone)

    def _order_of_rows(self, kind: Alike, ties: bool) -> tuple[Steps, int]:
        """The same for the rows of one layer; those that are equal already are one row."""
        (name,) = kind.readers
        channels = {int(rows[name][0]): channel for channel, rows in enumerate(kind.rows)}
        labels = self._equal[name].copy()
        if all(labels[row] == PRUNED for row in channels):
            labels[list(channels)] = labels.max() + 1 + np.arange(len(channels))
        others = np.setdiff1d(np.flatnonzero(labels != PRUNED), list(channels))
        labels[others] = labels.max() + 1 + np.arange(len(others))
        same = Partition.from_labels(labels.tolist())
        first = {label: row for row, label in reversed(list(enumerate(same.labels)))}
        steps = [
            (row, PRUNED if label == PRUNED else first[label])
            for row, label in enumerate(same.labels)
            if row in channels and (label == PRUNED or row != first[label])
        ]
        there, reader = len(steps), self._readers[name].tied(same)
        groups = sorted({same.labels[row] for row in channels} - {PRUNED})
        if ties:
            further = merge_steps(reader, groups, 1)
        else:
            alone = Alike((name,), tuple({name: np.array([group])} for group in groups), stay=True)
            further = [(groups[number], PRUNED) for number in ranked(alone, {name: reader})]
        steps += [(first[group], PRUNED if into == PRUNED else first[into]) for group, into in further]
        return [(channels[row], PRUNED if into == PRUNED else channels[into]) for row, into in steps], there

    def partitions(self, target: Target) -> dict[str, Partition]:
        """The rows of every layer to remove and to tie, so that at most what is asked for is left."""
        whole = float(getattr(self._counter.dense, target.of))
        asked = target.amount(whole)
        numbers = allocated(self._curves, lambda numbers: self._left(numbers, target), asked)
        least = self._left(numbers, target)
        if least > asked:
            raise InvalidValueError(
                f"target: at least {least:,.0f} of {whole:,.0f} {target.of} are left, {least / whole:.1%}, with "
                f"{f'{self._stays:g} of the channels' if self._stays else 'one channel'} of each kind; asked were "
                f"{asked:,.0f}"
            )
        return {name: Partition.from_labels(own.tolist()) for name, own in self._labels(self._first(numbers)).items()}

    def _first(self, numbers: Sequence[int]) -> list[tuple[Alike, Steps]]:
        chosen = zip(self._kinds, self._orders, numbers, strict=True)
        return [(kind, order[:number]) for kind, order, number in chosen]

    def _labels(self, chosen: Sequence[tuple[Alike, Steps]]) -> dict[str, NDArray[np.int64]]:
        """For every layer whose rows change, the row that each row is tied to, itself, or PRUNED."""
        found: dict[str, NDArray[np.int64]] = {}
        for kind, steps in chosen:
            for channel, into in steps:
                for name, rows in kind.rows[channel].items():
                    labels = found.setdefault(name, np.arange(self._sizes[name] + 1))
                    labels[rows] = PRUNED if into == PRUNED else kind.rows[into][name]
        for name, labels in found.items():
            labels[-1] = PRUNED  # the end of a chain whose last row is removed
            while not np.array_equal(labels, labels[labels]):
                labels = labels[labels]
            found[name] = labels[:-1]
        return found

    def _left(self, numbers: Sequence[int], target: Target) -> float:
        labels = {name: np.arange(size) for name, size in self._sizes.items() if name in self._runs.positions}
        labels |= self._labels(self._first(numbers))
        for name in labels.keys() & self._runs.positions.keys():
            labels[name] = _with_equal(labels[name], self._equal[name])
        zero = {name: own == PRUNED for name, own in labels.items()}
        tied = {name: (own != np.arange(len(own))) & ~zero[name] for name, own in labels.items()}
        summed = {name: Summed(rows, self._runs.positions[name]) for name, rows in tied.items() if rows.any()}
        return float(getattr(self._counter.left(zero, summed), target.of))

    def _curve(self, kind: Alike, order: Steps, there: int) -> Curve:
        """Measure the outputs' error with channels of one kind removed and least squares on the dense moments."""
        most = max(there, min(len(order), len(kind) - math.ceil(self._stays * len(kind) - 1e-9)))
        shares = _SHARES_OF_ROWS if kind.stay else _SHARES
        removed = sorted({there, *(max(there, min(most, round(share * len(kind)))) for share in shares)})
        errors = [0.0]
        for number in removed[1:]:
            labels = self._labels([(kind, order[:number])])
            _change_(self._scratch, {name: Partition.from_labels(own.tolist()) for name, own in labels.items()})
            for name in kind.readers:
                if name in self._readers:
                    layer = LayerToFit(self._scratch, name, self._runs.norms)
                    layer.write_(layer.fits([self._readers[name].moments], [_DAMPING])[0])
            errors.append(output_error(self._scratch, self._wanted, self._held))
            self._restore_(kind.readers)
        return Curve(removed, errors)

    @torch.no_grad()
    def _restore_(self, names: Sequence[str]) -> None:
        """Write the dense network's values back into these layers of the scratch network, and into their norms."""
        for name in (*names, *(self._runs.norms[name] for name in names if name in self._runs.norms)):
            theirs, mine = self._dense.get_submodule(name), self._scratch.get_submodule(name)
            for value, target in zip(theirs.state_dict().values(), mine.state_dict().values(), strict=True):
                target.copy_(value)


def _with_equal(labels: NDArray[np.int64], equal: NDArray[np.int64]) -> NDArray[np.int64]:
    """Tie to one another the rows that no step has changed and that are equal; zero rows stay as they are."""
    found, rows = labels.copy(), np.arange(len(labels))
    unchanged = (labels == rows) & ~np.isin(rows, labels[labels != rows]) & (equal != PRUNED)
    for label in np.unique(equal[unchanged]):
        members = rows[unchanged & (equal == label)]
        found[members] = members[0]
    return found


@torch.no_grad()
def _change_(network: nn.Module, partitions: Mapping[str, Partition]) -> None:
    """Set removed rows to zero, and those of each group to their mean."""
    for name, partition in partitions.items():
        module = network.get_submodule(name)
        write_rows_(module, averaged_rows(rows_of(module), partition))
