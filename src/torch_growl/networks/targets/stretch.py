"""A stretch of a training in which rows go: slowly, as a law says, or in one step."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from torch_growl.errors import GrowlWarning, users_stacklevel
from torch_growl.networks.targets.counting import Counter
from torch_growl.networks.targets.pressing import Press, Pressure
from torch_growl.networks.wiring import Flags

__all__ = ["Action", "Choose", "Stretch"]

Choose = Callable[[Counter, float], Sequence[Flags]]  # the rows that go, so that at most a figure is left

_SOLUTIONS = 100  # of the law, from the first to the last step that shrinks
_CHECKED = (0, 2, 10, 30, 60, 85)  # the solutions of the law whose network is made and measured


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

        Warns:
            GrowlWarning: the law meets the target, and what is chosen does not.
        """
        self.press.counter.look(self._model)
        asked = self.press.figure.asked
        chosen = [] if choose is None else list(choose(self.press.counter, asked))
        by_law = not chosen or self.press.left_without(chosen) > asked
        gone = self._solution([layer.norms() for layer in self.press.layers], True).gone if by_law else chosen
        met = self.press.left_without(gone) <= asked
        if chosen and by_law and met:
            warnings.warn(
                "the rows that go are those of smallest norm: those that least squares chose would not meet the target",
                GrowlWarning,
                stacklevel=users_stacklevel(),
            )
        self._solutions = max(1, self._solutions)
        self._solved_at = step
        self.met = met
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

    def shrink_after(self, step: int) -> None:
        """Let rows begin to shrink after a step."""
        self._solved_at = step

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
