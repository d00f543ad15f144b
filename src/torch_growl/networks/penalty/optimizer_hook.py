"""The attachment of a penalty to an optimizer: a hook that runs after every ``optimizer.step()``.

:class:`Schedule` decides at which steps the prox runs and with which share of the strength. :class:`PenaltyHook` counts
an optimizer's steps, runs the prox when it is due, and holds pruned rows at zero after all other steps.
"""

from __future__ import annotations

import inspect
import warnings
from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, cast

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from torch_growl.arguments import check_count, check_type
from torch_growl.errors import GrowlWarning, InvalidValueError, LayerError, users_stacklevel
from torch_growl.networks.optimizers import Rate, SlowerStep, StepLengths, carried_to_base
from torch_growl.networks.paths import DropControl
from torch_growl.networks.targets import Control

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
        return sum(min(1.0, each / self.warmup) for each in range(step - self.period + 1, step + 1)) / self.period


class Penalty(Protocol):
    """The part of :class:`torch_growl.GrOWL` that a hook uses."""

    steps: int
    _capturable: bool  # whether steps must not wait for the device
    _control: Control | DropControl | None  # finds the rates, if there is a target

    @property
    def _scale_free(self) -> bool:
        """Tell whether strengths are in units of the loss."""

    def _weights(self) -> dict[str, Tensor]:
        """The weights of the penalised layers, checked to be parameters, by layer name."""

    def _shrink(self, rates: Mapping[str, Rate]) -> None:
        """Make the proximal step on some layers, each with its learning rate."""

    def _lead(self, step: int, names: Collection[str]) -> None:
        """Shrink and prune the rows of some layers that a target asks for after a step."""

    def _hold(self, optimizer: Optimizer, *, zeroed: bool = False) -> None:
        """Set pruned rows to zero and tied rows equal again, in the state of a schedule-free optimizer too."""

    def _judge(self) -> None:
        """With an accuracy drop: judge the network if it is time; called after the step of every optimizer."""


