"""Compares ways to find alike rows, and ties beside removals, without training: a perceptron 784-300-100-10 on MNIST.

Run it with ``python -m benchmarks.learning.experiments.alike_rows``; it takes some minutes on one core.

*Ties of the first layer* to the same numbers of groups, on a network trained without a penalty and on one trained with
GrOWL: by the paper's similarity of weights (affinity propagation, the preference found by bisection), by the directions
of the weights (Ward), by the correlation of the inputs alone (Ward on a square root of their covariance), and by least
squares. *Ties beside removals*: ``tg.shrink`` to a share of the weights with and without them. All get the same 640
training images without labels; test accuracy is that of all 10,000.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

import torch_growl as tg
from benchmarks.harness import timing
from benchmarks.harness.command import keep, options
from benchmarks.learning.experiments.table1 import preference_for
from benchmarks.learning.experiments.training_free import BATCH, BATCHES, trained_perceptron
from benchmarks.learning.training.fitting import Fit, accuracy, fit, training_batches
from benchmarks.learning.training.methods import LR
from torch_growl.application.data.datasets import load_mnist
from torch_growl.application.data.splits import Splits, TensorSplit
from torch_growl.mathematics.clustering import PRUNED, Partition, merge_rows
from torch_growl.networks.tying.tying import LayerTying

__all__ = ["main"]

GROUPS = (200, 100, 50, 30)
SHARES = (0.5, 0.3, 0.2, 0.1, 0.05, 0.03)
STRENGTH, PRESS = 6.0, 2  # of GrOWL, and its epochs


def main(arguments: list[str] | None = None) -> None:
    """Measure, and keep the result."""
    parser = options(__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    given = parser.parse_args(arguments)
    timing.one_thread()
    splits = load_mnist(given.data)
    inputs, test = training_batches(splits, BATCH, BATCHES), cast(TensorSplit, splits.test)
    dense = trained_perceptron(splits, 1 if given.quick else 5)
    networks = {"no penalty": dense, "GrOWL": _pressed(dense, splits, 1 if given.quick else PRESS)}
    tied = {name: _ties(model, inputs, test, given.quick) for name, model in networks.items()}
    shrunk = _shrunk(dense, inputs, test, given.quick)
    keep(
        given,
        "learning.experiments.alike_rows",
        {"strength": STRENGTH, "epochs": PRESS, "tied": tied, "shrunk": shrunk},
    )


def _pressed(dense: nn.Module, splits: Splits, epochs: int) -> nn.Module:
    """A copy that was trained on under GrOWL on its first layer."""
    model = copy.deepcopy(dense)
    growl = tg.GrOWL(model, STRENGTH, layers=["fc1"])
    return fit(model, splits.train, Fit(epochs, LR), 1, attach=growl.attach)


# ── ties of the first layer ─────────────────────────────────────────────────────────────────────────────────────────


def _ties(model: nn.Module, inputs: list[Tensor], test: TensorSplit, quick: bool) -> dict[str, Any]:
    weight = cast(Tensor, model.get_submodule("fc1").weight)
    found: dict[str, Any] = {"dense": accuracy(model, test), "nonzero": int((weight != 0).any(0).sum()), "ties": []}
    for groups in GROUPS[-1:] if quick else GROUPS:
        for way, find in WAYS.items():
            tying = find(model, groups, inputs)
            tied = tg.tie_(copy.deepcopy(model), tying)
            first = accuracy(tied, test)
            tg.compensate_(tied, model, inputs)
            one = {"way": way, "groups": groups, "left": tying["fc1"].partition.n_groups}
            found["ties"].append({**one, "tied": first, "compensated": accuracy(tied, test)})
            print(found["ties"][-1], flush=True)
    return found


def _by_similarity(model: nn.Module, groups: int, inputs: list[Tensor]) -> tg.Tying:
    return tg.find_tying(model, ["fc1"], preference=preference_for(model, groups), max_ratio=1.0)


def _by_direction(model: nn.Module, groups: int, inputs: list[Tensor]) -> tg.Tying:
    return tg.find_tying(model, ["fc1"], method="ward", groups=groups)


def _by_correlation(model: nn.Module, groups: int, inputs: list[Tensor]) -> tg.Tying:
    """Merge inputs of the most similar course over the images; those that never change are one group."""
    weight = cast(Tensor, model.get_submodule("fc1").weight).detach()
    values = torch.cat(inputs).flatten(1).double()
    course = (values - values.mean(0)).t()
    moves = course.square().sum(1) > 1e-6
    labels = torch.full((len(course),), groups - 1)
    merged = merge_rows(course[moves], groups - int(not moves.all()))
    labels[moves] = merged.tensor()
    labels[(weight == 0).all(0)] = PRUNED
    return tg.Tying((LayerTying("fc1", Partition.from_labels(labels), len(weight)),))


def _by_least_squares(model: nn.Module, groups: int, inputs: list[Tensor]) -> tg.Tying:
    return tg.find_tying(model, ["fc1"], method="least-squares", groups=groups, inputs=inputs)


WAYS: dict[str, Callable[[nn.Module, int, list[Tensor]], tg.Tying]] = {
    "the paper's similarity": _by_similarity,
    "directions of weights": _by_direction,
    "correlation of inputs": _by_correlation,
    "least squares": _by_least_squares,
}

# ── ties beside removals ────────────────────────────────────────────────────────────────────────────────────────────


def _shrunk(model: nn.Module, inputs: list[Tensor], test: TensorSplit, quick: bool) -> dict[str, Any]:
    found: dict[str, Any] = {"dense": accuracy(model, test), "runs": []}
    whole = sum(p.numel() for p in model.parameters())
    for share in SHARES[-1:] if quick else SHARES:
        for ties in (False, True):
            small = tg.shrink(model, inputs, tg.Target(weights=share), ties=ties)
            left = sum(p.numel() for p in small.parameters()) / whole
            one = {"share": share, "ties": ties, "weights": left, "accuracy": accuracy(small, test)}
            found["runs"].append(one)
            print(one, flush=True)
    return found


if __name__ == "__main__":
    main()
