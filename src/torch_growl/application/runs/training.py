"""Training: epochs over a split, with an optional penalty, resumable after every epoch.

The order of the data, augmentation and dropout of an epoch depend only on the seed, the training and the number of the
epoch, so a run that was killed and resumed takes the same steps as one that was not.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer
from torch.utils.data import DataLoader, Dataset

from torch_growl.application.data import TensorSplit
from torch_growl.application.recipes import Phase, training_seed
from torch_growl.errors import DataError, GrowlError, first_line
from torch_growl.networks.layers import Side, inspect_layers, row_norms
from torch_growl.networks.penalty import GrOWL
from torch_growl.networks.tying import existing_tying

__all__ = ["Trainer", "evaluate", "predictions"]


def learning_rate(phase: Phase, epoch: float) -> float:
    """Compute the learning rate at a time counted in epochs from 0."""
    rate = phase.lr
    if phase.warmup_epochs and epoch < phase.warmup_epochs:
        return rate * (epoch + 0.01) / phase.warmup_epochs
    if phase.schedule == "step":
        return float(rate * phase.gamma ** (int(epoch) // phase.step_size))
    if phase.schedule == "cosine":
        done = (epoch - phase.warmup_epochs) / max(phase.epochs - phase.warmup_epochs, 1)
        return rate * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))
    return rate


def make_optimizer(model: nn.Module, phase: Phase) -> Optimizer:
    """Make the phase's optimizer of all parameters that require gradients."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    if phase.optimizer == "sgd":
        return torch.optim.SGD(
            parameters, lr=phase.lr, momentum=phase.momentum, nesterov=phase.nesterov, weight_decay=phase.weight_decay
        )
    adam = torch.optim.AdamW if phase.optimizer == "adamw" else torch.optim.Adam
    return adam(parameters, lr=phase.lr, weight_decay=phase.weight_decay)


