"""Paths from light to heavy compression of one network, for GrOWL and for the methods beside it.

Every path starts from the same trained dense network and is warm: a point goes on where the one before it stopped.
All methods get the same data, optimizer and epochs at a point: ``PRESS`` under the method's pressure, where it has
one, and ``RETRAIN`` with its structure fixed.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.optim import SGD, Adam, Optimizer

import torch_growl as tg
from benchmarks.learning.counting import clustered_ratio, compacted, ratio
from benchmarks.learning.fitting import Fit, fit
from torch_growl.data import Splits
from torch_growl.layers import rows_of, write_rows_

__all__ = ["PATHS", "Point"]

Point = tuple[str, float, nn.Module, dict[str, float]]  # the curve, the knob, the network to be scored, its sizes
Path = Callable[[nn.Module, Splits, Tensor, int, int], Iterator[Point]]

PRESS, RETRAIN, LR, DECAY, LIGHT = 4, 8, 0.05, 1e-4, 5e-4
LAYERS = ("fc1", "fc2")
STRENGTHS = tuple(0.1 * 1.5**i for i in range(10))
SHARES = (0.4, 0.2)  # of the nonzero rows of fc1 that are left as groups, one step after the other
KEPT = (0.7, 0.5, 0.4, 0.3, 0.22, 0.16, 0.12, 0.09, 0.065)
VALUES = (256, 128, 64, 32, 16, 8, 4, 3, 2)


def retrained(small: nn.Module, splits: Splits, seed: int, epochs: int) -> nn.Module:
    """A network trained on with its structure fixed."""
    return fit(small, splits.train, Fit(epochs, LR, DECAY), seed)


def _short(epochs: int, scale: int) -> int:
    return max(1, epochs // scale)


# ── penalties ───────────────────────────────────────────────────────────────────────────────────────────────────────


def penalised(name: str, sequence: tg.Sequence) -> Path:
    """Rising strength of a penalty on the rows of both layers; then pruned rows only, and tied in steps as well."""

    def path(dense: nn.Module, splits: Splits, example: Tensor, seed: int, scale: int) -> Iterator[Point]:
        model = copy.deepcopy(dense)
        growl = tg.GrOWL(model, 0.0, sequence, layers=LAYERS)
        for i, strength in enumerate(STRENGTHS):
            growl.strength = strength
            press = Fit(_short(PRESS, scale), LR, LIGHT)

            def attach(optimizer: Optimizer) -> None:
                growl.attach(optimizer, every=5)

            fit(model, splits.train, press, seed + i, attach=attach)
            small = retrained(compacted(copy.deepcopy(model), example), splits, seed + i, _short(RETRAIN, scale))
            yield f"{name}, pruned only", strength, small, ratio(dense, small, example)
            tied = tied_in_steps(model, splits, seed + i, scale)
            small = retrained(compacted(tied, example), splits, seed + i, _short(RETRAIN, scale))
            yield f"{name}, tied in steps", strength, small, ratio(dense, small, example)

    return path


def tied_in_steps(model: nn.Module, splits: Splits, seed: int, scale: int) -> nn.Module:
    """A copy with the rows of fc1 tied, trained between the steps but not after the last."""
    small = copy.deepcopy(model)
    tying = tg.find_tying(small, LAYERS, method="ward", groups={"fc1": SHARES[0]})
    nonzero = tying["fc1"].partition.nonzero
    tg.tie_(small, tying)
    fit(small, splits.train, Fit(_short(RETRAIN // 3, scale), LR, DECAY), seed)
    tg.untie_(small)
    groups = max(1, round(SHARES[1] * nonzero))
    return tg.tie_(small, tg.find_tying(small, LAYERS, method="ward", groups={"fc1": groups}))


def pat(dense: nn.Module, splits: Splits, example: Tensor, seed: int, scale: int) -> Iterator[Point]:
    """Torchao's PruneOptimizer: group lasso on the inputs of both layers, in its own form (λ √size, not scale-free)."""
    from torchao.prototype.pat.optim import PruneOptimizer

    model = copy.deepcopy(dense)
    for i, strength in enumerate(STRENGTHS):
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

        fit(model, splits.train, Fit(_short(PRESS, scale), LR, LIGHT), seed + i, make_optimizer=make)
        small = retrained(compacted(copy.deepcopy(model), example), splits, seed + i, _short(RETRAIN, scale))
        yield "torchao PAT", strength, small, ratio(dense, small, example)


# ── pruning at once ─────────────────────────────────────────────────────────────────────────────────────────────────


