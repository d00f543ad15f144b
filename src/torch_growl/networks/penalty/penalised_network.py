"""A network with penalised layers: the settings of each, its rows, the value of the penalty, and its target."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Collection, Mapping
from functools import cached_property, partial
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from torch_growl.arguments import check_number
from torch_growl.errors import GrowlWarning, InvalidValueError, users_stacklevel
from torch_growl.mathematics.clustering import PRUNED, Partition
from torch_growl.mathematics.owl import LambdaSequence, owl_norm
from torch_growl.networks.channels import ChannelRows, PenalisedChannels
from torch_growl.networks.layers import Side, nonzero_rows, plain_copy, plain_model
from torch_growl.networks.optimizers import base_of
from torch_growl.networks.paths import DropControl, DropProgress, PruningPath
from torch_growl.networks.penalty.optimizer_hook import StepHooks
from torch_growl.networks.penalty.penalised_layers import Penalised, check_shapes, checked_ties, hold_rows_
from torch_growl.networks.penalty.step_layers import ProximalStep, check_state
from torch_growl.networks.sharding import as_first_, reshard_, sharded_modules
from torch_growl.networks.shrinking import Alike, OneStep, alike_channels, chosen_rows, with_rows_left
from torch_growl.networks.targets import Control, Counter, Progress
from torch_growl.networks.tying import RowGroups
from torch_growl.networks.wiring import Flags

__all__ = ["Form", "PenalisedNetwork", "RowSide"]

Form = Literal["scale-free", "paper"]
RowSide = Side | Literal["channel"]
_TINY = 1e-30


class PenalisedNetwork:
    """The penalised layers of a network and their settings; :class:`torch_growl.GrOWL` describes the attributes."""

    form: Form
    side: RowSide
    min_rows: int
    steps: int
    floored: set[str]
    sequence: LambdaSequence
    _model: nn.Module
    left_out: dict[str, str]
    _layers: dict[str, Penalised]
    _step: ProximalStep
    _hooks: StepHooks
    _control: Control | DropControl | None
    _one_step: OneStep | None  # with a target that is met, not searched for
    _capturable: bool
    _ties: dict[str, RowGroups]  # by layer, those that are held

    @property
    def strength(self) -> float:
        """The number that scales every sequence, ≥ 0; it may be set at any time."""
        return self._strength

    @strength.setter
    def strength(self, value: float) -> None:
        self._strength = check_number("strength", value, least=0)

    def _strength_of(self, p: Penalised) -> float:
        if self._control is not None:  # it gives every layer a rate of its own
            return 1.0
        return self.strength * p.share if p.own_strength is None else p.own_strength

    @property
    def _scale_free(self) -> bool:
        """Tell whether strengths are in units of the loss."""
        return self.form == "scale-free"

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the penalised layers, in the network's order; with channels as rows, of all that read them."""
        found = {name for p in self._layers.values() for name in p.readers}
        return tuple(name for name, _ in self._model.named_modules() if name in found)

    @cached_property
    def _sharded(self) -> list[nn.Module]:
        """The modules that FSDP2 gathers the weights of; it gives them back when one is whole."""
        return sharded_modules(self._model)

    def _weights(self) -> dict[str, Tensor]:
        reshard_(self._sharded)
        return self._step.layers.weights()

    def _hold(self, optimizer: Optimizer, *, zeroed: bool = False) -> None:
        """Set pruned rows to zero and tied rows equal again, in the state of a schedule-free optimizer too.

        Args:
            optimizer: the one that has made a step.
            zeroed: whether pruned rows are zero already.
        """
        base = partial(base_of, optimizer)
        if not zeroed:
            reshard_(self._sharded)
            self._step.zero_pruned()
            for i, p in enumerate(self._layers.values()):
                p.zero_base_(self._step.pruned(i), base)
        self._average_ties(base)

    def _average_ties(self, base: Callable[[Tensor], Tensor | None] = lambda weight: None) -> None:
        """Set the rows of each group to their mean, in what an optimizer keeps for a weight too, if it does."""
        for i, (name, p) in enumerate(self._layers.items()):
            if name in self._ties and not p.frozen and not isinstance(p, PenalisedChannels):
                pruned = self._step.pruned(i)
                if bool(pruned[self._ties[name].members].any()):
                    self._ties[name] = self._ties[name].without(pruned)
                p.tie_(self._ties[name], base)

    def _hold_ties(self, partitions: Mapping[str, Partition]) -> None:
        """Tie rows of some layers, and hold them equal after every optimizer step; earlier ties end.

        This is projected gradient descent on tied rows, the paper's retraining: the weights stay plain parameters.
        Rows that are pruned, by a partition or later, are in no group.

        Raises:
            LayerError, InvalidValueError: as :func:`checked_ties`; nothing is changed then.
        """
        self._set_ties(checked_ties(self._layers, partitions, self.side, self._capturable))
        self._average_ties()

    def _set_ties(self, ties: dict[str, RowGroups]) -> None:
        self._ties = ties
        if isinstance(self._control, Control):
            self._control.tie({name: own.labels.numpy() for name, own in ties.items()})

    def nonzero(self) -> dict[str, int]:
        """The number of rows that are not all zero, for every penalised layer or sort of channels.

        Rows that a target has tied count as one.
        """
        reshard_(self._sharded)
        if self.side == "channel":
            return {name: p.nonzero() for name, p in self._layers.items() if isinstance(p, PenalisedChannels)}
        modules = [p.info.module for p in self._layers.values() if not isinstance(p, PenalisedChannels)]
        found = zip(self._layers, nonzero_rows(modules, self.side), strict=True)
        return {name: self._ties[name].distinct(own) if name in self._ties else int(own.sum()) for name, own in found}

    def __repr__(self) -> str:
        given = f"strength={self.strength:g}" if self._control is None else f"target={self._control.target}"
        lines = [f"GrOWL({given}, sequence={self.sequence}, form={self.form!r}, side={self.side!r}"]
        for name, p in self._layers.items():
            lines.append(f"  {name} {p.text}")
        lines += [f"  {name or '(root)'}: left out, {reason}" for name, reason in self.left_out.items()]
        return "\n".join([*lines, ")"])

    def penalty(self) -> Tensor:
        """The penalty's value, a differentiable scalar, for a log or to add to a loss in place of the prox."""
        reshard_(self._sharded)
        terms = []
        for p in self._layers.values():
            norms = p.norms()  # (n_rows,)
            value = owl_norm(norms, p.lam.to(norms.device)) * self._strength_of(p)
            if self._scale_free:
                value = value / (math.sqrt(len(norms)) * torch.linalg.vector_norm(norms)).clamp_min(_TINY)
            terms.append(value)
        device = terms[0].device
        return torch.stack([term.to(device) for term in terms]).sum()

    def _lead(self, step: int, names: Collection[str]) -> None:
        """Shrink and prune the rows of some layers that the target asks for after a step."""
        if self._control is None:
            return
        at_once = self._one_step
        action = at_once.decide(step, self._chosen) if at_once is not None else self._control.after(step)
        before = plain_copy(self._model) if action.at_once else None
        for i, layer in enumerate(self._layers.values()):
            if action.gone and layer.readers[0] in names:
                self._step.pruned(i)[torch.from_numpy(action.gone[i])] = True
            if action.shrinking and layer.readers[0] in names:
                layer.scale_(action.factors(i))
        if action.gone:
            self._step.zero_pruned()
        if before is not None and at_once is not None:
            self._average_ties()
            at_once.fit_(before)
            self._step.zero_pruned()  # the fit gives filters of removed channels new values
            as_first_(*self._model.parameters(), *self._model.buffers())

    def _chosen(self, counter: Counter, asked: float) -> list[Flags]:
        """Choose the rows of every layer that go in one step, by the outputs' error after least squares."""
        assert self._control is not None
        assert self._one_step is not None
        target, own = self._control.target, [p for p in self._layers.values() if not p.frozen]
        if self.side == "channel":
            kinds = [_kind(p, self.min_rows) for p in own if isinstance(p, PenalisedChannels)]
        else:
            sizes = {p.name: len(p.lam) for p in own if p.name in counter.cuttable}
            kinds = with_rows_left(alike_channels(counter.wiring, list(sizes)), sizes, self.min_rows)
        dense = plain_copy(self._model).eval()
        of = target.of
        tied = self._layers if target.ties else ()  # training on makes rows that are equal elsewhere differ
        labels = chosen_rows(dense, self._one_step.batches, counter, kinds, of, asked, ties=target.ties, tied=tied)
        first = torch.from_numpy(np.concatenate(list(labels.values()))).to(next(self._model.parameters()).device)
        as_first_(first)  # rounding may differ between processes
        parts = first.cpu().split([len(own) for own in labels.values()])
        labels = {name: own.numpy() for name, own in zip(labels, parts, strict=True)}
        gone = {name: own == PRUNED for name, own in labels.items()}
        if target.ties:
            ties = {name: Partition.from_labels(own) for name, own in labels.items() if name in self._layers}
            before = self._ties
            self._set_ties(checked_ties(self._layers, ties, self.side, self._capturable))
            if getattr(counter.left(gone), of) > asked:
                self._set_ties(before)  # the rows of smallest norm will go
        return [p.flags(gone) for p in self._layers.values()]

    @property
    def progress(self) -> Progress | DropProgress:
        """The state of a training with a target: phase, what is left, whether the target is reached.

        With an accuracy drop also the scores, the trials and the best of them.

        Raises:
            InvalidValueError: there is no target.
        """
        if self._control is None:
            raise InvalidValueError("progress needs GrOWL(..., target=…)")
        return self._control.progress(self._hooks.count, self.nonzero())

    @property
    def path(self) -> PruningPath:
        """The trials of a training with an accuracy drop, and the sensitivity of each layer.

        Raises:
            InvalidValueError: there is no accuracy drop, or the network has not been judged yet.
        """
        if not isinstance(self._control, DropControl):
            raise InvalidValueError("path needs GrOWL(..., target=Target(accuracy_drop=…))")
        return self._control.path

    def _trained(self) -> bool:
        """Tell whether the penalty is attached to an optimizer."""
        return bool(self._hooks.optimizers)

    def _judge(self) -> None:
        """With an accuracy drop: judge the network if it is time, once all optimizers have made a step."""
        if isinstance(self._control, DropControl):
            owed = [own for i in range(len(self._layers)) for own in (self._step.pruned(i), self._step.owed(i))]
            self._control.finish(self._hooks.finished, self._hooks.optimizers, owed)

    def check(self) -> None:
        """Raise or warn about problems in earlier steps with ``capturable=True``; waits for the device.

        :meth:`state_dict` does this too.

        Raises:
            LayerError: a weight was NaN or infinite in a step since the last check; such steps changed nothing.
        """
        self._warn(self._step.check())

    def _warn(self, floored: list[str]) -> None:
        if floored and not self.floored:
            warnings.warn(
                f"layer {', '.join(map(repr, floored))} would have been emptied by the penalty; its largest rows, at "
                f"most {self.min_rows}, are kept. The strength is too high; growl.floored names all such layers.",
                GrowlWarning,
                stacklevel=users_stacklevel(),
            )
        self.floored.update(floored)

    def average_(self, model: nn.Module) -> None:
        """Set the pruned rows to zero, and tied rows equal, in a running average of the network.

        An average never reaches zero by itself.

        Call this after the average was updated, before it is evaluated, tied or compacted.

        Args:
            model: the average, for instance torch's ``AveragedModel`` (EMA, SWA); modified in place.

        Raises:
            LayerError: it lacks a penalised layer, or that layer has other rows; nothing is changed then.
        """
        pruned = {name: self._step.pruned(i) for i, name in enumerate(self._layers)}
        average = plain_model(model)
        check_shapes(average, self._model)
        if self.side != "channel":
            hold_rows_(average, pruned, self._ties, self.side)
            return
        rows = {
            name: ChannelRows(average, p.rows.channels)
            for name, p in self._layers.items()
            if isinstance(p, PenalisedChannels)
        }
        for name, own in rows.items():
            own.zero_(pruned[name].numpy())

    # ── its state ───────────────────────────────────────────────────────────────────────────────────────────────

    def state_dict(self) -> dict[str, Any]:
        """Everything that a resumed run needs: pruned rows, counters, strength; tensors and plain values only.

        Within about 40 steps before rows go in one step it holds the training inputs that were recorded for that step.
        """
        self.check()
        return {
            "side": self.side,
            "steps": self.steps,
            "count": self._hooks.count,
            "strength": self.strength,
            "floored": sorted(self.floored),
            "target": None if self._control is None else self._control.state_dict(),
            "dead": {name: self._step.pruned(i).cpu().clone() for i, name in enumerate(self._layers)},
            "owed": {name: self._step.owed(i).cpu().clone() for i, name in enumerate(self._layers)},
            "inputs": [] if self._one_step is None else self._one_step.state(),
            "tied": {name: own.labels for name, own in self._ties.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Load a state, before or after :meth:`attach`; the layers must be those of the state.

        Raises:
            InvalidValueError: it is no state of a GrOWL; nothing is changed then.
            LayerError: the layers or their numbers of rows differ; nothing is changed then.
        """
        check_state(state, tuple(self._layers), self._step, self.side)
        owed: Mapping[str, Tensor] | None = state.get("owed")  # states of older versions have none
        found = {name: Partition.from_labels(labels) for name, labels in state.get("tied", {}).items()}
        ties = checked_ties(self._layers, found, self.side, self._capturable)
        if self._control is not None and state.get("target") is not None:
            self._control.load_state_dict(state["target"])  # refuses before it changes anything
        for i, name in enumerate(self._layers):
            self._step.pruned(i).copy_(state["dead"][name])
            if owed:
                self._step.owed(i).copy_(owed[name])
        self.steps = int(state["steps"])
        self._hooks.load_count(int(state["count"]))
        if self._one_step is not None:
            self._one_step.load_state(state.get("inputs", ()), self._hooks.count)
        self.strength = float(state["strength"])
        self.floored = set(state["floored"])
        self._set_ties(ties)


def _kind(p: PenalisedChannels, least: int) -> Alike:
    """The channels of one sort, of which a number stays."""
    readers = p.rows.channels.readers
    rows = tuple({name: numbers[i] for name, numbers in readers.items()} for i in range(len(p.lam)))
    return Alike(p.readers, rows, least=min(least, len(rows)))
