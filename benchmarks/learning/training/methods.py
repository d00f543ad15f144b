"""Compresses one network along a path from light to heavy, by GrOWL and by other methods.

Every path starts from the same trained dense network; except for k-means, each point continues from the one before it.
All methods get the same data, optimizer and epochs at a point (:class:`Budget`): some epochs with the method's penalty
and the rest with its structure fixed, or all of them with its structure fixed if it has no penalty. Tying in two steps
takes two epochs more.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.optim import SGD, Adam, Optimizer

import torch_growl as tg
from benchmarks.learning.training.counting import clustered_ratio, compacted, ratio
from benchmarks.learning.training.fitting import Fit, fit
from torch_growl.application.data.datasets import Splits
from torch_growl.application.data.splits import TensorSplit
from torch_growl.mathematics.owl import LambdaSequence
from torch_growl.networks.layers import rows_of, write_rows_

__all__ = ["PATHS", "Budget", "Point", "Start", "expanded"]

LR, DECAY, LIGHT = 0.05, 1e-4, 5e-4
LAYERS = ("fc1", "fc2")


@dataclass(frozen=True)
class Budget:
    """The epochs of a point, and the points of a path.

    Attributes:
        press: epochs under a penalty.
        retrain: epochs with the structure fixed.
        between: epochs between two steps of tying, on top of the others.
        strengths: of GrOWL and group lasso.
        times: of a target and of tg.shrink: so many times fewer bytes.
        pat: of torchao's group lasso, in its own unit times 5000.
        kept: shares of the rows of both layers that magnitude pruning keeps.
        neurons: shares of the hidden neurons that Torch-Pruning keeps.
        values: numbers of values that k-means leaves in a layer.
        shares: of the nonzero rows of fc1 that are left as groups, one step after the other.
    """

    press: int = 4
    retrain: int = 8
    between: int = 2
    strengths: tuple[float, ...] = tuple(0.1 * 1.5**i for i in range(10))
    times: tuple[float, ...] = (1.6, 2.2, 3.0, 4.0, 5.5, 7.5, 10.0, 14.0, 20.0, 30.0, 40.0)
    pat: tuple[float, ...] = tuple(0.3 * 1.8**i for i in range(10))
    kept: tuple[float, ...] = (0.7, 0.5, 0.4, 0.3, 0.22, 0.16, 0.12, 0.09, 0.065)
    neurons: tuple[float, ...] = (0.7, 0.5, 0.4, 0.3, 0.22, 0.16, 0.12, 0.09, 0.065)
    values: tuple[int, ...] = (256, 128, 64, 32, 16, 8, 4, 3, 2)
    shares: tuple[float, ...] = (0.4, 0.2)

    @property
    def whole(self) -> int:
        """Return the epochs of a point."""
        return self.press + self.retrain


@dataclass(frozen=True)
class Start:
    """The start of a path: the trained dense network, the data, an input, a seed, the budget."""

    dense: nn.Module
    splits: Splits
    example: Tensor
    seed: int
    budget: Budget = field(default_factory=Budget)

    def retrained(self, small: nn.Module, seed: int, epochs: int | None = None) -> nn.Module:
        """Train a network on, in place, with its structure fixed."""
        epochs = self.budget.retrain if epochs is None else epochs
        return fit(small, self.splits.train, Fit(epochs, LR, DECAY), seed)


Point = tuple[str, float, nn.Module, dict[str, float]]  # the curve, the knob, the network to be scored, its sizes
Path = Callable[[Start], Iterator[Point]]


# ── penalties ───────────────────────────────────────────────────────────────────────────────────────────────────────


def penalised(name: str, sequence: LambdaSequence) -> Path:
    """Raise the strength of a penalty on the rows of both layers; then prune alone, or prune and tie in steps."""

    def path(start: Start) -> Iterator[Point]:
        model = copy.deepcopy(start.dense)
        growl = tg.GrOWL(model, 0.0, sequence, layers=LAYERS)
        for i, strength in enumerate(start.budget.strengths):
            growl.strength = strength
            press = Fit(start.budget.press, LR, LIGHT)

            def attach(optimizer: Optimizer) -> None:
                growl.attach(optimizer, every=5)

            fit(model, start.splits.train, press, start.seed + i, attach=attach)
            small = start.retrained(compacted(copy.deepcopy(model), start.example), start.seed + i)
            yield f"{name}, pruned only", strength, small, ratio(start.dense, small, start.example)
            small = compacted(tied_in_steps(model, start, start.seed + i), start.example)
            small = start.retrained(small, start.seed + i)
            yield f"{name}, tied in steps", strength, small, ratio(start.dense, small, start.example)

    return path


def to_targets(start: Start) -> Iterator[Point]:
    """As with a penalty, but its epochs go to a target, so many times fewer bytes, in place of a strength."""
    model = copy.deepcopy(start.dense)
    for i, times in enumerate(start.budget.times):
        target = tg.Target(bytes=1 / times, compensate=False)
        growl = tg.GrOWL(model, target=target, layers=LAYERS, example_inputs=start.example)
        press = Fit(start.budget.press, LR, LIGHT)
        steps = press.epochs * (len(start.splits.train) // press.batch_size)  # type: ignore[arg-type]

        def attach(optimizer: Optimizer, growl: tg.GrOWL = growl, steps: int = steps) -> None:
            growl.attach(optimizer, steps=steps)

        fit(model, start.splits.train, press, start.seed + i, attach=attach)
        small = start.retrained(compacted(copy.deepcopy(model), start.example), start.seed + i)
        yield "target, pruned only", times, small, ratio(start.dense, small, start.example)
        small = compacted(tied_in_steps(model, start, start.seed + i), start.example)
        small = start.retrained(small, start.seed + i)
        yield "target, tied in steps", times, small, ratio(start.dense, small, start.example)


def shrunk_in_steps(start: Start) -> Iterator[Point]:
    """Remove and tie rows by ``tg.shrink``, without a penalty; all epochs of a point are for training on."""
    model = start.dense
    train = cast(TensorSplit, start.splits.train)
    for i, times in enumerate(start.budget.times):
        index = torch.randperm(len(train), generator=torch.Generator().manual_seed(start.seed + i))[:2560]
        batches = list(train.batch(index)[0].split(256))
        small = tg.shrink(model, batches, tg.Target(bytes=1 / times)).requires_grad_(requires_grad=True)
        small = start.retrained(small, start.seed + i, start.budget.whole)
        yield "tg.shrink in steps", times, small, ratio(start.dense, small, start.example)
        model = expanded(small, start.dense)


def tied_in_steps(model: nn.Module, start: Start, seed: int) -> nn.Module:
    """Return a copy with the rows of fc1 tied, trained between the steps but not after the last."""
    plain = copy.deepcopy(model)
    nonzero = int((cast(Tensor, plain.get_submodule("fc1").weight) != 0).any(0).sum())
    for i, share in enumerate(start.budget.shares):
        if i:
            small = start.retrained(compacted(plain, start.example), seed, start.budget.between)
            plain = expanded(small, start.dense)
        groups = max(1, round(share * nonzero))
        tg.tie_(plain, tg.find_tying(plain, LAYERS, method="ward", groups={"fc1": groups}))
    return plain


def pat(start: Start) -> Iterator[Point]:
    """Use torchao's PruneOptimizer: group lasso on the inputs of both layers in its own form, λ √size."""
    from torchao.prototype.pat.optim import PruneOptimizer

    model = copy.deepcopy(start.dense)
    for i, strength in enumerate(start.budget.pat):
        weights = [cast(nn.Parameter, model.get_submodule(name).weight) for name in LAYERS]
        chosen = {id(weight) for weight in weights}

        def make(parameters: list[nn.Parameter], strength: float = strength) -> Optimizer:
            rest = [p for p in parameters if id(p) not in chosen]  # noqa: B023  (called before the next round)
            groups = [
                {
                    "params": weights,  # noqa: B023
                    "prox_type": "ProxGroupLasso",
                    "group_type": "Dim1Grouper",
                    "reg_lambda": strength * 2e-4,
                },
                {"params": rest},
            ]
            return cast(Optimizer, PruneOptimizer(SGD(groups, lr=LR, momentum=0.9, weight_decay=LIGHT)))

        press = Fit(start.budget.press, LR, LIGHT)
        fit(model, start.splits.train, press, start.seed + i, make_optimizer=make)
        small = start.retrained(compacted(copy.deepcopy(model), start.example), start.seed + i)
        yield "torchao PAT", strength, small, ratio(start.dense, small, start.example)


