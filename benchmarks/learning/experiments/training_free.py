"""Removes channels without training: this library, plain magnitude and Torch-Pruning side by side.

Run it with ``python -m benchmarks.learning.experiments.training_free``.

ResNet-20 and ResNet-56 start from their pretrained weights for CIFAR-10, the perceptron is trained here for MNIST.
Every method gets the same unlabelled training images: 640, without augmentation, 5 batches of 128. Batch
normalisations are estimated anew on these images after magnitude's and Torch-Pruning's cuts, and the better of both
accuracies is theirs. Torch-Pruning cannot follow padded shortcuts, so that it gets a ResNet whose shortcuts are frozen
1×1 selections; their multiply-adds are not counted. Test accuracy is that of the images named by ``--images``.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import torch_growl as tg
from benchmarks.harness import results, timing
from benchmarks.harness.command import keep, missing, options, workplace
from benchmarks.learning.training.fitting import accuracy, training_batches
from torch_growl.application.data.datasets import load_cifar10, load_mnist
from torch_growl.application.data.splits import Splits, TensorSplit
from torch_growl.application.models.perceptrons import mlp
from torch_growl.application.models.residual import ResidualBlock, resnet_cifar
from torch_growl.networks.compaction import compact
from torch_growl.networks.layers import row_norms
from torch_growl.networks.shrinking.channels import alike_channels, flagged_rows
from torch_growl.networks.targets import Counter, without_rows

__all__ = ["main"]

SHARES = (0.9, 0.8, 0.7, 0.5)
NETWORKS = ("mnist-mlp", "resnet20", "resnet56")
BATCH, BATCHES = 128, 5
FOLDERS = {"data": "../shared/data", "weights": "../shared/pretrained", "work": "runs/learning/training_free"}


def main(arguments: list[str] | None = None) -> None:
    """Measure what is not there yet, and keep the result."""
    parser = options(__doc__)
    for name, folder in FOLDERS.items():
        parser.add_argument(f"--{name}", type=Path, default=Path(folder))
    parser.add_argument("--only", choices=NETWORKS, action="append", help="measure this network; may be repeated")
    parser.add_argument("--images", type=int, default=10_000, help="test images")
    given = parser.parse_args(arguments)
    timing.one_thread()
    file = workplace(given) / "done.json"
    done = results.parts(file)
    absent = missing({"Torch-Pruning": "torch_pruning"})
    for name in given.only or NETWORKS:
        model, splits = _network(name, given)
        inputs = training_batches(splits, BATCH, BATCHES)
        test = TensorSplit(*splits.test.batch(torch.randperm(len(splits.test), generator=seeded(1))[: given.images]))
        part = done.setdefault(name, {"images": len(test), "dense": accuracy(model, test)})
        for share in (0.5,) if given.quick else SHARES:
            for method, prune in METHODS.items():
                key = f"{method}, {share}"
                if key in part or any(method.startswith(one) for one in absent):
                    continue
                started = time.perf_counter()
                part[key] = {**prune(model, inputs, share, test), "seconds": round(time.perf_counter() - started, 1)}
                print(name, key, part[key], flush=True)
                results.write(file, done)
    keep(given, "learning.experiments.training_free", {"networks": done, "absent": absent})


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _network(name: str, given: Any) -> tuple[nn.Module, Splits]:
    if name != "mnist-mlp":
        file = given.weights / f"{name}-cifar10.safetensors"
        splits = load_cifar10(given.data, normalize="channels", augment=False)
        return resnet_cifar(depth=int(name[6:]), weights=file).eval(), splits
    splits = load_mnist(given.data)
    return trained_perceptron(splits, 1 if given.quick else 5), splits


def trained_perceptron(splits: Splits, epochs: int) -> nn.Module:
    """Train 784-300-100-10 for MNIST."""
    torch.manual_seed(0)
    model = mlp((784, 300, 100, 10))
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    generator = seeded(2)
    for _ in range(epochs):
        for index in torch.randperm(len(splits.train), generator=generator).split(BATCH):
            x, y = splits.train.batch(index)
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
    return model.eval()


@torch.no_grad()
def with_new_statistics(model: nn.Module, inputs: list[Tensor]) -> nn.Module:
    """A copy whose batch normalisations are estimated on these inputs."""
    model = copy.deepcopy(model)
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.train().reset_running_stats()
        norm.momentum = None
    for x in inputs:
        model(x)
    return model.eval()


def _judged(model: nn.Module, small: nn.Module, inputs: list[Tensor], test: Any, macs: int) -> dict[str, Any]:
    plain, fresh = accuracy(small, test), accuracy(with_new_statistics(small, inputs), test)
    dense = tg.measure(model, inputs[0][:1], latency=False).macs
    return {"accuracy": max(plain, fresh), "as cut": plain, "macs": macs / dense}


def _ours(model: nn.Module, inputs: list[Tensor], share: float, test: Any) -> dict[str, Any]:
    small = tg.shrink(model, inputs, tg.Target(macs=share))
    found = tg.measure(small, inputs[0][:1], latency=False).macs / tg.measure(model, inputs[0][:1], latency=False).macs
    return {"accuracy": accuracy(small, test), "macs": found}


def _magnitude(model: nn.Module, inputs: list[Tensor], share: float, test: Any) -> dict[str, Any]:
    """Whole channels by the mean square of their rows, in units of each layer's mean, until the target is met."""
    counter = Counter(model, inputs[0])
    modules = {name: model.get_submodule(name) for name in counter.cuttable}
    norms = {name: (row_norms(module).double() ** 2).numpy() for name, module in modules.items()}
    channels = [
        (sum(float(norms[n][r].sum() / norms[n].mean()) for n, r in rows.items()) / len(rows), rows)
        for kind in alike_channels(counter.wiring, counter.cuttable)
        for rows in kind.rows
    ]
    channels.sort(key=lambda pair: pair[0])
    sizes = {name: len(values) for name, values in norms.items()}
    asked = share * counter.dense.macs

    def flags(count: int) -> dict[str, Any]:
        found = flagged_rows(sizes, [rows for _, rows in channels[:count]])
        for name, gone in found.items():
            if gone.all():  # a layer keeps its largest row
                gone[np.argmax(norms[name])] = False
        return found

    low, high = 0, len(channels)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if counter.left(flags(middle)).macs <= asked else (middle, high)
    small = compact(without_rows(model, flags(high)), inputs[0])
    return _judged(model, small, inputs, test, tg.measure(small, inputs[0][:1], latency=False).macs)


