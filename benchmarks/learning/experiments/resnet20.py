"""Halves the MACs of a pretrained ResNet-20 or ResNet-56 on CIFAR-10.

Run it with ``python -m benchmarks.learning.experiments.resnet20``.

GrOWL is attached to a training that starts from the pretrained weights, and its strength grows by a constant factor
until the compact network has the wanted MACs, so that no strength has to be chosen. Then the compact network is
trained. The pretrained ResNet-56 is the teacher of both trainings: on a CPU its answers are computed once for a few
fixed crops of every image, on a GPU for every new crop. Training computes products in bfloat16; scores are computed in
float32 on the CPU. ``--inner`` prunes only channels between the two convolutions of a block; ``--shrink`` makes the
compact network by ``tg.shrink(least=0.5)`` at once. ``--depth 56`` starts from the ResNet-56. On a CPU it takes one
thread and 80 seconds an epoch, with a ResNet-56 three times as long. An interrupted training of the compact network
resumes from the last epoch; an interrupted path of rising strength starts again.
"""

from __future__ import annotations

import copy
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

import torch_growl as tg
from benchmarks.harness import results, timing
from benchmarks.harness.command import keep, options, workplace
from benchmarks.learning.training.fitting import (
    Bfloat16,
    Fit,
    accuracy,
    example_of,
    fit,
    keep_state,
    state_of,
    training_batches,
)
from benchmarks.learning.training.on_device import DeviceSplit
from benchmarks.learning.training.rising import Rise, press
from benchmarks.learning.training.views import Views, answers_to
from torch_growl.application.data.datasets import load_cifar10
from torch_growl.application.data.splits import TensorSplit
from torch_growl.application.models.residual import resnet_cifar
from torch_growl.application.training.scores import evaluate

__all__ = ["main"]

CROPS, DISTILL, TEMPERATURE = 10, 0.7, 4.0
FOLDERS = {"data": "../shared/data", "weights": "../shared/pretrained", "work": "runs/learning/resnet20"}


