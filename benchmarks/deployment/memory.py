"""Measures the peak memory of compacting, saving and loading a large network, each in a process of its own.

Run it with ``python -m benchmarks.deployment.memory`` (10⁹ bfloat16 weights, 2 GB; up to 6 GB are needed), or with
``--weights 250000000``; ``--quick`` runs a small network and keeps nothing.

The network is a chain of equal Linear layers, half of whose inputs are pruned. Every figure is the peak resident set
during one call less what the process had before the network was made, over the bytes of the network's weights. The
network that is given to the call is counted.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import torch_growl as tg
from benchmarks.harness import results
from benchmarks.harness.resident import peak, restart_peak

WIDTH = 4096
CALLS = ("compact", "save", "load")
LIMITS = {"compact": 2.6, "save": 1.6, "load": 1.6}


class Chain(nn.Module):
    """Equal layers one after the other, in bfloat16."""

    def __init__(self, layers: int, width: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(width, width, bias=False, dtype=torch.bfloat16) for _ in range(layers))

    def forward(self, x: Tensor) -> Tensor:
        """Compute ReLU after every layer."""
        for layer in self.layers:
            x = layer(x).relu()
        return x


def chain(weights: int, width: int) -> Chain:
    """Build a chain of so many weights at least, in memory that is written."""
    model = Chain(-(-weights // width**2), width)
    with torch.no_grad():
        for layer in model.layers:
            layer.weight.normal_(std=(4 / width) ** 0.5)  # type: ignore[union-attr, operator]
            layer.weight[:, ::2] = 0  # type: ignore[index, operator]
    return model


def measure(call: str, weights: int, width: int, folder: Path) -> dict[str, Any]:
    """Measure one call in this process; ``compact`` leaves its file for the others."""
    torch.manual_seed(0)
    tg.compact(nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 2)).bfloat16(), torch.zeros(2, 8).bfloat16())  # loads code
    base = restart_peak()
    path = folder / "small.safetensors"
    if call == "save":
        model: nn.Module = tg.load(path, Chain(-(-weights // width**2), width))
    else:
        model = chain(weights, width) if call == "compact" else Chain(-(-weights // width**2), width)
    size = sum(p.nbytes for p in model.parameters())
    restart_peak()
    if call == "compact":
        small = tg.compact(model, torch.randn(2, width).bfloat16())
        found = peak() - base
        tg.save(small, path)
    elif call == "save":
        tg.save(model, folder / "again.safetensors")
        found = peak() - base
        assert (folder / "again.safetensors").read_bytes() == path.read_bytes()
    else:
        small = tg.load(path, model)
        found = peak() - base
    return {"call": call, "bytes": size, "peak": found, "ratio": round(found / size, 3)}


def main() -> None:
    """Measure every call and keep the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", type=int, default=10**9)
    parser.add_argument("--quick", action="store_true", help="a small network; nothing is kept")
    parser.add_argument("--call", choices=CALLS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    weights, width = (16 * 1024**2, 512) if asked.quick else (asked.weights, WIDTH)
    if asked.call:
        print(json.dumps(measure(asked.call, weights, width, asked.folder)))
        return
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for call in CALLS:
            command = [sys.executable, "-m", "benchmarks.deployment.memory", "--call", call, "--folder", folder]
            command += ["--quick"] if asked.quick else ["--weights", str(weights)]
            done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2], check=False)
            if done.returncode:
                sys.exit(f"{call}: {done.stderr}")
            found.append(json.loads(done.stdout.splitlines()[-1]))
            print(f"{call}: {found[-1]['ratio']:.2f} times the weights at its peak (aim {LIMITS[call]})", flush=True)
    if not asked.quick:
        results.save(
            "memory",
            {
                "command": "python -m benchmarks.deployment.memory",
                "weights": weights,
                "dtype": "bfloat16",
                "limits": LIMITS,
                "calls": found,
            },
        )


if __name__ == "__main__":
    main()
