"""Halves the multiply-adds of a pretrained ResNet-20 on CIFAR-10 in six epochs, beside Torch-Pruning.

Run it with ``python -m benchmarks.learning.experiments.halves``.

Every method makes a network of at most half the multiply-adds from the pretrained weights, without training, with the
same 640 training images (Taylor importance reads their labels too). All are trained by the same loop: SGD with
momentum 0.9, weight decay 5e-4, batch 128, one cosine down to 0, random crops and mirrored images, no teacher, products
in bfloat16, the last epoch counts. Torch-Pruning cannot follow padded shortcuts, so that all methods get a ResNet whose
shortcuts are selections, written as 1×1 convolutions. Torch-Pruning's stay as they are and their multiply-adds are not
counted; tg.shrink fits them like all layers, so that they are trained and counted.

An interrupted training resumes from its last checkpoint, of which one is written every 50 steps.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import torch_growl as tg
from benchmarks.harness import results, timing
from benchmarks.harness.command import keep, missing, options, workplace
from benchmarks.learning.experiments.training_free import Selected, macs_without_selections, seeded, with_selections
from benchmarks.learning.training.fitting import Bfloat16, Fit, accuracy, file_name
from benchmarks.learning.training.resuming import fit_resumed
from torch_growl.application.data.datasets import load_cifar10
from torch_growl.application.data.splits import Splits, TensorSplit
from torch_growl.application.models.residual import resnet_cifar
from torch_growl.files import write_whole

__all__ = ["main"]

BATCH, BATCHES, SHARE, EPOCHS, LEAST = 128, 5, 0.5, 6, 0.5
FOLDERS = {"data": "../shared/data", "weights": "../shared/pretrained", "work": "runs/learning/halves"}


def main(arguments: list[str] | None = None) -> None:
    """Run the trainings that are left, and keep the result."""
    parser = options(__doc__)
    for name, folder in FOLDERS.items():
        parser.add_argument(f"--{name}", type=Path, default=Path(folder))
    parser.add_argument("--only", choices=list(STARTS), action="append", help="run this method; may be repeated")
    parser.add_argument("--seed", type=int, action="append", help="of the training, 0 by default; may be repeated")
    parser.add_argument("--lr", type=float, action="append", help="learning rate, 0.05 by default; may be repeated")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="of the training; fewer are kept beside the others")
    given = parser.parse_args(arguments)
    timing.one_thread()
    given.work = workplace(given)
    splits = load_cifar10(given.data, normalize="channels", padding=4, limit=256 if given.quick else None)
    if given.quick:
        test = cast(TensorSplit, splits.test)
        splits = replace(splits, test=TensorSplit(test.x[:100], test.y[:100], test.transform))
    file = given.work / "done.json"
    done: dict[str, Any] = results.read(file) if file.exists() else {}
    absent = missing({"Torch-Pruning": "torch_pruning"})
    for seed in given.seed or [0]:
        for lr in given.lr or [0.05]:
            for method in given.only or STARTS:
                key = f"{method}, seed {seed}, lr {lr:g}, {given.epochs} epochs"
                if key not in done and not any(method.startswith(name) for name in absent):
                    done[key] = _trained(method, seed, lr, splits, given)
                    print(key, done[key]["accuracy"], flush=True)
                    results.write(file, done)
    starts = {method: _start(method, splits, given)[1] for method in STARTS if _start_file(method, given).exists()}
    kept = {"starts": starts, "trainings": list(done.values()), "absent": absent}
    keep(given, "learning.experiments.halves", kept, ("torch-pruning",))


def _trained(method: str, seed: int, lr: float, splits: Splits, given: Any) -> dict[str, Any]:
    small, found = _start(method, splits, given)
    small = small.to(memory_format=torch.channels_last)
    started = time.perf_counter()
    path = given.work / f"{file_name(method)}-{seed}-{lr:g}-{given.epochs}.pt"
    how = Fit(given.epochs, lr, 5e-4, batch_size=64 if given.quick else BATCH)
    fit_resumed(path, small, splits.train, how, seed, wrap=Bfloat16, steps_kept=50)
    return {
        "method": method,
        "seed": seed,
        "lr": lr,
        "epochs": given.epochs,
        "commit": results.commit(),
        "accuracy": _halves(small, splits),
        "before training": found["accuracy"],
        "macs": found["macs"],
        "weights": sum(p.numel() for p in small.parameters() if p.requires_grad),
        "widths": {name: [m.in_channels, m.out_channels] for name, m in _convolutions(small)},
        "seconds": round(time.perf_counter() - started),  # of the last call, if it was interrupted
    }


def _halves(model: nn.Module, splits: Splits) -> dict[str, float]:
    """Accuracy on test images with even numbers, on which settings may be chosen, and with odd ones, on which not."""
    test = cast(TensorSplit, splits.test)
    parts = [TensorSplit(test.x[i::2], test.y[i::2], test.transform) for i in (0, 1)]
    even, odd = (accuracy(model, part) for part in parts)
    return {"even": even, "odd": odd, "test": (even * len(parts[0]) + odd * len(parts[1])) / len(test)}


def _convolutions(model: nn.Module) -> list[tuple[str, nn.Conv2d]]:
    return [(name, m) for name, m in model.named_modules() if isinstance(m, nn.Conv2d)]


def _start_file(method: str, given: Any) -> Path:
    return cast(Path, given.work / f"start-{file_name(method)}.pt")


def _start(method: str, splits: Splits, given: Any) -> tuple[nn.Module, dict[str, Any]]:
    """The network that a method makes without training, made once for all seeds."""
    path = _start_file(method, given)
    if not path.exists():
        weights = None if given.quick else given.weights / "resnet20-cifar10.safetensors"
        dense = with_selections(resnet_cifar(depth=8 if given.quick else 20, weights=weights).eval())
        train = cast(TensorSplit, splits.train)
        index = torch.randperm(len(train), generator=seeded(0))[: 64 if given.quick else BATCH * BATCHES]
        x, y = train.batch(index)
        whole = macs_without_selections(dense, x[:1])
        size = 16 if given.quick else BATCH
        small, macs = STARTS[method](dense, x.split(size), y.split(size), SHARE * whole)
        found = {"macs": macs / whole, "accuracy": _halves(small, splits)}
        print(method, found, flush=True)
        write_whole(path, lambda temporary: torch.save((small, found), temporary))
    return cast(tuple[nn.Module, dict[str, Any]], torch.load(path, weights_only=False))  # a file of this command's own


def _shrunk(dense: nn.Module, xs: Sequence[Tensor], ys: Sequence[Tensor], most: float) -> tuple[nn.Module, int]:
    small = tg.shrink(dense, list(xs), tg.Target(macs=most), least=LEAST).requires_grad_(requires_grad=True)
    return small, tg.measure(small, xs[0][:1], latency=False).macs


def _pruned(
    dense: nn.Module, xs: Sequence[Tensor], ys: Sequence[Tensor], most: float, *, taylor: bool = False
) -> tuple[nn.Module, int]:
    """Prune globally in one step, as Torch-Pruning's documentation shows, with the least ratio that is enough."""
    import torch_pruning as tp  # type: ignore[import-not-found, unused-ignore]

    if taylor:  # reads gradients of all layers
        dense.requires_grad_(requires_grad=True)
        for x, y in zip(xs, ys, strict=True):
            F.cross_entropy(dense(x), y).backward()
    low, high, found = 0.0, 0.95, dense
    while high - low > 1e-3:
        ratio = (low + high) / 2
        cut = copy.deepcopy(dense)
        for theirs, mine in zip(dense.parameters(), cut.parameters(), strict=True):
            mine.grad = None if theirs.grad is None else theirs.grad.clone()
        pruner = tp.pruner.BasePruner(
            cut,
            xs[0][:1],
            importance=tp.importance.GroupTaylorImportance() if taylor else tp.importance.GroupMagnitudeImportance(p=2),
            global_pruning=True,
            pruning_ratio=ratio,
            max_pruning_ratio=0.95,
            ignored_layers=[cast(Any, cut).linear],
        )
        pruner.step()
        if macs_without_selections(cut, xs[0][:1]) <= most:
            high, found = ratio, cut
        else:
            low = ratio
    found.zero_grad()
    for block in found.modules():
        if isinstance(block, Selected):
            block.shortcut.requires_grad_(requires_grad=False)
    return found, macs_without_selections(found, xs[0][:1])


def _by_taylor(dense: nn.Module, xs: Sequence[Tensor], ys: Sequence[Tensor], most: float) -> tuple[nn.Module, int]:
    return _pruned(dense, xs, ys, most, taylor=True)


Start = Callable[[nn.Module, Sequence[Tensor], Sequence[Tensor], float], tuple[nn.Module, int]]
STARTS: dict[str, Start] = {
    "tg.shrink": _shrunk,
    "Torch-Pruning, magnitude": _pruned,
    "Torch-Pruning, Taylor": _by_taylor,
}


if __name__ == "__main__":
    main()
