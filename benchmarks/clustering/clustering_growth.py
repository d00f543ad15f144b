"""Measures how time and memory of clustering grow with rows, row length and groups.

Run it with ``python -m benchmarks.clustering.clustering_growth``.

Time and peak memory of ``cluster_rows`` on tied rows, every point in a process of its own on one thread: over the rows,
in 256 groups and in groups of 16, over the row length, and over the number of groups; each with the slope of log over
log in the upper decade. And 65,536 rows of length 256, in every kind of tied groups. An interrupted run can be resumed.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.clustering.cases import tied_rows
from benchmarks.harness import timing
from benchmarks.harness.command import keep, options
from benchmarks.harness.results import Kept
from benchmarks.harness.verdicts import show_rows
from benchmarks.kernels.growth import slope
from torch_growl.mathematics.clustering.clusters import cluster_rows

__all__ = ["main"]

NOISE = 0.05
SERIES = {  # what grows: points of (rows, row length, groups)
    "rows, in 256 groups": [(n, 256, 256) for n in (2048, 4096, 8192, 16384, 32768, 65536)],
    "rows, in groups of 16": [(n, 256, n // 16) for n in (2048, 4096, 8192, 16384, 32768, 65536)],
    "row length": [(8192, d, 512) for d in (64, 128, 256, 512, 1024, 2048, 4096)],
    "groups": [(16384, 256, g) for g in (128, 256, 512, 1024, 2048, 4096, 8192, 16384)],
}
QUICK = {"rows, in groups of 16": [(n, 64, n // 16) for n in (512, 1024)]}
LARGE = {  # 65,536 rows of length 256: (groups, noise)
    "1024 groups, duplicates": (1024, 0.0),
    "4096 groups of 16, noise 1 %": (4096, 0.01),
    "4096 groups of 16, noise 5 %": (4096, 0.05),
    "1024 groups of 64, noise 5 %": (1024, 0.05),
    "256 groups of 256, noise 5 %": (256, 0.05),
    "65,536 groups: random rows": (65536, 0.0),
}
GIB = 2**30


def measure(n: int, row_length: int, groups: int, noise: float) -> dict[str, Any]:
    """Run one clustering in this process; return seconds, and the peak of resident memory before and after."""
    timing.one_thread()
    rng = np.random.default_rng(0)
    cluster_rows(tied_rows(2048, 8, 8, 0.3, rng), 0.8)  # compiles, every branch
    W = tied_rows(n, row_length, groups, noise, rng)
    before = _peak()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        start = time.perf_counter()
        found = cluster_rows(W, 0.8)
        seconds = time.perf_counter() - start
    return {
        "n": n,
        "row_length": row_length,
        "groups": groups,
        "noise": noise,
        "seconds": seconds,
        "peak_bytes": _peak(),
        "before_bytes": before,
        "rows_bytes": W.numel() * W.element_size(),
        "found_groups": found.n_groups,
        "objective": found.objective,
        "converged": found.converged,
        "warnings": [str(warning.message) for warning in caught],
    }


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def in_a_process(*given: float) -> dict[str, Any]:
    """Run :func:`measure` in a fresh interpreter."""
    command = [sys.executable, "-m", "benchmarks.clustering.clustering_growth", "--measure", *map(str, given)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    return dict(json.loads(done.stdout.splitlines()[-1]))


def main(arguments: list[str] | None = None) -> None:
    """Measure, print and keep the result."""
    parser = options(__doc__)
    parser.add_argument("--measure", nargs=4, type=float, help="measure one point: rows, row length, groups, noise")
    given = parser.parse_args(arguments)
    if given.measure:
        n, row_length, groups, noise = given.measure
        print(json.dumps(measure(int(n), int(row_length), int(groups), noise)))
        return
    kept = Kept("clustering_growth-quick" if given.quick else "clustering_growth")
    large = {}
    for name, (groups, noise) in {} if given.quick else LARGE.items():
        large[name] = kept.get(f"large {name}", lambda g=groups, x=noise: in_a_process(65536, 256, g, x))
        print(name, f"{large[name]['seconds']:.1f} s, {large[name]['peak_bytes'] / GIB:.2f} GiB", flush=True)
    series = []
    for by, points in (QUICK if given.quick else SERIES).items():
        found = [kept.get(f"{by} {point}", lambda p=point: in_a_process(*p, NOISE)) for point in points]
        at = {"row length": 1, "groups": 2}.get(by, 0)
        sizes = [point[at] for point in points]
        more = [max(f["peak_bytes"] - f["before_bytes"], 1) for f in found]
        series.append(
            {
                "by": by,
                "sizes": sizes,
                "seconds": [f["seconds"] for f in found],
                "more_bytes": more,
                "time_slope": slope(sizes, [f["seconds"] for f in found]),
                "memory_slope": slope(sizes, more),
                "found": found,
            }
        )
        print(by, series[-1]["time_slope"], series[-1]["memory_slope"], flush=True)
    for s in series:
        rows = [
            (f"{n:,}", f"{x:.2f} s", f"{b / 2**20:,.0f} MiB")
            for n, x, b in zip(s["sizes"], s["seconds"], s["more_bytes"], strict=True)
        ]
        show_rows(f"{s['by']}: slope {s['time_slope']} in time, {s['memory_slope']} in memory", ("", "", ""), rows)
    keep(given, "clustering.clustering_growth", {"preference": 0.8, "noise": NOISE, "large": large, "series": series})
    kept.done()


if __name__ == "__main__":
    main()
