"""Draws the figures of the clustering benchmarks from their results.

Run it with ``python -m benchmarks.clustering.figures``.
"""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure

from benchmarks.harness import results
from benchmarks.harness.pages import IMAGES

__all__ = ["growth", "main", "speed"]

_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#999999", "#000000")


def speed(data: dict[str, Any]) -> Figure:
    """Draw seconds over n, ours and those of scikit-learn, for every kind of rows."""
    figure = Figure(figsize=(7.5, 4.6), dpi=110, layout="constrained")
    axes = figure.subplots()
    kinds = list(dict.fromkeys(row["kind"] for row in data["speed"]))
    for kind, colour in zip(kinds, _COLOURS, strict=False):
        rows = [row for row in data["speed"] if row["kind"] == kind]
        sizes = [row["n"] for row in rows]
        axes.plot(sizes, [r["ours"]["median"] / 1e6 for r in rows], "o-", color=colour, markersize=4, label=kind)
        axes.plot(sizes, [r["theirs"]["median"] / 1e6 for r in rows], "x:", color=colour, markersize=5)
    axes.plot([], [], "x:", color="#666666", label="scikit-learn, the same rows")
    axes.set(xscale="log", yscale="log", xlabel="rows", ylabel="median seconds", title="clustering, one thread")
    every = sorted({row["n"] for row in data["speed"]})
    axes.set_xticks(every, [f"{n:,}" for n in every])
    axes.minorticks_off()
    axes.grid(color="#E4E4E4", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def growth(data: dict[str, Any]) -> Figure:
    """Draw time and memory over each growing size, with their slopes."""
    figure = Figure(figsize=(9, 4), dpi=110, layout="constrained")
    for axes, field, unit, by_slope, label in zip(
        figure.subplots(1, 2),
        ("seconds", "more_bytes"),
        (1.0, 2.0**20),
        ("time_slope", "memory_slope"),
        ("seconds", "MiB beyond the rows"),
        strict=True,
    ):
        for series, colour in zip(data["series"], _COLOURS, strict=False):
            name = f"{series['by']}: {series[by_slope]:.2f}"
            values = [value / unit for value in series[field]]
            axes.plot(series["sizes"], values, "o-", color=colour, markersize=4, label=name)
        axes.set(xscale="log", yscale="log", xlabel="size", ylabel=label)
        axes.grid(color="#E4E4E4", linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=8, title="over, slope", title_fontsize=8)
    figure.suptitle("clustering tied rows")
    return figure


def main() -> None:
    """Draw all figures."""
    for name, result, draw in (("speed", "clustering", speed), ("growth", "clustering_growth", growth)):
        path = IMAGES / f"clustering-{name}.png"
        draw(results.load(result)).savefig(path, metadata={"Software": None})
        print("wrote", path)


if __name__ == "__main__":
    main()
