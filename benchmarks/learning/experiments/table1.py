"""Reproduces the paper's Table 1 on MNIST, with six regularizers and five seeds.

Run it with ``python -m benchmarks.learning.experiments.table1 --data DIR``.

Each row of the table is a built-in recipe, ``mnist-none`` to ``mnist-growl-l2``, and each job the run of the command
``growl run RECIPE --seed S --out WORK/RECIPE-S``; finished ones are only read. GrOWL + l2 is also tied by one affinity
propagation in place of the steps, with as many epochs of training.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch_growl as tg
from benchmarks.harness import timing
from benchmarks.harness.command import keep, options, workplace
from benchmarks.learning.training.fitting import scores
from benchmarks.learning.training.recipe_runs import finished_run, settings
from torch_growl.application.runs.run import Run

__all__ = ["ROWS", "job", "main", "path_of", "preference_for"]

SEEDS = range(5)
ROWS = {
    "none": "mnist-none",
    "weight decay": "mnist-weight-decay",
    "group lasso": "mnist-group-lasso",
    "group lasso + l2": "mnist-group-lasso-l2",
    "GrOWL": "mnist-growl",
    "GrOWL + l2": "mnist-growl-l2",
}
COMPARED = "GrOWL + l2"  # the row that one affinity propagation is tried on too


def path_of(work: Path, row: str, seed: int) -> Path:
    """Return the folder of a row's run."""
    return work / f"{ROWS[row]}-{seed}"


def job(row: str, seed: int, work: Path, data: Path, *, quick: bool = False, compare: bool = True) -> dict[str, Any]:
    """Run or read one row of the table with one seed."""
    recipe = settings(ROWS[row], seed, quick)
    run = finished_run(path_of(work, row, seed), recipe, data)
    dense, trained = (scores(run.trained(stage), run.splits) for stage in ("dense", "train"))  # type: ignore[arg-type]
    found: dict[str, Any] = {"row": row, "recipe": recipe.name, "seed": seed, "dense": dense, "regularized": trained}
    labels = run.tying()["fc1"].partition.labels
    found["kept"] = [int(label >= 0) for label in labels]
    found["seconds"] = sum(run.folder.result()["seconds"].values())
    if not recipe.penalised:
        return found | {"strength": 0.0, "groups": len(labels)}
    assert recipe.growl is not None
    found |= {"strength": recipe.growl.strength, "steps": _tied(run)}
    found["groups"] = found["steps"]["groups"]
    if row == COMPARED and compare:
        found["once"] = _tied(_once(run, seed, work, data, quick))
    return found


def _tied(run: Run) -> dict[str, Any]:
    """The figures of a run's tied network; its compact network's accuracy."""
    result = run.folder.result()
    return {
        "groups": result["layers"][0]["groups"],
        "sparsity": result["sparsity"],
        "sharing": result["sharing"],
        "compression": result["compression"]["layers"],
        "tied": result["accuracy"]["tied"],
        **scores(run.compacted(), run.splits),
    }


def _once(run: Run, seed: int, work: Path, data: Path, quick: bool) -> Run:
    """Run a recipe again from its trained network, with one affinity propagation in place of its steps of tying."""
    recipe = run.recipe
    assert recipe.merge is not None
    preference = preference_for(run.trained("train"), recipe.tying.groups["fc1"][-1])
    epochs = recipe.retrain.epochs + recipe.merge.epochs * (recipe.tying.steps - 1)
    changes = {
        "tying": {"method": "affinity", "preference": preference, "max_ratio": 1.0},
        "merge": None,
        "retrain.epochs": epochs,
    }
    once = settings(recipe.name, seed, quick, changes)
    return finished_run(work / f"{recipe.name}-once-{seed}", once, data, trained=run)


def preference_for(model: Any, groups: int) -> float:
    """Find by bisection the preference at which affinity propagation leaves about so many groups."""
    low, high = 0.001, 1.0
    for _ in range(10):
        middle = (low + high) / 2
        count = tg.find_tying(model, ["fc1"], preference=middle, max_ratio=1.0)["fc1"].partition.n_groups
        low, high = (middle, high) if count < groups else (low, middle)
    return high


def main(arguments: list[str] | None = None) -> None:
    """Run the jobs that are left; keep the result if all rows are done, or under a name of its own."""
    parser = options(__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--work", type=Path, default=Path("runs/learning/table1"))
    parser.add_argument("--only", choices=list(ROWS), action="append", help="run only these rows")
    parser.add_argument("--seed", type=int, action="append", help="a seed in place of 0 to 4; may be given again")
    parser.add_argument("--steps-only", action="store_true", help="no affinity propagation beside the steps")
    given = parser.parse_args(arguments)
    timing.one_thread()
    work = workplace(given)
    seeds = given.seed or list(SEEDS)[: 1 if given.quick else None]
    done = []
    for row in given.only or ROWS:
        for seed in seeds:
            found = job(row, seed, work, given.data, quick=given.quick, compare=not given.steps_only)
            print(row, seed, {key: value for key, value in found.items() if key != "kept"}, flush=True)
            done.append(found)
    if given.name or not given.only:
        keep(given, "learning.experiments.table1", {"seeds": seeds, "jobs": done})


if __name__ == "__main__":
    main()
