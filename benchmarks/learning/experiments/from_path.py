"""Trains to a target with and without the path of an accuracy drop: what the path saves in steps.

Run it with ``python -m benchmarks.learning.experiments.from_path --data DIR``.

From one trained 784-300-10 a search for an accuracy drop of 0.3 points keeps its path. Then trainings to a fifth of the
weights, of several lengths, begin anew from the trained weights; from the trained weights with the path; and from the
network that the search found, with the path. MNIST, SGD as in the search, one CPU thread; the test split is read at the
end. Three seeds of the batches.
"""

from __future__ import annotations

import copy
import warnings
from pathlib import Path
from typing import Any

from torch import nn

import torch_growl as tg
from benchmarks.harness import results, timing
from benchmarks.harness.command import keep, options
from benchmarks.learning.experiments.accuracy_drop import QUICK, TASKS, Task, dense, outcome, points, train
from benchmarks.learning.training.fitting import example_of

__all__ = ["WAYS", "main", "search", "to_target"]

SHARE = 0.2  # of the weights
LENGTHS = (50, 100, 200, 400, 800)
SEEDS = 3
WAYS = ("anew", "path", "path and network")


def search(task: Task, folder: Path) -> tuple[nn.Module, tg.PruningPath]:
    """Search for the accuracy drop; return the network found and the path."""
    splits, model = task.load(folder), copy.deepcopy(dense(task, 0, folder))
    target = tg.Target(accuracy_drop=task.drop, validate=lambda network: points(network, splits))
    growl = tg.GrOWL(model, target=target, example_inputs=example_of(splits), min_rows=2)
    train(model, splits, 2 * task.steps, 100, growl)
    return model, growl.path


def to_target(
    task: Task, folder: Path, way: str, steps: int, seed: int, found: tuple[nn.Module, tg.PruningPath]
) -> dict[str, Any]:
    """Train to the target in one of the ways; return the size and the scores of the compact network."""
    splits = task.load(folder)
    model = copy.deepcopy(found[0] if way == "path and network" else dense(task, 0, folder)).train()
    path = None if way == "anew" else found[1]
    target = tg.Target(weights=SHARE, compensate=False)
    growl = tg.GrOWL(model, target=target, example_inputs=example_of(splits), min_rows=2, path=path)
    train(model, splits, steps, seed + 200, growl)
    return {"way": way, "steps": steps, "seed": seed, "reached": growl.progress.reached, **outcome(model, splits)}


def main(arguments: list[str] | None = None) -> None:
    """Run all trainings; keep the result."""
    parser = options(__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    given = parser.parse_args(arguments)
    timing.one_thread()
    warnings.simplefilter("ignore", tg.GrowlWarning)
    task, lengths, seeds = (QUICK, (40,), 1) if given.quick else (TASKS["mnist"], LENGTHS, SEEDS)
    kept = results.Kept("from_path-quick" if given.quick else "from_path", resume=not given.quick)
    whole = outcome(dense(task, 0, given.data), task.load(given.data))
    found = search(task, given.data)
    best = [point.weights for point in found[1].points if point.good]
    trainings = []
    for steps in lengths:
        for way in WAYS:
            for seed in range(seeds):
                key = f"{way} {steps} {seed}"
                at = (task, given.data, way, steps, seed, found)
                trainings.append(kept.get(key, lambda at=at: to_target(*at)))  # type: ignore[misc]
                print(trainings[-1], flush=True)
    data = {"share": SHARE, "dense": whole, "found": min(best, default=None), "trainings": trainings}
    keep(given, "learning.experiments.from_path", data)
    kept.done()


if __name__ == "__main__":
    main()
