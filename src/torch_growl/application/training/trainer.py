"""Training: epochs over a split, with an optional penalty, resumable after every epoch.

The order of the data, augmentation and dropout of an epoch depend only on the seed, the training and the number of the
epoch, so a run that was killed and resumed takes the same steps as one that was not.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, cast

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import Dataset

from torch_growl.application.data import (
    ALONE,
    IN_PROCESS,
    Place,
    Reading,
    epoch_batches,
    is_divided,
    steps_in,
)
from torch_growl.application.recipes import Phase, training_seed
from torch_growl.application.tasks import ACCURACY, Batch, Task, build_task, widest
from torch_growl.application.training.schedules import learning_rate, make_optimizer
from torch_growl.application.training.scores import evaluate
from torch_growl.errors import DataError, GrowlError, first_line
from torch_growl.networks.execution import call
from torch_growl.networks.layers import Side, inspect_layers, row_norms
from torch_growl.networks.paths import DropProgress
from torch_growl.networks.penalty import GrOWL
from torch_growl.networks.recovery import FeatureDistance, WeightAverage, recalibrate_
from torch_growl.networks.sharding import (
    is_spread,
    joint_batch_norms,
    load_whole_,
    load_whole_optimizer_,
    whole_state,
)
from torch_growl.networks.targets import Progress
from torch_growl.networks.tying import existing_tying

__all__ = ["Trainer"]

_RECALIBRATED = 50  # training batches at most


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
        task: it has the loss and the metric.
        reading: how examples are read.
        test_size: examples in a batch of the validation split.
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
    task: Task = field(default_factory=lambda: build_task("classification"))
    reading: Reading = IN_PROCESS
    test_size: int = 500
    norms: dict[str, list[Tensor]] = field(default_factory=dict)
    _average: WeightAverage | None = field(default=None, init=False)
    _features: FeatureDistance | None = field(default=None, init=False)

    def fit(
        self,
        model: nn.Module,
        train: Dataset[Any],
        validation: Dataset[Any],
        *,
        growl: GrOWL | None = None,
        every: int | str = 1,
        warmup: float = 0,
        target: bool = False,
        state: dict[str, Any] | None = None,
    ) -> None:
        """Train ``model`` in place, from a checkpoint's state if one is given.

        Weights that FSDP2 shards stay where they are; the states that are saved and loaded have whole tensors.

        The proximal step runs after every ``every`` optimizer steps, with a strength that rises over ``warmup`` epochs;
        or the penalty leads to its target within all steps of the training.

        Raises:
            GrowlError: the loss became NaN or infinite.
        """
        device = self.accelerator.device
        sharded = is_spread(model)
        if not sharded:
            model.to(device)
        size, steps = steps_in(train, self.phase.batch_size, self.reading)
        optimizer = make_optimizer(model, self.phase)
        if sharded:
            prepared, wrapped = model, self.accelerator.prepare(optimizer)
        else:
            prepared, wrapped = self.accelerator.prepare(model, optimizer)
        if growl is not None and target:
            growl.attach(optimizer, steps=self.phase.epochs * steps)
        elif growl is not None:
            growl.attach(optimizer, every=cast(Any, every), steps_per_epoch=steps, warmup=math.ceil(warmup * steps))
        self._average = WeightAverage(model, self.phase.average) if self.phase.average else None
        if self.phase.distill_features and self.teacher is not None:
            self._features = FeatureDistance(model, self.teacher)
        first, first_one = 0, bool(self.accelerator.is_main_process)
        if state is not None:
            if self._average is not None:
                self._average.load_state_dict(state["average"])
            if sharded:
                load_whole_(model, state["model"])
                load_whole_optimizer_(optimizer, state["optimizer"])
            else:
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
            with joint_batch_norms(model) if self._processes > 1 else nullcontext():
                loss, score = self._epoch(prepared, optimizer, wrapped, train, epoch, size, steps)
            if not math.isfinite(loss):
                raise GrowlError(
                    f"stage {self.stage}: the loss is {loss} in epoch {epoch + 1}; lower {self.stage}.lr "
                    f"(now {self.phase.lr:g}) or growl.strength"
                )
            if epoch + 1 == self.phase.epochs:
                self._finish(model, growl, epoch_batches(train, size, self.seed, steps, self.reading, self.stage))
            self._record_norms(model)
            seconds += time.perf_counter() - started
            # First the log: a kill between the two leaves one record too many, which resuming deletes.
            self.log(
                {
                    "stage": self.stage,
                    "epoch": epoch + 1,
                    "loss": loss,
                    "penalty": None if growl is None or target else float(growl.penalty().detach()),
                    **self._scores(score, model, validation),
                    "lr": learning_rate(self.phase, epoch + 1 - 1 / steps),
                    "seconds": time.perf_counter() - started,
                    **({"target": _target_record(growl.progress)} if growl is not None and target else {}),
                    **(existing_tying(model, self.layers, self.side).counts() if self.counts is None else self.counts),
                }
            )
            self.save(
                {
                    "epoch": epoch + 1,
                    "model": whole_state(model, kept=first_one),
                    "optimizer": whole_state(optimizer.state_dict(), kept=first_one),
                    "growl": None if growl is None else growl.state_dict(),
                    **({} if self._average is None else {"average": self._average.state_dict()}),
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
            Mean loss and metric over the batches, each measured before its step.
        """
        seed = (self.seed * 1_000_003 + training_seed(self.stage) * 100_003 + epoch) % (2**63)
        torch.manual_seed(seed)
        model.train()
        wide = widest(self.accelerator.device)
        total = torch.zeros((), dtype=wide, device=self.accelerator.device)
        sums = torch.zeros((), dtype=wide, device=self.accelerator.device)
        divided = is_divided(train, size, self.reading, self._place)
        own = self._place if divided else ALONE
        for step, found in enumerate(epoch_batches(train, size, seed, steps, self.reading, self.stage, own)):
            rate = learning_rate(self.phase, epoch + step / steps)
            for group in optimizer.param_groups:
                group["lr"] = rate
            batch = self.task.read(found)
            whole = size if divided else len(batch)
            if self._processes > 1 and not divided:  # all read the same batch, augmented in the same way
                batch = batch.share(self._place.rank, self._processes)
            batch = batch.to(self.accelerator.device)
            with self.accelerator.autocast():
                output = self.task.output(call(model, batch.inputs))
                loss = self._loss(output, batch)
                if self._processes > 1:  # gradients are averaged over processes, not over examples
                    loss = loss * (len(batch) * self._processes / whole)
            wrapped.zero_grad()
            self.accelerator.backward(loss)
            wrapped.step()
            if self._average is not None:
                self._average.update()
            total = total + loss.detach()
            with torch.no_grad():
                sums = sums + self.task.sums(output, batch.labels)
            if step % 20 == 0 or step + 1 == steps:
                self.progress(epoch + 1, step + 1, steps, float(total) / (step + 1))
        if self._processes > 1:
            total, sums = self.accelerator.reduce(total, "sum") / self._processes, self.accelerator.reduce(sums, "sum")
        return float(total) / steps, self.task.score(sums)

    def _finish(self, model: nn.Module, growl: GrOWL | None, train: Iterator[Any]) -> None:
        """Replace the weights by their average, and estimate batch normalisations anew, if that is asked for."""
        if self._average is not None:
            self._average.write_()
            if growl is not None:
                growl.average_(model)
        if self.phase.recalibrate:
            some = [self.task.read(found).to(self.accelerator.device) for found in islice(train, _RECALIBRATED)]
            recalibrate_(model, [batch.example_inputs for batch in some])
        if self._features is not None:
            self._features.remove()

    @property
    def _processes(self) -> int:
        return int(self.accelerator.num_processes)

    @property
    def _place(self) -> Place:
        return Place(int(self.accelerator.process_index), self._processes)

    def _scores(self, train: float, model: nn.Module, validation: Dataset[Any]) -> dict[str, float]:
        """The metric's fields of an epoch's record; those of a classification have the accuracy's name too."""
        how: dict[str, Any] = {"size": self.test_size, "reading": self.reading, "place": self._place}
        found = evaluate(model, validation, self.accelerator.device, self.task, **how)
        scores = {"train_score": train, "validation_score": found}
        return scores | (
            {"train_accuracy": train, "validation_accuracy": found} if self.task.metric == ACCURACY else {}
        )

    def _loss(self, output: Any, batch: Batch) -> Tensor:
        try:
            loss = self.task.loss(output, batch.labels, self.phase.label_smoothing)
        except IndexError as error:
            raise DataError(
                f"stage {self.stage}: a label of the train set is no class below the network's "
                f"{self.task.classes(output)} outputs: {first_line(error)}"
            ) from error
        share, temperature = self.phase.distill, self.phase.temperature
        if self.teacher is None:
            return loss
        with torch.no_grad():
            wanted = self.task.output(call(self.teacher, batch.inputs))
        if share:  # the squared temperature keeps the scale of gradients
            loss = (1 - share) * loss + share * temperature**2 * self.task.distance(output, wanted, temperature)
        return loss if self._features is None else loss + self.phase.distill_features * self._features.value()

    def _record_norms(self, model: nn.Module) -> None:
        if self.stage != "train":
            return
        for info in inspect_layers(model):
            if info.name in self.layers and info.eligible:
                self.norms.setdefault(info.name, []).append(row_norms(info.module, self.side).cpu().float())


def _target_record(progress: Progress | DropProgress) -> dict[str, Any]:
    """The state of a training with a target, for an epoch's record."""
    names = ["of", "asked", "left", "dense", "phase", "reached"]
    if isinstance(progress, DropProgress):
        names += ["reference", "score", "why"]
    found = {name: getattr(progress, name) for name in names}
    return {name: None if value != value else value for name, value in found.items()}  # NaN: not known yet
