"""A sweep: a recipe is run with rising strengths, which gives a curve of the metric against size.

The training of each strength starts from the weights of the previous one; the dense network is trained once. The folder
of a sweep has a complete run folder for every strength, ``sweep.json`` with their figures and ``sweep.png``.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from torch_growl.application.plots import curve_figure
from torch_growl.application.recipes import Recipe
from torch_growl.application.reports import make_report
from torch_growl.application.runs.listeners import Watcher
from torch_growl.application.runs.run import Run
from torch_growl.application.runs.run_folder import RunFolder
from torch_growl.application.runs.stages import do_stages
from torch_growl.application.tasks import Metric, metric_of, scores_of
from torch_growl.checksums import sealed_json
from torch_growl.errors import InvalidValueError, RunFolderError
from torch_growl.files import is_temporary, locked, write_bytes, write_text

__all__ = ["DEFAULT_STRENGTHS", "Sweep", "parse_strengths"]

DEFAULT_STRENGTHS = (0.1, 0.17, 0.29, 0.48, 0.82, 1.4, 2.4, 4.0)


def parse_strengths(text: str) -> tuple[float, ...]:
    """Read strengths such as ``"0.3,0.6,1.2"``.

    Raises:
        InvalidValueError: one of them is not a number.
    """
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise InvalidValueError(f"--strengths must be numbers separated by commas, got {text!r}") from None


class Sweep:
    """A sweep in a folder.

    Args:
        path: the folder; nothing is written before :meth:`run`.
        recipe: the recipe of every run; it must have a penalty.
        strengths: two or more, > 0 and rising.
        data_dir: the folder with the datasets.
        watcher: shows the progress; None: nothing is shown.

    Raises:
        InvalidValueError: the strengths are not rising numbers > 0, or the recipe has no penalty.
    """

    def __init__(
        self,
        path: Path,
        recipe: Recipe,
        strengths: Sequence[float] = DEFAULT_STRENGTHS,
        *,
        data_dir: Path | None = None,
        watcher: Watcher | None = None,
    ) -> None:
        rising = all(a < b for a, b in pairwise(strengths))
        if len(strengths) < 2 or not rising or not all(math.isfinite(s) and s > 0 for s in strengths):
            raise InvalidValueError(f"strengths must be two or more rising numbers > 0, got {list(strengths)}")
        if not recipe.penalised:
            raise InvalidValueError(f"recipe {recipe.name!r} has no penalty, so there is no strength to vary")
        self.path, self.recipe, self.strengths = path, recipe, tuple(strengths)
        self.data_dir, self.watcher = data_dir, watcher
        self.result_file, self.picture_file = path / "sweep.json", path / "sweep.png"

    def folder(self, strength: float) -> RunFolder:
        """The run folder of one strength."""
        return RunFolder(self.path / f"strength-{strength:g}")

    def recipe_at(self, strength: float) -> Recipe:
        """The recipe of one strength, in place of a target; all but the first train from given weights."""
        growl = self.recipe.growl
        assert growl is not None
        changes: dict[str, Any] = {"growl": growl.model_copy(update={"strength": strength}), "target": None}
        if strength != self.strengths[0]:
            changes["train"] = self.recipe.train.model_copy(update={"start": "given"})
        return self.recipe.model_copy(update=changes)

    def run(self, *, resume: bool = False) -> list[dict[str, Any]]:
        """Do the runs that are not done yet; write ``sweep.json`` and ``sweep.png`` after each.

        Returns:
            A point for every strength: ``strength``, ``run``, ``score`` (``accuracy`` too, where that is the metric),
            ``compression``, ``macs``.

        Raises:
            RunFolderError: the folder is in use, and ``resume`` is false or it belongs to another sweep; nothing is
                written then.
        """
        self._check(resume)
        first = self._run_at(self.strengths[0])
        first.check_task()
        self.path.mkdir(parents=True, exist_ok=True)
        with locked(self.path):
            self._check(resume=True)
            return self._runs(first)

    def _run_at(self, strength: float) -> Run:
        return Run(self.folder(strength), self.recipe_at(strength), data_dir=self.data_dir, watcher=self.watcher)

    def _runs(self, first: Run) -> list[dict[str, Any]]:
        points: list[dict[str, Any]] = []
        for i, strength in enumerate(self.strengths):
            folder, recipe = self.folder(strength), self.recipe_at(strength)
            run = self._run_at(strength) if i else first
            with folder.claimed(recipe, resume=True):
                if i:
                    self._copy_weights(self.strengths[i - 1], strength)
                do_stages(run)
            result = folder.result()
            points.append(
                {
                    "strength": strength,
                    "run": folder.path.name,
                    **{key: result[key] for key in ("score", "accuracy", "compression", "macs") if key in result},
                }
            )
            self._write(points, metric_of(result))
        for folder in (self.folder(strength) for strength in self.strengths):  # last: each shows the whole curve
            if not folder.report_file.is_file():
                with folder.locked():
                    make_report(folder.path)
        return points

    def _check(self, resume: bool) -> None:
        if self.path.exists() and not self.path.is_dir():
            raise RunFolderError(f"{self.path} is a file, not a folder; choose another --out")
        ours = {self.folder(strength).path.name for strength in self.strengths} | {"sweep.json", "sweep.png"}
        names = [entry.name for entry in self.path.iterdir()] if self.path.is_dir() else []
        there = {name for name in names if name != ".lock" and not is_temporary(name)}
        if there and not resume:
            raise RunFolderError(f"{self.path} is in use; continue it (--resume) or choose another --out")
        if there - ours:
            raise RunFolderError(
                f"{self.path} contains {min(there - ours)}, which this sweep does not write; give the same strengths "
                "or choose another --out"
            )
        for strength in self.strengths:
            if self.folder(strength).path.exists():
                self.folder(strength).check(self.recipe_at(strength), resume=True)

    def _copy_weights(self, last: float, strength: float) -> None:
        """Copy the dense network and the trained weights of one run to the next.

        The weights are copied last, and their presence shows that the copy is complete.
        """
        before, older = self.folder(last), self.recipe_at(last)
        now, recipe = self.folder(strength), self.recipe_at(strength)
        if now.load_checkpoint("given", recipe) is not None:
            return
        now.save_checkpoint("dense", recipe, before.finished("dense", older))
        write_bytes(now.metrics_file, before.metrics("dense", older.dense.epochs, older))
        state = before.finished("train", older)
        now.save_checkpoint("given", recipe, {"epoch": 0, "model": state["model"]})

    def _write(self, points: list[dict[str, Any]], metric: Metric) -> None:
        kept = {"recipe": self.recipe.name, "seed": self.recipe.seed, "metric": metric.to_dict(), "points": points}
        write_text(self.result_file, sealed_json(kept, indent=2))
        curve = [(p["compression"]["network"], scores_of(p)["compact"]) for p in points]
        figure = curve_figure({self.recipe.name: curve}, dense=scores_of(points[0])["dense"], metric=metric)
        picture = io.BytesIO()
        figure.savefig(picture, format="png")
        write_bytes(self.picture_file, picture.getvalue())
