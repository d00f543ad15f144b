"""Short runs of the recipe ``digits`` for tests: real data, all stages, a few seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch_growl.application.recipes import as_yaml, load_recipe
from torch_growl.application.runs.run import Run
from torch_growl.application.runs.run_folder import RunFolder
from torch_growl.application.runs.stages import do_stages

QUICK: dict[str, Any] = {  # a strength and one affinity propagation, on the images as they are
    "data.options": {},
    "model.options": {},
    "tying": {"method": "affinity", "preference": 0.4, "max_ratio": 1.0},
    "merge": None,
    "retrain.form": "tied",
    "dense.epochs": 3,
    "train.epochs": 6,
    "retrain.epochs": 3,
    "growl.strength": 8.0,  # so that few epochs prune and tie rows too
    "measure.repeats": 3,
    "threads": 1,
}
SETTINGS = [
    part for key, value in QUICK.items() for part in ("--set", f"{key}={as_yaml(value)}")
]  # the same, for the command


def run_digits(path: Path, settings: dict[str, Any] = QUICK, *, until: str = "eval") -> Run:
    """Run the recipe ``digits`` in a folder, or continue the run that is there."""
    folder = RunFolder(path)
    folder.create(load_recipe("digits", settings), resume=True)
    run = Run(folder)
    do_stages(run, until)
    return run


def figures(result: dict[str, Any]) -> dict[str, Any]:
    """The part of ``result.json`` that must not depend on when a run was stopped: everything but times."""
    times = ("seconds", "latency_ms", "environment", "crc32")
    return {key: value for key, value in result.items() if key not in times}
