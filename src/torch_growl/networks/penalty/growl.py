"""The GrOWL penalty on a network's layers, applied through its proximal operator after ``optimizer.step()``.

Ω_λ(W) = Σ_i λ_i ‖w_[i]‖₂ with rows sorted by norm (Zhang, Wang, Figueiredo, Balzano, ICLR 2018, eq. 3). Two forms:

* ``"paper"``: strength · Ω_λ(W); the prox uses the threshold lr · strength · λ. On a layer that a normalisation
  follows, the loss does not depend on the layer's scale, so this form has no minimiser but scale → 0: shrinking only
  raises the effective learning rate until all rows die together.
* ``"scale-free"`` (default): strength · Ω_λ(W) / (√n ‖W‖_F), n the number of rows. It does not depend on the layer's
  scale: √n ‖W‖_F is what Ω of n equal rows with λ = 1 would be, so strength counts in units of the loss, and one
  strength means the same for layers of any width. The prox uses lr · strength · λ / (√n ‖W‖_F), then brings the layer
  back to the norm it had: rows are shrunk against one another, the layer as a whole is not. Attached to an optimizer,
  lr is the length of its steps along the gradient (:func:`torch_growl.networks.penalty.effective_rate.step_size`),
  times the steps between two applications. With ``balance="weights"`` every layer's strength is multiplied by the root
  of its share of the penalised weights, so that a small layer is not emptied for the little it saves.

Group lasso is the same with a constant sequence; "+ ℓ2" is the optimizer's weight decay.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from torch_growl.errors import GrowlWarning, InvalidTypeError, InvalidValueError, LayerError
from torch_growl.mathematics.owl import LambdaSequence, owl_norm, pld
from torch_growl.networks.layers import (
    LayerInfo,
    Side,
    choose_layers,
    default_layers,
    inspect_layers,
    plain_model,
    row_norms,
    rows_of,
)
from torch_growl.networks.penalty.capturable_step import CapturableStep
from torch_growl.networks.penalty.effective_rate import step_size
from torch_growl.networks.penalty.overrides import Override, resolve_overrides
from torch_growl.networks.penalty.row_step import RowStep

__all__ = ["GrOWL"]

Form = Literal["scale-free", "paper"]
Balance = Literal["weights", "none"]
_TINY = 1e-30


def _power(balance: Balance | float) -> float:
    """Of the layer's share of the weights."""
    if balance == "weights" or balance == "none":
        return 0.5 if balance == "weights" else 0.0
    if isinstance(balance, bool) or not isinstance(balance, int | float) or not 0 <= balance <= 2:
        raise InvalidValueError(f"balance must be 'weights', 'none' or a number from 0 to 2, got {balance!r}")
    return float(balance)


@dataclass
class _Penalised:
    """One penalised layer and what was asked for it."""

    info: LayerInfo
    own_strength: float | None  # None: the global one
    lam: Tensor  # (n_rows,) float64, on CPU
    share: float = 1.0  # what the global strength is multiplied by

    @property
    def weight(self) -> Tensor:
        return cast(Tensor, self.info.module.weight)

    @property
    def frozen(self) -> bool:
        """Whether it has been frozen since; an optimizer leaves it alone then, and so do we."""
        weight = self.info.module._parameters.get("weight")
        return weight is not None and not weight.requires_grad