def magnitude(dense: nn.Module, splits: Splits, example: Tensor, seed: int, scale: int) -> Iterator[Point]:
    """The rows of least norm of both layers go, the rest is trained on; further from there."""
    model = copy.deepcopy(dense)
    for i, kept in enumerate(KEPT):
        for name in LAYERS:
            layer = model.get_submodule(name)
            rows = rows_of(layer).detach().clone()
            rows[rows.norm(dim=1).argsort(descending=True)[round(kept * len(rows)) :]] = 0
            write_rows_(layer, rows)
        small = compacted(model, example)
        epochs = _short(PRESS + RETRAIN, scale)
        small = retrained(small, splits, seed + i, epochs)
        model = expanded(small, dense)
        yield "magnitude of rows", kept, small, ratio(dense, small, example)


def expanded(small: nn.Module, dense: nn.Module) -> nn.Module:
    """A compact network in the dense one's shapes again."""
    from torch_growl.rewriting import expand_

    return expand_(copy.deepcopy(dense), small)


def torch_pruning(dense: nn.Module, splits: Splits, example: Tensor, seed: int, scale: int) -> Iterator[Point]:
    """Torch-Pruning's MagnitudePruner: hidden neurons of least group norm go; it has no way to drop inputs."""
    import torch_pruning as tp

    model = copy.deepcopy(dense)
    width = model.get_submodule("fc1").weight.shape[0]  # type: ignore[union-attr, index]
    for i, kept in enumerate(KEPT):
        now = model.get_submodule("fc1").weight.shape[0]  # type: ignore[union-attr, index]
        share = 1 - kept * width / now
        pruner = tp.pruner.MagnitudePruner(
            model,
            example,
            importance=tp.importance.GroupMagnitudeImportance(p=2),
            pruning_ratio=share,
            ignored_layers=[model.get_submodule("fc2")],
        )
        pruner.step()
        model = retrained(model, splits, seed + i, _short(PRESS + RETRAIN, scale))
        yield "Torch-Pruning", kept, model, ratio(dense, model, example)


# ── clustering of weights ───────────────────────────────────────────────────────────────────────────────────────────


class Codebook(nn.Module):
    """A weight whose entries are one of a few trained values (Han et al., "Deep Compression", 2016)."""

    def __init__(self, index: Tensor, shape: torch.Size) -> None:
        super().__init__()
        self.register_buffer("index", index)
        self.shape = shape

    def forward(self, values: Tensor) -> Tensor:
        """``values``: (c,); gives the weight."""
        return values[cast(Tensor, self.index)].view(self.shape)

    def right_inverse(self, weight: Tensor) -> Tensor:
        """The mean of each cluster."""
        index, flat = cast(Tensor, self.index), weight.flatten()
        sums = torch.zeros(int(index.max()) + 1).index_add_(0, index, flat)
        return sums / torch.bincount(index).clamp_min(1)


def clustering(dense: nn.Module, splits: Splits, example: Tensor, seed: int, scale: int) -> Iterator[Point]:
    """k-means on the dense network's weights, layer by layer, then the centroids are trained, with Adam.

    Every point starts from the dense network: clusters of clusters are worse. SGD at the others' rate diverges, for a
    centroid's gradient is the sum of thousands of weights'.
    """
    from sklearn.cluster import KMeans

    for i, count in enumerate(VALUES):
        model = copy.deepcopy(dense)
        for name in LAYERS:
            layer = model.get_submodule(name)
            weight = cast(Tensor, layer.weight).detach()
            flat = weight.flatten().numpy().reshape(-1, 1)
            low, high = float(flat.min()), float(flat.max())
            start = torch.linspace(low, high, count).numpy().reshape(-1, 1)  # the paper's linear initialisation
            labels = torch.from_numpy(KMeans(count, init=start, n_init=1, max_iter=50).fit(flat).labels_).long()
            _, labels = torch.unique(labels, return_inverse=True)  # an empty cluster leaves no gap
            parametrize.register_parametrization(layer, "weight", Codebook(labels, weight.shape))
        fit(model, splits.train, Fit(_short(PRESS + RETRAIN, scale), 1e-3), seed + i, make_optimizer=_adam)
        for name in LAYERS:
            parametrize.remove_parametrizations(model.get_submodule(name), "weight")
        yield (
            "k-means of weights",
            float(count),
            model,
            clustered_ratio(dense, example, dict.fromkeys(LAYERS, count)),
        )


def _adam(parameters: list[nn.Parameter]) -> Optimizer:
    return Adam(parameters, lr=1e-3)


PATHS: dict[str, Path] = {
    "GrOWL": penalised("GrOWL", tg.pld(p=0.3, floor=0.85)),
    "group lasso": penalised("group lasso", tg.lasso()),
    "magnitude of rows": magnitude,
    "Torch-Pruning": torch_pruning,
    "torchao PAT": pat,
    "k-means of weights": clustering,
}
