"""The path of a training with an accuracy drop: its trials, and how sensitive each layer is; kept in a file."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from torch_growl.checksums import parse_json, sealed_json
from torch_growl.errors import FileFormatError, InvalidValueError
from torch_growl.files import write_text
from torch_growl.networks.targets import Counter, Progress, Rows, without_rows
from torch_growl.networks.wiring import Flags

__all__ = ["DropProgress", "PathPoint", "PruningPath", "point_of", "sensitivities"]

_FORMAT = 1


@dataclass(frozen=True)
class PathPoint:
    """A trial of a training with an accuracy drop.

    Attributes:
        step: optimizer steps so far.
        weights, macs, bytes: what is left of the network.
        rows: for every penalised layer the rows that are not zero.
        gone: for every penalised layer the numbers of the rows that are zero, in their order.
        score: what the validation function gave.
        good: whether that was within the accuracy drop.
    """

    step: int
    weights: int
    macs: int
    bytes: int
    rows: Mapping[str, int]
    gone: Mapping[str, Sequence[int]]
    score: float
    good: bool

    def described(self, whole: int) -> str:
        """Say what was left and how well it did."""
        return f"{self.weights:,} of {whole:,} weights ({self.weights / whole:.1%}) have score {self.score:g}"


@dataclass(frozen=True)
class DropProgress(Progress):
    """The state of a training with an accuracy drop; ``str()`` shows it as a line.

    Attributes:
        asked: the accuracy drop.
        left: the weights that are left now.
        dense: the dense network's weights.
        reached: whether a smaller network within the drop is found.
        reference: the dense network's score; NaN before it is known.
        score: the last score; NaN before the first one.
        best: the smallest network found within the drop.
        points: all trials.
        why: what ended the search, or holds it.
    """

    reference: float
    score: float
    best: PathPoint | None
    points: tuple[PathPoint, ...]
    why: str

    def __str__(self) -> str:
        left = f"{self.left:,} of {self.dense:,} weights left ({self.left / self.dense:.1%})"
        judged = f", score {self.score:g}" + (f" (dense {self.reference:g})" if self.points else "")
        found = "no smaller network within the drop yet"
        if self.best is not None:
            found = f"smallest within {self.asked:g}: {self.best.weights:,} weights"
        return f"step {self.step:,} of {self.steps:,}, {self.phase}: {left}{judged}, {found}" + (
            f"; {self.why}" if self.why else ""
        )


@dataclass(frozen=True)
class PruningPath:
    """The path of a training with an accuracy drop, ``growl.path``; another training can go on from it.

    ``GrOWL(model, target=Target(accuracy_drop=…), path=path)`` begins with the smallest network of the path whose
    score was within the new drop, in place of one with 0.7 of the weights. With another target, such as ``macs=0.5``,
    the rows that were zero at the nearest point of the path go first, from the first step on. The network must have
    the weights that the path's training started from, or those of one of its networks.

    Attributes:
        weights: the dense network's.
        reference: the dense network's score.
        higher_is_better: whether a higher score is the better one.
        rows: for every penalised layer its rows.
        sensitivity: for every penalised layer by how much the score is worse if the smaller half of its rows is zero,
            before any training; measured when the free training ends.
        points: the trials, in their order.
        side: what a row is, as :class:`torch_growl.GrOWL` takes it.

    Example:
        >>> import torch_growl as tg
        >>> path = tg.PruningPath(100, 98.0, True, {"0": 8}, {"0": 1.5}, ())
        >>> path.share(0.5) is None
        True
    """

    weights: int
    reference: float
    higher_is_better: bool
    rows: Mapping[str, int]
    sensitivity: Mapping[str, float]
    points: tuple[PathPoint, ...]
    side: str = "input"

    def share(self, drop: float) -> float | None:
        """The share of the weights of the smallest network whose score was within a drop; None if there is none."""
        sign = 1 if self.higher_is_better else -1
        within = [p.weights / self.weights for p in self.points if sign * (self.reference - p.score) <= drop]
        return min(within, default=None)

    def removed(self) -> list[dict[str, Flags]]:
        """For every trial, by layer, a flag for each row: whether it was zero."""
        found = []
        for point in self.points:
            flags = {name: np.zeros(count, dtype=np.bool_) for name, count in self.rows.items()}
            for name, gone in point.gone.items():
                flags[name][list(gone)] = True
            found.append(flags)
        return found

    def check_fits(self, rows: Mapping[str, int], side: str) -> None:
        """Check that the path is one of a network with these layers.

        Raises:
            InvalidValueError: its rows are of another side, or its layers or their numbers of rows are others.
        """
        if side != self.side:
            raise InvalidValueError(
                f"path is of a training with side={self.side!r}, not {side!r}: give side={self.side!r}, or no path"
            )
        if dict(rows) != dict(self.rows):
            raise InvalidValueError(
                f"path is of layers with {dict(self.rows)} rows, not of {dict(rows)}: give the path of this network"
            )

    def save(self, path: str | Path) -> None:
        """Write the path to a JSON file with a checksum, whole or not at all."""
        write_text(Path(path), sealed_json({"growl_path": _FORMAT, **asdict(self)}, indent=1))

    @classmethod
    def load(cls, path: str | Path) -> PruningPath:
        """Read a file that :meth:`save` wrote.

        Raises:
            FileFormatError: it is damaged or another file.
            OSError: it cannot be read.
        """
        where = str(path)
        found = parse_json(Path(path).read_bytes(), where)
        if not isinstance(found, dict) or found.get("growl_path") != _FORMAT or "crc32" not in found:
            raise FileFormatError(f"{where} is no file that PruningPath.save wrote, or of a later version")
        values = {name: value for name, value in found.items() if name not in ("growl_path", "crc32")}
        values.setdefault("side", "input")  # files of earlier versions have none
        _check(values, cls, where)
        for point in values["points"]:
            _check(point, PathPoint, f"{where}: points")
            if any(max(own, default=-1) >= values["rows"].get(name, 0) for name, own in point["gone"].items()):
                raise FileFormatError(f"{where}: points: gone has rows beyond those of a layer")
        points = tuple(PathPoint(**point) for point in values.pop("points"))
        return cls(**values, points=points)


_INTEGER, _NUMBER = (lambda v: type(v) is int and v >= 0), (lambda v: type(v) in (int, float) and math.isfinite(v))
_KINDS: dict[str, Callable[[Any], bool]] = {
    **dict.fromkeys(("weights", "macs", "bytes", "step"), _INTEGER),
    **dict.fromkeys(("reference",), _NUMBER),
    "score": lambda v: type(v) in (int, float),  # a network that diverged has none that is finite
    **dict.fromkeys(("higher_is_better", "good"), lambda v: type(v) is bool),
    "side": lambda v: v in ("input", "channel"),
    "rows": lambda v: type(v) is dict and all(map(_INTEGER, v.values())),
    "gone": lambda v: type(v) is dict and all(type(own) is list and all(map(_INTEGER, own)) for own in v.values()),
    "sensitivity": lambda v: type(v) is dict and all(type(each) in (int, float) for each in v.values()),
    "points": lambda v: type(v) is list,
}


def _check(values: Any, kind: type[PruningPath] | type[PathPoint], where: str) -> None:
    names = {field.name for field in fields(kind)}
    if not isinstance(values, dict) or set(values) != names:
        raise FileFormatError(f"{where}: must have the fields {', '.join(sorted(names))}")
    for name, value in values.items():
        if not _KINDS[name](value):
            raise FileFormatError(f"{where}: {name} is {value!r}, which is not what is saved")


def point_of(counter: Counter, layers: Sequence[Rows], step: int, score: float, good: bool) -> PathPoint:
    """Describe a trial; the counter must have looked at the network."""
    left = counter.left()
    zero = {layer.name: np.flatnonzero(layer.norms() == 0).tolist() for layer in layers}
    rows = {layer.name: len(layer.lam) - len(zero[layer.name]) for layer in layers}
    return PathPoint(step, left.weights, left.macs, left.bytes, rows, zero, score, good)


def sensitivities(model: nn.Module, layers: Sequence[Rows], lost: Callable[[nn.Module], float]) -> dict[str, float]:
    """Measure for each layer what is lost if the smaller half of its rows is zero.

    Args:
        model: the network; not modified.
        layers: the layers.
        lost: judges a network.
    """
    found = {}
    for layer in layers:
        norms = layer.norms()
        gone = np.zeros(len(norms), dtype=np.bool_)
        gone[np.argsort(norms, kind="stable")[: len(norms) // 2]] = True
        found[layer.name] = lost(without_rows(model, layer.by_layer(gone)))
    return found