class GrOWL:
    """The group ordered weighted ℓ1 penalty over a network.

    Args:
        model: the network; compiled and DDP-wrapped ones too. It is held by reference, and only :meth:`prox_` (hence
            the attached hook) changes it.
        strength: the one number that scales every layer's sequence, ≥ 0. It may be changed at any time. In the
            scale-free form the default gives networks several times smaller where training is long enough (see
            ``docs/experiments.md``); 0.5 to 5 is the range to look in.
        sequence: the shape of λ; see :mod:`torch_growl.mathematics.owl.sequences`. None: ``pld(p=0.3, floor=0.85)``; a
            steeper ramp ties row norms so firmly that no row can leave the rest and reach zero.
        layers: names or shell patterns of the layers to penalise; None: every eligible one except the network's first
            convolution and its last layer. What is left out, and why, is in :attr:`left_out`.
        overrides: settings for some layers, by type (``nn.Conv2d`` or ``"Conv2d"``), by pattern (``"features.*"``) or
            by name, each a dict with any of ``strength``, ``sequence`` and ``skip``. A name beats a pattern, a pattern
            beats a type, a type beats the arguments above.
        form: ``"scale-free"`` or ``"paper"``, see the module.
        side: ``"input"``: a row is an input with its outgoing weights (the paper's); ``"output"``: a neuron or filter.
        balance: ``"weights"``: the strength of a layer is multiplied by √(its weights / all penalised weights); layers
            with an own strength in ``overrides`` take that as it is. ``"none"``: all layers have the same. A number in
            [0, 2]: the power of that share in place of ½; a larger one spares small layers more. None: ``"weights"``
            in the scale-free form, ``"none"`` in the paper's.
        min_rows: a layer is never emptied: at least this many rows (or all that are there, if fewer) stay. When the
            prox would take more, the largest ones are left unshrunk and a :class:`GrowlWarning` names the layer once.
        capturable: do the step without ever waiting for the device, so that a CUDA graph can hold it, as the option of
            that name of torch's optimizers. All penalised layers must be on one device; :meth:`check` tells afterwards
            what else would be raised or warned of at once; in a graph, a learning rate must be a tensor to change.
            Without it, a step on a device copies all row norms to the host once, and the scales back.

    Raises:
        InvalidValueError, InvalidTypeError: an argument is outside its range or of the wrong type.
        LayerError: an unknown or ineligible layer is named, or no layer is left.

    Example:
        >>> import torch, torch_growl as tg
        >>> model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 2))
        >>> growl = tg.GrOWL(model, strength=0.1)
        >>> growl.layers
        ('0',)
    """

    def __init__(
        self,
        model: nn.Module,
        strength: float = 1.5,
        sequence: LambdaSequence | None = None,
        *,
        layers: Iterable[str] | None = None,
        overrides: Mapping[str | type[nn.Module], Override | Mapping[str, Any]] | None = None,
        form: Form = "scale-free",
        side: Side = "input",
        balance: Balance | float | None = None,
        min_rows: int = 4,
        capturable: bool = False,
    ) -> None:
        if not isinstance(model, nn.Module):
            raise InvalidTypeError(f"model must be a torch.nn.Module, got {type(model).__name__}")
        if form not in ("scale-free", "paper"):
            raise InvalidValueError(f"form must be 'scale-free' or 'paper', got {form!r}")
        if not isinstance(min_rows, int) or min_rows < 1:
            raise InvalidValueError(f"min_rows must be an integer ≥ 1 (a layer is never emptied), got {min_rows!r}")
        self.strength = strength
        self.sequence = pld(p=0.3, floor=0.85) if sequence is None else sequence
        if not isinstance(self.sequence, LambdaSequence):
            raise InvalidTypeError(f"sequence must be made by pld, lasso, oscar, …; got {type(sequence).__name__}")
        if balance is None:
            balance = "weights" if form == "scale-free" else "none"
        self.balance: Balance | float = balance
        power = _power(balance)
        self.form: Form = form
        self.side: Side = side
        self.min_rows = min_rows
        self.steps = 0
        self._count = 0  # optimizer steps since it was attached
        self._resumes = False  # a state was loaded that the next attach goes on from
        self.floored: set[str] = set()
        self._model = plain_model(model)
        infos = inspect_layers(self._model, side)
        chosen = choose_layers(self._model, layers, side)
        settings = resolve_overrides(overrides or {}, infos)
        names = {info.name for info in chosen}
        for name, setting in settings.items():
            if name not in names and not setting.skip:
                raise LayerError(f"override for layer {name!r}, which is not penalised; name it in layers= too")
        self._layers: dict[str, _Penalised] = {}
        for info in chosen:
            setting = settings.get(info.name, Override())
            if setting.skip:
                continue
            lam = (setting.sequence or self.sequence)(info.n_rows, row_length=info.row_length)
            self._layers[info.name] = _Penalised(info, setting.strength, lam)
        if not self._layers:
            raise LayerError("every chosen layer is skipped by an override: there is nothing to penalise")
        penalised = list(self._layers.values())
        total = sum(p.info.n_rows * p.info.row_length for p in penalised)
        for p in penalised:
            p.share = float((p.info.n_rows * p.info.row_length / total) ** power)
        self._step = (CapturableStep if capturable else RowStep)(
            list(self._layers),
            [p.info.module for p in penalised],
            [p.lam for p in penalised],
            [self._rows_zero_at_start(p.info) for p in penalised],
            side,
            min_rows,
        )
        defaults = default_layers(infos)
        self.left_out: dict[str, str] = {}
        for info in infos:
            if info.name in names - set(self._layers):
                self.left_out[info.name] = "skipped by an override"
            elif info.name not in names:
                unwanted = defaults.get(info.name, "not asked for") if layers is None else "not asked for"
                self.left_out[info.name] = info.reason or unwanted
        self._hooks: list[tuple[Optimizer, RemovableHandle]] = []

    # ── what it is ──────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def strength(self) -> float:
        """The number that scales every sequence; ≥ 0, may be set at any time."""
        return self._strength

    @strength.setter
    def strength(self, value: float) -> None:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise InvalidTypeError(f"strength must be a number, got {type(value).__name__}")
        if not math.isfinite(value) or value < 0:
            raise InvalidValueError(f"strength must be finite and ≥ 0, got {value}")
        self._strength = float(value)

    def _strength_of(self, p: _Penalised) -> float:
        return self.strength * p.share if p.own_strength is None else p.own_strength

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the penalised layers, in the network's order."""
        return tuple(self._layers)

    def nonzero(self) -> dict[str, int]:
        """For every penalised layer, the number of rows that are not all zero."""
        return {name: int((row_norms(p.info.module, self.side) > 0).sum()) for name, p in self._layers.items()}

    def __repr__(self) -> str:
        lines = [f"GrOWL(strength={self.strength:g}, sequence={self.sequence}, form={self.form!r}, side={self.side!r}"]
        for name, p in self._layers.items():
            lines.append(f"  {name} ({p.info.type_name}): {p.info.n_rows} rows of {p.info.row_length}")
        lines += [f"  {name or '(root)'}: left out, {reason}" for name, reason in self.left_out.items()]
        return "\n".join([*lines, ")"])

    def penalty(self) -> Tensor:
        """The penalty's value, a differentiable scalar: for a log, or to add to a loss and do without the prox."""
        terms = []
        for p in self._layers.values():
            norms = torch.linalg.vector_norm(rows_of(p.info.module, self.side), dim=1)  # (n_rows,)
            value = owl_norm(norms, p.lam.to(norms.device)) * self._strength_of(p)
            if self.form == "scale-free":
                value = value / (math.sqrt(p.info.n_rows) * torch.linalg.vector_norm(norms)).clamp_min(_TINY)
            terms.append(value)
        device = terms[0].device
        return torch.stack([term.to(device) for term in terms]).sum()

    # ── what it does ────────────────────────────────────────────────────────────────────────────────────────────

    def prox_(self, lr: float | Tensor | Mapping[str, float | Tensor]) -> None:
        """One proximal step on every layer, in place: rows are scaled, those that reach zero are dead from then on.

        A layer that has been frozen since (``requires_grad=False``) is not shrunk.

        Args:
            lr: the step's learning rate, > 0 to have an effect; or one for each layer, by name.

        Raises:
            LayerError: a layer's weight has NaN or infinite values; no layer is changed then. With
                ``capturable=True``, :meth:`check` raises it.
            InvalidValueError: a learning rate is negative or not finite.
        """
        lrs = [lr[name] for name in self._layers] if isinstance(lr, Mapping) else [lr] * len(self._layers)
        strengths = [0.0 if p.frozen else self._strength_of(p) for p in self._layers.values()]
        self._warn(self._step(lrs, strengths, self.form == "scale-free"))
        self.steps += 1

    def check(self) -> None:
        """Hear what steps with ``capturable=True`` met, waiting for the device; :meth:`state_dict` does it too.

        Raises:
            LayerError: a weight was NaN or infinite in a step since the last check; such steps changed nothing.
        """
        self._warn(self._step.check())

    def _warn(self, floored: list[str]) -> None:
        for name in floored:
            if name not in self.floored:
                self.floored.add(name)
                warnings.warn(
                    f"layer {name!r} would have been emptied by the penalty; its largest rows, at most "
                    f"{self.min_rows}, are kept. The strength is too high for this layer.",
                    GrowlWarning,
                    stacklevel=3,
                )

    def _rows_zero_at_start(self, info: LayerInfo) -> Tensor:
        """Rows that are zero already stay zero, unless all are: that is an initialisation, not a pruning."""
        zero = row_norms(info.module, self.side) == 0
        return torch.zeros_like(zero) if bool(zero.all()) else zero

    def attach(
        self,
        optimizer: Optimizer,
        *,
        every: int | Literal["epoch"] = 1,
        steps_per_epoch: int | None = None,
        warmup: int = 0,
    ) -> RemovableHandle:
        """Run the prox after ``optimizer.step()``, with the length of that step. Your loop stays unchanged.

        The hook is silent when a gradient scaler skips a step. Rows that have reached zero are held at zero after
        *every* step, whatever ``every`` is.

        Args:
            optimizer: any torch optimizer that trains every penalised layer; a wrapper around one (accelerate's,
                Lightning's) is opened.
            every: after every so many steps, or ``"epoch"`` (the paper's code). In the scale-free form an application
                shrinks as much as one after each of those steps would; in the paper's form its threshold is that of
                one step's learning rate, whatever ``every`` is, as in the paper's code.
            steps_per_epoch: optimizer steps in an epoch; needed with ``every="epoch"``.
            warmup: optimizer steps over which every strength rises evenly from 0, ≥ 0; for networks that have just
                been initialised, whose rows say nothing yet. Not with ``capturable``: a graph would hold one moment of
                the rise for ever.

        Returns:
            A handle whose ``remove()`` detaches it again.

        Raises:
            InvalidValueError: it is attached to this optimizer already, ``every`` is neither, or ``warmup`` is no
                integer ≥ 0, or is given with ``capturable``.
            LayerError: the optimizer does not train a penalised layer.
        """
        while isinstance(inner := getattr(optimizer, "optimizer", None), Optimizer):
            optimizer = inner
        if not isinstance(optimizer, Optimizer):
            raise InvalidTypeError(f"optimizer must be a torch.optim.Optimizer, got {type(optimizer).__name__}")
        if every == "epoch":
            if not isinstance(steps_per_epoch, int) or steps_per_epoch < 1:
                raise InvalidValueError("every='epoch' needs steps_per_epoch, the optimizer steps in an epoch (≥ 1)")
            period = steps_per_epoch
        elif isinstance(every, int) and not isinstance(every, bool) and every >= 1:
            period = every
        else:
            raise InvalidValueError(f"every must be an integer ≥ 1 or 'epoch', got {every!r}")
        if not isinstance(warmup, int) or isinstance(warmup, bool) or warmup < 0:
            raise InvalidValueError(f"warmup must be an integer ≥ 0, the optimizer steps it takes, got {warmup!r}")
        if warmup and isinstance(self._step, CapturableStep):
            raise InvalidValueError("warmup does not go with capturable=True; set growl.strength yourself as it rises")
        if any(known is optimizer and self._alive(handle) for known, handle in self._hooks):
            raise InvalidValueError("this GrOWL is attached to this optimizer already; rows would be shrunk twice")
        self._learning_rates(optimizer, period)  # fails here, not in the middle of training
        if not self._resumes:
            self._count = 0
        self._resumes = False

        def after_step(stepped: Optimizer, args: Any, kwargs: Any) -> None:
            self._count += 1
            if self._count % period == 0:
                rates = self._learning_rates(stepped, period)
                if self._count - period < warmup:  # it stands for the steps since the last one, each with its share
                    steps = range(self._count - period + 1, self._count + 1)
                    risen = sum(min(1.0, step / warmup) for step in steps) / period
                    rates = {name: rate * risen for name, rate in rates.items()}
                self.prox_(rates)
            else:
                self._step.silence()  # momentum and weight decay must not revive a dead row between two steps

        handle = optimizer.register_step_post_hook(after_step)
        self._hooks.append((optimizer, handle))
        return handle

    @staticmethod
    def _alive(handle: RemovableHandle) -> bool:
        return handle.id in (handle.hooks_dict_ref() or {})

    def _learning_rates(self, optimizer: Optimizer, period: int) -> dict[str, float | Tensor]:
        groups = {id(w): group for group in optimizer.param_groups for w in group["params"]}
        missing = [name for name, p in self._layers.items() if id(p.weight) not in groups]
        if missing:
            raise LayerError(
                f"the optimizer does not train the weight of {', '.join(map(repr, missing))}; give it those "
                "parameters, or leave the layers out with layers="
            )
        if self.form == "paper":
            return {name: groups[id(p.weight)]["lr"] for name, p in self._layers.items()}
        return {name: step_size(optimizer, groups[id(p.weight)], p.weight) * period for name, p in self._layers.items()}

    # ── its state ───────────────────────────────────────────────────────────────────────────────────────────────

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on after a stop: dead rows, counters, strength. Tensors and plain values only."""
        self.check()
        return {
            "steps": self.steps,
            "count": self._count,
            "strength": self.strength,
            "floored": sorted(self.floored),
            "dead": {name: self._step.dead(i).cpu().clone() for i, name in enumerate(self._layers)},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up a state, before or after :meth:`attach`; the layers must be those it was taken from.

        Raises:
            LayerError: the layers or their numbers of rows differ; nothing is changed then.
        """
        dead = state["dead"]
        if set(dead) != set(self._layers):
            raise LayerError(f"the state is of layers {sorted(dead)}, not of {sorted(self._layers)}")
        own = {name: self._step.dead(i) for i, name in enumerate(self._layers)}
        for name, rows in own.items():
            if dead[name].shape != rows.shape:
                raise LayerError(f"layer {name!r}: the state has {dead[name].numel()} rows, not {rows.numel()}")
        for name, rows in own.items():
            rows.copy_(dead[name])
        self.steps = int(state["steps"])
        self._count = int(state["count"])
        self._resumes = not any(self._alive(handle) for _, handle in self._hooks)
        self.strength = float(state["strength"])
        self.floored = set(state["floored"])
