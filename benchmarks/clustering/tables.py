"""Makes the clustering benchmarks' tables; :mod:`benchmarks.kernels.tables` writes them into the page."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.harness import results
from benchmarks.harness.markdown import markdown, short

__all__ = ["TABLES"]


def _seconds(micro: float) -> str:
    return f"{short(micro / 1e6)} s"


def speed() -> str:
    """Return the times beside those of scikit-learn."""
    found = results.load("clustering")["speed"]
    rows = [
        [
            row["kind"],
            f"{row['n']:,}",
            _seconds(row["ours"]["median"]),
            _seconds(row["theirs"]["median"]),
            f"{row['ratio']:g}x",
            f"{sum(r['theirs_converged'] for r in row['rounds'])} of {len(row['rounds'])}",
        ]
        for row in found
    ]
    return markdown(["rows", "n", "cluster_rows", "scikit-learn", "faster", "it converged in"], rows)


def battery() -> str:
    """Return a sentence on the objectives beside those of scikit-learn."""
    b = results.load("clustering")["battery"]
    return (
        f"{b['cases']} random problems of 13 to {b['largest_n']:,} rows; scikit-learn converged in "
        f"{b['theirs_converged']}, `cluster_rows` in {b['ours_converged']}. Where scikit-learn did, our objective was "
        f"above in {b['above']}, equal in {b['equal']}, **below in {b['below']}**."
    )


def gap() -> str:
    """Return the gap of each way to the proven optimum."""
    g = results.load("clustering")["gap"]
    names = {
        "propagation": "affinity propagation alone, on the sparse graph",
        "scikit-learn": "scikit-learn",
        "default": "`cluster_rows`, by default",
    }
    rows = [
        [
            says,
            f"{g[way]['at_optimum']} of {g[way]['converged']}",
            *(f"{100 * g[way][of]:.2g} %" for of in ("mean", "p90", "p99", "worst")),
        ]
        for way, says in names.items()
    ]
    said = f"{g['proven']} of {g['cases']} problems of up to {g['largest_n']} rows, their optimum proven:\n\n"
    return said + markdown(["way", "at the optimum", "mean gap", "90 %", "99 %", "worst"], rows)


def large() -> str:
    """Return the times and memory of 65,536 rows of length 256."""
    rows = [
        [name, f"{f['seconds']:.1f} s", f"{f['peak_bytes'] / 2**30:.2f} GiB", f"{f['found_groups']:,}"]
        for name, f in results.load("clustering_growth")["large"].items()
    ]
    return markdown(["65,536 rows of length 256", "time", "peak of the process", "groups found"], rows)


def growth() -> str:
    """Return the slopes."""
    rows = [
        [
            s["by"],
            f"{s['sizes'][0]:,} … {s['sizes'][-1]:,}",
            f"{s['seconds'][0]:.2g} … {s['seconds'][-1]:.2g} s",
            f"{s['time_slope']:.2f}",
            f"{s['more_bytes'][0] / 2**20:,.0f} … {s['more_bytes'][-1] / 2**20:,.0f} MiB",
            f"{s['memory_slope']:.2f}",
        ]
        for s in results.load("clustering_growth")["series"]
    ]
    return markdown(["over", "from … to", "time", "slope", "memory beyond the rows", "slope"], rows)


TABLES: dict[str, Callable[[], str]] = {
    "clustering-speed": speed,
    "clustering-battery": battery,
    "clustering-gap": gap,
    "clustering-large": large,
    "clustering-growth": growth,
}
