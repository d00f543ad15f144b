"""Accuracy against size on MNIST, for GrOWL and the methods beside it: ``python -m benchmarks.learning.curve``.

784-300-10, images shifted by up to one pixel in training for every method, rows of both layers where a method can
choose them, everything counted. One job is one method and seed; a job that is done is not done again, so that several
processes can share the work (``--only METHOD``). One CPU thread. ``--long`` gives every method half of
``mnist-best``'s epochs and its distillation, at fewer sizes.
"""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks import timing
from benchmarks.command import keep, options
from benchmarks.learning.fitting import Fit, accuracy, fit, keep_state, state_of
from benchmarks.learning.methods import PATHS, SHIFT, Budget, Start
from torch_growl.data import Splits, load_mnist
from torch_growl.networks import mnist_mlp

__all__ = ["dense_network", "job", "main"]

SEEDS = (0, 1, 2)
DENSE = Fit(epochs=30, lr=0.1, weight_decay=5e-4)
SHORT = Budget()
# Half of mnist-best's epochs, and its distillation, around the size at which a method comes to the paper's accuracy.
LONG = Budget(
    press=12,
    retrain=50,
    between=8,
    distill=0.5,
    strengths=(0.8, 2.4, 7.2),
    pat=(10.0, 25.0, 60.0),
    kept=(0.5, 0.3, 0.22, 0.18, 0.15, 0.12),
    neurons=(0.3, 0.16, 0.11, 0.08),
    values=(8, 4),
    shares=(0.3, 0.2, 0.16, 0.122),
)


def dense_network(splits: Splits, seed: int, work: Path, epochs: int = DENSE.epochs) -> nn.Module:
    """The trained dense network of a seed, made once."""
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
    method: str, seed: int, splits: Splits, work: Path, budget: Budget = SHORT, epochs: int = DENSE.epochs
) -> dict[str, Any]:
    """One method's path from one dense network; every point's last epoch on the test split."""
    dense = dense_network(splits, seed, work, epochs)
    example = splits.validation.batch(torch.arange(2))[0]  # type: ignore[attr-defined]
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
    }


def main(arguments: list[str] | None = None) -> None:
    """Do the jobs that are left; keep the result when none is."""
    parser = options(__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--work", type=Path, default=Path("runs/learning/curve"))
    parser.add_argument("--only", choices=list(PATHS), action="append", help="these methods")
    parser.add_argument("--long", action="store_true", help="more epochs and distillation, fewer points")
    given = parser.parse_args(arguments)
    timing.one_thread()
    splits = load_mnist(given.data, shift=SHIFT, limit=512 if given.quick else None)
    given.work.mkdir(parents=True, exist_ok=True)
    name, budget, epochs = ("curve-long", LONG, DENSE.epochs) if given.long else ("curve", SHORT, DENSE.epochs)
    if given.quick:
        budget, epochs = replace(budget, press=1, retrain=1, between=1), 3
    seeds = SEEDS[:1] if given.quick else SEEDS
    paths = {(m, s): given.work / f"{name}-{m.replace(' ', '-')}-{s}.json" for m in PATHS for s in seeds}
    for method in given.only or PATHS:
        for seed in seeds:
            if not paths[method, seed].is_file():
                found = job(method, seed, splits, given.work, budget, epochs)
                paths[method, seed].write_text(json.dumps(found), encoding="utf-8")
    if all(path.is_file() for path in paths.values()):
        done = [json.loads(path.read_text(encoding="utf-8")) for path in paths.values()]
        given.name = given.name or (None if given.quick else name.replace("-", "_"))
        spent = {"dense": epochs, "press": budget.press, "retrain": budget.retrain, "distill": budget.distill}
        keep(given, "learning.curve" + (" --long" if given.long else ""), {"epochs": spent, "jobs": done})


if __name__ == "__main__":
    main()
