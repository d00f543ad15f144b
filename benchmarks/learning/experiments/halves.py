"""Halves the multiply-adds of a pretrained ResNet-20 on CIFAR-10 in six epochs, beside Torch-Pruning.

Run it with ``python -m benchmarks.learning.experiments.halves``.

Every method makes a network of at most half the multiply-adds from the pretrained weights, without training, with the
same 640 training images (Taylor importance reads their labels too). All are trained by the same loop: SGD with
momentum 0.9, weight decay 5e-4, batch 128, one cosine down to 0, random crops and mirrored images, no teacher, products
in bfloat16, the last epoch counts. Torch-Pruning cannot follow padded shortcuts, so that all methods get a ResNet whose
shortcuts are selections, written as 1×1 convolutions. Torch-Pruning's stay as they are and their multiply-adds are not
counted; tg.shrink fits them like all layers, so that they are trained and counted.

The group norms of Torch-Pruning are made sparse by its own regularization (``reg`` 5e-4 and a largest norm of 1, as in
its reproductions) during the first two of the six epochs, on the same schedule and with the weight decay of all, which
its reproductions leave out there; then it prunes, and is trained on. ``tg.Target`` has no start either: its six epochs
begin with the pretrained network, and rows go in one step after three tenths of them.

An interrupted training resumes from its last checkpoint, of which one is written every 50 steps.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import torch_growl as tg
from benchmarks.harness import results, timing
from benchmarks.harness.command import keep, missing, options, workplace
from benchmarks.learning.experiments.training_free import (
    Selected,
    macs_without_selections,
    pruned_at_once,
    seeded,
    with_selections,
)
from benchmarks.learning.training.fitting import Bfloat16, Fit, accuracy, file_name, keep_state
from benchmarks.learning.training.resuming import fit_resumed
from torch_growl.application.data.datasets import load_cifar10
from torch_growl.application.data.splits import Splits, TensorSplit
from torch_growl.application.models.residual import resnet_cifar
from torch_growl.files import write_whole

__all__ = ["main"]

BATCH, BATCHES, SHARE, EPOCHS, LEAST = 128, 5, 0.5, 6, 0.5
SPARSE = "Torch-Pruning, sparse group norms"
TARGET = "tg.Target"
STEPS, SHARES = "tg.shrink, in steps", (0.8, 0.65, SHARE)  # of the multiply-adds, in the first, second, third epoch
Start = Callable[[nn.Module, Sequence[Tensor], Sequence[Tensor], float], tuple[nn.Module, int]]
FOLDERS = {"data": "../shared/data", "weights": "../shared/pretrained", "work": "runs/learning/halves"}


def main(arguments: list[str] | None = None) -> None:
    """Run the trainings that are left, and keep the result."""
    parser = options(__doc__)
    for name, folder in FOLDERS.items():
        parser.add_argument(f"--{name}", type=Path, default=Path(folder))
    parser.add_argument("--only", choices=METHODS, action="append", help="run this method; may be repeated")
    parser.add_argument("--seed", type=int, action="append", help="of the training, 0 by default; may be repeated")
    parser.add_argument("--lr", type=float, action="append", help="learning rate, 0.05 by default; may be repeated")
    parser.add_argument("--least", type=float, action="append", help="of tg.shrink, 0.5 by default; may be repeated")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="of the training; fewer are kept beside the others")
    given = parser.parse_args(arguments)
    timing.one_thread()
    given.work = workplace(given)
    splits = load_cifar10(given.data, normalize="channels", padding=4, limit=256 if given.quick else None)
    if given.quick:
        test = cast(TensorSplit, splits.test)
        splits = replace(splits, test=TensorSplit(test.x[:100], test.y[:100], test.transform))
    file = given.work / "done.json"
    done, methods = results.parts(file), _methods(given)
    absent = missing({"Torch-Pruning": "torch_pruning"})
    for seed in given.seed or [0]:
        for lr in given.lr or [0.05]:
            for method in methods:
                key = f"{method}, seed {seed}, lr {lr:g}, {given.epochs} epochs"
                if key not in done and not any(method.startswith(name) for name in absent):
                    found = _trained(method, seed, lr, splits, given)
                    print(key, found["accuracy"], flush=True)
                    done = results.parts(file) | {key: found}  # others may write it too
                    results.write(file, done)
    made = {**STARTS, **dict.fromkeys(found["method"] for found in done.values())}
    starts = {method: _start(method, splits, given)[1] for method in made if _start_file(method, given).exists()}
    kept = {"starts": starts, "trainings": list(done.values()), "absent": absent}
    keep(given, "learning.experiments.halves", kept, ("torch-pruning",))


def _methods(given: Any) -> list[str]:
    """The methods asked for; tg.shrink has a name of its own for every least share but the usual one."""
    others = [f"tg.shrink, least {least:g}" for least in given.least or () if least != LEAST]
    STARTS.update({name: partial(_shrunk, least=float(name.split()[-1])) for name in others})
    return [*(given.only or METHODS), *others]


def _trained(method: str, seed: int, lr: float, splits: Splits, given: Any) -> dict[str, Any]:
    started = time.perf_counter()
    path = given.work / f"{file_name(method)}-{seed}-{lr:g}-{given.epochs}.pt"
    how = Fit(given.epochs, lr, 5e-4, batch_size=64 if given.quick else BATCH)
    if method == SPARSE:
        small, found = _sparse(path, how, seed, splits, given)
    elif method == STEPS:
        small, found = _in_steps(path, how, seed, splits, given)
    elif method == TARGET:
        small, found = _to_target(path, how, seed, splits, given)
    else:
        small, found = _start(method, splits, given)
    if method != TARGET:
        small = small.to(memory_format=torch.channels_last)
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
        _make(path, STARTS[method], _dense(given), splits, given)
    return _made(path)


def _made(path: Path) -> tuple[nn.Module, dict[str, Any]]:
    """A network that was made, and what was found of it; a file of this command's own."""
    return cast(tuple[nn.Module, dict[str, Any]], torch.load(path, weights_only=False))


