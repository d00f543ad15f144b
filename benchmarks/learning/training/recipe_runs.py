"""Runs of built-in recipes, as ``growl run NAME --seed S --out PATH`` does them; a finished run is only read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch_growl.application.recipes import Recipe, load_recipe
from torch_growl.application.runs.run import Run
from torch_growl.application.runs.run_folder import RunFolder
from torch_growl.application.runs.stages import do_stages
from torch_growl.files import write_bytes

__all__ = ["finished_run", "settings"]

_QUICK_STEPS = 8  # epochs of a quick training with a target, for which one of a few steps is too short


def settings(name: str, seed: int, quick: bool = False, changes: dict[str, Any] | None = None) -> Recipe:
    """Load a recipe; a quick one has 512 training images, and one epoch where it has any."""
    changes = {**(changes or {}), "seed": seed}
    recipe = load_recipe(name, changes)
    if not quick:
        return recipe
    phases = {phase: getattr(recipe, phase) for phase in ("dense", "train", "merge", "retrain")}
    few = {f"{phase}.epochs": min(1, each.epochs) for phase, each in phases.items() if each is not None}
    if recipe.target is not None:
        few["train.epochs"] = _QUICK_STEPS
    return load_recipe(name, {**changes, **few, "data.options": {**recipe.data.options, "limit": 512}})


def finished_run(path: Path, recipe: Recipe, data: Path, *, trained: Run | None = None) -> Run:
    """Run or resume a recipe in a folder.

    Args:
        path: the run's folder.
        recipe: the settings.
        data: the folder with the datasets.
        trained: a finished run with the same settings up to the penalty, whose trained networks are copied.
    """
    folder = RunFolder(path)
    run = Run(folder, recipe, data_dir=data)
    with folder.claimed(recipe, resume=True):
        if trained is not None and folder.load_checkpoint("train", recipe) is None:
            write_bytes(folder.metrics_file, trained.folder.metrics("train", recipe.train.epochs, trained.recipe))
            for stage in ("dense", "train"):
                folder.save_checkpoint(stage, recipe, trained.folder.finished(stage, trained.recipe))
        do_stages(run)
    return run
