"""The layers that a proximal step works on, and the interface that both steps implement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, Protocol

from torch import Tensor, nn

from torch_growl.errors import InvalidValueError, LayerError
from torch_growl.networks.layers import Side, kind_of, unusable_weight
from torch_growl.networks.sharding import Rate

__all__ = ["ProximalStep", "StepLayers", "check_state"]


@dataclass(frozen=True)
class StepLayers:
    """The layers of a proximal step; their rows are numbered in one sequence, layer after layer.

    Attributes:
        names: the layers' names, for errors.
        modules: the layers, of registered types; held by reference, their weights are looked up at every step.
        lams: for each layer its λ, ``(n_rows,)`` float64 on the CPU.
        side: which side's rows.
        min_rows: a layer that would keep fewer rows keeps its largest ones unshrunk.
        offsets: the number of each layer's first row, and behind the last layer the number of all rows.
    """

    names: tuple[str, ...]
    modules: tuple[nn.Module, ...]
    lams: tuple[Tensor, ...]
    side: Side
    min_rows: int
    offsets: tuple[int, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "offsets", (0, *accumulate(map(len, self.lams))))

    def __len__(self) -> int:
        return len(self.names)

    def rows(self, layer: int) -> slice:
        """The numbers of a layer's rows."""
        return slice(self.offsets[layer], self.offsets[layer + 1])

    def weights(self) -> dict[str, Tensor]:
        """The weights of the layers by name.

        Raises:
            LayerError: a weight is no plain parameter any more.
        """
        found = [module._parameters.get("weight") for module in self.modules]
        return {
            name: self.plain_weight(i) if weight is None else weight
            for i, (name, weight) in enumerate(zip(self.names, found, strict=True))
        }

    def plain_weight(self, layer: int) -> Tensor:
        """A layer's weight, checked to be one that a step can be made on.

        Raises:
            LayerError: since the layer was chosen, its weight was parametrized, pruned, sharded or replaced by one
                that cannot be read and scaled in place, or its number of rows changed.
        """
        name, module, n_rows = self.names[layer], self.modules[layer], len(self.lams[layer])
        weight, kind = module._parameters.get("weight"), kind_of(module)
        if weight is None or kind is None:
            raise LayerError(
                f"layer {name!r} no longer has a plain weight. Before tie_(), call remove() on the handle that "
                "attach() returned; attach again after untie_(). Other parametrizations and pruning masks are put on "
                "before GrOWL is built, which then leaves the layer out"
            )
        if reason := unusable_weight(module, kind, weight):
            raise LayerError(f"layer {name!r} can no longer be penalised: {reason}")
        rows = kind.n_rows(module, self.side)
        if rows != n_rows:
            raise LayerError(f"layer {name!r} had {n_rows} rows and now has {rows}; build a new GrOWL")
        return weight


class Weights(Protocol):
    """The part of a step's layers that others use."""

    def weights(self) -> dict[str, Tensor]:
        """The weights by layer name."""


class ProximalStep(Protocol):
    """One proximal step on some layers, in place, with the memory of which rows are pruned.

    A row that reaches zero is pruned: it is zero after every later step too.
    """

    @property
    def layers(self) -> Weights:
        """The layers that it shrinks."""

    def __call__(self, lrs: Sequence[Rate], strengths: Sequence[float], scale_free: bool) -> list[str]:
        """Shrink the rows.

        Args:
            lrs: for each layer its learning rate, ≥ 0.
            strengths: for each layer its strength, ≥ 0.
            scale_free: see :class:`torch_growl.GrOWL`.

        Returns:
            The layers that ``min_rows`` kept from being emptied, as far as they are known without waiting.

        Raises:
            LayerError: a weight is not what it was, see :meth:`StepLayers.plain_weight`.
        """

    def pruned(self, layer: int) -> Tensor:
        """The pruned rows of a layer, ``(n_rows,)`` bool; writing to it changes the state."""

    def owed(self, layer: int) -> Tensor:
        """The factors not applied yet to rows in half precision, ``(n_rows,)``; writing to it changes the state."""

    def zero_pruned(self) -> None:
        """Set pruned rows to zero again, where momentum or weight decay moved them."""

    def check(self) -> list[str]:
        """Wait for the device, and report the steps since the last check.

        Returns:
            The layers that ``min_rows`` kept from being emptied.

        Raises:
            LayerError: a weight was NaN or infinite in a step, which changed nothing.
        """


def check_state(state: Any, names: Sequence[str], step: ProximalStep, side: str) -> None:
    """Refuse a state of other layers than those of a step.

    Args:
        state: what is to be a state of :class:`torch_growl.GrOWL`.
        names: the names of the layers, in the order of the step.
        step: holds their rows.
        side: what a row is.

    Raises:
        InvalidValueError: it is no state of a GrOWL, or of rows of another side.
        LayerError: the layers or their numbers of rows differ.
    """
    parts = ("dead", "steps", "count", "strength", "floored")
    if missing := [key for key in parts if not isinstance(state, Mapping) or key not in state]:
        raise InvalidValueError(f"state must be what GrOWL.state_dict() returned; it has no {missing[0]!r}")
    pruned, owed = state["dead"], state.get("owed")
    if set(pruned) != set(names):
        raise LayerError(f"the state is of layers {sorted(pruned)}, not of {sorted(names)}")
    if state.get("side", side) != side:
        raise InvalidValueError(f"the state is of rows of side {state['side']!r}, not of {side!r}")
    for i, name in enumerate(names):
        rows = step.pruned(i)
        if pruned[name].shape != rows.shape:
            raise LayerError(f"layer {name!r}: the state has {pruned[name].numel()} rows, not {rows.numel()}")
        if owed and (name not in owed or owed[name].shape != step.owed(i).shape):
            raise LayerError(f"layer {name!r}: the state has other factors that are owed")
