"""Trains networks to targets: how near each training lands, and what accuracy is left with more and fewer steps.

Run it with ``python -m benchmarks.learning.experiments.targets --data DIR``; it resumes from the trainings it has kept.
A table alone: ``--table landing``.

* **Landing.** Three networks from scratch, SGD and AdamW, weights, bytes and MACs at 1/2, 1/5 and 1/10.
* **Budgets.** Six numbers of steps from 200 to 20,000 on MNIST and with a transformer on digits, from scratch, and with
  the transformer also from trained weights with tiny steps.
* **Beside.** The same size by removing the rows of smallest norm at once, with the same steps; and by rows that shrink
  slowly.
* **Landing-slowly, budgets-slowly.** The first two tables with ``compensate=False``: rows shrink slowly.

Every training has one CPU thread, random batches, a learning rate on a cosine to 0, and is judged on the test split by
its compact network, whose size is measured and compared with the size that the training counted.
"""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.optim import SGD, AdamW, Optimizer

import torch_growl as tg
from benchmarks.harness import results, timing
from benchmarks.harness.command import keep, options
from benchmarks.learning.training.counting import compacted
from benchmarks.learning.training.cutting import Order, cut_
from benchmarks.learning.training.fitting import accuracy, example_of
from benchmarks.learning.training.tasks import TinyTransformer
from torch_growl.application.data.datasets import Splits, load_digits_splits, load_mnist
from torch_growl.application.models.convolutional import lenet5
from torch_growl.application.models.perceptrons import digits_mlp, mnist_mlp

__all__ = ["beside", "budget", "landing", "main"]

MEASURES, SHARES = ("weights", "bytes", "macs"), (0.5, 0.2, 0.1)
TABLES = ("landing", "budgets", "beside", "landing-slowly", "budgets-slowly")
BUDGETS = (200, 500, 1_250, 3_150, 8_000, 20_000)
LANDING_STEPS = 300
TINY_STEPS = 2e-5  # the learning rate of AdamW from trained weights
TRAINED_STEPS = 3_000  # of the training that makes them, at 1e-3
SEEDS = 3
SEVERAL = 1_250  # steps up to which a budget has several seeds
COMPARED = 3_150  # steps up to which the same training without a target is run


@dataclass(frozen=True)
class Network:
    """A network, its data and its batches.

    Attributes:
        build: the network, freshly initialised.
        data: the name of its data.
        batch: examples in a step.
        sgd: the learning rate of SGD with momentum 0.9.
    """

    build: Callable[[], nn.Module]
    data: str
    batch: int
    sgd: float = 0.05


NETWORKS = {
    "digits, 64-300-100-10": Network(digits_mlp, "digits", 64),
    "MNIST, 784-300-10": Network(lambda: mnist_mlp(init="torch"), "mnist", 64),
    "MNIST, LeNet-5": Network(lenet5, "images", 32, sgd=0.02),
    "digits, transformer": Network(lambda: TinyTransformer(width=32, blocks=1), "digits", 16),
}


@cache
def data_of(name: str, folder: Path) -> Splits:
    """Load the data of a network."""
    return load_digits_splits() if name == "digits" else load_mnist(folder, flat=name == "mnist")


def optimizer_of(name: str, model: nn.Module, rate: float) -> Optimizer:
    """Make SGD with momentum or AdamW."""
    if name == "SGD":
        return SGD(model.parameters(), lr=rate, momentum=0.9, weight_decay=5e-4)
    return AdamW(model.parameters(), lr=rate, weight_decay=0.01)


def train(
    model: nn.Module,
    optimizer: Optimizer,
    splits: Splits,
    steps: int,
    seed: int,
    batch: int,
    before_step: Callable[[int], object] = lambda step: None,
) -> nn.Module:
    """Train a network in place on random batches; return it in eval mode.

    ``before_step`` is called with the number of steps done.
    """
    split: Any = splits.train
    generator = torch.Generator().manual_seed(seed)
    rates = [group["lr"] for group in optimizer.param_groups]
    torch.manual_seed(seed)
    model.train()
    for step in range(steps):
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * 0.5 * (1 + math.cos(math.pi * step / steps))
        before_step(step)
        x, y = split.batch(torch.randint(len(split), (batch,), generator=generator))
        optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
    return model.eval()


def fresh(network: Network, seed: int) -> nn.Module:
    """Return the network, initialised with a seed."""
    torch.manual_seed(seed)
    return network.build()


