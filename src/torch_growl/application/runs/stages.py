"""A run from recipe to report: train, tie, retrain, compact, evaluate; every stage reads and writes the run folder.

A stage that is done is not done again, and every stage starts from files alone, so a run can be stopped at any moment
and gone on with, and each stage can be called on its own.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, Protocol, cast

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import Tensor, nn

from torch_growl.application.data import load_data
from torch_growl.application.models import build_network
from torch_growl.application.recipes import Phase, Recipe
from torch_growl.application.runs.evaluation import make_result
from torch_growl.application.runs.listeners import event_log
from torch_growl.application.runs.run_folder import RunFolder
from torch_growl.application.runs.training import Trainer, batches
from torch_growl.errors import InvalidValueError
from torch_growl.mathematics.owl import sequence_from_dict
from torch_growl.networks.compaction import compact, expand_
from torch_growl.networks.layers import Side, choose_layers, rows_of
from torch_growl.networks.penalty import GrOWL
from torch_growl.networks.storage import save
from torch_growl.networks.tying import Tying, find_tying, tie_, untie_

__all__ = ["STAGES", "Pipeline", "Watcher"]

STAGES = ("train", "tie", "retrain", "compact", "eval")
Stage = Literal["train", "tie", "retrain", "compact", "eval"]


class Watcher(Protocol):
    """Who is shown how a run goes on: the command's progress display, or nobody."""

    def stage(self, name: str, epochs: int, epoch: int) -> None:
        """A stage begins, or goes on after ``epoch`` of its epochs."""

    def step(self, epoch: int, step: int, steps: int, loss: float) -> None:
        """Some steps of an epoch are done."""

    def epoch(self, record: dict[str, Any]) -> None:
        """An epoch is done; its metrics record."""


class Silent:
    """A watcher that shows nothing."""

    def stage(self, name: str, epochs: int, epoch: int) -> None:
        """Nothing is shown."""

    def step(self, epoch: int, step: int, steps: int, loss: float) -> None:
        """Nothing is shown."""

    def epoch(self, record: dict[str, Any]) -> None:
        """Nothing is shown."""


