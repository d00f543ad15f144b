"""The law that leads a network's rows to a target: which rows have to go, and how fast all rows must shrink for it.

In units of its layer's root mean square, a row's norm u under the scale-free prox of rate ρ follows du/dt = −ρ(λ − cu),
with c = mean(λu) because the layer keeps its norm. It reaches zero after q/ρ steps, q = −log(1 − cu/λ)/c. One strength
for the whole network gives a layer the rate strength · √cost / ‖W‖², cost what one of its rows saves: in units of the
loss, so that rows go where the loss resists least. The rows are sorted by the strength · steps that they take; the
fewest first ones without which the target is met are those that have to go, and the last of them sets the strength.
The law is solved anew on the way, since the loss resists. Rows that are left at the end are set to zero in the same
order, so that no row more is taken than the target asks for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from torch import nn

from torch_growl.errors import InvalidValueError
from torch_growl.networks.targets.counting import Left
from torch_growl.networks.targets.figure import Figure
from torch_growl.networks.wiring import Flags

__all__ = ["Press", "RowsOf"]

Floats = NDArray[np.float64]

_COST_POWER = 0.5  # of what a layer's row saves: the balance of GrOWL without a target
_CORRECTIONS = 6  # at most, of one solution, by real networks
_CLOSE = 0.99  # of what is aimed at: a real network between it and the target is near enough
_FIRM = 0.98  # cu/λ from which q goes on as a line: such a row would not reach zero before others are gone


@dataclass(frozen=True)
class RowsOf:
    """One layer's rows: its name and module, λ, and the least number of rows that stay."""

    name: str
    module: nn.Module
    lam: Floats
    least: int


@dataclass(frozen=True)
class Pressure:
    """The answer of the law at one moment.

    Attributes:
        rates: for each layer ρ · steps left, in the order of the layers.
        gone: for each layer the rows that have to go for the target.
        met: whether the target is met now.
    """

    rates: list[float]
    gone: list[Flags]
    met: bool


class Press:
    """Finds the rows that have to go for a target.

    Args:
        figure: counts what is left of the network, and holds what is asked for.
        layers: the layers whose rows may go.

    Attributes:
        least: the least that can be left, with the least number of rows in every layer.

    Raises:
        InvalidValueError: the target cannot be met, or is met by the dense network.
    """

    def __init__(self, figure: Figure, layers: Sequence[RowsOf]) -> None:
        self.figure, self.counter, self.layers = figure, figure.counter, list(layers)
        every = {layer.name: self._all_but_least(layer) for layer in self.layers}
        self.least = figure.check(every)
        if self.least > figure.asked:
            target, whole = figure.target, figure.whole
            raise InvalidValueError(
                f"target: at least {self.least:,.0f} of {whole:,.0f} {target.of} are left, "
                f"{self.least / whole:.1%}, whatever rows of {', '.join(every)} are removed (min_rows of "
                f"each stay, and what other layers hold); asked were {figure.asked:,.0f}"
            )
        saved = [
            figure.of(self.counter.dense) - figure.of(self.counter.left_of_dense({name: rows}))
            for name, rows in every.items()
        ]
        cost = np.maximum(1e-9, np.array(saved, dtype=np.float64)) / [max(1, rows.sum()) for rows in every.values()]
        self._balance = (cost / cost.mean()) ** _COST_POWER

    def met(self, left: Left) -> bool:
        """Tell whether what is left is as little as is aimed at."""
        return self.figure.of(left) <= self.figure.aim

    @staticmethod
    def _all_but_least(layer: RowsOf) -> Flags:
        flags = np.ones(len(layer.lam), dtype=np.bool_)
        flags[: layer.least] = False
        return flags

    def solve(self, norms: Sequence[Floats]) -> Pressure:
        """Apply the law to the norms of the rows.

        Args:
            norms: for each layer, ``(n_rows,)``, finite, ≥ 0; the counter must have looked at the same weights.
        """
        times = [self._times(layer, rows) for layer, rows in zip(self.layers, norms, strict=True)]
        if self.met(self.counter.left()):
            return Pressure([0.0] * len(times), [np.zeros(len(q), dtype=np.bool_) for q in times], True)
        squares = np.array([np.square(rows).sum() for rows in norms])
        shares = self._balance / np.maximum(squares, 1e-30)
        reach = np.concatenate([q / share for q, share in zip(times, shares, strict=True)])
        order = np.argsort(reach, kind="stable")
        order = order[np.isfinite(reach[order])]
        ends = np.cumsum([0, *map(len, times)])

        def gone(count: int) -> list[Flags]:
            flags = np.zeros(len(reach), dtype=np.bool_)
            flags[order[:count]] = True
            return [flags[start:end] for start, end in pairwise(ends)]

        def met(count: int) -> bool:
            return self.met(self.counter.left(self.by_name(gone(count))))

        low, high = 0, len(order)  # not met without any, met without all
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if met(middle) else (middle, high)
        last = float(reach[order[high - 1]]) if high else 0.0
        return Pressure([last * float(share) for share in shares], gone(high), False)

    def corrected(self, found: Pressure, norms: Sequence[Floats]) -> Pressure:
        """Make the network of a solution, correct the figure by it, and solve again until they agree.

        Args:
            found: the solution for ``norms``.
            norms: as for :meth:`solve`.

        Returns:
            The solution whose network is the largest one that meets the target; if none does, the last one.
        """
        figure = self.figure
        best: tuple[float, Pressure] | None = None
        for _ in range(_CORRECTIONS):
            real = figure.check(self.by_name(found.gone))
            meets = real <= figure.asked
            if meets and (best is None or real > best[0]):
                best = real, found
            again = self.solve(norms)
            same = all(map(np.array_equal, again.gone, found.gone))
            if same or (meets and (found.met or real >= _CLOSE * figure.aim)):
                break
            found = again
        if best is None:
            return found
        figure.note(self.by_name(best[1].gone), best[0])  # the last word on it
        return best[1]

    def by_name(self, gone: Sequence[Flags]) -> dict[str, Flags]:
        """Rows of all layers, by the layers' names."""
        return {layer.name: rows for layer, rows in zip(self.layers, gone, strict=True)}

    def _times(self, layer: RowsOf, norms: Floats) -> Floats:
        """q of every row; infinite for the largest rows, of which the least number must stay, for zero rows, and for
        all rows of a layer that has been frozen since."""
        found = np.full(len(norms), np.inf)
        square = float(np.square(norms).mean())
        weight = layer.module._parameters.get("weight")
        if square == 0 or (weight is not None and not weight.requires_grad):
            return found
        u = norms / np.sqrt(square)
        order = np.argsort(-u, kind="stable")
        lam = np.empty_like(u)
        lam[order] = np.maximum(layer.lam, 1e-12)
        c = float((lam * u).mean())
        part = c * u / lam
        beyond = np.maximum(0.0, part - _FIRM) / (1 - _FIRM)
        q = beyond - np.log1p(-np.minimum(part, _FIRM))
        free = np.ones(len(u), dtype=np.bool_)
        free[order[: layer.least]] = False
        free &= norms > 0
        found[free] = q[free] / c
        return found