def to_target(
    network: Network, model: nn.Module, splits: Splits, target: tg.Target, how: tuple[str, float], steps: int, seed: int
) -> dict[str, Any]:
    """Train a network to a target, compact it, and return what was asked, counted and measured."""
    example = example_of(splits)
    growl = tg.GrOWL(model, target=target, example_inputs=example)
    optimizer = optimizer_of(how[0], model, how[1])
    growl.attach(optimizer, steps=steps)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", tg.GrowlWarning)  # a missed target is in the result
        train(model, optimizer, splits, steps, seed, network.batch)
    progress = growl.progress
    small = compacted(model, example)
    return {
        "of": target.of,
        "share": target.value,
        "asked": progress.asked,
        "counted": progress.left,
        "compact": getattr(tg.measure(small, example, latency=False), target.of),
        "dense": progress.dense,
        "reached": progress.reached,
        "accuracy": accuracy(small, splits.test),
        "rows": dict(progress.rows),
    }


def landing(name: str, optimizer: str, target: tg.Target, seed: int, folder: Path, steps: int) -> dict[str, Any]:
    """Train one network from scratch to one target."""
    network = NETWORKS[name]
    how = (optimizer, network.sgd if optimizer == "SGD" else 1e-3)
    splits = data_of(network.data, folder)
    found = to_target(network, fresh(network, seed), splits, target, how, steps, seed)
    return {"network": name, "optimizer": optimizer, "seed": seed, "steps": steps, **found}


@cache
def trained(name: str, seed: int, folder: Path, steps: int) -> nn.Module:
    """Return the network trained without a penalty, AdamW at 1e-3; a copy of it is trained on."""
    network = NETWORKS[name]
    model = fresh(network, seed)
    return train(model, optimizer_of("AdamW", model, 1e-3), data_of(network.data, folder), steps, seed, network.batch)


def budget(
    name: str, start: str, steps: int, seed: int, folder: Path, whole: int, compensate: bool | None = None
) -> dict[str, Any]:
    """Train one network to a fifth of its weights in a number of steps, and as long without a target.

    Args:
        name: the network.
        start: "scratch", AdamW at 1e-3; or "trained", from weights of so many steps, at 2e-5.
        steps: of the training.
        seed: of the network and the batches.
        folder: with the data.
        whole: steps of the training before, with "trained".
        compensate: of the target.
    """
    network = NETWORKS[name]
    splits = data_of(network.data, folder)
    rate = 1e-3 if start == "scratch" else TINY_STEPS
    first = fresh(network, seed) if start == "scratch" else copy.deepcopy(trained(name, seed, folder, whole))
    without = None
    if steps <= COMPARED:
        dense = copy.deepcopy(first)
        train(dense, optimizer_of("AdamW", dense, rate), splits, steps, seed + 100, network.batch)
        without = accuracy(dense, splits.test)
    found = to_target(
        network, first, splits, tg.Target(weights=0.2, compensate=compensate), ("AdamW", rate), steps, seed + 100
    )
    return {"network": name, "start": start, "seed": seed, "steps": steps, "without": without, **found}


@dataclass(frozen=True)
class Beside:
    """A training that is compared with removing rows at once.

    Attributes:
        network: its name.
        target: what is asked for.
        optimizer: its name.
        rate: its learning rate.
        steps: of the training.
        before: steps of the training before, AdamW at 1e-3; 0: from scratch.
    """

    network: str
    target: tg.Target
    optimizer: str
    rate: float
    steps: int
    before: int = 0


BESIDE = {
    "MNIST, 784-300-10, 1/10 of the weights": Beside("MNIST, 784-300-10", tg.Target(weights=0.1), "AdamW", 1e-3, 600),
    "MNIST, LeNet-5, 1/5 of the MACs": Beside("MNIST, LeNet-5", tg.Target(macs=0.2), "SGD", 0.02, 300),
    "digits, transformer, 1/5 of the weights, trained before": Beside(
        "digits, transformer", tg.Target(weights=0.2), "AdamW", 3e-4, 600, 1_500
    ),
}
WAYS: dict[str, tuple[Order, float] | None] = {
    "target": None,
    "target, slowly": None,
    "global, early": ("global", 0.1),
    "alike, early": ("alike", 0.1),
    "global, late": ("global", 0.5),
}


