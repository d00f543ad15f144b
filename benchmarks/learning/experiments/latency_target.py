"""Trains networks to half of their latency, in eager PyTorch and in onnxruntime, and times the compact networks.

Run it with ``python -m benchmarks.learning.experiments.latency_target --data DIR``; it resumes from what it has kept in
``--work``, and ``--only`` does a part. Nothing else may run on the machine: a busy one has other times.

LeNet-5 on MNIST and VGG-16 of a quarter's width on CIFAR-10, from scratch, each with a target of 0.5 of the dense
network's milliseconds, for a few hundred steps; their accuracy is not the subject. When a training is over, the compact
network is loaded from its file and timed in turn with a new dense one, three times; the middle one of the three ratios
counts. One CPU thread.
"""

from __future__ import annotations

import statistics
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch import nn

import torch_growl as tg
from benchmarks.harness import results, timing
from benchmarks.harness.command import keep, options, workplace
from benchmarks.harness.verdicts import judge, show
from benchmarks.learning.experiments.targets import optimizer_of, train
from benchmarks.learning.training.counting import compacted
from benchmarks.learning.training.fitting import example_of
from torch_growl.application.data.datasets import Splits, load_cifar10, load_digits_splits, load_mnist
from torch_growl.application.models.convolutional import lenet5, vgg16
from torch_growl.application.models.perceptrons import digits_mlp
from torch_growl.errors import InvalidValueError
from torch_growl.networks.measurement import compare_latency

__all__ = ["NETWORKS", "QUICK", "main", "targets", "timed", "trained"]

ASKED = 0.5  # of the dense network's milliseconds
RUNTIMES = ("eager", "onnxruntime")
TIMINGS, CALLS = 3, 201  # of both networks afterwards
WITHIN = 0.05  # of what was asked, at which a training lands


@dataclass(frozen=True)
class Network:
    """A network, its data and its training.

    Attributes:
        build: the network, freshly initialised.
        load: the data, from a folder.
        batches: the examples in the call that is timed.
        steps: of the training, AdamW at 1e-3 in batches of 32.
    """

    build: Callable[[], nn.Module]
    load: Callable[[Path], Splits]
    batches: tuple[int, ...] = (1,)
    steps: int = 300


NETWORKS = {
    "LeNet-5": Network(lenet5, lambda folder: load_mnist(folder, flat=False), (1, 32)),
    "VGG-16 of a quarter's width": Network(lambda: vgg16(width=0.25), load_cifar10),
}
QUICK = {
    "64-2000-1000-10": Network(
        lambda: digits_mlp(hidden=(2_000, 1_000)), lambda folder: load_digits_splits(), (32,), 40
    )
}


def trained(network: Network, runtime: str, batch: int, folder: Path, file: Path) -> dict[str, Any]:
    """Train a network to half of its latency in a runtime, and save the compact one."""
    splits, model = network.load(folder), fresh(network)
    example = example_of(splits)[:1]
    common = {"runtime": runtime, "batch": batch, "asked": ASKED, "steps": network.steps}
    try:
        target = tg.Target(latency_ms=ASKED, runtime=runtime, batch=batch)
        growl = tg.GrOWL(model, target=target, example_inputs=example)
    except InvalidValueError as error:  # the smallest network takes longer
        return {**common, "refused": str(error)}
    optimizer = optimizer_of("AdamW", model, 1e-3)
    growl.attach(optimizer, steps=network.steps)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", tg.GrowlWarning)  # a missed target is in the result
        train(model, optimizer, splits, network.steps, 0, 32)
    progress, small = growl.progress, compacted(model, example)
    tg.save(small, file)
    weights = [tg.measure(each, example, latency=False).weights for each in (small, fresh(network))]
    found = {"counted": progress.left / progress.dense, "reached": progress.reached, "weights": weights[0] / weights[1]}
    return {**common, **found, "rows": dict(progress.rows)}


def timed(
    network: Network, runtime: str, batch: int, folder: Path, file: Path, timings: int = TIMINGS
) -> dict[str, Any]:
    """Time the saved compact network beside the dense one."""
    dense, small = fresh(network).eval(), tg.load(file, fresh(network))
    example = example_of(network.load(folder))[:1]
    how: dict[str, Any] = {"batch_sizes": (batch,), "runtimes": (runtime,), "threads": 1, "repeats": CALLS}
    times = []
    for _ in range(timings):
        (one,) = compare_latency(dense, small, example, **how)
        assert one.dense_ms is not None, one.note
        assert one.compact_ms is not None, one.note
        times.append((one.dense_ms, one.compact_ms))
    middles = [statistics.median(each) for each in zip(*times, strict=True)]
    return {"timed": [own / whole for whole, own in times], "dense_ms": middles[0], "compact_ms": middles[1]}


def fresh(network: Network) -> nn.Module:
    """Return the network, initialised with the one seed."""
    torch.manual_seed(0)
    return network.build()


def middle(training: dict[str, Any]) -> float:
    """Return the compact network's part of the dense one's milliseconds, the middle one of several."""
    return statistics.median(training["timed"])


def targets(trainings: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Compare how far the trainings land from what was asked with what is allowed."""
    of = {name_of(one): middle(one) / one["asked"] for one in trainings if "timed" in one}
    off = {name: abs(share - 1) for name, share in of.items()}
    return [judge("latency, off what was asked", WITHIN, off), judge("latency over what was asked", 1.0, of)]


def name_of(training: dict[str, Any]) -> str:
    """Return the name of a training."""
    return f"{training['network']}, {training['runtime']}, batch {training['batch']}"


def main(arguments: list[str] | None = None) -> None:
    """Run the trainings that are left and time them; keep the result once all are done."""
    parser = options(__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--work", type=Path, default=Path("runs/learning/latency_target"), help="folder of files")
    parser.add_argument("--only", default="", help="run only trainings whose name has this in it; keep no result yet")
    given = parser.parse_args(arguments)
    timing.one_thread()
    place = workplace(given)
    networks = QUICK if given.quick else NETWORKS
    found = []
    for name, network in networks.items():
        for batch, runtime in product(network.batches, RUNTIMES[: 1 if given.quick else None]):
            key = f"{name} {runtime} {batch}"
            if given.only not in key:
                continue
            at = (network, runtime, batch, given.data, place / f"{key}.safetensors")
            record = place / f"{key}.json"
            if not record.exists():
                results.write(record, {"network": name, **trained(*at), "commit": results.commit()})
            found.append(results.read(record))
            if not {"refused", "timed"} & set(found[-1]):
                found[-1] |= timed(*at, timings=1 if given.quick else TIMINGS)
                results.write(record, found[-1])
            print(found[-1], flush=True)
    if given.only:
        return
    verdicts = targets(found)
    show(verdicts)
    data = {"asked": ASKED, "calls": CALLS, "targets": verdicts, "trainings": found}
    keep(given, "learning.experiments.latency_target", data, ("onnxruntime",))


if __name__ == "__main__":
    main()
