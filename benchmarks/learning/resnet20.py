"""ResNet-20 on CIFAR-10 from pretrained weights to half the MACs: ``python -m benchmarks.learning.resnet20``.

A path of rising strength: GrOWL is attached to a training that goes on from the pretrained weights, and the strength
grows by a constant factor until the network compacts to the MACs that are asked for; none has to be chosen. Then the
compact network is trained on. One CPU thread; few epochs, which the result states. Stopped at any moment, it goes on
from its last checkpoint in ``--work``.
"""

from __future__ import annotations

import copy
import time
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import nn

import torch_growl as tg
from benchmarks import timing
from benchmarks.command import keep, options
from benchmarks.learning.fitting import Fit, accuracy, fit, keep_state, state_of
from torch_growl.data import load_cifar10
from torch_growl.networks import resnet_cifar

__all__ = ["main", "prune_along_path"]

START, GROWTH, EVERY = 0.1, 1.25, 50  # the first strength, its growth, and after how many steps it grows
FOLDERS = {"data": "../shared/data", "weights": "../shared/pretrained", "work": "runs/learning/resnet20"}


def macs(model: nn.Module, example: torch.Tensor) -> int:
    """Of the network as it compacts now."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", tg.GrowlWarning)
        small = tg.compact(copy.deepcopy(model).eval(), example)
    return tg.measure(small, example, latency=False).macs


def prune_along_path(model: nn.Module, train: Any, how: Fit, goal: float, seed: int = 0) -> list[dict[str, Any]]:
    """Train with rising strength until the network compacts to ``goal`` of its MACs; what was passed on the way."""
    example = train.batch(torch.arange(2))[0]
    dense = tg.measure(model, example, latency=False).macs
    growl = tg.GrOWL(model, START, balance="none")  # a ResNet's convolutions have as many MACs each
    passed: list[dict[str, Any]] = []

    def after_step(steps: int) -> bool:
        if steps % EVERY:
            return False
        passed.append({"steps": steps, "strength": growl.strength, "macs": macs(model, example) / dense})
        print(passed[-1], flush=True)
        growl.strength *= GROWTH
        return bool(passed[-1]["macs"] <= goal)

    fit(model, train, how, seed, attach=growl.attach, after_step=after_step)
    return passed


def main(arguments: list[str] | None = None) -> None:
    """Run what is left to do, and keep the result."""
    parser = options(__doc__)
    for name, folder in FOLDERS.items():
        parser.add_argument(f"--{name}", type=Path, default=Path(folder))
    parser.add_argument("--goal", type=float, default=0.48, help="share of the dense network's MACs")
    parser.add_argument("--epochs", type=int, default=16, help="of training the compact network")
    given = parser.parse_args(arguments)
    timing.one_thread()
    splits = load_cifar10(given.data, normalize="channels", padding=4, limit=256 if given.quick else None)
    dense = resnet_cifar(weights=given.weights / "resnet20-cifar10.safetensors").eval()
    example = splits.validation.batch(torch.arange(2))[0]  # type: ignore[attr-defined]
    model = copy.deepcopy(dense)
    path = Fit(epochs=400 if given.quick else 12, lr=0.03, weight_decay=1e-4)
    started = time.perf_counter()
    state = state_of(given.work / "path.pt")
    if state is None:
        passed = prune_along_path(model, splits.train, path, given.goal)
        state = {"model": model.state_dict(), "passed": passed, "seconds": time.perf_counter() - started}
        keep_state(given.work / "path.pt", state)
    model.load_state_dict(state["model"])
    small = tg.compact(model.eval(), example)
    pruned = accuracy(small, splits.test)
    print("pruned:", pruned, tg.structure_of(small), sep="\n", flush=True)

    tuning = Fit(epochs=given.epochs, lr=0.05, weight_decay=1e-4)
    seconds = 0.0
    done = state_of(given.work / "tuned.pt")
    if done is not None:
        small.load_state_dict(done["model"])
        seconds = done["seconds"]
    optimizer: list[torch.optim.Optimizer] = []
    started = time.perf_counter() - seconds

    def after_epoch(epoch: int, loss: float) -> None:
        keep_state(
            given.work / "tuned.pt",
            {
                "model": small.state_dict(),
                "optimizer": optimizer[0].state_dict(),
                "epoch": epoch,
                "seconds": time.perf_counter() - started,
            },
        )
        print(f"epoch {epoch}: loss {loss:.4f}, validation {accuracy(small, splits.validation):.4f}", flush=True)

    fit(
        small,
        splits.train,
        tuning,
        1,
        attach=optimizer.append,
        after_epoch=after_epoch,
        first=done["epoch"] if done else 0,
        state=done["optimizer"] if done else None,
    )
    before, after = (tg.measure(network, example, latency=False) for network in (dense, small))
    found = {
        "epochs": {"path": state["passed"][-1]["steps"] / (len(splits.train) // 128), "compact": given.epochs},
        "accuracy": {
            "dense": accuracy(dense, splits.test),
            "pruned": pruned,
            "compact": accuracy(small, splits.test),
        },
        "weights": {"dense": before.weights, "compact": after.weights},
        "macs": {"dense": before.macs, "compact": after.macs},
        "path": state["passed"],
        "seconds": {"path": state["seconds"], "compact": time.perf_counter() - started},
        "cuts": tg.structure_of(small).to_records(),
    }
    print(found["accuracy"], before.macs / after.macs, before.weights / after.weights)
    keep(given, "learning.resnet20", found)


if __name__ == "__main__":
    main()
