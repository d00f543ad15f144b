"""The phases of a training under a trainer: the penalty, tied rows, and what is left at the end.

The trainers' callbacks call :meth:`Phases.begin` when the optimizers exist, :meth:`Phases.after_step` after each step
and :meth:`Phases.finish` at the end. Their checkpoints hold :meth:`Phases.state_dict`.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from torch_growl.arguments import check_choice, check_number, check_type, did_you_mean
from torch_growl.errors import GrowlWarning, InvalidTypeError, InvalidValueError, users_stacklevel
from torch_growl.integrations.recovery import Recovery
from torch_growl.networks.compaction import compact
from torch_growl.networks.layers import Side, outside_inference_mode, plain_model
from torch_growl.networks.optimizers import kept_random_state
from torch_growl.networks.paths import DropProgress
from torch_growl.networks.penalty import GrOWL, unwrapped
from torch_growl.networks.targets import Progress, Target
from torch_growl.networks.tying import HeldTying, Tying, find_tying, with_equal_rows

__all__ = ["HasPhases", "Leave", "Phases", "moved"]

Leave = Literal["regularized", "tied", "compact"]
_OWN = ("self", "model", "strength", "target", "example_inputs")  # what the phases themselves give to GrOWL
_OPTIONS = [name for name in inspect.signature(GrOWL.__init__).parameters if name not in _OWN]
_ARGUMENTS = ("strength", "target", "leave", "tie", "tie_from", "warmup", "example_inputs", *_OPTIONS)
_EARLIEST_TIE = 0.5  # of a training with a target: rows shrink until then


class Phases:
    """The penalty on one training and what becomes of the network.

    Args:
        strength: the penalty's; None: :class:`torch_growl.GrOWL`'s own. Not with a target.
        target: what is to be left, in place of a strength.
        leave: ``"regularized"``: the trained network; ``"tied"``: with similar rows tied; ``"compact"``: the smaller
            network.
        tie: the preference at which rows are tied, in (0, 1]; None: 0.8 if ``leave`` is ``"tied"``, else no ties.
        tie_from: the share of the steps after which rows are tied, in (0, 1); with a target at least 0.5.
        warmup: the share of the steps in which a strength rises from 0, in [0, 1). Not with a target.
        example_inputs: as for :func:`torch_growl.compact`; None: the trainer's callback finds some.
        options: more arguments of :class:`torch_growl.GrOWL`.
        recovery: what helps the network back; None: nothing.

    Attributes:
        growl: the penalty; None before training begins.
        network: what is left; None before training has ended.
    """

    def __init__(
        self,
        strength: float | None,
        target: Target | None,
        leave: Leave,
        tie: float | None,
        tie_from: float,
        warmup: float,
        example_inputs: Any,
        options: Mapping[str, Any],
        recovery: Recovery | None = None,
    ) -> None:
        for name in options:
            if name not in _OPTIONS:
                raise InvalidTypeError(f"there is no argument {name!r}; {did_you_mean(name, _ARGUMENTS)}")
        if strength is not None and target is not None:
            raise InvalidValueError("give a strength or a target, not both")
        if target is not None:
            check_type("target", target, Target)
        if strength is not None:
            check_number("strength", strength, least=0)
        check_choice("leave", leave, ("regularized", "tied", "compact"))
        if tie is not None:
            check_number("tie", tie, above=0, most=1, why="the preference at which rows are tied")
            if leave == "regularized":
                raise InvalidValueError(
                    "tie goes with leave='tied' or leave='compact'; leave='regularized' has no ties"
                )
        self.tie = 0.8 if tie is None and leave == "tied" else tie
        if target is None:
            self.tie_from = check_number("tie_from", tie_from, above=0, below=1)
        else:
            self.tie_from = check_number("tie_from", tie_from, least=_EARLIEST_TIE, below=1, why="rows shrink until ½")
            if target.accuracy_drop is not None and self.tie is not None:
                raise InvalidValueError(
                    "tie cannot be combined with an accuracy_drop, whose network is chosen at the last step; leave "
                    "the compact network, or tie it afterwards with tg.find_tying and tg.tie_"
                )
        self.warmup = check_number("warmup", warmup, least=0, below=1)
        if warmup and target is not None:
            raise InvalidValueError("warmup is for a strength; with a target all rows are free at first")
        self.recovery = Recovery() if recovery is None else recovery
        if target is not None and target.accuracy_drop is not None:
            for name, found in (("average", self.recovery.decay), ("recalibrate", self.recovery.recalibrate)):
                if found:
                    raise InvalidValueError(
                        f"{name} cannot be combined with an accuracy_drop, whose network is judged before the end; "
                        "leave it out"
                    )
        self.target, self.leave, self.options = target, leave, dict(options)
        self.strength, self.example_inputs = strength, example_inputs
        self.growl: GrOWL | None = None
        self.network: nn.Module | None = None
        self.steps = 0
        self._before = 0
        self._held: HeldTying | None = None
        self._handle: RemovableHandle | None = None
        self._optimizers: list[Optimizer] = []
        self._loaded: dict[str, Any] | None = None
        self._batches: Callable[[], Iterator[Any]] = lambda: iter(())

    @property
    def needs_inputs(self) -> bool:
        """Tell whether example inputs are needed and were not given."""
        return self.example_inputs is None and (self._wired or self.leave == "compact")

    @property
    def _wired(self) -> bool:
        """Tell whether the penalty itself needs example inputs: for a target, or to find whole channels."""
        return self.target is not None or self.options.get("side") == "channel"

    # ── the training ────────────────────────────────────────────────────────────────────────────────────────────

    def begin(
        self,
        model: nn.Module,
        optimizers: Sequence[Any],
        steps: int,
        done: int,
        inputs: Callable[[], Any],
        batches: Callable[[], Iterator[Any]] = lambda: iter(()),
    ) -> GrOWL:
        """Attach the penalty, or go on from a loaded state.

        Args:
            model: the network, on its device, with the weights from which training starts or goes on.
            optimizers: those that train it; wrappers too.
            steps: the steps of each in the whole training.
            done: the steps that each has made; without a loaded state they are of a training without the penalty.
            inputs: finds example inputs; called only if none were given.
            batches: gives batches of the network's inputs; called only to estimate batch normalisations anew.

        Raises:
            GrowlError: as for :class:`torch_growl.GrOWL` and its ``attach``.
        """
        self.remove()
        self.network = None
        self._optimizers = [unwrapped(each) for each in optimizers]
        self._before = done if self._loaded is None else int(self._loaded["before"])
        self.steps = steps - self._before
        self._batches = batches
        with kept_random_state(), outside_inference_mode():
            self.recovery.begin(model, done, (self._loaded or {}).get("recovery", {}), batches)
            if self.needs_inputs:
                self.example_inputs = inputs()
            given: dict[str, Any] = dict(self.options)
            if self.strength is not None:
                given["strength"] = self.strength
            if self._wired:
                device = next(model.parameters()).device
                given |= {"target": self.target, "example_inputs": moved(self.example_inputs, device)}
            growl = self.growl = GrOWL(model, **given)
            state, self._loaded = self._loaded, None
            if state is not None:
                growl.load_state_dict(state["growl"])
            if self.target is not None:
                self._handle = growl.attach(self._optimizers, steps=self.steps)
            else:
                self._handle = growl.attach(self._optimizers, warmup=round(self.warmup * self.steps))
            if state is not None and state["tying"] is not None:
                self._tie(plain_model(model), Tying.from_json(state["tying"]))
        return growl

    def after_step(self, step: int, model: nn.Module) -> None:
        """Tie the rows if it is time.

        Args:
            step: the steps that each optimizer has made in the whole training.
            model: the network.
        """
        if self.growl is None:
            return
        tie, due = self.tie, step - self._before >= round(self.tie_from * self.steps)
        if tie is not None and due and self._handle is not None:
            plain = plain_model(model)
            with kept_random_state(), outside_inference_mode():
                side: Side = "output" if self.growl.side == "output" else "input"  # rows that read channels are inputs
                tying = find_tying(plain, self.growl.layers, preference=tie, side=side)
                held = self.target is not None and self.target.ties
                self._tie(plain, with_equal_rows(tying, plain) if held else tying)
                self.recovery.restart(model)
        self.recovery.after_step(step)

    def _tie(self, plain: nn.Module, tying: Tying) -> None:
        """Hold a tying in place of the penalty."""
        held = HeldTying(plain, tying, self._optimizers)
        if self._handle is not None:
            self._handle.remove()
            self._handle = None
        self._held = held

    def hold_(self, model: nn.Module) -> None:
        """Set pruned rows to zero, and tied rows equal, in an average of the network or after its weights were set."""
        if self.growl is not None:
            self.growl.average_(model)
        if self._held is not None:
            self._held.project_(model)

    def finish(self, model: nn.Module) -> nn.Module:
        """Detach the penalty and return what was asked for."""
        if self.growl is None:
            raise InvalidValueError("the training has not begun")
        progress = self.progress if self._handle is not None else None
        if progress is not None and progress.step < progress.steps:
            warnings.warn(
                f"training ended at step {progress.step:,} of {progress.steps:,}, before the target's last phase was "
                f"over: {progress}",
                GrowlWarning,
                stacklevel=users_stacklevel(),
            )
        self.remove(keep_tying=True)
        with kept_random_state():
            torch.manual_seed(0)  # batches of the training data may be augmented
            self.recovery.finish(model, self.hold_, self._batches)
        plain = plain_model(model)
        if self.leave == "compact":
            device = next(plain.parameters()).device
            with kept_random_state():
                self.network = compact(plain, moved(self.example_inputs, device))
        else:
            self.network = plain
        return self.network

    def remove(self, *, keep_tying: bool = False) -> None:
        """Take all hooks off the optimizers and the network."""
        self.recovery.remove()
        if self._handle is not None:
            self._handle.remove()
            self._handle = None
        if self._held is not None:
            self._held.remove()
            if not keep_tying:
                self._held = None

    # ── its state ───────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def tying(self) -> Tying | None:
        """The tying that is held; None before rows are tied."""
        return None if self._held is None else self._held.tying

    @property
    def progress(self) -> Progress | DropProgress | None:
        """The state of a training with a target; None without one. It stays as it is once rows are tied."""
        return None if self.growl is None or self.target is None else self.growl.progress

    def values(self) -> dict[str, float]:
        """Numbers for a trainer's log: rows left, and with a target what is left of its measure."""
        if self.growl is None:
            return {}
        found: dict[str, float] = {"growl/rows": sum(self.growl.nonzero().values())}
        if (tying := self.tying) is not None:
            found["growl/groups"] = sum(layer.partition.n_groups for layer in tying)
        if (progress := self.progress) is not None:
            found |= {"growl/left": progress.left / progress.dense, "growl/reached": float(progress.reached)}
        return found

    def state_dict(self) -> dict[str, Any]:
        """The state for a resumed run: tensors and plain values only; empty before training begins."""
        if self.growl is None:
            return {}
        tying = self.tying
        text = None if tying is None else tying.to_json()
        recovery = self.recovery.state_dict()
        return {"growl": self.growl.state_dict(), "tying": text, "before": self._before, "recovery": recovery}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take a state, from which :meth:`begin` goes on."""
        self._loaded = dict(state) or None


class HasPhases:
    """Give a trainer's callback the properties of its phases."""

    phases: Phases

    @property
    def growl(self) -> GrOWL | None:
        return self.phases.growl

    @property
    def network(self) -> nn.Module | None:
        return self.phases.network

    @property
    def progress(self) -> Progress | DropProgress | None:
        """The state of a training with a target; None without one. It stays as it is once rows are tied."""
        return self.phases.progress

    def average_(self, model: nn.Module) -> None:
        """Set pruned rows to zero, and tied rows equal, in an average of the network (EMA), in place."""
        self.phases.hold_(model)


def moved(inputs: Any, device: torch.device) -> Any:
    """Inputs with all their tensors on a device; tuples, lists and mappings are copied."""
    if isinstance(inputs, torch.Tensor):
        return inputs.to(device)
    if isinstance(inputs, Mapping):
        return {name: moved(value, device) for name, value in inputs.items()}
    if isinstance(inputs, tuple | list):
        return type(inputs)(moved(value, device) for value in inputs)
    return inputs
