"""ResNet-20 on CIFAR-10 from pretrained weights to half the MACs: ``python -m benchmarks.learning.resnet20``.

A path of rising strength: GrOWL as it comes is attached to a training that goes on from the pretrained weights, and
the strength grows by a constant factor until the network compacts to the MACs that are asked for; none has to be
chosen. Then the compact network is trained on. All along the pretrained ResNet-56 teaches, asked once for every image
in a few fixed crops. One CPU thread, products in bfloat16 while training, scores in float32; few epochs, which the
result states. Stopped while the compact network is trained, it goes on from the last epoch; stopped on the path, it
begins the path anew.
"""

from __future__ import annotations

import copy
import time
from pathlib import Path
from typing import Any

import torch

import torch_growl as tg
from benchmarks import timing
from benchmarks.command import keep, options, workplace
from benchmarks.learning.fitting import Bfloat16, Fit, accuracy, fit, keep_state, state_of
from benchmarks.learning.rising import Rise, press
from benchmarks.learning.views import Views, answers_to
from torch_growl.data import load_cifar10
from torch_growl.networks import resnet_cifar

__all__ = ["main"]

CROPS, DISTILL, TEMPERATURE = 10, 0.7, 4.0
FOLDERS = {"data": "../shared/data", "weights": "../shared/pretrained", "work": "runs/learning/resnet20"}


def main(arguments: list[str] | None = None) -> None:
    """Run what is left to do, and keep the result."""
    parser = options(__doc__)
    for name, folder in FOLDERS.items():
        parser.add_argument(f"--{name}", type=Path, default=Path(folder))
    parser.add_argument("--goal", type=float, default=2.02, help="times fewer MACs")
    parser.add_argument("--epochs", type=int, default=40, help="of training the compact network")
    given = parser.parse_args(arguments)
    timing.one_thread()
    given.work = workplace(given)
    splits = load_cifar10(given.data, normalize="channels", padding=4, limit=256 if given.quick else None)
    dense = resnet_cifar(weights=given.weights / "resnet20-cifar10.safetensors").eval()
    example = splits.validation.batch(torch.arange(2))[0]  # type: ignore[attr-defined]
    weights = given.weights / "resnet56-cifar10.safetensors"
    train = taught(splits.train, weights, given.work, 2 if given.quick else CROPS)
    model = copy.deepcopy(dense).to(memory_format=torch.channels_last)
    path = Fit(epochs=400 if given.quick else 40, lr=0.1, weight_decay=5e-4, distill=DISTILL, temperature=TEMPERATURE)
    path_file = given.work / f"path-{given.goal:g}.pt"
    tuned_file = given.work / f"tuned-{given.goal:g}-{given.epochs}.pt"
    started = time.perf_counter()
    state = state_of(path_file)
    if state is None:
        passed = press(model, tg.GrOWL(model), train, path, Rise(given.goal), 0, Bfloat16(model))
        state = {"model": model.state_dict(), "passed": passed, "seconds": time.perf_counter() - started}
        keep_state(path_file, state)
    model.load_state_dict(state["model"])
    small = tg.compact(model.eval(), example)
    pruned = accuracy(small, splits.test)
    print("pruned:", pruned, tg.structure_of(small), sep="\n", flush=True)

    tuning = Fit(epochs=given.epochs, lr=0.05, weight_decay=1e-4, distill=DISTILL, temperature=TEMPERATURE)
    seconds = 0.0
    done = state_of(tuned_file)
    if done is not None:
        small.load_state_dict(done["model"])
        seconds = done["seconds"]
    optimizer: list[torch.optim.Optimizer] = []
    started = time.perf_counter() - seconds

    def after_epoch(epoch: int, loss: float) -> None:
        keep_state(
            tuned_file,
            {
                "model": small.state_dict(),
                "optimizer": optimizer[0].state_dict(),
                "epoch": epoch,
                "seconds": time.perf_counter() - started,
            },
        )
        print(f"epoch {epoch}: loss {loss:.4f}, validation {accuracy(small, splits.validation):.4f}", flush=True)

    fit(
        Bfloat16(small),
        train,
        tuning,
        1,
        attach=optimizer.append,
        after_epoch=after_epoch,
        first=done["epoch"] if done else 0,
        state=done["optimizer"] if done else None,
    )
    before, after = (tg.measure(network, example, latency=False) for network in (dense, small))
    found = {
        "epochs": {"path": state["passed"][-1]["steps"] / (len(splits.train) // 128), "compact": given.epochs},  # type: ignore[arg-type]
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


def taught(train: Any, weights: Path, work: Path, crops: int) -> Views:
    """The training images in a few crops, with the answers of ResNet-56, asked once."""
    state = state_of(work / "teacher.pt")
    if state is None:
        teacher = resnet_cifar(depth=56, weights=weights).eval().to(memory_format=torch.channels_last)
        state = {"logits": answers_to(Views(train, crops), teacher)}
        keep_state(work / "teacher.pt", state)
    return Views(train, crops, logits=state["logits"])


if __name__ == "__main__":
    main()
