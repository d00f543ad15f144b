"""The control of a training that leads to a target: when rows shrink, how fast, and what has become of it.

Of the steps of a training, the first part leaves all rows free, since those of a new network carry no information; then
the rows that have to go shrink evenly to zero, chosen anew all along, because training goes on; for the rest the rows
that are left train on. Rows that stay are never changed. With inputs to fit the network on, all rows go in one step,
and those that stay take over what they carried.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from torch_growl.arguments import check_count, check_type
from torch_growl.errors import GrowlWarning, InvalidValueError, users_stacklevel
from torch_growl.networks.targets.counting import Counter
from torch_growl.networks.targets.figure import Figure
from torch_growl.networks.targets.pressing import Press, Pressure, Rows
from torch_growl.networks.targets.target import Target, as_text
from torch_growl.networks.wiring import Flags

__all__ = ["Action", "Control", "Phase", "Progress", "Stretch"]

Phase = Literal["free", "shrinking", "recovering", "holding"]

Choose = Callable[[Counter, float], "Sequence[Flags]"]  # the rows that go, so that at most a figure is left

_FREE, _SHRINKING_UNTIL = 0.1, 0.5  # of the steps; measured: docs/targets.md
_FREE_BEFORE_ONE_STEP = 0.3  # of the steps, where all rows go in one: later than they would begin to shrink
_KNOWN_UNTIL = 0.3  # of the steps, where rows are known that go first
_SOLUTIONS = 100  # of the law, from the first to the last step that shrinks
_CHECKED = (0, 2, 10, 30, 60, 85)  # the solutions of the law whose network is made and measured
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


@dataclass(frozen=True)
class Action:
    """The actions that follow one optimizer step.

    Attributes:
        gone: for each layer the rows to set to zero now; empty: none.
        shrinking: for each layer the rows to shrink now; empty: none.
        factor: what they are multiplied by.
        at_once: whether the rows that go had not shrunk before, so that the rest takes over what they carried.
    """

    gone: Sequence[Flags] = ()
    shrinking: Sequence[Flags] = ()
    factor: float = 1.0
    at_once: bool = False

    def factors(self, layer: int) -> Tensor:
        """For every row of a layer what it is multiplied by."""
        return torch.from_numpy(np.where(self.shrinking[layer], self.factor, 1.0))


class Stretch:
    """A stretch of the training in which rows shrink until a target is met.

    Args:
        model: the network; held by reference, not modified.
        press: the law that leads to the target.

    Attributes:
        met: whether the target is met.
    """

    def __init__(self, model: nn.Module, press: Press) -> None:
        self.press = press
        self.met = False
        self._model = model
        self._solved_at = 0
        self._solutions = 0

    def at_once(self, step: int, choose: Choose | None) -> Action:
        """Decide for the rows that have to go that they go after this step; later ones are for what is missing.

        Args:
            step: the step.
            choose: chooses them; None: the law does, as it does where the target is not met by what is chosen.
        """
        self.press.counter.look(self._model)
        asked = self.press.figure.asked
        gone = [] if choose is None else list(choose(self.press.counter, asked))
        if not gone or self.press.left_without(gone) > asked:
            gone = self._solution([layer.norms() for layer in self.press.layers], True).gone
        self._solutions = max(1, self._solutions)
        self._solved_at = step
        self.met = self.press.left_without(gone) <= asked
        return Action(gone=gone, at_once=True)

    def decide(self, step: int, first: int, end: int) -> Action:
        """Decide what is done after a step.

        Args:
            step: the step, after ``first``.
            first: the last step before rows shrink.
            end: the step after which the target is met at the latest, unless layers are frozen.
        """
        every = max(1, (end - first) // _SOLUTIONS)
        last = step + every >= end
        since = step - max(first, self._solved_at)
        if since < every and not (last and self._solved_at + every < end):
            return Action()
        self.press.counter.look(self._model)
        norms = [layer.norms() for layer in self.press.layers]
        found = self._solution(norms, last)
        self._solved_at = step
        if found.met or last:
            self.met = self.press.left_without(found.gone) <= self.press.figure.asked
            return Action(gone=found.gone)
        return Action(shrinking=found.gone, factor=(end - step) / (end - step + since))

    @property
    def untouched(self) -> bool:
        """Tell whether no row has shrunk or gone yet."""
        return self._solutions == 0

    def _solution(self, norms: Sequence[NDArray[np.float64]], last: bool) -> Pressure:
        """Solve the law; where a count is not exact, real networks correct some solutions, and the last one."""
        found = self.press.solve(norms)
        due = self._solutions in _CHECKED
        self._solutions += 1
        idle = not found.met and not any(rows.any() for rows in found.gone)  # no more rows can go
        if self.press.figure.checked and not idle and (found.met or last or due):
            return self.press.corrected(found, norms, final=found.met or last)
        return found

    def state_dict(self) -> dict[str, Any]:
        """The state for a resumed run: plain values only."""
        return {
            "held": self.met,
            "solved_at": self._solved_at,
            "solutions": self._solutions,
            "real": self.press.figure.state(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Load a state."""
        self.met = bool(state["held"])
        self._solved_at = int(state["solved_at"])
        self._solutions = int(state["solutions"])
        self.press.figure.load_state(state["real"])


class Control:
    """Decides after every optimizer step how fast rows shrink.

    Args:
        model: the network; held by reference, not modified.
        target: what is asked for.
        example_inputs: inputs to run a copy of the network on, as for :func:`torch_growl.compact`.
        layers: the layers whose rows may go.
        known: networks of earlier trainings from the same weights: for every layer a flag for each row that is zero.
            The rows of the nearest one go first, from the first step on.

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
        free = _FREE if target.compensate is None else _FREE_BEFORE_ONE_STEP
        self._free, self._shrinking_until = (0.0, _KNOWN_UNTIL) if known else (free, _SHRINKING_UNTIL)
        self._stretch = Stretch(model, self._press)
        self.steps = 0
        self._short = False  # whether a missed target was warned of
        self._decided = (0, Action())

    def start(self, steps: int, *, anew: bool = True) -> None:
        """Take the number of optimizer steps of the whole training.

        Args:
            steps: the number.
            anew: start a new training; otherwise one goes on whose state was loaded.

        Raises:
            InvalidValueError: there are too few steps.
        """
        self.check_start(steps)
        self.steps = steps
        if anew:
            self._stretch = Stretch(self._model, self._press)
            self._decided = (0, Action())

    def check_start(self, steps: int, *, anew: bool = True) -> None:
        """Refuse what :meth:`start` refuses; nothing is changed."""
        check_count("steps", steps, least=LEAST_STEPS, unit="optimizer steps of the whole training")

    @property
    def _free_until(self) -> int:
        """The last step before rows shrink."""
        return round(self._free * self.steps)

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
        if self.target.compensate is not None and self._stretch.untouched:
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
        return {**self._stretch.state_dict(), "goes_on": self._free == 0, **goal}

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
        if state.get("goes_on", False) != (self._free == 0):
            raise InvalidValueError("the state is that of a training that had path or had none; give GrOWL the same")
        of, asked = state.get("of", self.target.of), state.get("asked", self._asked)
        if (of, asked) != (self.target.of, self._asked):
            raise InvalidValueError(f"the state is that of a target of {of}={asked:g}; give GrOWL the same target")
        self._stretch.load_state_dict(state)
        self._decided = (0, Action())
