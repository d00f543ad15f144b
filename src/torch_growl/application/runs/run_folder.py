"""The folder of a run: its files, and a lock that admits one process at a time.

``recipe.yaml`` (resolved), ``metrics.jsonl``, ``checkpoints/``, ``tying.json``, ``model.safetensors``,
``result.json``, ``report.html``, ``figures/``. Every file is written whole or not at all. The files alone show
which stages are done, so a run can be resumed after it was killed at any moment.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from torch_growl.application.recipes import Recipe, files_from, load_recipe
from torch_growl.checksums import (
    UNSET,
    check_archive,
    header_place,
    parse_json,
    seal_archive,
    sealed,
    sealed_json,
    sealed_text,
)
from torch_growl.errors import RunFolderError, first_line
from torch_growl.files import is_temporary, locked, replacing, write_bytes, write_text

__all__ = ["RunFolder"]

_FOLDERS = ("checkpoints", "figures")
_METRICS_REMEDY = "do the stages again with `growl train RUN --again`"


class RunFolder:
    """The folder of one run.

    Args:
        path: the folder; the constructor neither creates nor reads it.

    Attributes:
        writes: whether checkpoints, metrics and tensors are written: of several processes, the first one does.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.writes = True
        self.recipe_file = path / "recipe.yaml"
        self.metrics_file = path / "metrics.jsonl"
        self.checkpoints = path / "checkpoints"
        self.path_file = path / "path.json"
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
            if self.path.is_dir() and not all(map(_is_left_by_kill, self.path.iterdir())):
                raise RunFolderError(f"{self.path} is in use by other files; choose another --out")
        elif not resume:
            raise RunFolderError(
                f"{self.path} holds a run already; continue it with --resume, or give another folder with --out"
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
        if not self.recipe_file.is_file():  # a kill before this line leaves what the next check accepts
            write_text(self.recipe_file, sealed_text(recipe.to_yaml()))

    def recipe(self) -> Recipe:
        """Load the run's recipe.

        Raises:
            RunFolderError: this is not a run folder.
        """
        self._check_is_run()
        return load_recipe(str(self.recipe_file), {})

    def _check_is_run(self) -> None:
        if not self.recipe_file.is_file():
            raise RunFolderError(f"{self.path} is not a run folder: it has no recipe.yaml; start one with `growl run`")

    @contextmanager
    def claimed(self, recipe: Recipe, *, resume: bool = False) -> Iterator[None]:
        """Lock the folder and create the run, or with ``resume`` accept the run that is in it.

        Raises:
            RunFolderError: as for :meth:`check` and :meth:`locked`.
        """
        self.check(recipe, resume=resume)
        self.path.mkdir(parents=True, exist_ok=True)
        with locked(self.path, *_FOLDERS):
            self.create(recipe, resume=resume)  # it checks again: another process may have been faster
            yield

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the folder of a run for this process until the block, or the process, ends.

        Raises:
            RunFolderError: this is not a run folder, or another process has locked it.
        """
        self._check_is_run()
        with locked(self.path, *_FOLDERS):
            yield

    # ── checkpoints ─────────────────────────────────────────────────────────────────────────────────────────────

    def save_checkpoint(self, stage: str, recipe: Recipe, state: dict[str, Any]) -> None:
        """Write a training's state, which has tensors and plain values only, so that loading it executes no code.

        The file also holds the stage and the fingerprint of the recipe's settings that it depends on, and a checksum.
        """
        if not self.writes:
            return
        marked = {**state, "stage": stage, "fingerprint": recipe.fingerprint(stage)}
        with replacing(self.checkpoints / f"{stage}.pt") as temporary, open(temporary, "w+b", buffering=2**20) as file:
            torch.save(marked, file)
            seal_archive(file)

    def load_checkpoint(self, stage: str, recipe: Recipe) -> dict[str, Any] | None:
        """Load a training's state; None if there is no checkpoint.

        Raises:
            RunFolderError: the file is damaged, or belongs to another stage, recipe or seed.
        """
        path = self.checkpoints / f"{stage}.pt"
        if not path.is_file():
            return None
        remedy = "delete it to do the stage again"
        try:
            with open(path, "rb") as file:
                check_archive(file, "damaged", required=True)
                file.seek(0)
                state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
            owner = (state.pop("stage"), state.pop("fingerprint"))
        except Exception as error:  # a malformed archive can raise nearly anything
            raise RunFolderError(f"{path} cannot be read ({first_line(error)}); {remedy}") from None
        if owner != (stage, recipe.fingerprint(stage)):
            raise RunFolderError(f"{path} is of another stage, recipe or seed than this run's; {remedy}")
        return state

    def finished(self, stage: str, recipe: Recipe) -> dict[str, Any]:
        """Load the state of a training that is done.

        Raises:
            RunFolderError: it is not done, or the file is damaged or of another recipe.
        """
        state = self.load_checkpoint(stage, recipe)
        phase = recipe.trainings.get(stage)
        if state is None or (phase is not None and state["epoch"] < phase.epochs):
            raise RunFolderError(f"{self.path}: stage {stage!r} is not done yet; continue with `growl run … --resume`")
        return state

    def given_weights(self, recipe: Recipe) -> dict[str, Any]:
        """Load the initial weights of the training with the penalty, for ``train.start: given``.

        Raises:
            RunFolderError: there are none.
        """
        state = self.load_checkpoint("given", recipe)
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
        if not self.writes:
            return
        with open(self.metrics_file, "a", encoding="utf-8") as file:
            file.write(sealed_json(record) + "\n")

    def trim_metrics(self, training: str, epoch: int, recipe: Recipe) -> None:
        """Delete the records that a killed run has written after its checkpoint; arguments as for :meth:`metrics`."""
        kept = self.metrics(training, epoch, recipe)
        if self.metrics_file.is_file() and self.writes:
            write_bytes(self.metrics_file, kept)

    def metrics(self, training: str, epoch: int, recipe: Recipe) -> bytes:
        """Read the lines of ``metrics.jsonl`` up to an epoch of a training.

        Args:
            training: the name of the training; later ones are left out.
            epoch: the last epoch of it that is done.
            recipe: the run's recipe.

        Raises:
            RunFolderError: the file is damaged, or lacks records of epochs that are done.
        """
        names = list(recipe.trainings)
        done = {name: recipe.trainings[name].epochs for name in names[: names.index(training)]} | {training: epoch}
        lines = self.metrics_file.read_bytes().split(b"\n") if self.metrics_file.is_file() else [b""]
        kept = [line + b"\n" for line in lines[:-1] if _kept(line, done, self.metrics_file)]  # a kill cuts off the last
        if len(kept) != sum(done.values()):
            raise RunFolderError(
                f"{self.metrics_file} must have {sum(done.values())} records up to epoch {epoch} of {training!r}, "
                f"found {len(kept)}; {_METRICS_REMEDY}"
            )
        return b"".join(kept)

    def records(self, training: str, epoch: int, recipe: Recipe) -> list[dict[str, Any]]:
        """Read the records of one training, in order; arguments and errors as for :meth:`metrics`."""
        found = [json.loads(line) for line in self.metrics(training, epoch, recipe).splitlines()]
        return [record for record in found if record["stage"] == training]

    def save_tensors(self, name: str, tensors: dict[str, Tensor]) -> None:
        """Write tensors for the report into ``checkpoints/``."""
        if not self.writes:
            return
        from safetensors.torch import save

        plain = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
        data = save(plain, {"crc32": UNSET})
        place = header_place(data[: 8 + int.from_bytes(data[:8], "little")])
        assert place is not None
        write_bytes(self.checkpoints / f"{name}.safetensors", sealed(data, place))

    def result(self) -> dict[str, Any]:
        """Load ``result.json``.

        Raises:
            RunFolderError: it does not exist or is damaged.
        """
        try:
            loaded: dict[str, Any] = parse_json(self.result_file.read_bytes(), "result.json")
        except FileNotFoundError:
            raise RunFolderError(
                f"{self.path} has no result.json yet; finish the run with `growl run … --resume`"
            ) from None
        except ValueError:
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


def _is_left_by_kill(entry: Path) -> bool:
    """Return whether an entry of a folder is what a run leaves that is killed before it has written its recipe."""
    if entry.name in _FOLDERS and entry.is_dir():
        return all(map(_is_left_by_kill, entry.iterdir()))
    return entry.name == ".lock" or is_temporary(entry.name)


def _kept(line: bytes, done: dict[str, int], path: Path) -> bool:
    """Return whether the record of an epoch is of one that is done."""
    try:
        record = parse_json(line, "a line")
        stage, epoch = record["stage"], record["epoch"]
        return bool(1 <= epoch <= done.get(stage, 0))
    except (ValueError, TypeError, KeyError, IndexError) as error:
        raise RunFolderError(f"{path} is damaged ({first_line(error)}); {_METRICS_REMEDY}") from None


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
