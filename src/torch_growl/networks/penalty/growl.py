"""The GrOWL penalty on a network's layers, applied through its proximal operator after ``optimizer.step()``.

Ω_λ(W) = Σ_i λ_i ‖w_[i]‖₂ with rows sorted by norm (Zhang, Wang, Figueiredo, Balzano, ICLR 2018, eq. 3). Two forms:

* ``"paper"``: strength · Ω_λ(W); the prox uses the threshold lr · strength · λ. If a normalisation follows the layer,
  the loss does not depend on the layer's scale, so this form has no minimiser but scale → 0: shrinking only raises the
  effective learning rate until all rows reach zero together.
* ``"scale-free"`` (default): strength · Ω_λ(W) / (√n ‖W‖_F), n the number of rows. It does not depend on the layer's
  scale. Because √n ‖W‖_F is Ω of n equal rows with λ = 1, the strength is in units of the loss, and one strength means
  the same for layers of any width. The prox uses lr · strength · λ / (√n ‖W‖_F), then scales the layer back to the norm
  it had: rows shrink relative to one another, the layer as a whole does not. Attached to an optimizer, lr is the
  length of its steps along the gradient (:mod:`torch_growl.networks.optimizers.step_lengths`), times the
  steps between two applications. With ``balance="weights"`` every layer's strength is multiplied by the root of its
  share of the penalised weights, so that a small layer, which saves little, is shrunk less.

Group lasso is the same with a constant sequence; "+ ℓ2" is the optimizer's weight decay.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from torch_growl.arguments import check_choice, check_count, check_type
from torch_growl.errors import InvalidValueError
from torch_growl.mathematics.owl import LambdaSequence
from torch_growl.networks.channels import ChannelLayers, ChannelStep, choose_channels
from torch_growl.networks.layers import Side, check_network, plain_model
from torch_growl.networks.optimizers import check_strength_of
from torch_growl.networks.paths import DropControl, PruningPath, control_of
from torch_growl.networks.penalty.capturable_step import CapturableStep
from torch_growl.networks.penalty.optimizer_hook import Schedule, StepHooks, unwrapped
from torch_growl.networks.penalty.penalised_layers import (
    DEFAULT_SEQUENCE,
    Balance,
    Override,
    Overrides,
    check_sequence,
    choose_penalised,
    power_of,
)
from torch_growl.networks.penalty.penalised_network import Form, PenalisedNetwork, RowSide
from torch_growl.networks.penalty.row_step import RowStep
from torch_growl.networks.penalty.step_layers import StepLayers
from torch_growl.networks.sharding import Rate, reshard_
from torch_growl.networks.shrinking import OneStep
from torch_growl.networks.targets import Control, Target

__all__ = ["GrOWL"]


class GrOWL(PenalisedNetwork):
    """The group ordered weighted ℓ1 penalty over a network.

    Args:
        model: the network; compiled and DDP-wrapped ones too. It is held by reference, and only :meth:`prox_` (hence
            the attached hook) changes it.
        strength: the number that scales every layer's sequence, ≥ 0. It may be changed at any time. In the scale-free
            form the default makes networks several times smaller if training is long enough (see
            ``docs/experiments.md``); useful values are from 0.5 to 5.
        sequence: the shape of λ; see :mod:`torch_growl.mathematics.owl.sequences`. None: ``pld(p=0.3, floor=0.85)``; a
            steeper ramp ties row norms so firmly that no row can leave the rest and reach zero. With a target it has no
            effect on the training.
        layers: names or shell patterns of the layers to penalise; None: every eligible one except the network's first
            convolution and its last layer; with a target the last layer too, whose rows are the channels that the
            layer before it makes. :attr:`left_out` gives the layers left out, with the reasons.
        overrides: settings for some layers, by type (``nn.Conv2d`` or ``"Conv2d"``), by pattern (``"features.*"``) or
            by name, each a dict with any of ``strength``, ``sequence`` and ``skip``. A name takes precedence over a
            pattern, a pattern over a type, a type over the arguments above.
        form: ``"scale-free"`` or ``"paper"``, see the module.
        side: ``"input"``: a row is an input with its outgoing weights (the paper's); ``"output"``: a neuron or filter;
            ``"channel"``: a channel of the network: everything that reads it is shrunk, and everything that makes it
            (filters, normalisations, gates) becomes zero with it. The channels are found on ``example_inputs``.
        balance: ``"weights"``: the strength of a layer is multiplied by √(its weights / all penalised weights); a
            strength in ``overrides`` is used as it is. ``"none"``: all layers have the same strength. A number in
            [0, 2]: the power of that share in place of ½; larger ones shrink small layers less. None: ``"weights"``
            in the scale-free form, ``"none"`` in the paper's.
        min_rows: the least number of rows that stay in a layer (or all nonzero ones, if fewer), ≥ 1. When the prox
            would leave fewer, the largest ones are left unshrunk and one :class:`GrowlWarning` says so.
        capturable: make the step without waiting for the device, so that a CUDA graph can capture it, as the option of
            that name of torch's optimizers. All penalised layers must be on one device; :meth:`check` raises and warns
            afterwards what the step would otherwise at once; in a graph, a learning rate must be a tensor to change.
            Without it, a step on a device copies all row norms to the host once, and the scales back.
        target: what is to be left, in place of a strength: :class:`torch_growl.Target`.
        example_inputs: with a target or channels as rows: inputs to run the network on, as for
            :func:`torch_growl.compact`.
        path: with a target: the :attr:`path` of an earlier training from the same weights, to go on from.

    Attributes:
        left_out: the layers that are not penalised, each with the reason.
        steps: applications of the prox so far.
        floored: names of the layers that ``min_rows`` has kept from being emptied.

    Raises:
        InvalidValueError, InvalidTypeError: an argument is outside its range or of the wrong type.
        LayerError: an unknown or ineligible layer is named, or no layer is left.

    Example:
        >>> import torch
        >>> import torch_growl as tg
        >>> _ = torch.manual_seed(0)
        >>> model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 2))
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.3)
        >>> growl = tg.GrOWL(model, min_rows=1)
        >>> growl.layers, growl.left_out
        (('0',), {'2': "the network's last layer"})
        >>> handle = growl.attach(optimizer)  # from here on every optimizer.step() is followed by the prox
        >>> for _ in range(150):
        ...     x = torch.randn(64, 8)
        ...     optimizer.zero_grad()
        ...     torch.nn.functional.cross_entropy(model(x), (x[:, 0] > 0).long()).backward()  # one input matters
        ...     optimizer.step()
        >>> (model[0].weight != 0).any(dim=0).tolist()
        [True, False, False, False, False, False, False, False]
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
        side: RowSide = "input",
        balance: Balance | float | None = None,
        min_rows: int = 4,
        capturable: bool = False,
        target: Target | None = None,
        example_inputs: Any = None,
        path: PruningPath | None = None,
    ) -> None:
        check_network("model", model)
        check_choice("form", form, ("scale-free", "paper"))
        self.min_rows = check_count("min_rows", min_rows, unit="(a layer is never emptied)")
        self.strength = strength
        self.sequence = check_sequence("sequence", DEFAULT_SEQUENCE if sequence is None else sequence)
        by_form: Balance = "weights" if form == "scale-free" else "none"
        self.balance: Balance | float = by_form if balance is None else balance
        self.form: Form = form
        self.side: RowSide = side
        self.steps = 0
        self.floored: set[str] = set()
        self._model = plain_model(model)
        check_choice("side", side, ("input", "output", "channel"))
        if side == "channel":
            if overrides or capturable or example_inputs is None:
                raise InvalidValueError(
                    "side='channel' needs example_inputs, which show what is coupled, and takes neither overrides nor "
                    "capturable=True"
                )
            self._of_channels(example_inputs, layers)
        else:
            self._of_layers(layers, overrides or {}, side, capturable=capturable, last=target is not None)
        self._capturable = capturable
        self._hooks = StepHooks()
        self._ties = {}
        self._control: Control | DropControl | None = None
        self._one_step = None
        if target is None and ((example_inputs is not None and side != "channel") or path is not None):
            raise InvalidValueError(
                "example_inputs are for a target or side='channel'; give target=Target(…) too, or leave them out"
            )
        if target is not None:
            fits = strength == 1.5 and balance is None and form == "scale-free" and side != "output" and not capturable
            if not fits or any(p.own_strength is not None for p in self._layers.values()):
                raise InvalidValueError(
                    "target cannot be combined with a strength, a balance, form='paper', side='output' or "
                    "capturable=True: the rows that the target asks for shrink, whatever a strength is"
                )
            if isinstance(target, Target) and target.ties and (side != "input" or path is not None):
                raise InvalidValueError(
                    f"a target with ties takes side='input' and no path, got side={side!r} and "
                    f"{'no' if path is None else 'a'} path: rows that are inputs are tied, and none are known before. "
                    "Leave ties out"
                )
            rows = [p.as_rows(self.min_rows) for p in self._layers.values()]
            self._control = control_of(self._model, target, example_inputs, rows, path, side)
            if isinstance(self._control, Control):
                self._one_step = OneStep(self._model, self._control, self._trained)

    def _of_channels(self, example_inputs: Any, layers: Iterable[str] | None) -> None:
        power = power_of(self.balance)
        chosen, self.left_out = choose_channels(self._model, example_inputs, layers, self.sequence, power)
        self._layers = {own.name: own for own in chosen}
        rows, lams = tuple(own.rows for own in chosen), tuple(own.lam for own in chosen)
        self._step = ChannelStep(ChannelLayers(rows, lams, self.min_rows))

    def _of_layers(
        self, layers: Iterable[str] | None, overrides: Overrides, side: Side, *, capturable: bool, last: bool
    ) -> None:
        penalised, self.left_out = choose_penalised(
            self._model, layers, overrides, self.sequence, side=side, balance=self.balance, last=last
        )
        self._layers = {layer.name: layer for layer in penalised}
        modules, lams = (tuple(layer.info.module for layer in penalised), tuple(layer.lam for layer in penalised))
        self._step = (CapturableStep if capturable else RowStep)(
            StepLayers(tuple(self._layers), modules, lams, side, self.min_rows),
            [layer.zero_at_start() for layer in penalised],
        )

    # ── what it does ────────────────────────────────────────────────────────────────────────────────────────────

    def prox_(self, lr: float | Tensor | Mapping[str, float | Tensor]) -> None:
        """Make one proximal step on every layer, in place: rows are scaled, and those that reach zero stay zero.

        A layer that has been frozen since (``requires_grad=False``) is not shrunk.

        Args:
            lr: the step's learning rate, ≥ 0; or one for each layer, by name.

        Raises:
            LayerError: a layer's weight has NaN or infinite values; no layer is changed then. With
                ``capturable=True``, :meth:`check` raises it.
            InvalidValueError: a learning rate is negative or not finite.
        """
        self._shrink(lr if isinstance(lr, Mapping) else dict.fromkeys(self.layers, lr))
        self._average_ties()
        self.steps += 1

    def _shrink(self, rates: Mapping[str, Rate]) -> None:
        """Make the proximal step of :meth:`prox_` on some layers, each with its learning rate; it is not counted."""
        reshard_(self._sharded)
        names = [p.readers[0] for p in self._layers.values()]  # channels go at the rate of the first layer
        layers = zip(names, self._layers.values(), strict=True)
        strengths = [0.0 if p.frozen or name not in rates else self._strength_of(p) for name, p in layers]
        lrs = [rates.get(name, 0.0) for name in names]
        self._warn(self._step(lrs, strengths, self._scale_free))

    def attach(
        self,
        optimizer: Optimizer | Sequence[Optimizer],
        *,
        every: int | Literal["epoch"] = 1,
        steps_per_epoch: int | None = None,
        warmup: int = 0,
        steps: int | None = None,
    ) -> RemovableHandle:
        """Run the prox after ``optimizer.step()``, with the length of that step; the training loop stays unchanged.

        The hook does nothing when a gradient scaler skips a step. Rows that have reached zero are held at zero after
        *every* step, whatever ``every`` is.

        Args:
            optimizer: a torch optimizer that trains every penalised layer, or a wrapper that holds one as
                ``optimizer`` (accelerate's, Lightning's); or several that train the layers together, such as Muon and
                AdamW. ``docs/own-training.md`` lists the optimizers and those that are refused.
            every: after every so many steps, or ``"epoch"`` (the paper's code). In the scale-free form an application
                shrinks as much as one after each of those steps would; in the paper's form its threshold is that of
                one step's learning rate, whatever ``every`` is, as in the paper's code.
            steps_per_epoch: optimizer steps in an epoch; needed with ``every="epoch"``.
            warmup: optimizer steps over which every strength rises evenly from 0, ≥ 0; for networks that have just
                been initialised, whose row norms carry no information yet. Not with ``capturable``: a graph would hold
                one moment of the rise for ever.
            steps: with a target, and only then: the optimizer steps of the whole training, ≥ 20. All rows are free in
                the first part, then those that have to go do so in one step, or shrink, and for the rest those that are
                left train on (:class:`torch_growl.networks.targets.control.Control`). Attaching
                again starts a new training.

        Returns:
            A handle whose ``remove()`` detaches the penalty.

        Raises:
            InvalidValueError, InvalidTypeError: this penalty, or another one on the same layers, is attached to the
                optimizer already, the optimizer cannot be followed by a proximal step or keeps more than twice the
                rows of SGD at this strength, an argument is outside its range or of the wrong type, or ``warmup`` is
                given with ``capturable``.
            LayerError: a penalised layer is trained by no optimizer or by several, or has been tied since.
        """
        optimizers = [unwrapped(each) for each in (optimizer if isinstance(optimizer, Sequence) else [optimizer])]
        check_type("optimizer", optimizer if not optimizers else optimizers[0], Optimizer)
        schedule = Schedule.of(every, steps_per_epoch, warmup)
        if (steps is None) == (self._control is not None) or (steps is not None and schedule != Schedule(1)):
            raise InvalidValueError(
                "with a target, attach needs steps, the optimizer steps of the whole training, and neither every nor "
                "warmup; without a target it takes no steps"
            )
        if self._control is not None and steps is not None:
            self._control.check_start(steps, anew=not self._hooks.continues)
        if warmup and self._capturable:
            raise InvalidValueError(
                "warmup cannot be combined with capturable=True; raise growl.strength step by step instead"
            )
        for each in optimizers if self._scale_free and self._control is None else []:
            check_strength_of(each, self.strength)
        at_once = self._one_step is not None and self._one_step.applies(optimizers)
        anew = not self._hooks.continues
        handle = self._hooks.attach(self, optimizers, schedule)
        if self._control is not None and steps is not None:
            # last: an attachment that is refused leaves a training as it is
            if isinstance(self._control, DropControl):
                self._control.start(steps, anew=anew)
            elif self._one_step is not None:
                self._control.start(steps, anew=anew, at_once=at_once)
                self._one_step.begin(self._hooks.count, anew=anew)
        return handle
