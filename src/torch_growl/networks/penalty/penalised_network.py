"""A network with penalised layers: the settings of each, its rows, the value of the penalty, and its target."""

from __future__ import annotations

import math
from collections.abc import Collection
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from torch_growl.arguments import check_number
from torch_growl.errors import InvalidValueError
from torch_growl.mathematics.owl import LambdaSequence, owl_norm
from torch_growl.networks.layers import Side, nonzero_rows, rows_of, scale_rows_, shard_rows
from torch_growl.networks.optimizers import base_of
from torch_growl.networks.paths import DropControl, DropProgress, PruningPath
from torch_growl.networks.penalty.optimizer_hook import StepHooks
from torch_growl.networks.penalty.penalised_layers import PenalisedLayer
from torch_growl.networks.penalty.step_layers import ProximalStep
from torch_growl.networks.sharding import differentiable_norms, reshard_, sharded_modules
from torch_growl.networks.targets import Control, Progress

__all__ = ["Form", "PenalisedNetwork"]

Form = Literal["scale-free", "paper"]
_TINY = 1e-30


class PenalisedNetwork:
    """The penalised layers of a network and their settings; :class:`torch_growl.GrOWL` describes the attributes."""

    form: Form
    side: Side
    sequence: LambdaSequence
    _model: nn.Module
    left_out: dict[str, str]
    _layers: dict[str, PenalisedLayer]
    _step: ProximalStep
    _hooks: StepHooks
    _control: Control | DropControl | None

    @property
    def strength(self) -> float:
        """The number that scales every sequence, ≥ 0; it may be set at any time."""
        return self._strength

    @strength.setter
    def strength(self, value: float) -> None:
        self._strength = check_number("strength", value, least=0)

    def _strength_of(self, p: PenalisedLayer) -> float:
        if self._control is not None:  # it gives every layer a rate of its own
            return 1.0
        return self.strength * p.share if p.own_strength is None else p.own_strength

    @property
    def _scale_free(self) -> bool:
        """Tell whether strengths are in units of the loss."""
        return self.form == "scale-free"

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the penalised layers, in the network's order."""
        return tuple(self._layers)

    @cached_property
    def _sharded(self) -> list[nn.Module]:
        """The modules that FSDP2 gathers the weights of; it gives them back when one is whole."""
        return sharded_modules(self._model)

    def _weights(self) -> dict[str, Tensor]:
        reshard_(self._sharded)
        return self._step.layers.weights()

    def _zero_pruned(self, optimizer: Optimizer) -> None:
        """Set pruned rows to zero again, in the state of a schedule-free optimizer too."""
        reshard_(self._sharded)
        self._step.zero_pruned()
        for i, p in enumerate(self._layers.values()):
            if (base := base_of(optimizer, p.weight)) is not None:
                scale_rows_(p.info.module, (~self._step.pruned(i)).to(base.device, base.dtype), self.side, base)

    def nonzero(self) -> dict[str, int]:
        """The number of rows that are not all zero, for every penalised layer."""
        reshard_(self._sharded)
        rows = nonzero_rows([p.info.module for p in self._layers.values()], self.side)
        return {name: int(own.sum()) for name, own in zip(self._layers, rows, strict=True)}

    def __repr__(self) -> str:
        given = f"strength={self.strength:g}" if self._control is None else f"target={self._control.target}"
        lines = [f"GrOWL({given}, sequence={self.sequence}, form={self.form!r}, side={self.side!r}"]
        for name, p in self._layers.items():
            lines.append(f"  {name} ({p.info.type_name}): {p.info.n_rows} rows of {p.info.row_length}")
        lines += [f"  {name or '(root)'}: left out, {reason}" for name, reason in self.left_out.items()]
        return "\n".join([*lines, ")"])

    def penalty(self) -> Tensor:
        """The penalty's value, a differentiable scalar, for a log or to add to a loss in place of the prox."""
        reshard_(self._sharded)
        terms = []
        for p in self._layers.values():
            shard = shard_rows(p.info.module, self.side)
            if shard is None:
                norms = torch.linalg.vector_norm(rows_of(p.info.module, self.side), dim=1)  # (n_rows,)
            else:
                norms = differentiable_norms(shard, p.weight)
            value = owl_norm(norms, p.lam.to(norms.device)) * self._strength_of(p)
            if self._scale_free:
                value = value / (math.sqrt(p.info.n_rows) * torch.linalg.vector_norm(norms)).clamp_min(_TINY)
            terms.append(value)
        device = terms[0].device
        return torch.stack([term.to(device) for term in terms]).sum()

    def _lead(self, step: int, names: Collection[str]) -> None:
        """Shrink and prune the rows of some layers that the target asks for after a step."""
        if self._control is None:
            return
        action = self._control.after(step)
        for i, layer in enumerate(self._layers.values()):
            if action.gone and layer.info.name in names:
                self._step.pruned(i)[torch.from_numpy(action.gone[i])] = True
            if action.shrinking and layer.info.name in names:
                factors = action.factors(i).to(layer.weight.device)
                scale_rows_(layer.info.module, factors, self.side, layer.weight.detach())
        if action.gone:
            self._step.zero_pruned()

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

    def _judge(self) -> None:
        """With an accuracy drop: judge the network if it is time, once all optimizers have made a step."""
        if isinstance(self._control, DropControl):
            owed = [own for i in range(len(self._layers)) for own in (self._step.pruned(i), self._step.owed(i))]
            self._control.finish(self._hooks.finished, self._hooks.optimizers, owed)
