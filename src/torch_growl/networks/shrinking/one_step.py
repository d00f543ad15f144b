"""The step of a training in which all rows go that a target asks for: its inputs, and what is done without them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

from torch import nn
from torch.optim import Optimizer

from torch_growl.errors import GrowlWarning, InvalidValueError, first_line, users_stacklevel
from torch_growl.networks.moments import RecordedInputs
from torch_growl.networks.sharding import is_sharded, on_several_processes
from torch_growl.networks.shrinking.compensation import compensate_
from torch_growl.networks.targets import COUNTED, Action, Choose, Control

__all__ = ["OneStep"]


class OneStep:
    """Leads a training to the step in which rows go, or lets them shrink slowly where that step cannot be made.

    Args:
        model: the network; held by reference.
        control: of its target.
        trained: returns whether the network is still trained with the target.
    """

    def __init__(self, model: nn.Module, control: Control, trained: Callable[[], bool]) -> None:
        self._model, self._control, self._trained = model, control, trained
        self._recorded = RecordedInputs()

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "records": self._recorded.is_started}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update({name: value for name, value in state.items() if name != "records"})
        # A copied or pickled recorder has no hook on a network. A network that holds its own penalty is not whole yet,
        # and gets one after the next step.
        if state["records"] and "_forward_pre_hooks" in vars(self._model):
            self._recorded.start(self._model, self._trained)

    @property
    def batches(self) -> list[Any]:
        """The inputs that rows are chosen on, and those that stay are fitted on: given ones, or the training's."""
        given = self._control.target.batches
        return self._recorded.batches if given is None else given

    def applies(self, optimizers: Sequence[Optimizer]) -> bool:
        """Tell whether rows go in one step.

        Args:
            optimizers: those that train the network.

        Raises:
            InvalidValueError: the target asks for it, and it is not possible.
        """
        target = self._control.target
        if target.compensate is False:
            return False
        if why := self._obstacle(optimizers):
            if target.compensate is None and not target.ties:
                return False
            raise InvalidValueError(f"a target with compensate {why}")
        return target.compensate is not None or (target.of in COUNTED and not self._control.goes_on)

    def _obstacle(self, optimizers: Sequence[Optimizer]) -> str:
        """The reason why rows cannot go in one step; empty if they can."""
        if len(optimizers) > 1:
            return "takes one optimizer, which trains all layers"
        if spread := [name for name, parameter in self._model.named_parameters() if is_sharded(parameter)]:
            return (
                f"fits whole weights; {spread[0]!r} is spread over processes (FSDP2, tensor parallel). Give it "
                "compensate=False: rows then shrink slowly"
            )
        if self._control.target.batches is None and on_several_processes():
            return "needs the same inputs on every process: give it a list of batches, compensate=[…]"
        return ""

    def begin(self, step: int, *, anew: bool) -> None:
        """Record the inputs of the next step if they may be needed, at the start of a training.

        Args:
            step: optimizer steps so far.
            anew: whether it is a new training; otherwise one goes on whose state was loaded.
        """
        if anew or not self._control.waits:
            self._recorded.stop()
        self._follow(step)

    def _follow(self, step: int) -> None:
        if self._control.target.batches is None and self._control.records(step) and self._trained():
            self._recorded.start(self._model, self._trained)

    def decide(self, step: int, choose: Choose) -> Action:
        """Return what the control decides for a step; where rows cannot go in one, they begin to shrink.

        Args:
            step: the step.
            choose: chooses the rows that go in one step.

        Warns:
            GrowlWarning: rows were to go in one step of which the inputs were to be recorded, and shrink slowly.
        """
        self._follow(step)
        recorded = self._control.target.batches is None and self._control.goes_at_once(step)
        if recorded:
            self._recorded.drop_infinite()
        if recorded and len(self._recorded.batches) < 2:
            self._go_slowly(
                step,
                self._recorded.refused
                or "fewer than two calls of the network with finite inputs were seen before it (one that is compiled, "
                "whose parts are called one by one, or whose forward is called, cannot be watched)",
            )
            recorded = False
        try:
            return self._control.after(step, choose)
        except Exception as error:
            if not recorded:
                raise
            self._go_slowly(step, f"the rows cannot be chosen: {first_line(error)}")
            return self._control.after(step, choose)

    def _go_slowly(self, step: int, why: str) -> None:
        self._control.go_slowly(step)
        self._recorded.stop()
        warnings.warn(
            f"the rows of {self._control.target} do not go in one step, they shrink slowly"
            f"{', and none are tied' if self._control.target.ties else ''}: {why}. Give it compensate=[…], batches of "
            "inputs, or compensate=False",
            GrowlWarning,
            stacklevel=users_stacklevel(),
        )

    def state(self) -> list[Any]:
        """The inputs that were recorded, on the CPU, for a resumed run."""
        return self._recorded.state() if self._control.waits else []

    def load_state(self, batches: Sequence[Any], step: int) -> None:
        """Take the inputs of :meth:`state` for recorded ones; the control's state is loaded.

        Args:
            batches: the inputs.
            step: optimizer steps of the state.
        """
        self._recorded.load(batches, next(self._model.parameters()).device)
        if self._trained():
            self.begin(step, anew=False)

    def fit_(self, before: nn.Module) -> None:
        """Let the rows that stay take over what those that went carried.

        Args:
            before: the network before rows went.

        Warns:
            GrowlWarning: as :func:`torch_growl.compensate_`; it cannot be fitted on inputs that were recorded.
        """
        try:
            compensate_(self._model, before, self.batches)
        except Exception as error:
            if self._control.target.batches is not None:
                raise
            warnings.warn(
                f"the rows that stay were not fitted to what others carried: {first_line(error)}",
                GrowlWarning,
                stacklevel=users_stacklevel(),
            )
        self._recorded.stop()
