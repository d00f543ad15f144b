"""Trains networks to a quarter of their weights by a target, and as long without a penalty.

Run it with ``python -m benchmarks.learning.experiments.quarters --data DIR``; ``--only`` shares the work.

VGG-16 of a quarter's width on CIFAR-10 (SGD with momentum 0.9, weight decay 5e-4, batches of 128, crops and mirrored
images, products in bfloat16) and a transformer on digits (AdamW at 1e-3, weight decay 0.01, batches of 64). Both start
from scratch, with one cosine down to 0 over the same epochs, and the last epoch counts:

* ``control``: without a penalty;
* ``target``: ``tg.Target(weights=0.25, compensate=False)`` on the whole training;
* ``half of it``: half of the epochs without, then the target, with a cosine of its own for either half;
* ``compensated``: the same with ``compensate=``, eight batches of the training split;
* ``shrunk``: after half of the epochs ``tg.shrink`` on these batches, without ties; the compact network trains on;
* ``in one step``: the target with ``compensate=`` on the whole training.

An interrupted training resumes from its last epoch.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim import AdamW, Optimizer

import torch_growl as tg
from benchmarks.harness import results, timing
from benchmarks.harness.command import keep, options, workplace
from benchmarks.learning.training.counting import compacted
from benchmarks.learning.training.fitting import Bfloat16, Fit, accuracy, example_of, file_name, training_batches
from benchmarks.learning.training.resuming import fit_resumed
from benchmarks.learning.training.tasks import TinyTransformer
from torch_growl.application.data.datasets import Splits, load_cifar10, load_digits_splits
from torch_growl.application.models.convolutional import vgg16

__all__ = ["WAYS", "main"]

SHARE = 0.25
WAYS = ("control", "target", "half of it", "compensated", "shrunk", "in one step")


@dataclass(frozen=True)
class Task:
    """A network, its data and its training.

    Attributes:
        build: the network, freshly initialised.
        load: the data, given the folder.
        how: the whole training.
        optimizer: another one than SGD with momentum.
        wrap: what is trained in its place.
    """

    build: Callable[[], nn.Module]
    load: Callable[[Path], Splits]
    how: Fit
    optimizer: Callable[[list[nn.Parameter]], Optimizer] | None = None
    wrap: Callable[[nn.Module], nn.Module] = lambda network: network


TASKS = {
    "CIFAR-10, VGG-16 of a quarter's width": Task(
        lambda: vgg16(width=0.25).to(memory_format=torch.channels_last),
        lambda folder: load_cifar10(folder, normalize="channels", padding=4),
        Fit(24, 0.1, 5e-4),
        wrap=Bfloat16,
    ),
    "digits, transformer": Task(
        TinyTransformer,
        lambda _: load_digits_splits(),
        Fit(240, 1e-3, batch_size=64),
        lambda parameters: AdamW(parameters, lr=1e-3, weight_decay=0.01),
    ),
}


def main(arguments: list[str] | None = None) -> None:
    """Run the trainings that are left, and keep the result."""
    parser = options(__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--work", type=Path, default=Path("runs/learning/quarters"))
    parser.add_argument("--only", choices=list(TASKS), action="append", help="this task; may be repeated")
    parser.add_argument("--way", choices=WAYS, action="append", help="may be repeated")
    parser.add_argument("--seed", type=int, action="append", help="of the network and its training, 0 by default")
    given = parser.parse_args(arguments)
    timing.one_thread()
    given.work = workplace(given)
    file = given.work / "done.json"
    for name in given.only or list(TASKS)[1 if given.quick else 0 :]:
        for seed in given.seed or [0]:
            for way in given.way or WAYS:
                key = f"{name}, {way}, seed {seed}"
                if key not in results.parts(file):
                    found = _trained(name, way, seed, given)
                    print(key, found, flush=True)
                    results.write(file, results.parts(file) | {key: found})  # others may write it too
    keep(given, "learning.experiments.quarters", {"trainings": list(results.parts(file).values())})


def _trained(name: str, way: str, seed: int, given: Any) -> dict[str, Any]:
    started, task = time.perf_counter(), TASKS[name]
    splits = task.load(given.data)
    how = replace(task.how, epochs=4) if given.quick else task.how
    torch.manual_seed(seed)
    model = task.build()
    example = example_of(splits)
    path = given.work / f"{file_name(f'{name} {way}')}-{seed}.pt"
    phase: dict[str, Any] = {"wrap": task.wrap, "make_optimizer": task.optimizer}
    target = tg.Target(weights=SHARE, compensate=False)
    if way in ("half of it", "compensated", "shrunk"):
        how = replace(how, epochs=how.epochs // 2)
        shared = given.work / f"{file_name(name)}-first-{seed}.pt"
        fit_resumed(shared, model, splits.train, how, seed, **phase)
    if way in ("compensated", "shrunk", "in one step"):
        target = replace(target, compensate=training_batches(splits, how.batch_size))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", tg.GrowlWarning)  # the last row of the table says what is left
        if way == "shrunk":
            model = tg.shrink(model.eval(), training_batches(splits, how.batch_size), target, ties=False)
            model.requires_grad_(requires_grad=True)
        elif way != "control":
            phase |= {"growl": tg.GrOWL(model, target=target, example_inputs=example), "to_target": True}
        fit_resumed(path, model, splits.train, how, seed + 100, **phase)
        small = model if way in ("control", "shrunk") else compacted(model, example)
    sizes = [tg.measure(network, example, latency=False) for network in (task.build(), small)]
    return {
        "task": name,
        "way": way,
        "seed": seed,
        "epochs": task.how.epochs if not given.quick else 4,
        "commit": results.commit(),
        "accuracy": {part: accuracy(small, getattr(splits, part)) for part in ("validation", "test")},
        "weights": sizes[1].weights / sizes[0].weights,
        "macs": sizes[1].macs / sizes[0].macs,
        "seconds": round(time.perf_counter() - started),
    }


if __name__ == "__main__":
    main()
