"""Ties rows on MNIST and on whitened MNIST, to see whether tying needs correlated inputs.

Run it with ``python -m benchmarks.learning.experiments.decorrelated``.

Whitening (ZCA, Bell and Sejnowski, 1997) turns the pixels into as many inputs with the same information and hardly any
correlation. On both, 784-300-10 is trained without a penalty, with group lasso and with GrOWL at two strengths. Every
such network is compacted with its pruned rows only and with its rows tied at once to several numbers of groups, and
then trained with distillation from the dense one. Rows and groups are those of the first layer, the only one penalised.
Three seeds, no augmentation, one CPU thread, last epoch, test split.
"""

from __future__ import annotations

import copy
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

import torch_growl as tg
from benchmarks.harness import results, timing
from benchmarks.harness.command import keep, options, workplace
from benchmarks.learning.training.counting import compacted
from benchmarks.learning.training.fitting import Fit, accuracy, example_of, fit, scores
from benchmarks.learning.training.sums import answers, train_compact
from torch_growl.application.data.datasets import Splits, load_mnist
from torch_growl.application.data.splits import TensorSplit
from torch_growl.application.models.perceptrons import mnist_mlp

__all__ = ["INPUTS", "PENALTIES", "correlation", "job", "main", "whitened"]

INPUTS = ("pixels", "whitened")
PENALTIES = {"none": tg.lasso(), "group lasso": tg.lasso(), "GrOWL": tg.pld(p=0.3, floor=0.7)}
STRENGTHS, GROUPS, SEEDS = (0.4, 1.6), (160, 80, 40), 3
DENSE, PRESS, RETRAIN = Fit(20, 0.1, 5e-4), Fit(10, 0.1, 5e-4), Fit(20, 0.05, 1e-4, distill=0.5)


def whitened(splits: Splits, least: float = 1e-2) -> Splits:
    """Decorrelate the inputs by ZCA, with statistics of the training split.

    Args:
        splits: flat inputs, held in memory.
        least: of the mean variance of an input, added to every principal component's so that the empty ones stay so.
    """
    train = _split(splits.train).x.double()
    mean = train.mean(0)
    variances, axes = torch.linalg.eigh((train - mean).T @ (train - mean) / len(train))
    scale = (variances.clamp_min(0) + least * variances.mean()).rsqrt()
    matrix = (axes * scale) @ axes.T  # (784, 784)

    def turned(split: Any) -> TensorSplit:
        part = _split(split)
        return TensorSplit(((part.x.double() - mean) @ matrix).float(), part.y)

    return replace(splits, train=turned(splits.train), validation=turned(splits.validation), test=turned(splits.test))


def _split(split: Any) -> TensorSplit:
    assert isinstance(split, TensorSplit)
    return split


def correlation(x: Tensor) -> float:
    """Return the mean absolute correlation of neighbouring pixels that are not constant; x: (n, 784)."""
    image = x.double().view(-1, 28, 28)
    centred = image - image.mean(0)
    spread = centred.square().mean(0).sqrt()
    both = (centred[:, :, 1:] * centred[:, :, :-1]).mean(0)
    size = spread[:, 1:] * spread[:, :-1]
    seen = size > 1e-6
    return float((both[seen] / size[seen]).abs().mean())


def job(inputs: str, seed: int, splits: Splits, quick: bool = False) -> list[dict[str, Any]]:
    """Run all penalties on one kind of inputs, with one seed."""
    started = time.perf_counter()
    few = {"epochs": 1} if quick else {}
    train = _split(splits.train)
    torch.manual_seed(seed)
    dense = mnist_mlp(init="torch")
    fit(dense, train, replace(DENSE, **few), seed)
    logits = answers(dense, train, 0)
    example = example_of(splits)
    common = {"inputs": inputs, "seed": seed, "correlation": correlation(train.x)}
    common["dense"] = scores(dense, splits)
    found = []
    for penalty, sequence in PENALTIES.items():
        model = copy.deepcopy(dense)
        growl = tg.GrOWL(model, 0.0, sequence, layers=["fc1"])

        def attach(optimizer: Optimizer, growl: tg.GrOWL = growl) -> None:
            growl.attach(optimizer, every=5)

        for i, strength in enumerate(STRENGTHS):
            growl.strength = 0.0 if penalty == "none" else strength  # trained as long without a penalty
            fit(model, train, replace(PRESS, **few), seed + 50 + i, attach=attach)
            if penalty == "none" and strength != STRENGTHS[-1]:
                continue
            nonzero = int((_weight(model) != 0).any(0).sum())
            for groups in (None, *GROUPS):
                if groups is None and penalty == "none":
                    continue  # nothing is pruned
                tied = copy.deepcopy(model)
                if groups is not None:
                    tying = tg.find_tying(tied, ["fc1"], method="ward", groups=groups)
                    assert tying["fc1"].partition.n_groups == groups
                    tg.tie_(tied, tying)
                small = compacted(tied, example)
                right_after = accuracy(small, splits.test)
                train_compact(small, train, logits, 0, replace(RETRAIN, **few), seed + 60)
                point = {"penalty": penalty, "strength": growl.strength, "nonzero": nonzero, "groups": groups}
                point["tied"] = right_after
                found.append(common | point | scores(small, splits))
                print(found[-1], flush=True)
    found[-1]["seconds"] = time.perf_counter() - started
    return found


def _weight(model: nn.Module) -> Tensor:
    weight = model.get_submodule("fc1").weight
    assert isinstance(weight, Tensor)
    return weight.detach()


def main(arguments: list[str] | None = None) -> None:
    """Run the jobs that are left; keep the result once all are done."""
    parser = options(__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--work", type=Path, default=Path("runs/learning/decorrelated"))
    given = parser.parse_args(arguments)
    timing.one_thread()
    given.work = workplace(given)
    points: list[dict[str, Any]] = []
    of: dict[str, Splits] = {}
    for seed in range(1 if given.quick else SEEDS):
        for inputs in INPUTS:
            path = given.work / f"{inputs}-{seed}.json"
            if not path.is_file():
                if inputs not in of:
                    splits = load_mnist(given.data, limit=512 if given.quick else None)
                    of[inputs] = whitened(splits) if inputs == "whitened" else splits
                results.write(path, job(inputs, seed, of[inputs], given.quick))
            points += results.read(path)
    points.sort(key=lambda point: INPUTS.index(point["inputs"]))
    keep(given, "learning.experiments.decorrelated", {"points": points})


if __name__ == "__main__":
    main()
