"""Times compact networks beside their dense ones and beside Torch-Pruning's.

Run it with ``python -m benchmarks.deployment.latency``.

Two networks with the structure that GrOWL leaves behind: a 784-300-10 MLP whose 340 surviving pixels are in 33 groups,
and VGG-16 for CIFAR-10 with at least 14.5x fewer weights and 4x fewer MACs. Beside them Torch-Pruning's result for the
same surviving channels, without ties (it knows none), from the same dense network. Sides take turns on fresh inputs, on
one thread, in eager PyTorch and in onnxruntime; what counts is the ratio of medians.
"""

from __future__ import annotations

import copy
import tempfile
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import torch_growl as tg
from benchmarks.deployment.export import session
from benchmarks.harness import timing
from benchmarks.harness.command import keep, options
from benchmarks.harness.verdicts import judge, show
from torch_growl.application.models.convolutional import vgg16
from torch_growl.application.models.perceptrons import mnist_mlp
from torch_growl.networks.layers import kind_of, rows_of, write_rows_

__all__ = ["main", "sessions", "structured_mlp", "structured_vgg", "targets"]

# VGG-16, per convolution: the share of its input channels that are pruned, and of what is left, the share that tying
# takes away.
PRUNED = (0.0, 0.3, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6, 0.7, 0.78, 0.8, 0.8, 0.8)
TIED = (0.0, 0.0, 0.0, 0.0, 0.0, 0.1, 0.1, 0.3, 0.4, 0.4, 0.4, 0.4, 0.4)
LEAST = {"weights": 14.5, "MACs": 4.0}
SHARE_OF_MACS = 0.8  # of the ratio of MACs that the ratio of times must reach
PEER = "Torch-Pruning, same channels"
UNROUNDED = "compact, widths as they fall"
ROUND_TO = 8  # widths of VGG-16: convolutions of odd widths run far below the speed of the next multiple of 8
BATCHES = {"784-300-10": (1, 8, 64, 256), "VGG-16": (1, 32)}


def _tie_(rows: Tensor, alive: Tensor, groups: int, generator: torch.Generator) -> None:
    """Set rows of a layer to zero and tie the others in so many groups, in place."""
    kept = alive.nonzero().flatten()
    rows[~alive] = 0
    order = kept[torch.randperm(len(kept), generator=generator)]
    owner = order[:groups]
    rows[order] = rows[owner[torch.arange(len(order)) % groups]]


@torch.no_grad()
def structured_mlp() -> nn.Module:
    """Return 784-300-10 with 444 pixels not read and 340 in 33 groups; the other layers are dense."""
    torch.manual_seed(0)
    model = mnist_mlp(init="torch").eval()
    generator = torch.Generator().manual_seed(0)
    layer = next(module for module in model.modules() if type(module) is nn.Linear)
    rows = rows_of(layer).clone()
    alive = torch.zeros(784, dtype=torch.bool)
    alive[torch.randperm(784, generator=generator)[:340]] = True
    _tie_(rows, alive, 33, generator)
    write_rows_(layer, rows)
    return model


@torch.no_grad()
def structured_vgg(tied: bool = True) -> nn.Module:
    """Return VGG-16 with input channels pruned and tied as in :data:`PRUNED` and :data:`TIED`."""
    torch.manual_seed(0)
    model = vgg16().eval()
    generator = torch.Generator().manual_seed(0)
    convolutions = [module for module in model.modules() if type(module) is nn.Conv2d]
    linears = [module for module in model.modules() if type(module) is nn.Linear]
    for number, layer in enumerate([*convolutions, *linears[:1]]):
        pruned = PRUNED[number] if number < len(PRUNED) else PRUNED[-1]
        share = TIED[number] if number < len(TIED) else 0.0
        rows = rows_of(layer).clone()
        n = len(rows)
        alive = torch.zeros(n, dtype=torch.bool)
        alive[torch.randperm(n, generator=generator)[: n - round(pruned * n)]] = True
        left = int(alive.sum())
        _tie_(rows, alive, left - round(share * left) if tied else left, generator)
        write_rows_(layer, rows)
    return model


def torch_pruning(dense: nn.Module, example: Tensor) -> nn.Module:
    """Return Torch-Pruning's network with the channels that some layer still reads, without ties."""
    import torch_pruning as tp

    model = copy.deepcopy(dense)
    layers = [m for m in model.modules() if kind_of(m) is not None]
    zero = {id(layer): (rows_of(layer).detach() == 0).all(dim=1).nonzero().flatten().tolist() for layer in layers}
    graph = tp.DependencyGraph().build_dependency(model, example)
    for layer in layers[1:]:
        prune: Callable[..., Any] = (
            tp.prune_conv_in_channels if type(layer) is nn.Conv2d else tp.prune_linear_in_channels
        )
        if zero[id(layer)]:
            graph.get_pruning_group(layer, prune, idxs=zero[id(layer)]).prune()
    return model