# ── pruning at once ─────────────────────────────────────────────────────────────────────────────────────────────────


def magnitude(start: Start) -> Iterator[Point]:
    """Remove the rows of least norm of both layers, train on, and repeat."""
    model = copy.deepcopy(start.dense)
    for i, kept in enumerate(start.budget.kept):
        for name in LAYERS:
            layer = model.get_submodule(name)
            rows = rows_of(layer).detach().clone()
            rows[rows.norm(dim=1).argsort(descending=True)[round(kept * len(rows)) :]] = 0
            write_rows_(layer, rows)
        small = start.retrained(compacted(model, start.example), start.seed + i, start.budget.whole)
        model = expanded(small, start.dense)
        yield "magnitude of rows", kept, small, ratio(start.dense, small, start.example)


def expanded(small: nn.Module, dense: nn.Module) -> nn.Module:
    """Return a compact network in the shapes of the dense one."""
    from torch_growl.networks.compaction.expanding import expand_

    return expand_(copy.deepcopy(dense), small)


def torch_pruning(start: Start) -> Iterator[Point]:
    """Use Torch-Pruning's MagnitudePruner on hidden neurons of least group norm; it cannot remove inputs."""
    import torch_pruning as tp

    model = copy.deepcopy(start.dense)
    width = model.get_submodule("fc1").weight.shape[0]  # type: ignore[union-attr, index]
    for i, kept in enumerate(start.budget.neurons):
        now = model.get_submodule("fc1").weight.shape[0]  # type: ignore[union-attr, index]
        share = 1 - kept * width / now
        pruner = tp.pruner.MagnitudePruner(
            model,
            start.example,
            importance=tp.importance.GroupMagnitudeImportance(p=2),
            pruning_ratio=share,
            ignored_layers=[model.get_submodule("fc2")],
        )
        pruner.step()
        model = start.retrained(model, start.seed + i, start.budget.whole)
        yield "Torch-Pruning", kept, model, ratio(start.dense, model, start.example)


