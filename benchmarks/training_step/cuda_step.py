"""Times the GrOWL step on a GPU.

Run it with ``python -m benchmarks.training_step.cuda_step``.

Three ways are timed: the default (one copy of all norms to the host, one of the scales back), ``capturable=True``, and
that in a CUDA graph; for comparison ``torch._foreach_mul_`` over the same weights, which reads and writes each once.
Candidates take turns; times are between CUDA events. Without a GPU nothing is measured.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

import torch

import torch_growl as tg
from benchmarks.harness import results, timing
from benchmarks.training_step.subjects import build

__all__ = ["main", "measure"]

NETWORKS = ("784-300-10 MLP", "VGG-16")
ROUNDS, WARMUP = 200, 20
LR = 1e-6  # small: the rows must still be there after hundreds of steps


def measure(network: str, rounds: int = ROUNDS) -> dict[str, Any]:
    """Return the median microseconds of every way on one network, on the current CUDA device."""
    models = [build(network).cuda() for _ in range(3)]
    growls = [tg.GrOWL(model, strength=10.0, capturable=i > 0) for i, model in enumerate(models)]
    graph = _captured(growls[2])
    weights = [models[0].get_submodule(name).weight for name in growls[0].layers]
    ways: dict[str, Callable[[], Any]] = {
        "one copy": lambda: growls[0].prox_(LR),
        "capturable": lambda: growls[1].prox_(LR),
        "capturable, in a graph": graph.replay,
        "torch._foreach_mul_": lambda: torch._foreach_mul_(weights, 1.0),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    with torch.no_grad():
        for turn in range(WARMUP + rounds):
            for name, way in ways.items():
                start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
                torch.cuda.synchronize()
                start.record()
                way()
                end.record()
                torch.cuda.synchronize()
                if turn >= WARMUP:
                    times[name].append(start.elapsed_time(end) / 1e3)
    medians = {name: statistics.median(taken) for name, taken in times.items()}
    floor = medians["torch._foreach_mul_"]
    return {
        "network": network,
        "weights": sum(weight.numel() for weight in weights),
        "times": {name: timing.summary(taken) for name, taken in times.items()},
        "ratio": {name: round(median / floor, 3) for name, median in medians.items()},
    }


def _captured(growl: tg.GrOWL) -> torch.cuda.CUDAGraph:
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            growl.prox_(LR)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        growl.prox_(LR)
    return graph


def main() -> None:
    """Measure, print and keep the result, if there is a GPU."""
    if not torch.cuda.is_available():
        print("no CUDA device here: nothing measured, nothing kept")
        return
    found = [measure(network) for network in NETWORKS]
    for network in found:
        print(network["network"], network["ratio"])
    path = results.save("cuda_step", {"device": torch.cuda.get_device_name(), "networks": found}, packages=("triton",))
    print(f"kept in {path}")


if __name__ == "__main__":
    main()
