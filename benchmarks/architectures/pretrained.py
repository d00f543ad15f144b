"""Scores pretrained ResNets on the CIFAR-10 test set, the dense network beside the compact one.

Run it with ``python -m benchmarks.architectures.pretrained --data DIR``.

The weights are those of akamaster/pytorch_resnet_cifar10 (BSD-2-Clause), in ``--weights DIR``. Each network is scored
as it is, and again with rows of its convolutions zeroed and tied, dense and compact; none of the 10,000 predictions
may differ.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import torch_growl as tg
from benchmarks.harness import timing
from benchmarks.harness.command import keep, options
from torch_growl.application.data.datasets import load_cifar10
from torch_growl.application.models.residual import resnet_cifar
from torch_growl.networks.layers import rows_of, write_rows_

__all__ = ["KNOWN", "damage_", "images", "main", "pretrained"]

KNOWN = {20: 0.9173, 56: 0.9339}
FOLDERS = {"data": "../shared/data", "weights": "../shared/pretrained"}  # where they lie unless told otherwise


def pretrained(depth: int, folder: Path) -> nn.Module:
    """Return ResNet-20 or ResNet-56 with its published weights, in eval mode."""
    return resnet_cifar(depth=depth, weights=folder / f"resnet{depth}-cifar10.safetensors").eval()


def images(folder: Path, count: int | None = None) -> tuple[Tensor, Tensor]:
    """Return the test images, normalised as these networks expect, and their classes."""
    test = load_cifar10(folder, normalize="channels").test
    assert test.transform is not None
    return test.transform(test.x[:count], None), test.y[:count]


@torch.no_grad()
def damage_(model: nn.Module) -> nn.Module:
    """In each second convolution of the last stage, zero the eighth of rows of least norm and tie the next eighth.

    Little enough that the network still knows what it sees; returns the network.
    """
    for name, layer in model.named_modules():
        if type(layer) is nn.Conv2d and name.startswith("layer3") and name.endswith("conv2"):
            rows = rows_of(layer).clone()
            order = rows.norm(dim=1).argsort()
            eighth = len(rows) // 8
            rows[order[:eighth]] = 0
            rows[order[eighth : 2 * eighth]] = rows[order[eighth : 2 * eighth]].mean(0)
            write_rows_(layer, rows)
    return model


@torch.no_grad()
def predictions(model: nn.Module, x: Tensor) -> Tensor:
    """Return the class that the network predicts for each image."""
    return torch.cat([model(batch).argmax(1) for batch in x.split(250)])


def main(arguments: list[str] | None = None) -> None:
    """Score all networks and keep the result."""
    parser = options(__doc__)
    for name, folder in FOLDERS.items():
        parser.add_argument(f"--{name}", type=Path, default=Path(folder))
    given = parser.parse_args(arguments)
    timing.one_thread()
    x, y = images(given.data, 500 if given.quick else None)
    found: list[dict[str, Any]] = []
    for depth in KNOWN:
        for damaged in (False, True):
            dense = pretrained(depth, given.weights)
            if damaged:
                damage_(dense)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", tg.GrowlWarning)  # an undamaged one has nothing to remove
                small = tg.compact(dense, x[:2])
            theirs, ours = predictions(dense, x), predictions(small, x)
            sizes = [tg.measure(network, x[:1], latency=False) for network in (dense, small)]
            found.append(
                {
                    "network": f"ResNet-{depth}",
                    "damaged": damaged,
                    "images": len(x),
                    "accuracy": float((theirs == y).float().mean()),
                    "known": None if damaged else KNOWN[depth],
                    "predictions_differ": int((theirs != ours).sum()),
                    "weights": [size.weights for size in sizes],
                    "macs": [size.macs for size in sizes],
                }
            )
            print(found[-1], flush=True)
    keep(given, "architectures.pretrained", {"networks": found})


if __name__ == "__main__":
    main()