def main(arguments: list[str] | None = None) -> None:
    """Run the stages that are left, and keep the result."""
    parser = options(__doc__)
    for name, folder in FOLDERS.items():
        parser.add_argument(f"--{name}", type=Path, default=Path(folder))
    parser.add_argument("--goal", type=float, default=2.02, help="stop at so many times fewer MACs")
    parser.add_argument("--epochs", type=int, default=40, help="epochs of training the compact network")
    parser.add_argument("--batch", type=int, default=128, help="examples in a step of training the compact network")
    parser.add_argument(
        "--balance", type=float, default=0.5, help="balance of GrOWL: the power of a layer's share of weights"
    )
    parser.add_argument("--shrink", action="store_true", help="tg.shrink makes the compact network, without a path")
    parser.add_argument("--crops", type=int, default=CROPS, help="of every image, that the teacher answers on a CPU")
    parser.add_argument("--depth", type=int, choices=(20, 56), default=20, help="layers of the ResNet")
    parser.add_argument("--inner", action="store_true", help="prune only rows of each block's second convolution")
    given = parser.parse_args(arguments)
    timing.one_thread()
    given.work = workplace(given)
    splits = load_cifar10(given.data, normalize="channels", padding=4, limit=128 if given.quick else None)
    if given.quick:
        parts = {name: cast(TensorSplit, getattr(splits, name)) for name in ("validation", "test")}
        few = {name: TensorSplit(part.x[:100], part.y[:100], part.transform) for name, part in parts.items()}
        splits = replace(splits, **few)
    weights = given.weights / f"resnet{given.depth}-cifar10.safetensors"
    dense = resnet_cifar(depth=given.depth, weights=weights).eval()
    example = example_of(splits)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = copy.deepcopy(dense).to(device).to(memory_format=torch.channels_last)
    path = Fit(epochs=400 if given.quick else 40, lr=0.1, weight_decay=5e-4, distill=DISTILL, temperature=TEMPERATURE)
    way = "shrink" if given.shrink else f"{given.goal:g}-{given.balance:g}{'-inner' if given.inner else ''}"
    way += "" if given.depth == 20 else f"-{given.depth}"
    path_file = given.work / f"path-{way}.pt"
    tuned_file = given.work / f"tuned-{way}-{given.epochs}-{given.batch}.pt"
    started = time.perf_counter()
    state, done = state_of(path_file), state_of(tuned_file)
    left = done is None or done["epoch"] < given.epochs
    if given.shrink:
        small = shrunk(dense, splits, given)
        state = {"passed": [{"steps": 0}], "seconds": time.perf_counter() - started}
    if state is None or left:  # else there is nothing to ask the teacher for
        train, teacher = taught(splits.train, given.weights, given.work, 2 if given.quick else given.crops)
    if state is None:
        growl = tg.GrOWL(model, layers=["*.conv2"] if given.inner else None, balance=given.balance)
        passed = press(
            model, growl, train, path, Rise(given.goal, look=10 if given.quick else 100), 0, Bfloat16(model), teacher
        )
        state = {"model": model.state_dict(), "passed": passed, "seconds": time.perf_counter() - started}
        keep_state(path_file, state)
    if not given.shrink:
        model.load_state_dict(state["model"])
        small = tg.compact(model.cpu().eval(), example)
    pruned = accuracy(small, splits.test)
    print("pruned:", pruned, tg.structure_of(small), sep="\n", flush=True)

    small = small.to(device).to(memory_format=torch.channels_last)
    lr = 0.05 * given.batch / 128
    tuning = Fit(given.epochs, lr, 5e-4, distill=DISTILL, temperature=TEMPERATURE, batch_size=given.batch)
    seconds = 0.0
    where = {
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "CPU",
        "torch": str(torch.__version__),
    }
    if done is not None:
        small.load_state_dict(done["model"])
        seconds, where = done["seconds"], done["where"]
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
                "where": where,
            },
        )
        if device.type == "cpu" or epoch % 10 == 0:
            print(
                f"epoch {epoch}: loss {loss:.4f}, validation {evaluate(small, splits.validation, device):.4f}",
                flush=True,
            )

    if left:
        fit(
            Bfloat16(small),
            train,
            tuning,
            1,
            attach=optimizer.append,
            after_epoch=after_epoch,
            first=done["epoch"] if done else 0,
            state=done["optimizer"] if done else None,
            teacher=teacher,
        )
    small = small.cpu()
    before, after = (tg.measure(network, example, latency=False) for network in (dense, small))
    found = {
        "depth": given.depth,
        "balance": given.balance,
        "layers": "tg.shrink" if given.shrink else "inner" if given.inner else "all",
        "batch": given.batch,
        "trained": where,
        "commit": results.commit(),
        "epochs": {"path": state["passed"][-1]["steps"] / (len(splits.train) // 128), "compact": given.epochs},  # type: ignore[arg-type]
        "accuracy": {
            "dense": accuracy(dense, splits.test),
            "pruned": pruned,
            "compact": accuracy(small, splits.test),
            "validation": accuracy(small, splits.validation),
        },
        "weights": {"dense": before.weights, "compact": after.weights},
        "macs": {"dense": before.macs, "compact": after.macs},
        "path": state["passed"],
        "seconds": {"path": state["seconds"], "compact": time.perf_counter() - started},
        "cuts": tg.structure_of(small).to_records(),
    }
    print(found["accuracy"], before.macs / after.macs, before.weights / after.weights)
    keep(given, "learning.experiments.resnet20", {"runs": [*others(found), found]})


def shrunk(dense: nn.Module, splits: Any, given: Any) -> nn.Module:
    """Make the compact network without training, from 640 images, as in the comparison of six epochs."""
    batches = training_batches(splits, *((16, 4) if given.quick else (128, 5)))
    small = tg.shrink(dense, batches, tg.Target(macs=1 / given.goal), least=0.5)
    return small.requires_grad_(requires_grad=True)


def others(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the kept runs with other settings."""
    if not results.exists("resnet20"):
        return []
    settings = ("depth", "layers", "balance", "batch")
    return [
        run
        for run in ({"depth": 20, **run} for run in results.load("resnet20")["runs"])
        if [run[key] for key in settings] != [found[key] for key in settings]
        or run["epochs"]["compact"] != found["epochs"]["compact"]
    ]


def taught(train: Any, folder: Path, work: Path, crops: int) -> tuple[TensorSplit, nn.Module | None]:
    """Return the training images with the answers of ResNet-56 (on a CPU), or with ResNet-56 itself (on a GPU)."""
    teacher = resnet_cifar(depth=56, weights=folder / "resnet56-cifar10.safetensors").eval()
    teacher = teacher.to(memory_format=torch.channels_last)
    if torch.cuda.is_available():
        device = torch.device("cuda")
        asked = Bfloat16(teacher.to(device)).eval()
        asked.compile()
        return DeviceSplit(train, device, padding=4, channels=True), asked
    state = state_of(work / "teacher.pt")
    if state is None:
        state = {"logits": answers_to(Views(train, crops), teacher)}
        keep_state(work / "teacher.pt", state)
    return Views(train, crops, logits=state["logits"]), None


if __name__ == "__main__":
    main()
