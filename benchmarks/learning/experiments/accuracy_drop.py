"""Finds the smallest network within an accuracy drop, in one training and by a grid of 20 fixed targets.

Run it with ``python -m benchmarks.learning.experiments.accuracy_drop --data DIR``; it resumes from the trainings it has
kept. ``--task mnist`` is the same on MNIST, with a result of its own.

For each seed a network is trained. From its weights start 20 trainings with fixed targets, of as many steps each, and
one training with the accuracy drop, of twice as many: a tenth of the grid's steps. SGD, random batches of 64, a
learning rate on a cosine to 0, one CPU thread. Scores are per cent of the validation split, which no training sees, and
the search has their standard error; the test split is only read at the end.
"""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

import torch_growl as tg
from benchmarks.harness import results, timing
from benchmarks.harness.command import keep, options
from benchmarks.learning.training.counting import compacted
from benchmarks.learning.training.fitting import accuracy, example_of
from torch_growl.application.data.datasets import Splits, load_digits_splits, load_mnist
from torch_growl.application.models.perceptrons import digits_mlp, mnist_mlp

__all__ = ["SHARES", "TASKS", "main", "searched", "to_share"]

SHARES = tuple(0.7 * (0.02 / 0.7) ** (i / 19) for i in range(20))
BATCH, RATE = 64, 0.05


@dataclass(frozen=True)
class Task:
    """A network, its data, and the numbers of the trainings.

    Attributes:
        build: the network, freshly initialised.
        load: the data, from a folder.
        drop: the accuracy drop, in points of per cent.
        before: steps of the dense training.
        steps: steps of a training of the grid; the search has twice as many.
        seeds: how many.
    """

    build: Callable[[], nn.Module]
    load: Callable[[Path], Splits]
    drop: float
    before: int
    steps: int
    seeds: int


TASKS = {
    "digits": Task(digits_mlp, lambda folder: load_digits_splits(), drop=1.0, before=1_500, steps=400, seeds=3),
    "mnist": Task(
        lambda: mnist_mlp(init="torch"), lambda f: load_mnist(f, flat=True), drop=0.3, before=3_000, steps=600, seeds=1
    ),
}
QUICK = Task(digits_mlp, lambda folder: load_digits_splits(), drop=1.0, before=200, steps=100, seeds=1)


def train(model: nn.Module, splits: Splits, steps: int, seed: int, growl: tg.GrOWL | None = None) -> nn.Module:
    """Train a network in place; return it in eval mode."""
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE, momentum=0.9, weight_decay=5e-4)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    if growl is not None:
        growl.attach(optimizer, steps=steps)
    generator = torch.Generator().manual_seed(seed)
    split: Any = splits.train
    model.train()
    for _ in range(steps):
        x, y = split.batch(torch.randint(len(split), (BATCH,), generator=generator))
        optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
        scheduler.step()
    return model.eval()


@cache
def dense(task: Task, seed: int, folder: Path) -> nn.Module:
    """Return the dense network of a seed; a copy of it is trained on."""
    torch.manual_seed(seed)
    return train(task.build(), task.load(folder), task.before, seed)


def points(model: nn.Module, splits: Splits, split: str = "validation") -> float:
    """Return the per cent of a split that are classified correctly."""
    return 100 * accuracy(model, getattr(splits, split))


def outcome(model: nn.Module, splits: Splits) -> dict[str, Any]:
    """Compact a network; return its size and its scores."""
    small = compacted(model, example_of(splits))
    measured = tg.measure(small, example_of(splits), latency=False)
    scores = {"validation": points(small, splits), "test": points(small, splits, "test")}
    return {"weights": measured.weights, "macs": measured.macs, **scores}


def whole(task: Task, seed: int, folder: Path) -> dict[str, Any]:
    """Return the size and the scores of the dense network."""
    return outcome(dense(task, seed, folder), task.load(folder))


def to_share(task: Task, share: float, seed: int, folder: Path) -> dict[str, Any]:
    """Train the dense network on to a share of its weights."""
    splits, model = task.load(folder), copy.deepcopy(dense(task, seed, folder))
    growl = tg.GrOWL(model, target=tg.Target(weights=share), example_inputs=example_of(splits), min_rows=2)
    train(model, splits, task.steps, seed + 100, growl)
    return {"share": share, "steps": task.steps, **outcome(model, splits)}


def searched(task: Task, seed: int, folder: Path) -> dict[str, Any]:
    """Search from the dense network for the smallest network within the drop."""
    splits, model = task.load(folder), copy.deepcopy(dense(task, seed, folder))
    p, n = points(model, splits) / 100, len(splits.validation)  # type: ignore[arg-type]
    error = 100 * math.sqrt(p * (1 - p) / n)
    target = tg.Target(accuracy_drop=task.drop, validate=lambda network: points(network, splits), standard_error=error)
    growl = tg.GrOWL(model, target=target, example_inputs=example_of(splits), min_rows=2)
    train(model, splits, 2 * task.steps, seed + 100, growl)
    found: Any = growl.progress
    trials = [[point.step, point.weights, point.score, point.good] for point in found.points]
    said = {"standard_error": error, "reference": found.reference, "reached": found.reached, "why": found.why}
    return {"steps": 2 * task.steps, "trials": trials, **said, **outcome(model, splits)}


def main(arguments: list[str] | None = None) -> None:
    """Run the trainings that are left; keep the result once all are done."""
    parser = options(__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--task", choices=TASKS, default="digits")
    given = parser.parse_args(arguments)
    timing.one_thread()
    warnings.simplefilter("ignore", tg.GrowlWarning)  # a missed target is in the result
    task = QUICK if given.quick else TASKS[given.task]
    name = "accuracy_drop" + ("-quick" if given.quick else f"-{given.task}")
    kept = results.Kept(name, resume=not given.quick)
    seeds = []
    for seed in range(task.seeds):
        at = (task, seed, given.data)
        first = kept.get(f"dense {seed}", partial(whole, *at))
        search = kept.get(f"search {seed}", partial(searched, *at))
        print(seed, "dense", first, "\nsearch", search, flush=True)
        grid = []
        for share in SHARES[:: 7 if given.quick else 1]:
            grid.append(kept.get(f"grid {seed} {share}", partial(to_share, task, share, seed, given.data)))
            print(grid[-1], flush=True)
        seeds.append({"seed": seed, "dense": first, "search": search, "grid": grid})
    settings = {"task": given.task, "drop": task.drop, "steps": task.steps, "before": task.before}
    given.name = given.name or (None if given.quick else name)
    keep(given, f"learning.experiments.accuracy_drop --task {given.task}", {**settings, "seeds": seeds})
    kept.done()


if __name__ == "__main__":
    main()