class Selected(nn.Module):
    """A residual block whose shortcut is a frozen 1×1 selection, for tools that cannot follow padded channels."""

    def __init__(self, block: ResidualBlock) -> None:
        super().__init__()
        self.conv1, self.bn1, self.conv2, self.bn2 = block.conv1, block.bn1, block.conv2, block.bn2
        inputs, outputs = block.conv1.in_channels, block.conv2.out_channels
        self.shortcut: nn.Module = nn.Identity()
        if block.stride != 1 or block.extra:
            select = nn.Conv2d(inputs, outputs, 1, stride=block.stride, bias=False).requires_grad_(requires_grad=False)
            select.weight.zero_()
            for channel in range(inputs):
                select.weight[channel + block.extra // 2, channel] = 1
            self.shortcut = select

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + self.shortcut(x))


@torch.no_grad()
def with_selections(model: nn.Module) -> nn.Module:
    """A copy of a ResNet whose padded shortcuts are frozen selections."""
    cut = copy.deepcopy(model)
    for name, module in list(cut.named_modules()):
        if isinstance(module, ResidualBlock):
            cut.set_submodule(name, Selected(module))
    return cut


def _torch_pruning(model: nn.Module, inputs: list[Tensor], share: float, test: Any) -> dict[str, Any]:
    """Group magnitude, global, in small steps until the target is met, as its documentation shows."""
    import torch_pruning as tp  # type: ignore[import-not-found, unused-ignore]

    cut = with_selections(model)
    last = [module for module in cut.modules() if isinstance(module, nn.Linear)][-1]
    example = inputs[0][:1]
    whole = macs_without_selections(cut, example)
    pruner = tp.pruner.BasePruner(
        cut,
        example,
        importance=tp.importance.GroupMagnitudeImportance(p=2),
        global_pruning=True,
        pruning_ratio=0.95,
        max_pruning_ratio=0.95,
        iterative_steps=300,
        ignored_layers=[last],
    )
    for _ in range(300):
        if macs_without_selections(cut, example) <= share * whole:
            break
        pruner.step()
    return _judged(model, cut, inputs, test, macs_without_selections(cut, example))


def _at_once(model: nn.Module, inputs: list[Tensor], share: float, test: Any) -> dict[str, Any]:
    dense, example = with_selections(model), inputs[0][:1]
    cut = pruned_at_once(dense, example, share * macs_without_selections(dense, example))
    return _judged(model, cut, inputs, test, macs_without_selections(cut, example))


def pruned_at_once(dense: nn.Module, example: Tensor, most: float, importance: Any = None) -> nn.Module:
    """Prune globally in one step, as Torch-Pruning's documentation shows, with the least ratio that is enough.

    The importance is that of group magnitude, if none is given; one that reads gradients finds those of ``dense``.
    """
    import torch_pruning as tp  # type: ignore[import-not-found, unused-ignore]

    low, high, found = 0.0, 0.95, dense
    while high - low > 1e-3:
        ratio = (low + high) / 2
        cut = copy.deepcopy(dense)
        for theirs, mine in zip(dense.parameters(), cut.parameters(), strict=True):
            mine.grad = None if theirs.grad is None else theirs.grad.clone()
        pruner = tp.pruner.BasePruner(
            cut,
            example,
            importance=importance or tp.importance.GroupMagnitudeImportance(p=2),
            global_pruning=True,
            pruning_ratio=ratio,
            max_pruning_ratio=0.95,
            ignored_layers=[[m for m in cut.modules() if isinstance(m, nn.Linear)][-1]],
        )
        pruner.step()
        if macs_without_selections(cut, example) <= most:
            high, found = ratio, cut
        else:
            low = ratio
    found.zero_grad()
    return found


def macs_without_selections(model: nn.Module, example: Tensor) -> int:
    total = 0

    def hook(module: nn.Module, args: Any, y: Tensor) -> None:
        nonlocal total
        layer = cast(Any, module)
        total += y.numel() * layer.weight.shape[1:].numel()

    skipped = {id(m.shortcut) for m in model.modules() if isinstance(m, Selected)}
    layers = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear) and id(m) not in skipped]
    hooks = [layer.register_forward_hook(hook) for layer in layers]
    with torch.no_grad():
        model(example)
    for handle in hooks:
        handle.remove()
    return total


Method = Callable[[nn.Module, list[Tensor], float, Any], dict[str, Any]]
METHODS: dict[str, Method] = {
    "tg.shrink": _ours,
    "magnitude": _magnitude,
    "Torch-Pruning": _torch_pruning,
    "Torch-Pruning, one step": _at_once,
}


if __name__ == "__main__":
    main()
