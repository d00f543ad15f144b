"""Measures how time and memory grow with rows, row length and layers.

Run it with ``python -m benchmarks.kernels.growth``.

Measured are the prox of one vector over its length, and the GrOWL step over the rows of one layer, over their length,
and over the number of equal layers. The slope of each is that of log time over log size, fitted to the upper decade: 1
means twice the time for twice the size.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.harness import timing
from benchmarks.harness.command import keep, options
from benchmarks.harness.verdicts import show_rows
from benchmarks.kernels.prox_inputs import KINDS
from benchmarks.kernels.prox_peers import ours
from benchmarks.kernels.tables import growth_rows
from benchmarks.training_step.held import held_bytes
from benchmarks.training_step.step_memory import in_a_process
from benchmarks.training_step.subjects import Snapshot, nudge_
from torch_growl import GrOWL

__all__ = ["main", "slope"]

SIZES = {
    "n": (64, 256, 1024, 4096, 16384, 65536, 131072, 262144, 524288, 1_048_576),
    "rows": (64, 256, 1024, 4096, 8192, 16384, 32768, 65536),
    "row length": (16, 64, 256, 1024, 2048, 4096, 8192, 16384),
    "layers": (1, 2, 4, 8, 16, 32, 64, 128),
}
QUICK = {"n": (64, 1024, 16384), "rows": (64, 1024), "row length": (16, 256), "layers": (1, 8)}
FIXED = {"rows": 1024, "row length": 256, "layer": (256, 256)}
MEMORY = {
    "rows": ((32768, 256), (65536, 256), (131072, 256), (262144, 256)),
    "row length": ((65536, 128), (65536, 256), (65536, 512), (65536, 1024)),
}
LR = 0.1


def slope(sizes: Sequence[float], values: Sequence[float]) -> float | None:
    """Fit log value over log size in the upper decade of sizes; None with fewer than two points."""
    points = [(x, y) for x, y in zip(sizes, values, strict=True) if x >= max(sizes) / 10.0001 and y > 0]
    if len(points) < 2:
        return None
    x, y = np.log(np.array(points)).T
    return round(float(np.polyfit(x, y, 1)[0]), 3) + 0.0  # never -0.0


def _rounds(values: int) -> int:
    """Return the number of rounds, larger for short vectors: about 15 for ten million values."""
    return int(np.clip(1.5e8 / max(values, 1), 11, 200))


def prox_point(n: int, dtype: str) -> dict[str, Any]:
    """Time the public prox of one vector of the library's default shape."""
    kind, numpy_type = KINDS["pld"], np.dtype(dtype).type
    way = ours(kind.lam(n).astype(numpy_type))["torch-growl"]
    times = timing.side_by_side(
        {"time": way.call},
        lambda rng: kind.fresh(rng, n, numpy_type),
        rounds=_rounds(200 * n),
        prepare={"time": way.prepare},
    )
    return {"size": n, **times}


def step_point(size: int, rows: int, row_length: int, layers: int) -> dict[str, Any]:
    """Time the GrOWL step of so many linear layers of that shape, whose rows change by 0.1 % between steps."""
    torch.manual_seed(0)
    names = [f"layer{i}" for i in range(layers)]
    model = nn.Sequential(OrderedDict((name, nn.Linear(rows, row_length, bias=False)) for name in names))
    growl = GrOWL(model, layers=names)
    snapshot = Snapshot.of(model, growl.layers)
    generator = torch.Generator().manual_seed(0)

    def fresh(rng: np.random.Generator) -> None:
        snapshot.restore_()
        nudge_(snapshot.modules, generator)

    times = timing.side_by_side({"time": lambda _: growl.prox_(LR)}, fresh, rounds=_rounds(rows * row_length * layers))
    weights = 4 * rows * row_length * layers
    return {"size": size, **times, "weights": weights, "held": held_bytes(growl, model)}


def _series(name: str, by: str, unit: str, points: list[dict[str, Any]], value: Callable[[Any], float]) -> Any:
    sizes, values = [point["size"] for point in points], [value(point) for point in points]
    return {"of": name, "by": by, "unit": unit, "sizes": sizes, "values": values, "slope": slope(sizes, values)}


def _time(point: dict[str, Any]) -> float:
    return float(point["time"]["median"])


def measure(sizes: dict[str, tuple[int, ...]], memory: bool) -> list[dict[str, Any]]:
    """Measure all series; peak memory on demand only, since it takes a process for each point."""
    found = []
    for dtype in ("float32", "float64"):
        points = [prox_point(n, dtype) for n in sizes["n"]]
        found.append(_series(f"prox_owl, {dtype}", "n", "µs", points, _time))
    length, rows, (wide, long) = FIXED["row length"], FIXED["rows"], FIXED["layer"]
    steps = {
        "rows": [step_point(n, n, length, 1) for n in sizes["rows"]],
        "row length": [step_point(d, rows, d, 1) for d in sizes["row length"]],
        "layers": [step_point(k, wide, long, k) for k in sizes["layers"]],
    }
    of = {
        "rows": f"GrOWL step, one layer, rows of {length}",
        "row length": f"GrOWL step, one layer, {rows:,} rows",
        "layers": f"GrOWL step, layers of {wide} rows of {long}",
    }
    for by, points in steps.items():
        found.append(_series(of[by], by, "µs", points, _time))
        found.append(_series(f"kept by GrOWL, {of[by][12:]}", by, "bytes", points, lambda point: point["held"]))
    for by, shapes in MEMORY.items() if memory else ():
        peaks = [{"size": s[by == "row length"], **in_a_process(*s)} for s in shapes]
        constant = f"rows of {shapes[0][1]}" if by == "rows" else f"{shapes[0][0]:,} rows"
        name = f"kept by GrOWL and the peak of a step, one layer, {constant}"
        found.append(_series(name, by, "bytes", peaks, lambda peak: peak["kept"] + peak["resident"]))
    return found


def main(arguments: list[str] | None = None) -> None:
    """Measure, print and keep the result."""
    given = options(__doc__).parse_args(arguments)
    timing.one_thread()
    series = measure(QUICK if given.quick else SIZES, not given.quick)
    show_rows("growth", ["what", "over", "from … to", "takes", "slope"], growth_rows(series))
    keep(given, "kernels.growth", {"series": series})


if __name__ == "__main__":
    main()
