"""The attachment of a penalty to an optimizer: a hook that runs after every ``optimizer.step()``.

:class:`Schedule` decides at which steps the prox runs and with which share of the strength. :class:`StepHooks` counts
an optimizer's steps, runs the prox when it is due, and holds pruned rows at zero after all other steps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from torch_growl.arguments import check_count, check_type
from torch_growl.errors import InvalidValueError

__all__ = ["Schedule", "StepHooks", "unwrapped"]


@dataclass(frozen=True)
class Schedule:
    """The optimizer steps at which the prox runs.

    Attributes:
        period: steps from one application to the next, ≥ 1.
        warmup: steps over which the strength rises evenly from 0, ≥ 0.
    """

    period: int
    warmup: int = 0

    @classmethod
    def of(cls, every: int | Literal["epoch"], steps_per_epoch: int | None, warmup: int) -> Schedule:
        """The schedule that the arguments of :meth:`torch_growl.GrOWL.attach` describe.

        Raises:
            InvalidValueError, InvalidTypeError: ``every`` is neither an integer ≥ 1 nor ``"epoch"``, ``"epoch"`` is
                without ``steps_per_epoch``, or ``warmup`` is not an integer ≥ 0.
        """
        if every == "epoch":
            if steps_per_epoch is None:
                raise InvalidValueError("every='epoch' needs steps_per_epoch, the optimizer steps in an epoch (≥ 1)")
            period = check_count("steps_per_epoch", steps_per_epoch, unit="optimizer steps")
        elif isinstance(every, int) and not isinstance(every, bool) and every >= 1:
            period = every
        else:
            raise InvalidValueError(f"every must be an integer ≥ 1 or 'epoch', got {every!r}")
        return cls(period, check_count("warmup", warmup, least=0, unit="optimizer steps"))

    def is_due(self, step: int) -> bool:
        """Tell whether the prox runs after this step; steps are counted from 1."""
        return step % self.period == 0

    def share(self, step: int) -> float:
        """The share of the strength with which the prox runs after a step: 1 once the warm-up is over.

        An application replaces one after each step since the last application, so its share is the mean of theirs.
        """
        if step - self.period >= self.warmup:
            return 1.0
        steps = range(step - self.period + 1, step + 1)
        return sum(min(1.0, each / self.warmup) for each in steps) / self.period


class StepHooks:
    """The hooks of one penalty on optimizers, and the count of optimizer steps since it was attached.

    Attributes:
        count: optimizer steps so far.
    """

    def __init__(self) -> None:
        self.count = 0
        self._resumes = False  # a count was loaded, from which the next attachment continues
        self._hooks: list[tuple[Optimizer, RemovableHandle]] = []

    def attach(
        self,
        optimizer: Optimizer,
        schedule: Schedule,
        prox: Callable[[Optimizer, int, float], None],
        zero_pruned: Callable[[], None],
    ) -> RemovableHandle:
        """Register a hook on the optimizer; a hook removed since does not count as attached.

        Args:
            optimizer: the optimizer itself, not a wrapper.
            schedule: when the prox runs.
            prox: called with the optimizer, the period and the share of the strength.
            zero_pruned: called after all other steps.

        Raises:
            InvalidValueError: the optimizer has a hook of this penalty already.
        """
        if any(known is optimizer and _is_alive(handle) for known, handle in self._hooks):
            raise InvalidValueError("this GrOWL is attached to this optimizer already; rows would be shrunk twice")
        if not self._resumes:
            self.count = 0
        self._resumes = False

        def after_step(stepped: Optimizer, args: Any, kwargs: Any) -> None:
            self.count += 1
            if schedule.is_due(self.count):
                prox(stepped, schedule.period, schedule.share(self.count))
            else:
                zero_pruned()  # momentum and weight decay must not revive a pruned row between two applications

        handle = optimizer.register_step_post_hook(after_step)
        self._hooks.append((optimizer, handle))
        return handle

    def load_count(self, count: int) -> None:
        """Continue from a count; the next attachment keeps it if there is none yet."""
        self.count = count
        self._resumes = not any(_is_alive(handle) for _, handle in self._hooks)


def unwrapped(optimizer: Any) -> Optimizer:
    """The optimizer inside wrappers that hold it as ``optimizer`` (accelerate's, Lightning's).

    Raises:
        InvalidTypeError: there is no torch optimizer.
    """
    while isinstance(inner := getattr(optimizer, "optimizer", None), Optimizer):
        optimizer = inner
    return check_type("optimizer", optimizer, Optimizer)


def _is_alive(handle: RemovableHandle) -> bool:
    return handle.id in (handle.hooks_dict_ref() or {})