def batches(
    split: Dataset[Any], size: int, seed: int | None = None, drop_last: bool = False
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield batches of a split, shuffled and augmented with a seed, or in order without one."""
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    if isinstance(split, TensorSplit):
        n = len(split)
        order = torch.arange(n) if generator is None else torch.randperm(n, generator=generator)
        for start in range(0, n - size + 1 if drop_last else n, size):
            yield split.batch(order[start : start + size], generator)
    else:
        yield from DataLoader(
            split, batch_size=size, shuffle=generator is not None, generator=generator, drop_last=drop_last
        )


@torch.inference_mode()
def predictions(model: nn.Module, split: Dataset[Any], device: torch.device, size: int = 500) -> tuple[Tensor, Tensor]:
    """Predict the classes of a split; the network runs in eval mode, and its mode is restored.

    Returns:
        Predicted and true classes, ``(n,)`` each, int64, on CPU.
    """
    was_training = model.training
    model.eval()
    predicted, true = [], []
    for x, y in batches(split, size):
        predicted.append(model(x.to(device)).argmax(1).cpu())
        true.append(y.cpu())  # a split may be on a GPU
    model.train(was_training)
    return torch.cat(predicted), torch.cat(true)


def evaluate(model: nn.Module, split: Dataset[Any], device: torch.device) -> float:
    """Compute the accuracy on a split, 0..1."""
    predicted, true = predictions(model, split, device)
    return float((predicted == true).double().mean())


@dataclass
class Trainer:
    """One training.

    Attributes:
        stage: ``dense``, ``train``, ``merge1``, ``merge2``, … or ``retrain``.
        phase: its settings.
        seed: the run's seed.
        accelerator: device and precision.
        save: called with the state after every epoch.
        log: called with the metrics record of every epoch.
        progress: called after every step with (epoch, steps done, steps in the epoch, running loss).
        layers: names of the layers whose rows are counted.
        side: the side of the rows.
        counts: what is logged of the rows where the structure is enforced already, as :meth:`Tying.counts`
            gives it; None: they are counted.
        teacher: the dense network, for a training with distillation; in eval mode, on the accelerator's device.
    """

    stage: str
    phase: Phase
    seed: int
    accelerator: Accelerator
    save: Callable[[dict[str, Any]], None]
    log: Callable[[dict[str, Any]], None]
    progress: Callable[[int, int, int, float], None]
    layers: tuple[str, ...]
    side: Side = "input"
    counts: dict[str, Any] | None = None
    teacher: nn.Module | None = None
    norms: dict[str, list[Tensor]] = field(default_factory=dict)

    def fit(
        self,
        model: nn.Module,
        train: Dataset[Any],
        validation: Dataset[Any],
        *,
        growl: GrOWL | None = None,
        every: int | str = 1,
        warmup: float = 0,
        state: dict[str, Any] | None = None,
    ) -> None:
        """Train ``model`` in place, from a checkpoint's state if one is given.

        The proximal step runs after every ``every`` optimizer steps, with a strength that rises over ``warmup`` epochs.

        Raises:
            GrowlError: the loss became NaN or infinite.
        """
        device = self.accelerator.device
        model.to(device)
        size = min(self.phase.batch_size, _length(train))
        steps = _length(train) // size
        optimizer = make_optimizer(model, self.phase)
        prepared, wrapped = self.accelerator.prepare(model, optimizer)
        if growl is not None:
            growl.attach(optimizer, every=cast(Any, every), steps_per_epoch=steps, warmup=math.ceil(warmup * steps))
        first = 0
        if state is not None:
            model.load_state_dict(state["model"])
            optimizer.load_state_dict(state["optimizer"])
            if growl is not None:
                growl.load_state_dict(state["growl"])
            self.norms = {name: list(values) for name, values in state["norms"].items()}
            first = state["epoch"]
        else:
            self._record_norms(model)
        seconds = 0.0 if state is None else float(state["seconds"])
        for epoch in range(first, self.phase.epochs):
            started = time.perf_counter()
            loss, accuracy = self._epoch(prepared, optimizer, wrapped, train, epoch, size, steps)
            if not math.isfinite(loss):
                raise GrowlError(
                    f"stage {self.stage}: the loss is {loss} in epoch {epoch + 1}; lower {self.stage}.lr "
                    f"(now {self.phase.lr:g}) or growl.strength"
                )
            self._record_norms(model)
            seconds += time.perf_counter() - started
            # First the log: a kill between the two leaves one record too many, which resuming deletes.
            self.log(
                {
                    "stage": self.stage,
                    "epoch": epoch + 1,
                    "loss": loss,
                    "penalty": None if growl is None else float(growl.penalty().detach()),
                    "train_accuracy": accuracy,
                    "validation_accuracy": evaluate(model, validation, device),
                    "lr": learning_rate(self.phase, epoch + 1 - 1 / steps),
                    "seconds": time.perf_counter() - started,
                    **(existing_tying(model, self.layers, self.side).counts() if self.counts is None else self.counts),
                }
            )
            self.save(
                {
                    "epoch": epoch + 1,
                    "model": model.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "growl": None if growl is None else growl.state_dict(),
                    "norms": self.norms,
                    "seconds": seconds,
                }
            )

    def _epoch(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        wrapped: Any,
        train: Dataset[Any],
        epoch: int,
        size: int,
        steps: int,
    ) -> tuple[float, float]:
        """Train for one epoch.

        Returns:
            Mean loss and accuracy over the batches, each measured before its step.
        """
        seed = (self.seed * 1_000_003 + training_seed(self.stage) * 100_003 + epoch) % (2**63)
        torch.manual_seed(seed)
        model.train()
        total = torch.zeros((), dtype=torch.float64, device=self.accelerator.device)
        right = torch.zeros((), dtype=torch.int64, device=self.accelerator.device)
        for step, (x, y) in enumerate(batches(train, size, seed, drop_last=True)):
            rate = learning_rate(self.phase, epoch + step / steps)
            for group in optimizer.param_groups:
                group["lr"] = rate
            x, y = x.to(self.accelerator.device), y.to(self.accelerator.device)
            with self.accelerator.autocast():
                output = model(x)
                loss = self._loss(output, x, y)
            wrapped.zero_grad()
            self.accelerator.backward(loss)
            wrapped.step()
            total += loss.detach()
            right += (output.detach().argmax(1) == y).sum()
            if step % 20 == 0 or step + 1 == steps:
                self.progress(epoch + 1, step + 1, steps, float(total) / (step + 1))
        return float(total) / steps, float(right) / (steps * size)

    def _loss(self, output: Tensor, x: Tensor, y: Tensor) -> Tensor:
        try:
            loss = F.cross_entropy(output, y, label_smoothing=self.phase.label_smoothing)
        except IndexError as error:
            raise DataError(
                f"stage {self.stage}: a label of the train set is no class below the network's {output.shape[1]} "
                f"outputs: {first_line(error)}"
            ) from error
        share, temperature = self.phase.distill, self.phase.temperature
        if not share or self.teacher is None:
            return loss
        with torch.no_grad():
            wanted = F.log_softmax(self.teacher(x) / temperature, dim=1)
        given = F.log_softmax(output / temperature, dim=1)
        distance = F.kl_div(given, wanted, log_target=True, reduction="batchmean")
        return (
            1 - share
        ) * loss + share * temperature**2 * distance  # the squared temperature keeps the scale of gradients

    def _record_norms(self, model: nn.Module) -> None:
        if self.stage != "train":
            return
        for info in inspect_layers(model):
            if info.name in self.layers and info.eligible:
                self.norms.setdefault(info.name, []).append(row_norms(info.module, self.side).cpu().float())


def _length(split: Dataset[Any]) -> int:
    return len(cast(Any, split))