def beside(name: str, way: str, seed: int, folder: Path) -> dict[str, Any]:
    """Train one network to a size by the target, or by removing rows at once after a share of the same steps.

    From trained weights "early" is before the first step.
    """
    task = BESIDE[name]
    network = NETWORKS[task.network]
    splits = data_of(network.data, folder)
    model = fresh(network, seed)
    if task.before:
        model = copy.deepcopy(trained(task.network, seed, folder, task.before))
    how = (task.optimizer, task.rate)
    common = {"task": name, "way": way, "seed": seed, "steps": task.steps, "start": accuracy(model, splits.test)}
    cut = WAYS[way]
    if cut is None:
        target = replace(task.target, compensate=False) if way == "target, slowly" else task.target
        return common | to_target(network, model, splits, target, how, task.steps, seed + 100)
    order, share = cut
    at = 0 if task.before and share < 0.5 else round(share * task.steps)
    optimizer, example = optimizer_of(task.optimizer, model, task.rate), example_of(splits)

    def before_step(step: int) -> None:
        if step == at:
            layers = tg.GrOWL(model, target=task.target, example_inputs=example).layers
            cut_(model, task.target, example, layers, order, least=4)
            tg.GrOWL(model, 0.0, layers=layers).attach(optimizer)  # rows that are zero stay zero

    train(model, optimizer, splits, task.steps, seed + 100, network.batch, before_step)
    small = compacted(model, example)
    found = {"compact": getattr(tg.measure(small, example, latency=False), task.target.of)}
    return {**common, **found, "asked": None, "accuracy": accuracy(small, splits.test)}


LANDING = tuple(NETWORKS)[:3]
BUDGET_TASKS: Sequence[tuple[str, str, int]] = (  # network, start, how many of the budgets
    ("MNIST, 784-300-10", "scratch", 6),
    ("digits, transformer", "scratch", 6),
    ("digits, transformer", "trained", 6),
)


def jobs(quick: bool, folder: Path) -> dict[str, dict[str, Callable[[], dict[str, Any]]]]:
    """Return the trainings of each table by their keys; a quick run has a few short ones."""
    found: dict[str, dict[str, Callable[[], dict[str, Any]]]] = {table: {} for table in TABLES}
    for way, compensate in (("", None), ("-slowly", False)):
        steps = 40 if quick else LANDING_STEPS
        for name in LANDING[: 1 if quick else None]:
            for optimizer, of, share in product(("SGD", "AdamW"), MEASURES[: 1 if quick else None], SHARES):
                target = tg.Target(**{of: share}, compensate=compensate)
                job = partial(landing, name, optimizer, target, 0, folder, steps)
                found[f"landing{way}"][f"landing{way} {name} {optimizer} {of} {share}"] = job
        whole = 50 if quick else TRAINED_STEPS
        for name, start, number in BUDGET_TASKS[1 if quick else 0 :]:
            for steps in BUDGETS[: 1 if quick else number]:
                for seed in range(SEEDS if steps <= SEVERAL and not quick else 1):
                    job = partial(budget, name, start, steps, seed, folder, whole, compensate)
                    found[f"budgets{way}"][f"budget{way} {name} {start} {steps} {seed}"] = job
    found["beside"] = {
        f"beside {name} {way} {seed}": partial(beside, name, way, seed, folder)
        for name in list(BESIDE)[: 1 if quick else None]
        for way in WAYS
        for seed in range(1 if quick else SEEDS)
    }
    return found


def main(arguments: list[str] | None = None) -> None:
    """Run the trainings that are left; keep the result once all are done."""
    parser = options(__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--table", choices=TABLES, action="append", help="only this one; each has a result of its own")
    parser.add_argument("--only", default="", help="run only trainings whose name has this in it; keep no result yet")
    given = parser.parse_args(arguments)
    timing.one_thread()
    kept = results.Kept("targets-quick" if given.quick else "targets", resume=not given.quick)
    name = given.name
    for table, its in jobs(given.quick, given.data).items():
        if table not in (given.table or TABLES):
            continue
        found = []
        for key, job in its.items():
            if given.only in key:
                found.append(kept.get(key, job))
                print(key, {field: found[-1][field] for field in ("asked", "compact", "accuracy")}, flush=True)
        if given.only:
            continue
        given.name = f"{name or 'targets'}-{table}" if name or not given.quick else None
        keep(given, f"learning.experiments.targets --table {table}", {"trainings": found})
    if not given.table and not given.only:
        kept.done()


if __name__ == "__main__":
    main()
