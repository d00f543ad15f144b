"""Trains networks of every kind with one strength and one sequence.

Run it with ``python -m benchmarks.learning.experiments.one_strength --data DIR``.

Trained networks of each kind are trained on with ``tg.GrOWL(model)`` at its defaults, with SGD or AdamW; then rows are
tied, and the compact network is trained with distillation from the dense one. Some tasks add group lasso of the same
strength (its λ are all 1, those of GrOWL 0.87 in the mean), and no penalty for as many epochs. A job is one task,
penalty and seed; finished jobs are kept, and interrupted ones resume from their last epoch. One CPU thread, last epoch,
test split.
"""

from __future__ import annotations

import copy
import time
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

import torch_growl as tg
from benchmarks.harness import results, timing
from benchmarks.harness.command import keep, options, workplace
from benchmarks.learning.training.counting import compacted, ratio
from benchmarks.learning.training.fitting import (
    Bfloat16,
    Fit,
    accuracy,
    example_of,
    file_name,
)
from benchmarks.learning.training.resuming import fit_resumed
from benchmarks.learning.training.tasks import TASKS, Task
from torch_growl.application.data.datasets import Splits

__all__ = ["job", "main"]

FOLDERS = {"data": "../shared/data", "cifar": "../shared/data", "weights": "../shared/pretrained"}


def resumed(
    name: str,
    model: nn.Module,
    how: Fit,
    task: Task,
    splits: Splits,
    work: Path,
    seed: int,
    growl: tg.GrOWL | None = None,
    teacher: nn.Module | None = None,
) -> nn.Module:
    """Train one phase, or resume it."""
    return fit_resumed(
        work / f"{name}.pt",
        model,
        splits.train,
        how,
        seed,
        wrap=Bfloat16 if task.bfloat16 else _plain,
        growl=growl,
        every=task.every,
        teacher=Bfloat16(teacher) if teacher is not None and task.bfloat16 else teacher,
        make_optimizer=task.optimizer,
    )


def _plain(network: nn.Module) -> nn.Module:
    return network


def job(
    name: str, penalty: str, seed: int, splits: Splits, weights: Path, work: Path, scale: int = 1
) -> dict[str, Any]:
    """Run one task with one penalty and seed."""
    task = TASKS[name]
    started = time.perf_counter()
    slug = file_name(name)
    torch.manual_seed(seed)
    model = task.build(weights)
    example = example_of(splits)
    if task.dense.epochs:
        resumed(f"{slug}-dense-{seed}", model, _scaled(task.dense, scale), task, splits, work, seed)
    dense = copy.deepcopy(model).eval()
    growl = None
    if penalty != "none":
        growl = tg.GrOWL(model, sequence=tg.lasso()) if penalty == "group lasso" else tg.GrOWL(model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", tg.GrowlWarning)
        resumed(f"{slug}-{penalty}-{seed}", model, _scaled(task.press, scale), task, splits, work, seed + 100, growl)
    pressed = accuracy(model, splits.test)
    found: dict[str, Any] = {"task": name, "penalty": penalty, "seed": seed, "dense": accuracy(dense, splits.test)}
    if growl is not None and task.share is not None:
        tg.tie_(model, tg.find_tying(model, growl.layers, method="ward", groups=task.share))
    small = model if growl is None else compacted(model, example)
    tied = accuracy(small, splits.test)
    resumed(
        f"{slug}-{penalty}-small-{seed}",
        small,
        _scaled(task.retrain, scale),
        task,
        splits,
        work,
        seed + 200,
        teacher=dense,
    )
    if growl is not None:
        layers = tg.structure_of(small).layers
        found |= {"strength": growl.strength, "sequence": str(growl.sequence), "nonzero": growl.nonzero()}
        found["floored"] = sorted(growl.floored)  # kept by min_rows, not by the strength
        found |= {"rows": {layer.name: layer.inputs for layer in layers}}
        found |= {"widths": {layer.name: layer.width for layer in layers}}
    return found | {
        "pressed": pressed,
        "tied": tied,
        "compact": accuracy(small, splits.test),
        **ratio(dense, small, example),
        "epochs": [task.dense.epochs, task.press.epochs, task.retrain.epochs],
        "seconds": time.perf_counter() - started,
        "commit": results.commit(),
    }


def _scaled(how: Fit, scale: int) -> Fit:
    return replace(how, epochs=max(1, how.epochs // scale))


def main(arguments: list[str] | None = None) -> None:
    """Run the jobs that are left; keep the result once all are done."""
    parser = options(__doc__)
    for folder, where in FOLDERS.items():
        parser.add_argument(f"--{folder}", type=Path, default=Path(where))
    parser.add_argument("--work", type=Path, default=Path("runs/learning/one_strength"))
    parser.add_argument("--only", choices=list(TASKS), action="append", help="run only these tasks")
    given = parser.parse_args(arguments)
    timing.one_thread()
    given.work = workplace(given)
    wanted = []
    for name, task in TASKS.items():
        cifar = name.startswith("CIFAR")
        splits = None
        for penalty in task.beside:
            for seed in range(1 if given.quick else task.seeds):
                path = given.work / f"{file_name(f'{name}-{penalty}-{seed}')}.json"
                wanted.append(path)
                if path.is_file() or (given.only and name not in given.only):
                    continue
                splits = splits or task.load(given.cifar if cifar else given.data)
                found = job(name, penalty, seed, splits, given.weights, given.work, 50 if given.quick else 1)
                results.write(path, found)
                print(found, flush=True)
    done = [results.read(path) for path in wanted if path.is_file()]
    if len(done) == len(wanted):
        keep(given, "learning.experiments.one_strength", {"jobs": done})


if __name__ == "__main__":
    main()
