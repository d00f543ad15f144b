"""The folder of a run: its files, and a lock that admits one process at a time.

``recipe.yaml`` (resolved), ``metrics.jsonl``, ``checkpoints/``, ``tying.json``, ``model.safetensors``,
``result.json``, ``report.html``, ``figures/``. Every file is written whole or not at all. The files alone show
which stages are done, so a run can be resumed after it was killed at any moment.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from torch_growl.application.recipes import Recipe, files_from, load_recipe, training_rank
from torch_growl.errors import RunFolderError, first_line
from torch_growl.files import write_text, write_whole

__all__ = ["RunFolder"]


class RunFolder:
    """The folder of one run.

    Args:
        path: the folder; the constructor neither creates nor reads it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.recipe_file = path / "recipe.yaml"
        self.metrics_file = path / "metrics.jsonl"
        self.checkpoints = path / "checkpoints"
        self.tying_file = path / "tying.json"
        self.model_file = path / "model.safetensors"
        self.result_file = path / "result.json"
        self.report_file = path / "report.html"

    # ── opening ─────────────────────────────────────────────────────────────────────────────────────────────────

    def check(self, recipe: Recipe, *, resume: bool = False) -> None:
        """Check that :meth:`create` would succeed; nothing is written.

        Raises:
            RunFolderError: the path is a file; the folder contains other files; or it contains a run, and ``resume`` is
                false or the recipe is another one.
        """
        if self.path.exists() and not self.path.is_dir():
            raise RunFolderError(f"{self.path} is a file, not a folder; choose another --out")
        if not self.recipe_file.is_file():
            if self.path.is_dir() and any(entry.name != ".lock" for entry in self.path.iterdir()):
                raise RunFolderError(f"{self.path} is in use by other files; choose another --out")
        elif not resume:
            raise RunFolderError(
                f"{self.path} is in use by another run; continue it (--resume) or choose another --out"
            )
        # A description is no setting: a built-in recipe may be reworded while a run waits to be resumed.
        elif (stored := self.recipe().model_copy(update={"description": recipe.description})) != recipe:
            raise RunFolderError(
                f"{self.path} holds a run with {_difference(stored.model_dump(), recipe.model_dump())}; "
                "resume it with the same settings, or choose another --out"
            )

    def create(self, recipe: Recipe, *, resume: bool = False) -> None:
        """Create the folder of a run, or with ``resume`` accept the run that is in it.

        Raises:
            RunFolderError: as for :meth:`check`; then nothing is written.
        """
        self.check(recipe, resume=resume)
        self.checkpoints.mkdir(parents=True, exist_ok=True)
        if not self.recipe_file.is_file():
            write_text(self.recipe_file, recipe.to_yaml())

    def recipe(self) -> Recipe:
        """Load the run's recipe.

        Raises:
            RunFolderError: this is not a run folder.
        """
        if not self.recipe_file.is_file():
            raise RunFolderError(f"{self.path} is not a run folder: it has no recipe.yaml; start one with `growl run`")
        return load_recipe(str(self.recipe_file), {})

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the folder for this process until the block, or the process, ends.

        Raises:
            RunFolderError: another process has locked it.
        """
        import fcntl

        with open(self.path / ".lock", "w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise RunFolderError(f"{self.path} is in use by another process that is running now") from None
            yield

    # ── checkpoints ─────────────────────────────────────────────────────────────────────────────────────────────

    def save_checkpoint(self, stage: str, state: dict[str, Any]) -> None:
        """Write a training's state, which has tensors and plain values only, so that loading it executes no code."""
        write_whole(self.checkpoints / f"{stage}.pt", lambda temporary: torch.save(state, temporary))

    def load_checkpoint(self, stage: str) -> dict[str, Any] | None:
        """Load a training's state; None if there is no checkpoint.

        Raises:
            RunFolderError: the file is damaged.
        """
        path = self.checkpoints / f"{stage}.pt"
        if not path.is_file():
            return None
        try:
            state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        except (RuntimeError, OSError, EOFError, pickle.UnpicklingError, ValueError) as error:
            reason = first_line(error)
            raise RunFolderError(f"{path} cannot be read ({reason}); delete it to do the stage again") from None
        return state

    def finished(self, stage: str, epochs: int) -> dict[str, Any]:
        """Load the state of a training that is done.

        Raises:
            RunFolderError: it is not done, or the file is damaged.
        """
        state = self.load_checkpoint(stage)
        if state is None or state["epoch"] < epochs:
            raise RunFolderError(f"{self.path}: stage {stage!r} is not done yet; continue with `growl run … --resume`")
        return state

    def given_weights(self) -> dict[str, Any]:
        """Load the initial weights of the training with the penalty, for ``train.start: given``.

        Raises:
            RunFolderError: there are none.
        """
        state = self.load_checkpoint("given")
        if state is None:
            raise RunFolderError(
                f"{self.path}: train.start is 'given', but there are no weights to start from: checkpoints/given.pt, "
                "which `growl sweep` writes, does not exist; choose train.start=dense"
            )
        weights: dict[str, Any] = state["model"]
        return weights

    # ── small files ─────────────────────────────────────────────────────────────────────────────────────────────

    def append_metrics(self, record: dict[str, Any]) -> None:
        """Append the record of one epoch to ``metrics.jsonl``."""
        with open(self.metrics_file, "a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")

    def trim_metrics(self, stage: str, epoch: int) -> None:
        """Delete the records that a killed run has written after its checkpoint.

        Args:
            stage: the training that is resumed; records of later trainings are deleted too.
            epoch: the last epoch of it that is kept.
        """
        if not self.metrics_file.is_file():
            return
        kept = []
        for line in self.metrics_file.read_text(encoding="utf-8").splitlines():
            try:
                record = json.loads(line)
            except json.JSONDecodeError:  # a line cut off by a kill
                continue
            rank, now = training_rank(record["stage"]), training_rank(stage)
            if rank < now or (rank == now and record["epoch"] <= epoch):
                kept.append(line)
        text = "".join(line + "\n" for line in kept)
        write_text(self.metrics_file, text)

    def save_tensors(self, name: str, tensors: dict[str, Tensor]) -> None:
        """Write tensors for the report into ``checkpoints/``."""
        from safetensors.torch import save_file

        plain = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
        write_whole(self.checkpoints / f"{name}.safetensors", lambda temporary: save_file(plain, temporary))

    def result(self) -> dict[str, Any]:
        """Load ``result.json``.

        Raises:
            RunFolderError: it does not exist or is damaged.
        """
        try:
            loaded: dict[str, Any] = json.loads(self.result_file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise RunFolderError(
                f"{self.path} has no result.json yet; finish the run with `growl run … --resume`"
            ) from None
        except json.JSONDecodeError:
            raise RunFolderError(
                f"{self.result_file} is damaged; make it again with `growl eval RUN --again`"
            ) from None
        return loaded

    def drop_from(self, stage: str) -> None:
        """Delete the files of a stage and of all later stages, so that they are done again.

        Raises:
            InvalidValueError: the stage is unknown.
        """
        for pattern in files_from(stage):
            for file in self.path.glob(pattern):
                file.unlink(missing_ok=True)


def _difference(stored: dict[str, Any], given: dict[str, Any], prefix: str = "") -> str:
    for key in stored:
        old, new = stored[key], given.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            if old.keys() != new.keys():
                return f"another {prefix}{key}"
            if inner := _difference(old, new, f"{prefix}{key}."):
                return inner
        elif old != new:
            return f"{prefix}{key} = {old!r}, not {new!r}"
    return ""