def _dense(given: Any) -> nn.Module:
    weights = None if given.quick else given.weights / "resnet20-cifar10.safetensors"
    return with_selections(resnet_cifar(depth=8 if given.quick else 20, weights=weights).eval())


def _make(
    path: Path, start: Start, dense: nn.Module, splits: Splits, given: Any, share: float = SHARE, whole: int = 0
) -> None:
    train = cast(TensorSplit, splits.train)
    index = torch.randperm(len(train), generator=seeded(0))[: 64 if given.quick else BATCH * BATCHES]
    x, y = train.batch(index)
    whole = whole or macs_without_selections(dense, x[:1])
    size = 16 if given.quick else BATCH
    small, macs = start(dense, x.split(size), y.split(size), share * whole)
    found = {"macs": macs / whole, "accuracy": _halves(small, splits)}
    print(path.stem, found, flush=True)
    write_whole(path, lambda temporary: torch.save((small, found), temporary))


def _sparse(path: Path, how: Fit, seed: int, splits: Splits, given: Any) -> tuple[nn.Module, dict[str, Any]]:
    """Train the dense network under Torch-Pruning's regularization for a third of the epochs, and prune it."""
    import torch_pruning as tp  # type: ignore[import-not-found, unused-ignore]

    first = max(1, how.epochs // 3)
    pruned = path.with_name(f"{path.stem}-start.pt")
    if not pruned.exists():
        dense = _dense(given).to(memory_format=torch.channels_last)
        pruner = tp.pruner.GroupNormPruner(
            dense,
            cast(TensorSplit, splits.train).batch(torch.arange(1))[0],
            importance=_norms(),
            reg=5e-4,
            global_pruning=True,
            ignored_layers=[cast(Any, dense).linear],
        )

        def regularized(optimizer: torch.optim.Optimizer) -> None:
            optimizer.register_step_pre_hook(lambda *_: pruner.regularize(dense))

        fit_resumed(
            path.with_name(f"{path.stem}-sparse.pt"),
            dense,
            splits.train,
            how,
            seed,
            wrap=Bfloat16,
            steps_kept=50,
            on_optimizer=regularized,
            last=first,
        )
        _make(pruned, partial(_pruned, importance=_norms()), dense, splits, given)
    small, found = _made(pruned)
    _begin(path, small, first)
    return small, found


def _in_steps(path: Path, how: Fit, seed: int, splits: Splits, given: Any) -> tuple[nn.Module, dict[str, Any]]:
    """Shrink, train for an epoch, and shrink what was trained, until the last share is reached."""
    model, whole = _dense(given), None
    for epoch, share in enumerate(SHARES):
        file = path.with_name(f"{path.stem}-{share:g}.pt")
        if not file.exists():
            whole = whole or macs_without_selections(_dense(given), torch.zeros(1, 3, 32, 32))
            start = partial(_shrunk, least=LEAST ** ((epoch + 1) / len(SHARES)))  # of the dense network
            larger = tg.expand(model, _dense(given)) if epoch else model
            _make(file, start, larger, splits, given, share, whole)
        model, found = _made(file)
        if share == SHARES[-1]:
            break
        trained = path.with_name(f"{path.stem}-{share:g}-trained.pt")
        _begin(trained, model, epoch)
        model = model.to(memory_format=torch.channels_last)
        fit_resumed(trained, model, splits.train, how, seed, wrap=Bfloat16, steps_kept=50, last=epoch + 1)
    _begin(path, model, len(SHARES) - 1)
    return model, found


def _to_target(path: Path, how: Fit, seed: int, splits: Splits, given: Any) -> tuple[nn.Module, dict[str, Any]]:
    """Train the dense network to the target on all epochs, and make the compact one."""
    model = _dense(given).requires_grad_(requires_grad=True).to(memory_format=torch.channels_last)
    example = torch.zeros(2, 3, 32, 32)
    whole = macs_without_selections(model, example[:1])
    growl = tg.GrOWL(model, target=tg.Target(macs=SHARE * whole), example_inputs=example)
    fit_resumed(path, model, splits.train, how, seed, wrap=Bfloat16, steps_kept=50, growl=growl, to_target=True)
    small = tg.compact(model, example)
    return small, {"macs": tg.measure(small, example[:1], latency=False).macs / whole, "accuracy": None}


def _begin(path: Path, model: nn.Module, epoch: int) -> None:
    """Let a training begin with these weights after so many epochs, unless it has a checkpoint."""
    if not path.exists():
        keep_state(path, {"model": model.state_dict(), "optimizer": None, "epoch": epoch, "step": 0})


def _norms() -> Any:
    import torch_pruning as tp  # type: ignore[import-not-found, unused-ignore]

    return tp.importance.GroupMagnitudeImportance(p=2, normalizer="max")


def _shrunk(
    dense: nn.Module, xs: Sequence[Tensor], ys: Sequence[Tensor], most: float, *, least: float = LEAST
) -> tuple[nn.Module, int]:
    small = tg.shrink(dense, list(xs), tg.Target(macs=most), least=least).requires_grad_(requires_grad=True)
    return small, tg.measure(small, xs[0][:1], latency=False).macs


def _pruned(
    dense: nn.Module, xs: Sequence[Tensor], ys: Sequence[Tensor], most: float, *, importance: Any = None
) -> tuple[nn.Module, int]:
    found = pruned_at_once(dense, xs[0][:1], most, importance)
    for block in found.modules():
        if isinstance(block, Selected):
            block.shortcut.requires_grad_(requires_grad=False)
    return found, macs_without_selections(found, xs[0][:1])


def _by_taylor(dense: nn.Module, xs: Sequence[Tensor], ys: Sequence[Tensor], most: float) -> tuple[nn.Module, int]:
    import torch_pruning as tp  # type: ignore[import-not-found, unused-ignore]

    dense.requires_grad_(requires_grad=True)  # the importance reads gradients of all layers
    for x, y in zip(xs, ys, strict=True):
        F.cross_entropy(dense(x), y).backward()
    return _pruned(dense, xs, ys, most, importance=tp.importance.GroupTaylorImportance())


STARTS: dict[str, Start] = {
    "tg.shrink": _shrunk,
    "Torch-Pruning, magnitude": _pruned,
    "Torch-Pruning, Taylor": _by_taylor,
}
METHODS = (*STARTS, SPARSE, STEPS, TARGET)


if __name__ == "__main__":
    main()
