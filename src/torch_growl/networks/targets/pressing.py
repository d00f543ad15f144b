"""The law that leads a network's rows to a target: which rows have to go.

A row's importance is its share of the energy that its layer has once all smaller rows of the layer are gone,
‖w_i‖² / Σ_{‖w_j‖ ≥ ‖w_i‖} ‖w_j‖² (for single weights: Lee et al., "Layer-adaptive sparsity for the magnitude-based
pruning", 2021), over √cost, cost what one of the layer's rows saves. It does not depend on the layer's scale, and no
layer is emptied while others have rows to spare. The fewest first rows without which the target is met are those that
have to go, except for rows that the target does not need after all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import nn

from torch_growl.errors import InvalidValueError
from torch_growl.networks.layers import registered_kind, row_norms
from torch_growl.networks.targets.counting import Left
from torch_growl.networks.targets.figure import Figure
from torch_growl.networks.wiring import Flags, Wiring

__all__ = ["Press", "Rows", "RowsOf", "all_but_least"]

Floats = NDArray[np.float64]

_COST_POWER = 0.5  # of what a layer's row saves
_CORRECTIONS = {True: 6, False: 2}  # at most, by real networks, of the final solution and of others
_CLOSE = 0.99  # of what is aimed at: what is left between it and the target is near enough
_TRIES = 40  # counts at most, to give back rows that the target does not need
_TRIES_OF_REAL = 6  # real networks at most, for the same


class Rows(Protocol):
    """Rows that may go: those of one layer, or whole channels."""

    @property
    def name(self) -> str:
        """Their name."""

    @property
    def lam(self) -> Floats:
        """Their λ."""

    @property
    def groups(self) -> int:
        """The number of groups, each of which keeps as many rows."""

    @property
    def least_of_group(self) -> int:
        """The least number of rows that stay in each group."""

    @property
    def all_but_least(self) -> Flags:
        """Flags of all rows but the least number that stay."""

    @property
    def frozen(self) -> bool:
        """Tell whether they have been frozen since; they stay then."""

    def norms(self) -> Floats:
        """The norm of every row now."""

    def by_layer(self, gone: Flags) -> Mapping[str, Flags]:
        """Flags of rows, by the layers that have them."""

    def classes(self, wiring: Wiring) -> NDArray[np.int64] | None:
        """The channel that each row reads; None where it is not known, or where a row is a channel itself."""


@dataclass(frozen=True)
class RowsOf:
    """One layer's rows: its name and module, λ, and the least number of rows that stay."""

    name: str
    module: nn.Module
    lam: Floats
    least: int

    @property
    def groups(self) -> int:
        """The number of groups of the layer, each of which keeps as many rows."""
        return registered_kind(self.module).groups(self.module)

    @property
    def least_of_group(self) -> int:
        """The least number of rows that stay in each group; without a row it would be a constant."""
        return -(-self.least // self.groups)

    @property
    def all_but_least(self) -> Flags:
        """Flags of all rows but the least number that stay."""
        flags = np.ones(len(self.lam), dtype=np.bool_)
        flags.reshape(self.groups, -1)[:, : self.least_of_group] = False
        return flags

    @property
    def frozen(self) -> bool:
        """Tell whether the weight has been frozen since; its rows stay then."""
        weight = self.module._parameters.get("weight")
        return weight is not None and not weight.requires_grad

    def norms(self) -> Floats:
        """The norm of every row now."""
        return row_norms(self.module).cpu().double().numpy()

    def by_layer(self, gone: Flags) -> Mapping[str, Flags]:
        """Flags of its rows, by the layer that has them."""
        return {self.name: gone}

    def classes(self, wiring: Wiring) -> NDArray[np.int64] | None:
        """The channel that each row reads; None where the wiring is not known."""
        return wiring.inputs.get(self.name)


@dataclass(frozen=True)
class Pressure:
    """The answer of the law at one moment.

    Attributes:
        gone: for each layer the rows that have to go for the target.
        met: whether the target is met now.
    """

    gone: list[Flags]
    met: bool


class Press:
    """Finds the rows that have to go for a target.

    Args:
        figure: counts what is left of the network, and holds what is asked for.
        layers: the layers whose rows may go.

    Attributes:
        least: the least that can be left, with the least number of rows in every layer.
        first: for each layer the rows that go first; empty: none.

    Raises:
        InvalidValueError: the target cannot be met, or is met by the dense network.
    """

    def __init__(self, figure: Figure, layers: Sequence[Rows]) -> None:
        self.figure, self.counter, self.layers = figure, figure.counter, list(layers)
        every = {layer.name: layer.all_but_least for layer in self.layers}
        self.least = figure.check(self.by_name(all_but_least(self.layers, self.counter.wiring)))
        if self.least > figure.asked:
            target, whole = figure.target, figure.whole
            raise InvalidValueError(
                f"target: at least {target.text(self.least)} of {target.text(whole)} {target.of} are left, "
                f"{self.least / whole:.1%}, whatever rows of {', '.join(every)} are removed (min_rows of "
                f"each stay, and what other layers hold); asked were {target.text(figure.asked)}"
            )
        saved = [
            figure.of(self.counter.dense) - figure.of(self.counter.left_of_dense(layer.by_layer(layer.all_but_least)))
            for layer in self.layers
        ]
        cost = np.maximum(1e-9, np.array(saved, dtype=np.float64)) / [max(1, rows.sum()) for rows in every.values()]
        self._balance = (cost / cost.mean()) ** _COST_POWER
        self.first: list[Flags] = []

    def begin_with(self, known: Sequence[Mapping[str, Flags]]) -> None:
        """Let the rows go first that are zero in one of some networks: the smallest one that has as much as is asked.

        Args:
            known: for every network, by layer, a flag for each row. If all have less, the largest one is taken.
        """
        gone = [[flags[layer.name] for layer in self.layers] for flags in known]
        sizes = [self.figure.of(self.counter.left_of_dense(self.by_name(flags))) for flags in gone]
        enough = [size for size in sizes if size >= self.figure.asked]
        if known:
            self.first = gone[sizes.index(min(enough) if enough else max(sizes))]

    def met(self, left: Left) -> bool:
        """Tell whether what is left is as little as is aimed at."""
        return self.figure.of(left) <= self.figure.aim

    def solve(self, norms: Sequence[Floats]) -> Pressure:
        """Apply the law to the norms of the rows.

        Args:
            norms: for each layer, ``(n_rows,)``, finite, ≥ 0; the counter must have looked at the same weights.
        """
        ends = np.cumsum([0, *map(len, norms)])
        flags = np.zeros(ends[-1], dtype=np.bool_)

        def by_layer(rows: Flags) -> list[Flags]:
            return [rows[start:end] for start, end in pairwise(ends)]

        def left(rows: Flags) -> float:
            return self.left_without(by_layer(rows))

        def met(rows: Flags) -> bool:
            return left(rows) <= self.figure.aim

        if met(flags):
            return Pressure(by_layer(flags), True)
        kept = _kept(self.layers, norms, self.counter.wiring)
        scores = np.concatenate([
            np.where(stays | (rows == 0) | layer.frozen, np.inf, _importance(rows) / balance)
            for layer, rows, stays, balance in zip(self.layers, norms, kept, self._balance, strict=True)
        ])  # fmt: skip
        later = ~np.concatenate(self.first) if self.first else flags
        order = np.lexsort((scores, later))
        order = order[np.isfinite(scores[order])]

        def first(count: int) -> Flags:
            rows = flags.copy()
            rows[order[:count]] = True
            return rows

        low, high = 0, len(order)  # not met without any, met without all
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if met(first(middle)) else (middle, high)
        found = first(high)
        blocks, tries = [order[:high][::-1]], _TRIES
        while blocks and tries and left(found) < _CLOSE * self.figure.aim:  # the last one saved much
            block = blocks.pop()
            fewer = found.copy()
            fewer[block] = False
            tries -= 1
            if met(fewer):
                found = fewer
            elif (half := len(block) // 2) > 0:
                blocks += [block[half:], block[:half]]
        return Pressure(by_layer(found), False)

    def corrected(self, found: Pressure, norms: Sequence[Floats], *, final: bool) -> Pressure:
        """Make the network of a solution, correct the figure by it, and solve again until they agree.

        Args:
            found: the solution for ``norms``.
            norms: as for :meth:`solve`.
            final: whether its rows go now; otherwise the law will be solved again, and fewer corrections are enough.

        Returns:
            The solution whose network is nearest to what is aimed at among those that meet the target; if none does,
            the last one.
        """
        figure = self.figure
        best: tuple[float, Pressure] | None = None
        over: tuple[float, Pressure] | None = None  # the smallest network that is larger than was asked
        for _ in range(_CORRECTIONS[final]):
            real = figure.check(self.by_name(found.gone), carefully=final)
            meets, off = real <= figure.asked, abs(real - figure.aim)
            if meets and (best is None or off < abs(best[0] - figure.aim)):
                best = real, found
            if not meets and (over is None or real < over[0]):
                over = real, found
            again = self.solve(norms)
            same = all(map(np.array_equal, again.gone, found.gone))
            if same or (meets and (found.met or off <= (1 - _CLOSE) * figure.aim)):
                break
            found = again
        if best is None:
            return found
        if final and over is not None:
            best = self._between(best, over[1])
        figure.note(self.by_name(best[1].gone), best[0])  # the last word on it
        return best[1]

    def _between(self, best: tuple[float, Pressure], over: Pressure) -> tuple[float, Pressure]:
        """Give back rows of a network that meets the target, which another one that does not has, block by block.

        A figure that grows in steps, as a time does, is not met by interpolation.

        Args:
            best: the first network, with its real figure.
            over: the other one.
        """
        figure, gone = self.figure, best[1].gone
        rows = [(n, i) for n, own in enumerate(gone) for i in np.flatnonzero(own & ~over.gone[n])]
        blocks, tries = [rows[: len(rows) // 2], rows[len(rows) // 2 :]], _TRIES_OF_REAL
        while blocks and tries and best[0] < _CLOSE * figure.aim:
            if not (block := blocks.pop()):
                continue
            fewer = [own.copy() for own in gone]
            for layer, row in block:
                fewer[layer][row] = False
            tries -= 1
            real = figure.check(self.by_name(fewer), carefully=True)
            if real <= figure.asked:
                gone = fewer
                if abs(real - figure.aim) < abs(best[0] - figure.aim):
                    best = real, Pressure(fewer, False)
            elif (half := len(block) // 2) > 0:
                blocks += [block[:half], block[half:]]
        return best

    def left_without(self, gone: Sequence[Flags]) -> float:
        """The figure of what is left without certain rows of the layers."""
        return self.figure.of(self.counter.left(self.by_name(gone)))

    def by_name(self, gone: Sequence[Flags]) -> dict[str, Flags]:
        """Rows of all layers, by the layers' names; those of several sorts of channels together."""
        found: dict[str, Flags] = {}
        for layer, own in zip(self.layers, gone, strict=True):
            for name, rows in layer.by_layer(own).items():
                found[name] = found[name] | rows if name in found else rows
        return found


def all_but_least(layers: Sequence[Rows], wiring: Wiring) -> list[Flags]:
    """For each layer flags of all rows but the least number that stay; where some are zero now, the largest stay."""
    norms = [layer.norms() for layer in layers]
    if all(rows.all() for rows in norms):
        return [layer.all_but_least for layer in layers]
    return [~own for own in _kept(layers, norms, wiring)]


def _kept(layers: Sequence[Rows], norms: Sequence[Floats], wiring: Wiring) -> list[Flags]:
    """For each layer its largest rows, of which the least number must stay; rows that read one channel, or the
    same channels as another layer's, stay together, so that they hold as few channels as possible."""
    strength = np.zeros(wiring.count)
    classes = [layer.classes(wiring) for layer in layers]
    for own, rows in zip(classes, norms, strict=True):
        if own is not None:
            np.add.at(strength, own, np.square(rows) / max(np.square(rows).mean(), 1e-30))
    found = []
    for layer, own, rows in zip(layers, classes, norms, strict=True):
        channel = rows if own is None else np.where(rows > 0, strength[own], 0)
        order = np.lexsort((-rows, -channel)) if layer.groups == 1 else np.argsort(-rows, kind="stable")
        rank = np.empty(len(rows), dtype=np.int64)
        rank[order] = np.arange(len(rows))
        of_group = rank.reshape(layer.groups, -1)
        last = np.sort(of_group, axis=1)[:, layer.least_of_group - 1, None]
        found.append((of_group <= last).reshape(-1))
    return found


def _importance(norms: Floats) -> Floats:
    """The share of every row in the energy of those that are not smaller."""
    order = np.argsort(norms, kind="stable")
    energy = np.square(norms[order])
    there = np.cumsum(energy[::-1])[::-1]
    found = np.empty_like(norms)
    found[order] = energy / np.maximum(there, 1e-300)
    return found