def sessions(networks: Mapping[str, nn.Module], example: Tensor) -> dict[str, Callable[[Tensor], Any]]:
    """Open onnxruntime sessions on one thread."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for number, (name, network) in enumerate(networks.items()):
            path = Path(folder) / f"{number}.onnx"
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                tg.export_onnx(network, example, path)
            opened = session(path)
            entry = opened.get_inputs()[0].name
            found[name] = lambda x, opened=opened, entry=entry: opened.run(None, {entry: x.numpy()})
    return found


def compare(name: str, networks: Mapping[str, nn.Module], shape: tuple[int, ...], rounds: int) -> list[dict[str, Any]]:
    """Return the medians of all networks in both runtimes at every batch size."""
    example = torch.randn(2, *shape)
    runtimes: dict[str, Mapping[str, Callable[[Tensor], Any]]] = {
        "eager": dict(networks.items()),
        "onnxruntime": sessions(networks, example),
    }
    found = []
    for runtime, candidates in runtimes.items():
        for batch in BATCHES[name]:

            def fresh(rng: np.random.Generator, batch: int = batch) -> Tensor:
                return torch.from_numpy(rng.standard_normal((batch, *shape), dtype=np.float32))

            with torch.no_grad():
                times = timing.side_by_side(candidates, fresh, rounds=rounds if batch < 64 else max(7, rounds // 2))
            found.append({"network": name, "runtime": runtime, "batch": batch, "times": times})
            medians = {key: each["median"] for key, each in times.items()}
            print(name, runtime, batch, {key: f"{value / 1e3:.3f} ms" for key, value in medians.items()}, flush=True)
    return found


def measured(dense: nn.Module, networks: Mapping[str, nn.Module], example: Tensor) -> dict[str, Any]:
    """Return weights and MACs of every network."""
    counts = {key: tg.measure(network, example, latency=False) for key, network in networks.items()}
    return {key: {"weights": each.weights, "macs": each.macs} for key, each in counts.items()}


def targets(data: dict[str, Any]) -> list[dict[str, Any]]:
    """Compare the ratios with their targets."""
    medians = {
        (cell["network"], cell["runtime"], cell["batch"]): {key: t["median"] for key, t in cell["times"].items()}
        for cell in data["times"]
    }
    macs = {name: sizes["dense"]["macs"] / sizes["compact"]["macs"] for name, sizes in data["sizes"].items()}
    mlp = {f"{r}": m["compact"] / m["dense"] for (n, r, b), m in medians.items() if (n, b) == ("784-300-10", 256)}
    vgg = {
        f"{runtime}": m["compact"] / m["dense"] * macs["VGG-16"]
        for (name, runtime, batch), m in medians.items()
        if (name, batch) == ("VGG-16", 32)
    }
    peer = {
        f"{runtime}, batch {batch}": m["compact"] / m[PEER]
        for (name, runtime, batch), m in medians.items()
        if PEER in m
    }
    small = {name: sizes["compact"]["weights"] / sizes["dense"]["weights"] for name, sizes in data["sizes"].items()}
    return [
        judge("784-300-10 at 33 groups, batch 256: compact / dense", 0.25, mlp),
        judge("VGG-16: weights, compact / dense", 1 / LEAST["weights"], {"VGG-16": small["VGG-16"]}),
        judge("VGG-16: MACs, compact / dense", 1 / LEAST["MACs"], {"VGG-16": 1 / macs["VGG-16"]}),
        judge("VGG-16, batch 32: ratio of MACs / ratio of times", 1 / SHARE_OF_MACS, vgg),
        judge("VGG-16: compact / Torch-Pruning with the same channels", 1.0, peer),
    ]


def main(arguments: list[str] | None = None) -> None:
    """Measure and keep the result."""
    given = options(__doc__).parse_args(arguments)
    timing.one_thread()
    rounds = 5 if given.quick else 41
    data: dict[str, Any] = {"sizes": {}, "times": []}
    for name, dense, shape in (
        ("784-300-10", structured_mlp(), (784,)),
        ("VGG-16", structured_vgg(), (3, 32, 32)),
    ):
        example = torch.randn(2, *shape)
        networks = {"dense": dense, "compact": tg.compact(dense, example)}
        if name == "VGG-16":
            networks[UNROUNDED] = networks["compact"]
            networks["compact"] = tg.compact(dense, example, round_to=ROUND_TO)
            networks[PEER] = torch_pruning(dense, example)
            with torch.no_grad():
                assert torch.allclose(networks[PEER](example), dense(example), atol=1e-4)
        data["sizes"][name] = measured(dense, networks, example)
        print(name, data["sizes"][name], flush=True)
        data["times"] += compare(name, networks, shape, rounds)
    data["targets"] = targets(data)
    show(data["targets"])
    keep(given, "deployment.latency", data, ("onnxruntime", "torch-pruning"))


if __name__ == "__main__":
    main()
