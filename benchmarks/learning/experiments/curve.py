"""Measures accuracy against size on MNIST for GrOWL and other methods.

Run it with ``python -m benchmarks.learning.experiments.curve``.

The network is 784-300-10. Training images are shifted by up to one pixel for every method, rows of both layers are
compressed if a method can choose them, and all bytes are counted. A job is one method and seed; finished jobs are
kept, so several processes can share the work (``--only METHOD``). One CPU thread.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.harness import results, timing
from benchmarks.harness.command import keep, options, workplace
from benchmarks.learning.training.fitting import Fit, accuracy, example_of, fit, keep_state, state_of
from benchmarks.learning.training.methods import PATHS, Budget, Start
from torch_growl.application.data.datasets import Splits, load_mnist
from torch_growl.application.models.perceptrons import mnist_mlp

__all__ = ["dense_network", "job", "main"]

SEEDS = (0, 1, 2)
DENSE = Fit(epochs=30, lr=0.1, weight_decay=5e-4)
BUDGET = Budget()


def dense_network(splits: Splits, seed: int, work: Path, epochs: int = DENSE.epochs) -> nn.Module:
    """Return the dense network of a seed, trained once."""
    torch.manual_seed(seed)
    model = mnist_mlp(init="torch")
    path = work / f"dense{seed}.pt"
    state = state_of(path)
    if state is None:
        fit(model, splits.train, Fit(epochs, DENSE.lr, DENSE.weight_decay), seed)
        state = dict(model.state_dict())
        keep_state(path, state)
    model.load_state_dict(state)
    return model.eval()


def job(
    method: str, seed: int, splits: Splits, work: Path, budget: Budget = BUDGET, epochs: int = DENSE.epochs
) -> dict[str, Any]:
    """Follow one method's path from one dense network; test accuracy is that of every point's last epoch."""
    dense = dense_network(splits, seed, work, epochs)
    example = example_of(splits)
    started = time.perf_counter()
    points = []
    for curve, knob, model, found in PATHS[method](Start(dense, splits, example, 1000 * (seed + 1), budget)):
        points.append(
            {
                "curve": curve,
                "knob": knob,
                "validation": accuracy(model, splits.validation),
                "test": accuracy(model, splits.test),
                **found,
            }
        )
        print(seed, points[-1], flush=True)
    return {
        "method": method,
        "seed": seed,
        "dense": accuracy(dense, splits.test),
        "points": points,
        "seconds": time.perf_counter() - started,
        "commit": results.commit(),
    }


def main(arguments: list[str] | None = None) -> None:
    """Run the jobs that are left; keep the result once all are done."""
    parser = options(__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--work", type=Path, default=Path("runs/learning/curve"))
    parser.add_argument("--only", choices=list(PATHS), action="append", help="run only these methods")
    given = parser.parse_args(arguments)
    timing.one_thread()
    splits = load_mnist(given.data, shift=1, limit=512 if given.quick else None)
    given.work = workplace(given)
    budget, epochs = BUDGET, DENSE.epochs
    if given.quick:
        budget, epochs = Budget(press=1, retrain=1), 3
    paths = {
        (method, seed): given.work / f"{method.replace(' ', '-')}-{seed}.json"
        for method in PATHS
        for seed in (SEEDS[:1] if given.quick else SEEDS)
    }
    for (method, seed), path in paths.items():
        if (not given.only or method in given.only) and not path.is_file():
            found = job(method, seed, splits, given.work, budget, epochs)
            results.write(path, found)
    if all(path.is_file() for path in paths.values()):
        done = [results.read(path) for path in paths.values()]
        spent = {"dense": epochs, "press": budget.press, "retrain": budget.retrain}
        keep(given, "learning.experiments.curve", {"epochs": spent, "jobs": done})


if __name__ == "__main__":
    main()
