"""A study on the digits whose trials take a second."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch_growl.application.recipes import Recipe, load_recipe
from torch_growl.application.studies import Study
from torch_growl.application.studies.space import Choices, Range

FEW: dict[str, Any] = {
    "dense.epochs": 2,
    "train.epochs": 3,
    "retrain.epochs": 1,
    "threads": 1,
    "device": "cpu",
    "measure.repeats": 1,
    "measure.batch_sizes": [1],
    "growl.layers": ["2"],
    "data.options": {},
    "tying.method": "affinity",
    "retrain.form": "tied",
    "model": {"name": "benchmarks.reliability.cases:network", "options": {}},
}
SPACE = {"growl.strength": Range(0.5, 4.0), "tying.preference": Choices(("0.5", "0.9"))}


def make(changes: Mapping[str, Any]) -> Recipe:
    return load_recipe("digits", {**FEW, **changes})


def study(folder: Path, place: str | Path | None = None, **given: Any) -> Study:
    settings: dict[str, Any] = {"space": SPACE, "trials": 3, **given}
    return Study(folder, str(place or folder / "study.journal"), make, **settings)


def trials(worker: Study) -> list[tuple[Any, ...]]:
    """What the storage holds of every trial: state, settings, values."""
    return [(t.number, t.state.name, t.params, t.values) for t in worker._study.get_trials(deepcopy=False)]
