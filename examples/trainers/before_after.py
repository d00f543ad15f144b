"""The table that the examples print: the plain network beside the one that torch-growl made smaller."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from torch import nn

import torch_growl as tg


@dataclass(frozen=True)
class Row:
    """One network: its name, its score on the test set, its weights, and multiply-adds of one example."""

    network: str
    score: float
    weights: int
    macs: int


def row(name: str, score: float, network: nn.Module, inputs: Any) -> Row:
    """Measure a network."""
    found = tg.measure(network, inputs, latency=False)
    return Row(name, score, found.weights, found.macs)


def show(title: str, score: str, rows: list[Row]) -> list[dict[str, Any]]:
    """Print the table, and return it as plain data."""
    print(f"{title}\n\n| network | {score} | weights | MACs |\n|---|---:|---:|---:|")
    for each in rows:
        print(f"| {each.network} | {each.score:.4g} | {each.weights:,} | {each.macs:,} |")
    return [asdict(each) for each in rows]