class Pipeline:
    """One run, its folder, network and data.

    Args:
        folder: its folder; it need not be there yet, and nothing is written before the first stage.
        recipe: what to do; None: the recipe in the folder.
        data_dir: where datasets are, for recipes that need one.
        watcher: shown the progress.

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
        if self.recipe.device == "cuda" and not torch.cuda.is_available():
            raise InvalidValueError("device is 'cuda', but this machine has no CUDA device; use --device cpu")
        AcceleratorState._reset_state(
            reset_partial_state=True
        )  # one process may do several runs, each with its own settings
        cpu = self.recipe.device == "cpu" or not torch.cuda.is_available()
        self.accelerator = Accelerator(cpu=cpu, mixed_precision=self.recipe.precision)
        self.device = self.accelerator.device
        choice = self.recipe.data
        self.splits = load_data(choice.name, data_dir, self.recipe.seed, **choice.options)
        self.side: Side = self.recipe.growl.side if self.recipe.growl else "input"
        self.layers = self._penalised_layers()

    # ── what the stages share ───────────────────────────────────────────────────────────────────────────────────

    def network(self) -> nn.Module:
        """A freshly initialised network, on CPU; the same for the same seed."""
        torch.manual_seed(self.recipe.seed)
        return build_network(self.recipe.model.name, **self.recipe.model.options)

    def growl(self, model: nn.Module) -> GrOWL | None:
        """The recipe's penalty on a network; None where the recipe has none."""
        settings = self.recipe.growl
        if settings is None or settings.strength == 0:
            return None
        overrides: dict[str | type[nn.Module], dict[str, Any]] = {}
        for key, override in settings.overrides.items():
            given = override.model_dump(exclude_none=True)
            if "sequence" in given:
                given["sequence"] = sequence_from_dict(override.model_dump()["sequence"])
            overrides[key] = given
        return GrOWL(
            model,
            settings.strength,
            sequence_from_dict(settings.sequence.model_dump(exclude_none=True)),
            layers=settings.layers,
            overrides=overrides,
            form=settings.form,
            side=settings.side,
            min_rows=settings.min_rows,
            balance=settings.balance,
        )

    def _penalised_layers(self) -> tuple[str, ...]:
        model = self.network()
        growl = self.growl(model)
        if growl is not None:
            return growl.layers
        wanted = self.recipe.growl.layers if self.recipe.growl else None
        return tuple(info.name for info in choose_layers(model, wanted))

    def example(self) -> Tensor:
        """A few inputs of the validation split, on CPU."""
        return next(batches(self.splits.validation, 8))[0]

    @property
    def fits(self) -> tuple[str, ...]:
        """The training stages in order: dense, train, one ``merge`` between every two steps of tying, retrain."""
        between = self.recipe.tying.steps - 1 if self.recipe.merge else 0
        return ("dense", "train", *(f"merge{step}" for step in range(1, between + 1)), "retrain")

    def phase(self, stage: str) -> Phase:
        """The settings of a training stage."""
        recipe = self.recipe
        if stage.startswith("merge"):
            return cast(Phase, recipe.merge)
        return {"dense": recipe.dense, "train": recipe.train, "retrain": recipe.retrain}[stage]

    def trained(self, stage: Literal["dense", "train", "retrain"]) -> nn.Module:
        """The network as a training stage left it (plain; tied rows equal), in eval mode on the run's device."""
        state = self.folder.finished(stage, self.phase(stage).epochs)["model"]
        if stage == "retrain":
            model = self._with_structure(self.grouped(), self.tying())
            model.load_state_dict(state)
            model = self._plain(model)
        else:
            model = self.network()
            model.load_state_dict(state)
        return model.eval().to(self.device)

    def grouped(self) -> nn.Module:
        """The network that the run's tying was found on, in eval mode on the run's device."""
        model = self.trained("train")
        if len(self.fits) > 3:
            model.load_state_dict(self.folder.finished("grouped", 0)["model"])
        return model

    def _with_structure(self, model: nn.Module, tying: Tying) -> nn.Module:
        """The network that is trained with a tying enforced: tied, or compact."""
        tie_(model.cpu(), tying)
        return compact(model, self.example(), full=self.recipe.compact.full) if self._compact_form else model

    def _plain(self, model: nn.Module) -> nn.Module:
        """What :meth:`_with_structure` made, in the dense network's shapes, tied rows equal."""
        return expand_(self.network(), model.cpu()) if self._compact_form else untie_(model)

    @property
    def _compact_form(self) -> bool:
        return self.recipe.retrain.form == "compact"

    def tying(self) -> Tying:
        """The run's tying.

        Raises:
            InvalidValueError: the stage is not done, or its file is damaged.
        """
        if not self.folder.tying_file.is_file():
            raise InvalidValueError(f"{self.folder.path}: stage 'tie' is not done yet")
        return Tying.from_json(self.folder.tying_file.read_text(encoding="utf-8"))

    # ── the stages ──────────────────────────────────────────────────────────────────────────────────────────────

    def run(self, last: Stage = "eval") -> None:
        """Do every stage up to ``last`` that is not done yet."""
        for stage in STAGES[: STAGES.index(last) + 1]:
            self.do(stage)

    def do(self, stage: str) -> None:
        """Do one stage, unless it is done; the stages before it must be."""
        cast(Callable[[], None], getattr(self, f"_{stage}"))()

    def _fit(
        self, stage: str, model: nn.Module, *, growl: GrOWL | None = None, counts: dict[str, Any] | None = None
    ) -> None:
        phase = self.phase(stage)
        state = self.folder.load_checkpoint(stage)
        done = 0 if state is None else int(state["epoch"])
        if state is not None and done >= phase.epochs:
            return
        self.folder.trim_metrics(stage, done)
        self.watcher.stage(stage, phase.epochs, done)

        with event_log(self.folder.path / "tensorboard", stage, done) as events:

            def log(record: dict[str, Any]) -> None:
                self.folder.append_metrics(record)
                events(record)
                self.watcher.epoch(record)

            trainer = Trainer(
                stage,
                phase,
                self.recipe.seed,
                self.accelerator,
                save=lambda state: self.folder.save_checkpoint(stage, state),
                log=log,
                progress=self.watcher.step,
                layers=self.layers,
                side=self.side,
                counts=counts,
                teacher=self.trained("dense") if phase.distill else None,
            )
            settings = self.recipe.growl
            often: dict[str, Any] = {}
            if settings is not None:
                often = {"every": settings.every, "warmup": settings.warmup_epochs}
            trainer.fit(model, self.splits.train, self.splits.validation, growl=growl, state=state, **often)
        if not phase.epochs:  # nothing to train: the stage ends where it starts
            state = {"epoch": 0, "model": model.state_dict(), "seconds": 0.0, "norms": {}}
            self.folder.save_checkpoint(stage, state)

    def _train(self) -> None:
        self._fit("dense", self.network())
        model = self.network()
        if self.recipe.train.start == "dense":
            model.load_state_dict(self.trained("dense").state_dict())
        elif self.recipe.train.start == "given":
            model.load_state_dict(self.folder.given_weights())
        growl = self.growl(model)
        self._fit("train", model, growl=growl)
        norms = self.folder.finished("train", self.recipe.train.epochs)["norms"]
        if norms:
            stacked = {name: torch.stack(list(values)) for name, values in norms.items()}
            self.folder.save_tensors("row_norms", stacked)

    def _tie(self) -> None:
        if self.folder.tying_file.is_file():
            return
        self.watcher.stage("tie", 0, 0)
        model = self.trained("train").cpu()
        merges = [stage for stage in self.fits if stage.startswith("merge")]
        for step, stage in enumerate(merges):
            tying = self._found(model, step)
            model = self._with_structure(model, tying)
            self._fit(stage, model, counts=tying.counts())
            model.load_state_dict(self.folder.finished(stage, self.phase(stage).epochs)["model"])
            model = self._plain(model).eval()
        if merges:
            self.folder.save_checkpoint("grouped", {"epoch": 0, "model": model.state_dict()})
        self.folder.write_text(self.folder.tying_file, self._found(model, -1).to_json())

    def _found(self, model: nn.Module, step: int) -> Tying:
        """The tying of one of the steps."""
        settings = self.recipe.tying
        return find_tying(
            model,
            self.layers,
            preference=settings.preference,
            overrides=settings.overrides,
            max_ratio=settings.max_ratio,
            method=settings.method,
            groups={name: steps[step] for name, steps in settings.groups.items()} or None,
            side=self.side,
        )

    def _retrain(self) -> None:
        tying = self.tying()
        model = self._with_structure(self.grouped(), tying)
        self._fit("retrain", model, counts=tying.counts())
        rows = {}
        for model, label in ((self.trained("train"), "trained"), (self.trained("retrain"), "retrained")):
            for name in self.layers:
                rows[f"{name}|{label}"] = rows_of(model.get_submodule(name), self.side).detach().float().cpu()
        self.folder.save_tensors("rows", rows)

    def _compact(self) -> None:
        if self.folder.model_file.is_file():
            return
        self.watcher.stage("compact", 0, 0)
        small = compact(self.trained("retrain").cpu(), self.example(), full=self.recipe.compact.full)
        save(small, self.folder.model_file, dtype=self.recipe.compact.dtype)

    def _eval(self) -> None:
        if self.folder.result_file.is_file():
            return
        self.watcher.stage("eval", 0, 0)
        started = time.perf_counter()
        result = make_result(self)
        result["seconds"]["eval"] = time.perf_counter() - started
        self.folder.write_text(self.folder.result_file, json.dumps(result, indent=2))
