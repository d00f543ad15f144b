"""A study: workers that share one Optuna storage run trials of a recipe until there are so many.

A trial and its owner, the worker's folder, are one record of the storage, so that no trial is without an owner. A
worker first continues trials of its folder that no process runs any more: their run folders are unlocked. So a worker
may be killed at any moment. Each setting is drawn by a sampler whose seed depends on the trial and the setting alone,
so that a trial that is continued has the settings that it would have had.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from torch_growl.application.recipes import Recipe
from torch_growl.application.reports import make_report
from torch_growl.application.runs import Run, RunFolder, Silent, Watcher, do_stage, do_stages
from torch_growl.application.studies.front import Point, is_hopeless, write_outcome
from torch_growl.application.studies.space import Space, default_space
from torch_growl.application.studies.storage import open_storage, waiting_lock
from torch_growl.application.tasks import build_task
from torch_growl.arguments import check_count, check_number
from torch_growl.errors import GrowlError, InvalidValueError, RunFolderError
from torch_growl.files import write_bytes, write_text

__all__ = ["Study"]

_RANDOM_TRIALS = 8  # drawn at random before Optuna's sampler learns from the others
_OWNER, _EPOCHS, _WHY, _SETTINGS = "owner", "epochs", "why", "torch-growl"


class Hopeless(Exception):
    """A trial is stopped: several finished ones were better and smaller at its epoch."""


class Study:
    """A study in a folder and in a storage.

    Args:
        folder: the run folders of this worker's trials, and the report; workers may share it, or have one each.
        place: the path of Optuna's journal file, or the URL of a database.
        make: makes a trial's recipe from changes by dotted field.
        space: what is varied; empty: the default for the recipe.
        trials: the number of trials in the storage at which workers stop, ≥ 1.
        drop: the best trial is the smallest network whose metric, on the validation split, is at most so much worse
            than the dense network's, in the unit in which the metric is shown; ≥ 0.
        data_dir: the folder with the datasets.
        watcher: shows the progress; None: nothing is shown.

    Raises:
        GrowlError: Optuna is not installed, the storage cannot be opened or holds a study of other settings, or the
            recipe does not fit.
    """

    def __init__(
        self,
        folder: Path,
        place: str,
        make: Callable[[Mapping[str, Any]], Recipe],
        space: Space | None = None,
        *,
        trials: int = 30,
        drop: float = 1.0,
        data_dir: Path | None = None,
        watcher: Watcher | None = None,
    ) -> None:
        self.folder, self.make = folder, make
        self.trials = check_count("--trials", trials)
        self.drop = check_number("--drop", drop, least=0)
        self.data_dir, self.watcher = data_dir, watcher or Silent()
        self.recipe = make({})
        if not space and not self.recipe.penalised:
            raise InvalidValueError(
                f"recipe {self.recipe.name!r} has no penalty, so nothing is varied by itself; name settings with --vary"
            )
        self.space: Space = space or default_space(self.recipe)
        self.metric = build_task(self.recipe.task).metric
        self._open(place)

    def _open(self, place: str) -> None:
        storage = open_storage(place)
        import optuna

        best = "maximize" if self.metric.higher_is_better else "minimize"
        self._optuna = optuna
        self._study = optuna.create_study(
            study_name=self.recipe.name, storage=storage, directions=[best, "minimize"], load_if_exists=True
        )
        fields = self.recipe.model_dump(exclude={"description", "device", "threads", "measure"}, mode="json")
        settings = json.dumps({"recipe": fields, "space": {name: str(each) for name, each in self.space.items()}})
        stored = self._study.user_attrs.get(_SETTINGS)
        if stored is None:
            self._study.set_user_attr(_SETTINGS, settings)
        elif json.loads(stored) != json.loads(settings):
            raise RunFolderError(
                f"--study {place} holds a study of recipe {self.recipe.name!r} with other settings; give the same "
                "--set, --seed and --vary as its first worker, or another storage"
            )

    # ── the worker ──────────────────────────────────────────────────────────────────────────────────────────────

    def run(self) -> dict[str, Any]:
        """Run trials until there are as many as asked; write the report after each.

        Returns:
            What ``study.json`` holds.

        Raises:
            GrowlError: no trial is complete, or something of the recipe cannot be used.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self._train_dense()
        outcome: dict[str, Any] = {}
        while True:
            with ExitStack() as held:
                with waiting_lock(self.folder / ".claim"):
                    trial = self._claimed(held)
                if trial is None:
                    break
                self._do(trial)
            outcome = self._report() or outcome
        outcome = self._report() or outcome
        if not outcome:
            raise InvalidValueError("no trial of the study is complete; each was stopped or failed")
        return outcome

    @property
    def _owner(self) -> str:
        """The folder's own mark, the same on every machine that sees the folder."""
        path = self.folder / "owner"
        if not path.is_file():
            write_text(path, uuid.uuid4().hex)
        return path.read_text("utf-8")

    def _claimed(self, held: ExitStack) -> Any:
        """A trial whose run folder is locked by this process: one that was left, or a new one; None at the end."""
        states, owner = self._optuna.trial.TrialState, self._owner
        present = self._study.get_trials(deepcopy=False)
        for each in present:
            if each.state == states.RUNNING and each.user_attrs.get(_OWNER) == owner:
                with _skipped():
                    return self._locked(each, held)
        if len(present) >= self.trials:
            return None
        mark = uuid.uuid4().hex
        self._study.add_trial(
            self._optuna.trial.create_trial(state=states.RUNNING, user_attrs={_OWNER: owner, "mark": mark})
        )
        (made,) = (each for each in self._study.get_trials(deepcopy=False) if each.user_attrs.get("mark") == mark)
        return self._locked(made, held)

    def _locked(self, frozen: Any, held: ExitStack) -> Any:
        recipe = self._recipe_of(frozen)
        held.enter_context(self._folder_of(frozen.number).claimed(recipe, resume=True))
        return frozen, recipe

    def _folder_of(self, number: int) -> RunFolder:
        return RunFolder(self.folder / f"trial-{number:04d}")

    def _recipe_of(self, frozen: Any) -> Recipe:
        """The recipe of a trial; settings that it lacks are drawn now."""
        trial = self._optuna.trial.Trial(self._study, frozen._trial_id)
        changes = {}
        for i, (name, each) in enumerate(self.space.items()):
            seed = (self.recipe.seed * 1_000_003 + frozen.number * 1_009 + i) % 2**32
            self._study.sampler = self._optuna.samplers.TPESampler(seed=seed, n_startup_trials=_RANDOM_TRIALS)
            changes[name] = each.suggest(trial, name)
        recipe = self.make(changes)
        if recipe.fingerprint("dense") != self.recipe.fingerprint("dense"):
            raise InvalidValueError("--vary changes the dense network, which all trials share")
        return recipe

    def _do(self, trial: Any) -> None:
        """Run a claimed trial to its end, and tell Optuna what became of it."""
        frozen, recipe = trial
        folder, states = self._folder_of(frozen.number), self._optuna.trial.TrialState
        handle = self._optuna.trial.Trial(self._study, frozen._trial_id)
        judge = _Judge(self.watcher, lambda: self._is_hopeless(folder, recipe))
        try:
            self._copy_dense(folder, recipe)
            do_stages(Run(folder, recipe, data_dir=self.data_dir, watcher=judge))
            if not folder.report_file.is_file():
                make_report(folder.path)
            name, phase = [(name, phase) for name, phase in recipe.trainings.items() if phase.epochs][-1]
            score = folder.records(name, phase.epochs, recipe)[-1]["validation_score"]
            values = [score, 1 / folder.result()["compression"]["network"]]
        except Hopeless:
            handle.set_user_attr(_WHY, "several finished trials were better and smaller at the same epoch")
            self._study.tell(frozen.number, state=states.PRUNED)
        except RunFolderError:
            raise
        except GrowlError as error:  # of these settings: it diverged, or a target cannot be met
            handle.set_user_attr(_WHY, str(error))
            self._study.tell(frozen.number, state=states.FAIL)
        else:
            handle.set_user_attr(_EPOCHS, _curve(folder, recipe))
            self._study.tell(frozen.number, values)

    def _is_hopeless(self, folder: RunFolder, recipe: Recipe) -> bool:
        curve = _curve(folder, recipe)
        if 3 * len(curve) < recipe.train.epochs:
            return False
        complete = self._trials(self._optuna.trial.TrialState.COMPLETE)
        return is_hopeless(curve, [each.user_attrs[_EPOCHS] for each in complete], self.metric)

    # ── the dense network ───────────────────────────────────────────────────────────────────────────────────────

    def _dense(self) -> tuple[RunFolder, Recipe]:
        train = self.recipe.train.model_copy(update={"epochs": 0})
        return RunFolder(self.folder / "dense"), self.recipe.model_copy(
            update={"train": train, "target": None, "growl": None}
        )

    def _train_dense(self) -> None:
        """Train the dense network once for all trials of the folder."""
        folder, recipe = self._dense()
        with waiting_lock(self.folder / ".dense"):
            with folder.claimed(recipe, resume=True):
                do_stage(Run(folder, recipe, data_dir=self.data_dir, watcher=self.watcher), "train")

    def _copy_dense(self, folder: RunFolder, recipe: Recipe) -> None:
        """Copy the dense network into a trial's folder; its checkpoint is written last."""
        if folder.load_checkpoint("dense", recipe) is None:
            source, dense = self._dense()
            write_bytes(folder.metrics_file, source.metrics("dense", dense.dense.epochs, dense))
            folder.save_checkpoint("dense", recipe, source.finished("dense", dense))

    # ── the outcome ─────────────────────────────────────────────────────────────────────────────────────────────

    def _trials(self, state: Any) -> list[Any]:
        found: list[Any] = self._study.get_trials(deepcopy=False, states=(state,))
        return found

    def _report(self) -> dict[str, Any]:
        """Write the report of all trials so far; empty if none is complete. One worker of the folder at a time."""
        with waiting_lock(self.folder / ".claim"):
            return self._outcome()

    def _outcome(self) -> dict[str, Any]:
        states = self._optuna.trial.TrialState
        owner = self._owner
        points = [
            Point(
                each.number,
                each.values[0],
                1 / each.values[1],
                ", ".join(f"{name}={_text(value)}" for name, value in each.params.items()),
                self._folder_of(each.number).path.name if each.user_attrs[_OWNER] == owner else "",
            )
            for each in self._trials(states.COMPLETE)
        ]
        if not points:
            return {}
        others = {"pruned": len(self._trials(states.PRUNED)), "failed": len(self._trials(states.FAIL))}
        folder, recipe = self._dense()
        epochs = recipe.dense.epochs
        dense = folder.records("dense", epochs, recipe)[-1]["validation_score"] if epochs else points[0].score
        return write_outcome(self.folder, self.recipe.name, points, others, self.metric, dense, self.drop)


class _Judge:
    """A watcher that stops a hopeless trial after an epoch of the training with the penalty."""

    def __init__(self, watcher: Watcher, is_hopeless: Callable[[], bool]) -> None:
        self._is_hopeless = is_hopeless
        self._watcher = watcher
        self.stage, self.step, self.compiling = watcher.stage, watcher.step, watcher.compiling

    def epoch(self, record: dict[str, Any], score: str) -> None:
        """Show an epoch, then judge the trial."""
        self._watcher.epoch(record, score)
        if record["stage"] == "train" and self._is_hopeless():
            raise Hopeless


@contextmanager
def _skipped() -> Iterator[None]:
    """Go on if a run folder is in use by another process."""
    try:
        yield
    except RunFolderError:
        return


def _curve(folder: RunFolder, recipe: Recipe) -> list[list[float]]:
    """For each epoch of the training with the penalty the metric on the validation split and the compression."""
    lines = folder.metrics_file.read_bytes().splitlines()
    records = [json.loads(line) for line in lines if line.endswith(b"}")]
    return [
        [record["validation_score"], record["compression"]]
        for record in records
        if record["stage"] == "train" and record["epoch"] <= recipe.train.epochs
    ]


def _text(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
