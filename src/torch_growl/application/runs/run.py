"""A run: its folder, recipe, data, device and networks, shared by the stages, the evaluation and the command."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

import torch
from accelerate.utils import broadcast_object_list
from torch import nn

from torch_growl.application.data import (
    ALONE,
    Place,
    Reading,
    batches,
    check_labels,
    first_examples,
    load_data,
)
from torch_growl.application.models import build_network, check_outputs
from torch_growl.application.recipes import Recipe, build_penalty, find_step, recipe_layers, row_side
from torch_growl.application.runs.attainable import check_groups, check_steps, check_target
from torch_growl.application.runs.listeners import Silent, Watcher
from torch_growl.application.runs.run_folder import RunFolder
from torch_growl.application.tasks import Batch, build_task
from torch_growl.application.training import accelerator_for, evaluate, sharding_asked, standard_error
from torch_growl.errors import InvalidValueError, RunFolderError
from torch_growl.networks.compaction import compact, expand_, load_expanded_
from torch_growl.networks.diagnosis import doctor
from torch_growl.networks.penalty import GrOWL
from torch_growl.networks.shrinking import compensate_
from torch_growl.networks.storage import load
from torch_growl.networks.tying import Tying, existing_tying, tie_, tied_layers, untie_

__all__ = ["Run"]

T = TypeVar("T")

_FITTED, _EXAMPLES = 8, 640  # training batches on which the rows that stay take over; at least, for a target
_CHOSEN_ON = 20  # training batches by which rows are chosen and fitted, with tying.method shrink or least-squares


class Run:
    """One run.

    Args:
        folder: its folder; it need not exist, and nothing is written before the first stage.
        recipe: the settings; None: the recipe in the folder.
        data_dir: the folder with the datasets, for recipes that need one.
        watcher: shows the progress; None: nothing is shown.

    Attributes:
        task: the loss and the metric.
        splits: the data.
        reading: how examples are read.
        device: the device that networks are trained and tested on.
        layers: names of the layers that are penalised and tied.
        side: which side's rows are penalised and tied.

    Raises:
        GrowlError: data, network, penalty or device of the recipe cannot be used.
    """

    def __init__(
        self,
        folder: RunFolder,
        recipe: Recipe | None = None,
        *,
        data_dir: Path | None = None,
        watcher: Watcher | None = None,
    ) -> None:
        self.folder = folder
        self.recipe = folder.recipe() if recipe is None else recipe
        self.watcher: Watcher = watcher or Silent()
        if self.recipe.threads:
            torch.set_num_threads(self.recipe.threads)
        self.accelerator = accelerator_for(self.recipe.device, self.recipe.precision)
        kind = self.accelerator.distributed_type.value
        if kind not in ("NO", "MULTI_CPU", "MULTI_GPU"):
            raise InvalidValueError(
                "a recipe runs in one process, or in several with DistributedDataParallel or FSDP2; "
                f"accelerate uses {kind}"
            )
        asked = sharding_asked(self.recipe.precision)
        self._sharding = asked if self.accelerator.num_processes > 1 else None
        averaged = [name for name, phase in self.recipe.trainings.items() if phase.average]
        if self._sharding is not None and averaged:
            raise InvalidValueError(
                f"{averaged[0]}.average is not for weights that FSDP2 shards; leave it out, or run with "
                "DistributedDataParallel"
            )
        folder.writes = self.accelerator.is_main_process
        self.device = self.accelerator.device
        self.task = build_task(self.recipe.task)
        data = self.recipe.data
        self.splits = load_data(data.name, data_dir, self.recipe.seed, **data.options)
        self.reading = Reading(data.workers, self.splits.collate, data.steps_per_epoch)
        self.side = row_side(self.recipe)
        self.layers = recipe_layers(self.network(), self.recipe)
        if self._sharding is not None:
            self._sharding.check(self.network())
        self._task_checked = self._is_alone = False

    def network(self) -> nn.Module:
        """Build the dense network with its initial weights, on CPU; the same for the same seed."""
        torch.manual_seed(self.recipe.seed)
        return build_network(self.recipe.model.name, **self.recipe.model.options)

    def shard_(self, model: nn.Module) -> nn.Module:
        """Shard a network for its training, where FSDP2 is asked for; it is the same on every process."""
        if self._sharding is not None:
            self._sharding.shard_(model, self.device)
        return model

    def example(self) -> Any:
        """Eight inputs of the validation split, on CPU; fewer when it is smaller. A tensor, a tuple or a dict."""
        return self._example().example_inputs

    def _example(self) -> Batch:
        return self.task.read(first_examples(self.splits.validation, 8, self.reading))

    @property
    def testing(self) -> dict[str, Any]:
        """The arguments of :func:`evaluate` beside network, split and device."""
        classification = self.recipe.task == "classification"  # of another task a single example may be large
        size = 500 if classification else self.recipe.dense.batch_size
        return {"task": self.task, "size": size, "reading": self.reading, "place": self._place}

    @property
    def _place(self) -> Place:
        """The place of this process among those that do the stage: the first one does the last stages alone."""
        together = not self._is_alone
        return Place(self.accelerator.process_index, self.accelerator.num_processes) if together else ALONE

    @contextmanager
    def alone(self) -> Iterator[None]:
        """In the block this process waits for no other one."""
        self._is_alone = True
        try:
            yield
        finally:
            self._is_alone = False

    def decided(self, decide: Callable[[], T]) -> T:
        """Let the first process decide for all of them."""
        if self._place.processes == 1:
            return decide()
        found = [decide() if self._place.rank == 0 else None]
        broadcast_object_list(found)
        return cast(T, found[0])

    def check_task(self) -> None:
        """Check, before any training, that labels and outputs fit the task, and that the target can be met.

        Raises:
            DataError: the labels of a split do not fit the task, or are not below the number of the network's outputs.
            RecipeError: the network's output or settings of trainings do not fit the task.
            InvalidValueError: the target cannot be met, or the training is too short for one.
        """
        if self._task_checked:
            return
        self.task.check_settings(self.recipe.trainings)
        check_labels(self.splits, self.task, reading=self.reading)
        n_classes = check_outputs(self.network(), self._example(), self.recipe.model.name, self.task)
        check_labels(self.splits, self.task, n_classes, self.reading)
        if self.recipe.target is not None:
            check_target(self)
        if self.recipe.tying.left:
            check_steps(self)
        if self.recipe.tying.method == "least-squares":
            check_groups(self)
        self._task_checked = True

    def reach(self) -> list[str]:
        """The least and the most that a target of this network can ask for, as the lines of a table."""
        growl, target = self.recipe.growl, self.recipe.target or {}
        timed = "latency_ms" in target and (target.get("batch", 1), target.get("runtime", "eager")) == (1, "eager")
        least = growl.min_rows if growl else 1
        how: dict[str, Any] = {"layers": self.layers, "side": self.side, "min_rows": least, "latency": timed}
        return doctor(self.network(), self.example(), **how).feasibility.table()

    def penalty(self, model: nn.Module, dense: nn.Module | None = None) -> GrOWL | None:
        """Build the recipe's penalty on a network; None if the recipe has none.

        Args:
            model: the network, on the CPU or sharded.
            dense: the trained dense network, for a target of an accuracy drop, which is measured against it.
        """
        judge: dict[str, Any] | None = None
        if (fitted_on := self._fitted_on()) is not None:
            model.to(self.device)  # where these batches are
            judge = {"compensate": fitted_on}
        if self.recipe.accuracy_drop is not None:
            judge = {
                "validate": self.validation_score,
                "higher_is_better": self.task.metric.higher_is_better,
                "reference": None if dense is None else self.validation_score(dense),
                "standard_error": None if dense is None else self._standard_error(dense),
            }
        example = self._example().to(next(model.parameters()).device).example_inputs
        return build_penalty(model, self.recipe, example, judge)

    def _fitted_on(self) -> list[Any] | None:
        """The inputs for a target whose rows go in one step; None: they shrink slowly.

        Raises:
            InvalidValueError: the recipe asks for it, and weights are sharded.
        """
        target = self.recipe.target or {}
        wanted = "compensate" in target or bool(target.get("ties"))
        if not self.recipe.is_compensated or (self._sharding is not None and not wanted):
            return None
        if self._sharding is not None:
            raise InvalidValueError(
                "target.compensate and target.ties fit whole weights, and FSDP2 shards them here; leave them out"
            )
        found = self.training_inputs(max(_FITTED, -(-_EXAMPLES // self.recipe.train.batch_size)))
        return found if len(found) > 1 or wanted else None

    def training_inputs(self, count: int) -> list[Any]:
        """Batches of inputs of the training split, on the run's device; the same for the same seed."""
        found = batches(self.splits.train, self.recipe.train.batch_size, self.recipe.seed, reading=self.reading)
        return [self.task.read(batch).to(self.device).example_inputs for batch in islice(found, count)]

    def validation_score(self, model: nn.Module) -> float:
        """Compute the metric on the validation split as it is shown: in per cent where it is a share.

        Of several processes, all get the same number.
        """
        score = evaluate(model.to(self.device), self.splits.validation, self.device, **self.testing)
        return self.task.metric.factor * score

    def wait(self) -> None:
        """Wait until all processes have come here, so that what the first one wrote can be read."""
        self.accelerator.wait_for_everyone()

    def _standard_error(self, model: nn.Module) -> float:
        """Estimate the standard error of :meth:`validation_score`."""
        error = standard_error(model.to(self.device), self.splits.validation, self.device, **self.testing)
        return self.task.metric.factor * error

    # ── the networks of the stages ──────────────────────────────────────────────────────────────────────────────

    def trained(self, name: Literal["dense", "train", "retrain"]) -> nn.Module:
        """The network after a training, in the dense network's shapes, in eval mode on the run's device.

        Raises:
            RunFolderError: the training is not done.
        """
        state = self.folder.finished(name, self.recipe)["model"]
        if name == "retrain":
            model = self.with_structure(self.grouped(), self.tying())
            model.load_state_dict(state)
            model = self.plain(model)
        else:
            model = self.network()
            model.load_state_dict(state)
        return model.eval().to(self.device)

    def grouped(self) -> nn.Module:
        """The network that is tied before the last training, in eval mode on the run's device."""
        model = self.trained("train")
        if self.merges or self.recipe.tying.fits:
            load_expanded_(model, self.folder.finished("grouped", self.recipe)["model"])
        return model

    @property
    def merges(self) -> list[str]:
        """Names of the trainings between two steps of tying."""
        return [name for name in self.recipe.trainings if name.startswith("merge")]

    def tying(self) -> Tying:
        """The run's tying.

        Raises:
            RunFolderError: the stage is not done.
            InvalidValueError: its file is damaged.
        """
        if not self.folder.tying_file.is_file():
            raise RunFolderError(f"{self.folder.path}: stage 'tie' is not done yet")
        return Tying.from_json(self.folder.tying_file.read_bytes())

    def compacted(self) -> nn.Module:
        """The compact network, loaded from the run's file, on CPU.

        Raises:
            RunFolderError: the stage is not done.
            FileFormatError: the file is damaged.
        """
        if not self.folder.model_file.is_file():
            raise RunFolderError(
                f"{self.folder.path}: stage 'compact' is not done yet; continue with `growl run … --resume`"
            )
        return load(self.folder.model_file, self.network())

    def next_tying(self, model: nn.Module, step: int) -> Tying:
        """Find the tying of one of the recipe's steps; −1 is the last."""
        if not self.recipe.tying.by_inputs:
            return find_step(model, self.layers, self.recipe, step)
        inputs = self.training_inputs(_CHOSEN_ON)
        return find_step(model.to(self.device), self.layers, self.recipe, step, inputs)

    def compensated(self, model: nn.Module, tying: Tying) -> nn.Module:
        """A network with its rows tied and fitted to the outputs that it had before; itself if no rows are tied."""
        if not len(tying):
            return model
        tied = untie_(tie_(copy.deepcopy(model), tying))
        compensate_(tied, model, self.training_inputs(_CHOSEN_ON if self.recipe.tying.by_inputs else _FITTED))
        return tied

    # ── a tying enforced in training ────────────────────────────────────────────────────────────────────────────

    def with_structure(self, model: nn.Module, tying: Tying) -> nn.Module:
        """Tie a network and, where the recipe retrains the compact form, compact it; on CPU."""
        tie_(model.cpu(), tying)
        if not self._compact_form:
            return model
        small = compact(model, self.example(), full=self.recipe.compact.full)
        return _tie_what_is_left(small, tying)

    def plain(self, model: nn.Module) -> nn.Module:
        """Undo :meth:`with_structure`: the dense network's shapes, with equal rows where they are tied."""
        if not self._compact_form:
            return untie_(model)
        return expand_(self.network(), untie_(model.cpu()) if tied_layers(model) else model.cpu())

    @property
    def _compact_form(self) -> bool:
        return self.recipe.retrain.form == "compact"


def _tie_what_is_left(small: nn.Module, tying: Tying) -> nn.Module:
    """Tie the rows of a compact network that are still equal or zero, since to sum or remove them does not pay."""
    left = []
    for layer in tying:
        found = existing_tying(small, [layer.name, f"{layer.name}.layer"], layer.side)
        left += [each for each in found if each.partition.n_groups < each.partition.n_rows]
    return tie_(small, Tying(tuple(left))) if left else small
