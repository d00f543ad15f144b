"""The control of a training that leads to a target: when rows shrink, how fast, and what has become of it.

Of the steps of a training, the first part leaves all rows free, since those of a new network carry no information; then
the rows that have to go shrink evenly to zero, chosen anew all along, because training goes on; for the rest the rows
that are left train on. Rows that stay are never changed. Where the network can be fitted on inputs, all rows go in
one step, and those that stay take over what they carried.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch import nn

from torch_growl.arguments import check_count, check_type
from torch_growl.errors import GrowlWarning, InvalidValueError, users_stacklevel
from torch_growl.networks.targets.figure import Figure
from torch_growl.networks.targets.pressing import Press, Rows
from torch_growl.networks.targets.stretch import Action, Choose, Stretch
from torch_growl.networks.targets.target import Target, as_text
from torch_growl.networks.wiring import Flags

__all__ = ["Control", "Phase", "Progress"]

Phase = Literal["free", "shrinking", "recovering", "holding"]

_FREE, _SHRINKING_UNTIL = 0.1, 0.5  # of the steps; measured: docs/targets.md
_FREE_BEFORE_ONE_STEP = 0.3  # of the steps, where all rows go in one: later than they would begin to shrink
_KNOWN_UNTIL = 0.3  # of the steps, where rows are known that go first
_RECORDED = 40  # the last steps before it whose inputs are recorded, if none are given
LEAST_STEPS = 20


@dataclass(frozen=True)
class Progress:
    """The state of a training with a target; ``str()`` shows it as a line.

    Attributes:
        phase: ``"free"`` before rows shrink, ``"shrinking"``, or ``"holding"`` once the target is met; with an accuracy
            drop also ``"recovering"``.
        step: optimizer steps so far.
        steps: those of the whole training.
        of: the measure: weights, macs, bytes, file_bytes or latency_ms.
        asked: the most that may be left.
        left: what is left now, by the last count, corrected by real networks where a count is not exact.
        dense: the dense network's.
        reached: whether ``left`` is at most ``asked``.
        rows: for every penalised layer the rows that are not zero; tied ones count as one.
    """

    phase: Phase
    step: int
    steps: int
    of: str
    asked: float
    left: float
    dense: float
    reached: bool
    rows: Mapping[str, int]

    def __str__(self) -> str:
        now, dense, asked = (as_text(self.of, amount) for amount in (self.left, self.dense, self.asked))
        left = f"{now} of {dense} {self.of} left ({self.left / self.dense:.1%})"
        goal = "target reached" if self.reached else f"target not reached: at most {asked} asked"
        return f"step {self.step:,} of {self.steps:,}, {self.phase}: {left}, {goal}"


class Control:
    """Decides after every optimizer step how fast rows shrink.

    Args:
        model: the network; held by reference, not modified.
        target: what is asked for.
        example_inputs: inputs to run a copy of the network on, as for :func:`torch_growl.compact`.
        layers: the layers whose rows may go.
        known: networks of earlier trainings from the same weights: for every layer a flag for each row that is zero.
            The rows of the nearest one go first, from the first step on.

    Attributes:
        goes_on: whether there are such networks.

    Raises:
        InvalidTypeError: ``target`` is no :class:`Target`, or the inputs are of another type.
        InvalidValueError: the target cannot be met, or the network cannot be run.
        CompactionError: the network cannot be copied or compacted.
    """

    def __init__(
        self,
        model: nn.Module,
        target: Target,
        example_inputs: Any,
        layers: Sequence[Rows],
        known: Sequence[Mapping[str, Flags]] = (),
    ) -> None:
        check_type("target", target, Target)
        self._model, self.target = model, target
        self._press = Press(Figure(model, example_inputs, target), layers)
        self._press.begin_with(known)
        self.goes_on = bool(known)
        self._shrinking_until = _KNOWN_UNTIL if known else _SHRINKING_UNTIL
        self._at_once = False  # whether the rows that have to go do so in one step
        self._slowly = False  # whether they were to, and cannot
        self._stretch = Stretch(model, self._press)
        self.steps = 0
        self._short = False  # whether a missed target was warned of
        self._decided = (0, Action())

    def start(self, steps: int, *, anew: bool = True, at_once: bool = False) -> None:
        """Take the number of optimizer steps of the whole training.

        Args:
            steps: the number.
            anew: start a new training; otherwise one goes on whose state was loaded.
            at_once: whether the rows that have to go do so in one step.

        Raises:
            InvalidValueError: there are too few steps.
        """
        self.check_start(steps)
        self.steps, self._at_once = steps, at_once
        if anew:
            self._slowly = False
            self._stretch = Stretch(self._model, self._press)
            self._decided = (0, Action())

    def check_start(self, steps: int, *, anew: bool = True) -> None:
        """Refuse what :meth:`start` refuses; nothing is changed."""
        check_count("steps", steps, least=LEAST_STEPS, unit="optimizer steps of the whole training")

    @property
    def _free_until(self) -> int:
        """The last step before rows shrink."""
        return round(self._free * self.steps)

    @property
    def _free(self) -> float:
        """The part of the steps before rows shrink."""
        if self.goes_on:
            return 0.0
        return _FREE_BEFORE_ONE_STEP if self._at_once else _FREE

    @property
    def waits(self) -> bool:
        """Tell whether rows are still to go in one step."""
        return self._at_once and not self._slowly and self._stretch.untouched and not self._stretch.met

    def records(self, step: int) -> bool:
        """Tell whether the inputs of the step after this one may be needed for the step in which rows go."""
        return self.waits and self._free_until - _RECORDED <= step <= self._free_until

    def goes_at_once(self, step: int) -> bool:
        """Tell whether rows go after this step, in one."""
        return self.waits and step > self._free_until

    def go_slowly(self, step: int) -> None:
        """Let rows shrink slowly after this step, which were to go in one."""
        self._slowly = True
        self._stretch.shrink_after(step)

    def after(self, step: int, choose: Choose | None = None) -> Action:
        """Decide what is done after an optimizer step; steps are counted from 1.

        Several optimizers ask after the same step, and get the same answer.

        Args:
            step: the step.
            choose: chooses the rows if all go in one step, of a target of a measure that is counted exactly, and no
                rows are known that go first.
        """
        if step != self._decided[0]:
            self._decided = (step, self._decide(step, choose))
        return self._decided[1]

    def _decide(self, step: int, choose: Choose | None) -> Action:
        if self._stretch.met or step <= self._free_until:
            return Action()
        if self.goes_at_once(step):
            by_law = self._press.figure.checked or self._press.first
            action = self._stretch.at_once(step, None if by_law else choose)
        else:
            action = self._stretch.decide(step, self._free_until, round(self._shrinking_until * self.steps))
        frozen = any(layer.frozen for layer in self._press.layers)  # a frozen layer may be trained again
        if not self._stretch.met and not self._short and (step >= self.steps or (action.gone and not frozen)):
            self._warn_of_missed_target(action.gone)
        return action

    def _warn_of_missed_target(self, gone: Sequence[Flags]) -> None:
        self._short = True
        self._press.counter.look(self._model)
        warnings.warn(
            f"the target is not reached: {self.target.text(self._press.left_without(gone))} {self.target.of} are left, "
            f"at most {self.target.text(self._press.figure.asked)} were asked. No more rows can be removed: layers "
            "keep their min_rows largest rows, and frozen ones all",
            GrowlWarning,
            stacklevel=users_stacklevel(),
        )

    def tie(self, labels: Mapping[str, NDArray[np.int64]]) -> None:
        """Count equal rows as one from now on: for some layers the first row that has a row's value."""
        self._press.counter.tie(labels)

    def progress(self, step: int, rows: Mapping[str, int]) -> Progress:
        """Describe the state.

        Args:
            step: optimizer steps so far.
            rows: for every penalised layer the rows that are not zero.
        """
        self._press.counter.look(self._model)
        figure = self._press.figure
        left = figure.of(self._press.counter.left())
        reached = left <= figure.asked
        phase: Phase = "holding" if self._stretch.met else "free" if step <= self._free_until else "shrinking"
        now, dense = self.target.rounded(left), self.target.rounded(figure.whole)
        return Progress(phase, step, self.steps, self.target.of, figure.asked, now, dense, reached, rows)

    def state_dict(self) -> dict[str, Any]:
        """The state for a resumed run: plain values only."""
        goal = {"of": self.target.of, "asked": self._asked}
        return {**self._stretch.state_dict(), "goes_on": self.goes_on, "slowly": self._slowly, **goal}

    @property
    def _asked(self) -> float:
        return float(getattr(self.target, self.target.of))

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Load a state.

        Raises:
            InvalidValueError: it is the state of a target of another kind, or of a training with another path.
        """
        if "held" not in state:
            raise InvalidValueError("the state is that of a target of another kind, an accuracy drop")
        if state.get("goes_on", False) != self.goes_on:
            raise InvalidValueError("the state is that of a training that had path or had none; give GrOWL the same")
        of, asked = state.get("of", self.target.of), state.get("asked", self._asked)
        if (of, asked) != (self.target.of, self._asked):
            raise InvalidValueError(f"the state is that of a target of {of}={asked:g}; give GrOWL the same target")
        self._stretch.load_state_dict(state)
        self._slowly = bool(state.get("slowly", False))
        self._decided = (0, Action())