# ── clustering of weights ───────────────────────────────────────────────────────────────────────────────────────────


class Codebook(nn.Module):
    """A weight whose entries are one of a few trained values (Han et al., "Deep Compression", 2016)."""

    def __init__(self, index: Tensor, shape: torch.Size) -> None:
        super().__init__()
        self.register_buffer("index", index)
        self.shape = shape

    def forward(self, values: Tensor) -> Tensor:
        """Return the weight; ``values``: (c,)."""
        return values[cast(Tensor, self.index)].view(self.shape)

    def right_inverse(self, weight: Tensor) -> Tensor:
        """Return the mean of each cluster."""
        index, flat = cast(Tensor, self.index), weight.flatten()
        sums = torch.zeros(int(index.max()) + 1).index_add_(0, index, flat)
        return sums / torch.bincount(index).clamp_min(1)


def clustering(start: Start) -> Iterator[Point]:
    """Cluster the dense network's weights by k-means, layer by layer, and train the centroids with Adam.

    Every point starts from the dense network: clusters of clusters are worse. SGD at the others' rate diverges, for a
    centroid's gradient is the sum of thousands of weights'.
    """
    from sklearn.cluster import KMeans

    for i, count in enumerate(start.budget.values):
        model = copy.deepcopy(start.dense)
        for name in LAYERS:
            layer = model.get_submodule(name)
            weight = cast(Tensor, layer.weight).detach()
            flat = weight.flatten().numpy().reshape(-1, 1)
            low, high = float(flat.min()), float(flat.max())
            first = torch.linspace(low, high, count).numpy().reshape(-1, 1)  # the paper's linear initialisation
            labels = torch.from_numpy(KMeans(count, init=first, n_init=1, max_iter=50).fit(flat).labels_).long()
            _, labels = torch.unique(labels, return_inverse=True)  # an empty cluster leaves no gap
            parametrize.register_parametrization(layer, "weight", Codebook(labels, weight.shape))
        fit(model, start.splits.train, Fit(start.budget.whole, 1e-3), start.seed + i, make_optimizer=_adam)
        for name in LAYERS:
            parametrize.remove_parametrizations(model.get_submodule(name), "weight")
        yield (
            "k-means of weights",
            float(count),
            model,
            clustered_ratio(start.dense, start.example, dict.fromkeys(LAYERS, count)),
        )


def _adam(parameters: list[nn.Parameter]) -> Optimizer:
    return Adam(parameters, lr=1e-3)


PATHS: dict[str, Path] = {
    "GrOWL": penalised("GrOWL", tg.pld(p=0.3, floor=0.85)),
    "group lasso": penalised("group lasso", tg.lasso()),
    "target": to_targets,
    "tg.shrink": shrunk_in_steps,
    "magnitude of rows": magnitude,
    "Torch-Pruning": torch_pruning,
    "torchao PAT": pat,
    "k-means of weights": clustering,
}