class PenaltyHook:
    """The hook of a penalty on one optimizer: measures before its step, shrinks after it.

    A copy or a pickle of the optimizer holds a copy of the hook, hence of the penalty and its network.

    Args:
        penalty: the penalty.
        optimizer: the optimizer itself, not a wrapper.
        schedule: when the prox runs.
        layers: the penalised layers that this optimizer trains.
        leads: whether its applications are the ones that the penalty counts.

    Attributes:
        count: steps of this optimizer so far.

    Raises:
        InvalidValueError: the optimizer cannot be followed by a proximal step.
    """

    def __init__(
        self, penalty: Penalty, optimizer: Optimizer, schedule: Schedule, layers: frozenset[str], leads: bool
    ) -> None:
        self.penalty, self.optimizer, self.schedule = penalty, optimizer, schedule
        self.layers, self.leads, self.count = layers, leads, 0
        self.lengths = StepLengths(optimizer)
        self.slower = SlowerStep(optimizer)

    @property
    def acts_before(self) -> bool:
        return self.measures or isinstance(self.penalty._control, DropControl)

    @property
    def measures(self) -> bool:
        """Tell whether the lengths of the steps are measured: those that a strength needs, and no formula gives."""
        return self.lengths.measured and self.penalty._control is None

    def register(self) -> RemovableHandle:
        """Put the hook on the optimizer."""
        before, after = self.optimizer._optimizer_step_pre_hooks, self.optimizer._optimizer_step_post_hooks
        handle = RemovableHandle(after, extra_dict=before)
        after[handle.id] = self
        if self.acts_before:
            before[handle.id] = self.before
        vars(self.optimizer)["__getstate__"] = StateWithHooks(self.optimizer)
        return handle

    @property
    def is_alive(self) -> bool:
        """Tell whether the hook is still on its optimizer."""
        return any(hook is self for hook in self.optimizer._optimizer_step_post_hooks.values())

    def _weights(self) -> dict[str, Tensor]:
        weights = self.penalty._weights()
        return {name: weights[name] for name in weights if name in self.layers}

    def before(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        """Measure the weights before a step, if its length is not known; lower its rate, if a control asks for it."""
        if _within_a_step(optimizer):
            return
        if self.measures:
            self.lengths.before(self._weights())
        if isinstance(self.penalty._control, DropControl):
            self.slower.begin(self.penalty._control.rate_share(self.count + 1))

    def __call__(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        """Shrink the rows after a step, or hold pruned ones at zero."""
        if _within_a_step(optimizer):
            return
        self.slower.end()
        # Fused optimizers make the step of a gradient scaler themselves, and skip it if gradients are infinite.
        infinite = getattr(optimizer, "found_inf", None)
        if isinstance(infinite, Tensor) and not self.penalty._capturable and bool(infinite.any()):
            self.lengths.after(self._weights(), skipped=True)
            return
        weights = self._weights()
        self.lengths.after(weights)
        self.count += 1
        if not self.schedule.is_due(self.count):
            self.penalty._hold(optimizer)  # momentum and weight decay must not revive a pruned row
            return
        period, share = self.schedule.period, self.schedule.share(self.count)
        if self.penalty._control is not None:
            rates: dict[str, Rate] = dict.fromkeys(weights, 0.0)
        else:
            rates = self.lengths.rates(weights, scale_free=self.penalty._scale_free, period=period)
        if share != 1:
            rates = {name: rate * share for name, rate in rates.items()}
        if isinstance(infinite, Tensor) and self.penalty._capturable:
            rates = {name: torch.where(infinite.any(), 0.0, cast(Tensor, rate)) for name, rate in rates.items()}
        with carried_to_base(optimizer, weights) as carried:
            self.penalty._shrink(rates)
            self.penalty._lead(self.count, weights)
        self.penalty._hold(optimizer, zeroed=not carried)
        self.penalty.steps += self.leads
        self.penalty._judge()


def _within_a_step(optimizer: Optimizer) -> bool:
    """Tell whether a hook is called for the ``super().step()`` inside a step, of which torch calls all hooks too."""
    steps = [vars(cls)["step"] for cls in type(optimizer).__mro__ if "step" in vars(cls)]
    hooked = [step for step in steps if getattr(step, "hooked", False)]
    if len(hooked) < 2:
        return False
    calls, frame = 0, inspect.currentframe()
    while frame is not None:
        calls += frame.f_code is hooked[0].__code__ and frame.f_locals.get("self") is optimizer
        frame = frame.f_back
    return calls > 1


class StateWithHooks:
    """The ``__getstate__`` of one optimizer: torch leaves hooks out of copies and pickles, which would then train on
    without the penalty."""

    def __init__(self, optimizer: Optimizer) -> None:
        self.optimizer = optimizer

    def __call__(self) -> dict[str, Any]:
        """The state of the optimizer and the hooks of penalties on it."""
        state = type(self.optimizer).__getstate__(self.optimizer)
        after = self.optimizer._optimizer_step_post_hooks
        hooks = OrderedDict((key, hook) for key, hook in after.items() if isinstance(hook, PenaltyHook))
        if not hooks:
            return state
        before = OrderedDict((key, hook.before) for key, hook in hooks.items() if hook.acts_before)
        added = {"_optimizer_step_post_hooks": hooks, "_optimizer_step_pre_hooks": before, "__getstate__": self}
        return {**state, **added}


class StepHooks:
    """The hooks of one penalty on optimizers."""

    def __init__(self) -> None:
        self._hooks: list[PenaltyHook] = []
        self._loaded: int | None = None  # a count from which the next attachment continues

    @property
    def count(self) -> int:
        """Steps of the optimizer that the penalty was last attached to, the first of several."""
        leading = [hook.count for hook in self._hooks if hook.leads]
        return self._loaded if self._loaded is not None else leading[-1] if leading else 0

    @property
    def optimizers(self) -> list[Optimizer]:
        """The optimizers that the penalty is attached to."""
        return [hook.optimizer for hook in self._hooks if hook.is_alive]

    @property
    def finished(self) -> int:
        """The steps that all optimizers have made."""
        return min((hook.count for hook in self._hooks if hook.is_alive), default=0)

    @property
    def continues(self) -> bool:
        """Tell whether the next attachment continues from a count that was loaded."""
        return self._loaded is not None

    def attach(self, penalty: Penalty, optimizers: Sequence[Optimizer], schedule: Schedule) -> RemovableHandle:
        """Register a hook on each optimizer; a hook removed since does not count as attached.

        Args:
            penalty: the penalty.
            optimizers: the optimizers themselves, not wrappers; each penalised layer is trained by one of them.
            schedule: when the prox runs.

        Raises:
            InvalidValueError: an optimizer has a hook of this penalty, or of one on the same layers, already; or it
                cannot be followed by a proximal step.
            LayerError: a layer is trained by none of the optimizers, or by several.
        """
        weights = penalty._weights()
        for optimizer in optimizers:
            _check_free(penalty, optimizer, weights)
        owners = [StepLengths(optimizer).trained(weights) for optimizer in optimizers]
        if missing := [name for name in weights if not any(name in own for own in owners)]:
            raise LayerError(
                f"the optimizer does not train the weight of {', '.join(map(repr, missing))}; give it those "
                "parameters, leave the layers out with layers=, or attach all optimizers of the network at once: "
                "growl.attach([first, second])"
            )
        if shared := [name for name in weights if sum(name in own for own in owners) > 1]:
            raise LayerError(f"layer {shared[0]!r} is trained by several of the optimizers; rows would be shrunk twice")
        hooks = [
            PenaltyHook(penalty, optimizer, schedule, frozenset(own), leads=i == 0)
            for i, (optimizer, own) in enumerate(zip(optimizers, owners, strict=True))
        ]
        for hook in hooks:  # fails here, not in the middle of training
            hook.lengths.rates(hook._weights(), scale_free=penalty._scale_free, period=schedule.period)
            if hook.measures and penalty._capturable:
                name = type(hook.optimizer).__name__
                raise InvalidValueError(f"capturable=True cannot be combined with {name}, whose steps are measured")
            if hook.measures:
                warnings.warn(
                    f"no formula is known for the length of a step of {type(hook.optimizer).__name__}: it is measured, "
                    "which takes two float32 copies of the penalised weights and about 100 steps to settle. Look at "
                    "growl.nonzero() to see whether the strength suits",
                    GrowlWarning,
                    stacklevel=users_stacklevel(),
                )
            hook.count = self._loaded or 0
        self._loaded = None
        self._hooks = [hook for hook in self._hooks if hook.is_alive] + hooks
        handles = [hook.register() for hook in hooks]
        return handles[0] if len(handles) == 1 else JointHandle(handles)

    def load_count(self, count: int) -> None:
        """Continue from a count; the next attachment keeps it if there is none yet."""
        alive = [hook for hook in self._hooks if hook.is_alive]
        for hook in alive:
            hook.count = count
        self._loaded = None if alive else count


class JointHandle(RemovableHandle):
    """One handle for the hooks on several optimizers."""

    def __init__(self, handles: Sequence[RemovableHandle]) -> None:
        super().__init__(OrderedDict())
        self.handles = tuple(handles)

    def remove(self) -> None:
        """Remove all hooks."""
        for handle in self.handles:
            handle.remove()


def _check_free(penalty: Penalty, optimizer: Optimizer, weights: Mapping[str, Tensor]) -> None:
    own = {id(weight) for weight in weights.values()}
    for hook in optimizer._optimizer_step_post_hooks.values():
        if isinstance(hook, PenaltyHook):
            if hook.penalty is penalty:
                raise InvalidValueError("this GrOWL is attached to this optimizer already; rows would be shrunk twice")
            if shared := [name for name, weight in hook._weights().items() if id(weight) in own]:
                raise InvalidValueError(
                    f"another GrOWL that penalises {', '.join(map(repr, shared))} is attached to this optimizer "
                    "already; rows would be shrunk twice. Call remove() on the handle that its attach() returned, or "
                    "make the network and the optimizer anew (a notebook cell that ran twice?)"
                )


def unwrapped(optimizer: Any) -> Optimizer:
    """The optimizer inside wrappers that hold it as ``optimizer`` (accelerate's, Lightning's).

    Raises:
        InvalidTypeError: there is no torch optimizer.
    """
    while isinstance(inner := getattr(optimizer, "optimizer", None), Optimizer):
        optimizer = inner
    return check_type("optimizer", optimizer, Optimizer)
