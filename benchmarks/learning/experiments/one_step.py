"""Trains networks to a target whose rows go in one step, with ties and without.

Run it with ``python -m benchmarks.learning.experiments.one_step --data DIR``; it resumes from what it has kept.

The networks, batches, rates and 300 steps from scratch are those of ``targets --table landing``. Rows are chosen
on 640 training examples in batches of 128.
"""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import torch

import torch_growl as tg
from benchmarks.harness import results, timing
from benchmarks.harness.command import keep, options
from benchmarks.learning.experiments.targets import LANDING_STEPS, NETWORKS, data_of, fresh, to_target

__all__ = ["main", "training"]

PERCEPTRONS = ("digits, 64-300-100-10", "MNIST, 784-300-10")
SHARES = (0.2, 0.1)
SEEDS = 1
FITTED, BATCH = 640, 128


def training(
    name: str, optimizer: str, share: float, ties: bool, seed: int, folder: Path, steps: int
) -> dict[str, Any]:
    """Train one network from scratch to a share of its weights, and return what is left and its accuracy."""
    network = NETWORKS[name]
    splits = data_of(network.data, folder)
    chosen = torch.randperm(len(splits.train), generator=torch.Generator().manual_seed(1))[:FITTED]
    inputs, _ = splits.train.batch(chosen)  # type: ignore[attr-defined]
    target = tg.Target(weights=share, compensate=list(inputs.split(BATCH)), ties=ties)
    how = (optimizer, network.sgd if optimizer == "SGD" else 1e-3)
    found = to_target(network, fresh(network, seed), splits, target, how, steps, seed)
    return {"network": name, "optimizer": optimizer, "ties": ties, "seed": seed, "steps": steps, **found}


def main(arguments: list[str] | None = None) -> None:
    """Run the trainings that are left; keep the result once all are done."""
    parser = options(__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    given = parser.parse_args(arguments)
    timing.one_thread()
    kept = results.Kept("one_step-quick" if given.quick else "one_step", resume=not given.quick)
    trainings = [(*one, LANDING_STEPS) for one in product(PERCEPTRONS, ("SGD", "AdamW"), SHARES)]
    if given.quick:
        trainings = [(PERCEPTRONS[0], "SGD", SHARES[1], 40)]
    found = []
    for (name, optimizer, share, steps), seed, ties in product(
        trainings, range(1 if given.quick else SEEDS), (False, True)
    ):
        key = f"{name} {optimizer} {share} {seed} {'ties' if ties else 'no ties'}"
        at = (name, optimizer, share, ties, seed, given.data, steps)
        found.append(kept.get(key, lambda at=at: training(*at)))  # type: ignore[misc]
        print(key, {field: found[-1][field] for field in ("asked", "compact", "accuracy")}, flush=True)
    keep(given, "learning.experiments.one_step", {"trainings": found})
    kept.done()


if __name__ == "__main__":
    main()
