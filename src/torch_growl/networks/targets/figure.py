"""The figure of a target's measure: counted, and where a count is not exact, corrected by real compact networks.

The size of the compact file and the latency are estimated from what is counted. Real networks, at first the dense one
and the smallest one that is possible, then those that the law plans, tell what an estimate stands for; between them the
figure is interpolated.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from torch_growl.errors import GrowlWarning, InvalidValueError
from torch_growl.networks.compaction import compact
from torch_growl.networks.layers import plain_copy, registered_layers, zero_rows_
from torch_growl.networks.sharding import on_several_processes
from torch_growl.networks.storage import save
from torch_growl.networks.targets.counting import Counter, Left
from torch_growl.networks.targets.layer_timings import Latency
from torch_growl.networks.targets.target import Target
from torch_growl.networks.wiring import Flags

__all__ = ["Figure", "FileSize", "Source", "without_rows"]

_NEAR = 0.03  # relative difference of two estimates of which only the later real network counts


class Source(Protocol):
    """A measure that is not counted exactly.

    Attributes:
        whole: the dense network's figure, of which a target may ask a share.
        aim: the part of a target that is aimed at, so that the next measurement does not exceed the target.
    """

    whole: float
    aim: float

    def estimate(self, left: Left) -> float:
        """A number that grows with the figure."""
        ...

    def measured(self, small: nn.Module, *, carefully: bool = False) -> float:
        """The figure of a real network; carefully, where it is the last word on it."""
        ...


class FileSize:
    """The size of the compact file.

    Args:
        model: the dense network.
        dtype: as :func:`torch_growl.save` takes it; the dense network's figure is that of its own types.
    """

    aim = 1.0

    def __init__(self, model: nn.Module, dtype: str | None) -> None:
        self._dtype = dtype
        self.whole = _saved(plain_copy(model), None)

    def estimate(self, left: Left) -> float:
        """The bytes that are counted."""
        return left.file_bytes

    def measured(self, small: nn.Module, *, carefully: bool = False) -> float:
        """The bytes of the file of a network."""
        return _saved(small, self._dtype)


class Figure:
    """The figure of one measure, for what is left of a network.

    Args:
        model: the network; held by reference, not modified.
        example_inputs: inputs to run a copy of the network on, as for :func:`torch_growl.compact`.
        target: its measure, and what is asked.

    Attributes:
        counter: counts what is left.
        whole: the dense network's.
        asked: the most that may be left.
        aim: the most that is aimed at, ``asked`` or a little less.
        checked: whether real networks correct it.

    Raises:
        InvalidValueError: the dense network meets the target, or a latency is asked for on several processes.
    """

    def __init__(self, model: nn.Module, example_inputs: Any, target: Target) -> None:
        self.counter = Counter(model, example_inputs, target.dtype)
        self.target, self._model, self._inputs = target, model, example_inputs
        self._source: Source | None = None
        if target.of == "file_bytes":
            self._source = FileSize(model, target.dtype)
        elif target.of == "latency_ms":
            if on_several_processes():
                raise InvalidValueError(
                    "latency_ms is measured, and each process would measure another latency and remove other rows; on "
                    "several processes, give a target of macs or weights"
                )
            self._source = Latency(model, example_inputs, target.batch, target.runtime)
        self._points: list[tuple[float, float]] = []  # estimate and figure of real networks, both increasing
        self.checked = self._source is not None
        self.whole = float(getattr(self.counter.dense, target.of)) if self._source is None else self._source.whole
        self.asked = target.amount(self.whole)
        self.aim = self.asked * (1.0 if self._source is None else self._source.aim)
        if self._source is not None:
            timed = target.of == "latency_ms"
            unpruned = self.whole if timed else self._source.measured(plain_copy(model).eval())
            if unpruned <= self.asked:
                raise InvalidValueError(
                    f"target: {target.text(unpruned)} {target.of} are left if no row is removed; asked were "
                    f"{target.text(self.asked)}"
                )
            self._add(self._source.estimate(self.counter.dense), unpruned)

    def of(self, left: Left) -> float:
        """The figure of what a count says is left."""
        if self._source is None:
            return float(getattr(left, self.target.of))
        estimates, figures = zip(*self._points, strict=True)
        return float(np.interp(self._source.estimate(left), estimates, figures))

    def ask(self, amount: float) -> None:
        """Ask for another amount, of a measure that is counted exactly."""
        self.asked = self.aim = amount

    def check(self, gone: Mapping[str, Flags], *, carefully: bool = False) -> float:
        """Compact a copy of the network without certain rows, measure it, and correct the figure by it.

        Args:
            gone: for some layers a flag for each row that is removed.
            carefully: whether its rows go now; a latency is measured longer then.

        Returns:
            The real figure; for measures that are counted exactly, the count.

        Raises:
            CompactionError: the network cannot be compacted.
        """
        if self._source is None:
            return self.of(self.counter.left(gone))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", GrowlWarning)  # that nothing can be removed is seen in the figure
            small = compact(without_rows(self._model, gone), self._inputs)
        real = self._source.measured(small, carefully=carefully)
        self.note(gone, real)
        return real

    def note(self, gone: Mapping[str, Flags], real: float) -> None:
        """Take the real figure of a network without certain rows."""
        if self._source is not None:
            self._add(self._source.estimate(self.counter.left(gone)), real)

    def _add(self, estimate: float, real: float) -> None:
        """Add a real network; earlier ones that contradict it, or are very near, count no more."""
        self._points = [
            (e, figure)
            for e, figure in self._points
            if abs(e - estimate) > _NEAR * estimate and (e < estimate) == (figure < real)
        ]
        self._points = sorted([*self._points, (estimate, real)])

    def state(self) -> dict[str, Any]:
        """The dense network's figure and the real networks so far, for a resumed run: plain values."""
        return {"whole": self.whole, "points": list(self._points)}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Load a state; a share asked for is one of the dense network's figure then, which may be another time now."""
        self._points = [(float(estimate), float(figure)) for estimate, figure in state["points"]]
        if self._source is not None:
            self.whole = self._source.whole = float(state["whole"])
            self.asked = self.target.amount(self.whole)
            self.aim = self.asked * self._source.aim


def without_rows(model: nn.Module, gone: Mapping[str, Flags]) -> nn.Module:
    """Return a plain copy of a network, in eval mode, in which certain rows are zero.

    Args:
        model: the network; not modified.
        gone: for some layers a flag for each row.
    """
    copied = plain_copy(model).eval()
    layers = registered_layers(copied)
    for name, flags in gone.items():
        zero_rows_(layers[name], torch.from_numpy(flags))
    return copied


def _saved(network: nn.Module, dtype: str | None) -> float:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        save(network, path, dtype=dtype)
        return float(path.stat().st_size)
