"""torch-growl in Lightning's Trainer; ``docs/trainers.md`` shows it.

The callback's state lies in the checkpoints that the Trainer writes, with the states of the other callbacks.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn

from torch_growl.errors import InvalidTypeError, InvalidValueError
from torch_growl.integrations.phases import HasPhases, Leave, Phases
from torch_growl.integrations.recovery import Recovery, inputs_of, training_batches
from torch_growl.networks.targets import Target

try:
    from lightning.pytorch import Callback, LightningModule, Trainer
    from lightning.pytorch.callbacks import StochasticWeightAveraging
    from lightning.pytorch.strategies import DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] != "lightning":  # it is there, and cannot import a package of its own
        raise
    raise ModuleNotFoundError("torch_growl.integrations.lightning needs the extra torch-growl[lightning]") from error

__all__ = ["GrowlCallback"]


class GrowlCallback(HasPhases, Callback):  # type: ignore[misc]
    """The penalty, or a target, inside Lightning's Trainer.

    Args:
        strength: the penalty's, ≥ 0; None: 1.5, :class:`torch_growl.GrOWL`'s own. Not with a target.
        target: what is to be left, in place of a strength: :class:`torch_growl.Target`.
        leave: what :attr:`network` is after training: ``"regularized"``, the trained network, ``"tied"``, the same with
            similar rows tied, or ``"compact"``, the smaller network.
        tie: the preference at which rows are tied, in (0, 1]; None: 0.8 if ``leave`` is ``"tied"``, else no ties.
        tie_from: the share of the steps after which rows are tied and train on together, in (0, 1); with a target at
            least 0.5.
        warmup: the share of the steps in which a strength rises from 0, in [0, 1). Not with a target.
        part: the attribute of the LightningModule that holds the network, such as ``"model"``; None: the whole of it,
            whose ``forward`` runs the network.
        steps: the steps that each optimizer makes in the whole training; None: the Trainer's own estimate.
        example_inputs: as for :func:`torch_growl.compact`; None: the LightningModule's ``example_input_array``.
        distill: weight of the distillation loss from a teacher's outputs, in [0, 1]; the loss of ``training_step``
            has 1 minus this weight.
        temperature: of the distillation loss, > 0.
        distill_features: weight, ≥ 0, of the distance from the teacher's features, the outputs of the network's
            children where their shapes are the same; added to the loss.
        average: decay of a running average of the weights after each step, in [0, 1), which replaces them at the end
            of the training, such as 0.999; 0: none. It begins anew when rows are tied.
        recalibrate: whether batch normalisations are estimated anew on 50 training batches at the end.
        teacher: the dense network for ``distill`` and ``distill_features``; it is put in eval mode. None: a copy of the
            network as it is when training begins, which checkpoints hold too.
        task: a recipe's task, by which outputs are compared; None: ``"classification"``.
        options: more arguments of :class:`torch_growl.GrOWL`, such as ``layers``, ``overrides`` and ``min_rows``.

    Attributes:
        growl: the penalty; None before training begins.
        network: what is left; None before training has ended.

    Raises:
        InvalidValueError, InvalidTypeError: an argument is outside its range or of the wrong type. When training
            begins: the Trainer uses something that is not served; the message names it.

    Example:
        >>> import torch_growl as tg
        >>> from torch_growl.integrations.lightning import GrowlCallback
        >>> callback = GrowlCallback(target=tg.Target(macs=0.5), leave="compact")
        >>> print(callback.growl, callback.network)  # Trainer(..., callbacks=[callback]).fit(module) makes them
        None None
    """

    def __init__(
        self,
        strength: float | None = None,
        *,
        target: Target | None = None,
        leave: Leave = "regularized",
        tie: float | None = None,
        tie_from: float = 0.75,
        warmup: float = 0.0,
        part: str | None = None,
        steps: int | None = None,
        example_inputs: Any = None,
        distill: float = 0.0,
        temperature: float = 2.0,
        distill_features: float = 0.0,
        average: float = 0.0,
        recalibrate: bool = False,
        teacher: nn.Module | None = None,
        task: str | None = None,
        **options: Any,
    ) -> None:
        recovery = Recovery(distill, temperature, distill_features, average, recalibrate, teacher, task)
        self.phases = Phases(strength, target, leave, tie, tie_from, warmup, example_inputs, options, recovery)
        self.part, self.steps = part, steps
        self._epochs: int | None = None  # before SWA adds an epoch without steps
        self._logged = -1

    # ── the Trainer's hooks ─────────────────────────────────────────────────────────────────────────────────────

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Note the number of epochs."""
        self._epochs = trainer.max_epochs

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Attach the penalty; go on where the checkpoint was written."""
        _check_served(trainer)
        optimizers = trainer.optimizers
        network = self._network_of(pl_module)
        done = int(trainer.global_step) // len(optimizers)
        self._logged = -1
        if self.phases.needs_inputs:
            self.phases.example_inputs = _examples(pl_module, self.part)
        if self.phases.example_inputs is not None:
            self.phases.example_inputs = trainer.precision_plugin.convert_input(self.phases.example_inputs)
        self.phases.begin(network, optimizers, self._total(trainer), done, tuple, lambda: _batches(trainer))
        if self.phases.recovery.distills:
            self._distill(pl_module, network)

    def _distill(self, module: LightningModule, network: nn.Module) -> None:
        """Add the teacher's part to the loss that ``training_step`` returns."""
        if not module.automatic_optimization:
            raise InvalidValueError(
                "distill and distill_features change the loss that training_step returns, and with "
                "automatic_optimization = False it returns none; add the distance from a teacher in training_step"
            )
        recovery, step = self.phases.recovery, module.training_step
        found: list[torch.Tensor] = []  # one for each run of the network in this step

        def distilled(*args: Any, **kwargs: Any) -> Any:
            found.clear()
            with recovery.in_loss():  # DDP calls the module for training_step, which is no run of the network
                output = step(*args, **kwargs)
            loss = output.get("loss") if isinstance(output, Mapping) else output
            if loss is None:  # the step is skipped
                return output
            if not found:
                raise InvalidValueError(
                    "distill: training_step did not call the network; name the part that it calls, such as part='model'"
                )
            loss = (1 - recovery.share) * loss + sum(found) / len(found)
            found.clear()
            return {**output, "loss": loss} if isinstance(output, Mapping) else loss

        own = {name: value for name, value in vars(module).items() if name == "training_step"}

        def restore() -> None:
            del vars(module)["training_step"]
            vars(module).update(own)

        take = lambda args, kwargs, output: found.append(recovery.loss(args, kwargs, output))  # noqa: E731
        recovery.watch(network, take, restore)
        module.training_step = distilled

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Take the recovery's hooks off, and give the LightningModule its own ``training_step`` back."""
        self.phases.recovery.remove()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Hold pruned rows at zero in the averages that SWA puts in for its last epoch, which sets BatchNorm's."""
        if any(isinstance(each, StochasticWeightAveraging) for each in trainer.callbacks):
            self.phases.hold_(self._network_of(pl_module))

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Tie the rows when it is time; log the rows that are left, and what is left of a target's measure."""
        step = int(trainer.global_step)
        self.phases.after_step(step // len(trainer.optimizers), self._network_of(pl_module))
        if trainer.loggers and step != self._logged and step % trainer.log_every_n_steps == 0:
            self._logged = step
            for logger in trainer.loggers:
                logger.log_metrics(self.phases.values(), step=step)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Detach the penalty and make what was asked for, once averages are in place."""
        self.phases.recovery.remove()
        if self.growl is not None:
            self.phases.finish(self._network_of(pl_module))

    # ── checkpoints ─────────────────────────────────────────────────────────────────────────────────────────────

    def state_dict(self) -> dict[str, Any]:
        """The state for the Trainer's checkpoint: tensors and plain values."""
        return self.phases.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take a checkpoint's state, from which training goes on."""
        self.phases.load_state_dict(state_dict)

    # ── what is trained ─────────────────────────────────────────────────────────────────────────────────────────

    def _network_of(self, module: nn.Module) -> nn.Module:
        if self.part is None:
            return module
        found = getattr(module, self.part, None)
        if not isinstance(found, nn.Module):
            raise InvalidValueError(
                f"part={self.part!r}: {type(module).__name__} has no such network; give the name of the attribute "
                "that holds it, or leave part out"
            )
        return found

    def _total(self, trainer: Trainer) -> int:
        """The steps of each optimizer in the whole training."""
        if self.steps is not None:
            return self.steps
        found = trainer.estimated_stepping_batches
        if not math.isfinite(found) or found < 1:
            raise InvalidValueError("the Trainer does not know its number of steps; give GrowlCallback(steps=…)")
        total: int = int(found)
        if total == trainer.max_steps:  # the Trainer counts the steps of all optimizers
            return total if trainer.lightning_module.automatic_optimization else total // len(trainer.optimizers)
        added = max(0, (trainer.max_epochs or 0) - (self._epochs or 0))  # by SWA, for BatchNorm
        return total - added * math.ceil(int(trainer.num_training_batches) / int(trainer.accumulate_grad_batches))


def _check_served(trainer: Trainer) -> None:
    """Refuse what the callback does not serve."""
    if isinstance(trainer.strategy, FSDPStrategy | DeepSpeedStrategy | ModelParallelStrategy):
        raise InvalidValueError(
            f"{type(trainer.strategy).__name__} is not served, its checkpoints hold sharded weights; use DDP, or GrOWL "
            "in a loop of your own with fully_shard"
        )
    if not trainer.optimizers:
        raise InvalidValueError("the LightningModule has no optimizer; there is no step that the penalty could follow")


def _examples(module: LightningModule, part: str | None) -> Any:
    """The LightningModule's own example."""
    found = None if part is not None else module.example_input_array
    if found is None:
        raise InvalidTypeError(
            "example inputs are needed; set the LightningModule's example_input_array, or give "
            "GrowlCallback(example_inputs=…) (with part= always)"
        )
    return found


def _batches(trainer: Trainer) -> Iterator[Any]:
    """Batches of the network's inputs, as the Trainer would move and convert them."""
    for batch in training_batches(trainer.train_dataloader):
        given = trainer.precision_plugin.convert_input(trainer.strategy.batch_to_device(inputs_of(batch)))
        yield tuple(given) if isinstance(given, list) else given
