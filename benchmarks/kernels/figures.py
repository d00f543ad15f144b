"""Draws the figures of the page on kernels from the kept results.

``python -m benchmarks.kernels.figures`` writes ``docs/images/prox-speed.png`` and two more.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.harness import results
from benchmarks.harness.pages import IMAGES
from benchmarks.kernels.prox import AIMED, OURS
from benchmarks.kernels.prox_peers import PEERS

__all__ = ["FIGURES", "growth", "main", "prox_speed", "step_cost"]

BLUE, ORANGE, VERMILLION, GREEN, PURPLE, SKY = "#0072B2", "#E69F00", "#D55E00", "#009E73", "#CC79A7", "#56B4E9"
GREY, DARK = "#8C8C8C", "#3A3A3A"
_COLOURS = (VERMILLION, ORANGE, GREEN, PURPLE, SKY, GREY)
_MARKS = "os^vDP"
_DPI = 150


def prox_speed(data: dict[str, Any]) -> Figure:
    """Draw time over n for every package, and our time over the best package's for every input."""
    figure = Figure(figsize=(11, 4.4), dpi=_DPI, layout="constrained")
    times, ratios = figure.subplots(1, 2)
    cells = [c for c in data["cells"] if (c["dtype"], c["kind"]) == ("float32", "random")]
    n = [c["n"] for c in cells]
    for peer, colour, mark in zip(PEERS, _COLOURS, _MARKS, strict=True):
        points = [(c["n"], c["peers"][peer]) for c in cells if peer in c["peers"]]
        if points:
            times.plot(*zip(*points, strict=True), color=colour, marker=mark, markersize=4, linewidth=1, label=peer)
    argsort = [c["times"]["np.argsort"]["median"] for c in cells]
    best_sort = [c["times"][c["ratio"]["best sort"]]["median"] for c in cells]
    times.plot(n, argsort, color=DARK, linestyle="--", linewidth=1, label="np.argsort alone")
    times.plot(n, best_sort, color=DARK, linestyle=":", linewidth=1, label="fastest sort alone")
    ours = [c["times"][OURS]["median"] for c in cells]
    times.plot(n, ours, color=BLUE, marker="o", linewidth=2.5, label="torch-growl")
    _logarithmic(times, "n", "median µs", "one prox, float32, random")
    for dtype, line in (("float32", "-"), ("float64", "--")):
        for kind, colour in zip(AIMED, (BLUE, ORANGE, VERMILLION), strict=True):
            chosen = [c for c in data["cells"] if (c["dtype"], c["kind"]) == (dtype, kind)]
            points = [(c["n"], c["ratio"][OURS]["best peer"]) for c in chosen if "best peer" in c["ratio"][OURS]]
            if points:
                label = f"{kind}, {dtype}"
                ratios.plot(*zip(*points, strict=True), color=colour, linestyle=line, marker="o", ms=3, label=label)
    ratios.axhline(0.85, color=GREY, linewidth=1)
    ratios.set_ylim(bottom=0)
    ratios.set(xscale="log", xlabel="n", title="torch-growl / the best of the others (grey: 0.85)")
    ratios.legend(frameon=False, fontsize=8)
    return figure


def step_cost(data: dict[str, Any]) -> Figure:
    """Draw the time of a step over ``w.mul_`` of the same weights, for every network, state and number of threads."""
    found = data["against the weights"][::-1]
    figure = Figure(figsize=(8, 0.32 * len(found) + 1.4), dpi=_DPI, layout="constrained")
    axes = figure.subplots()
    labels = [f"{f['network']}, {f['state']}, {f['threads']} thread{'s' * (f['threads'] > 1)}" for f in found]
    values = [f["ratio"]["w.mul_"] for f in found]
    bars = axes.barh(labels, values, color=[BLUE if f["threads"] == 1 else SKY for f in found])
    axes.bar_label(bars, fmt="{:.1f}x", padding=3, fontsize=8)
    axes.axvline(2.0, color=VERMILLION, linewidth=1)
    axes.margins(x=0.12)
    axes.set(xlabel="times w.mul_(s) over the same weights (red: 2x)", title="one GrOWL step of a whole network")
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def growth(data: dict[str, Any]) -> Figure:
    """Draw time over size on logarithmic axes, with the slope of the upper decade."""
    figure = Figure(figsize=(7.5, 5.6), dpi=_DPI, layout="constrained")
    axes = figure.subplots()
    shown = [s for s in data["series"] if s["unit"] == "µs"]
    for series, colour, mark in zip(shown, (BLUE, SKY, *_COLOURS), "osv^DP" + _MARKS, strict=False):
        slope = "" if series["slope"] is None else f": slope {series['slope']:.2f}"
        label = f"{series['of']}, over {series['by']}{slope}"
        axes.plot(series["sizes"], series["values"], color=colour, marker=mark, markersize=4, label=label)
    _logarithmic(axes, "size", "median µs", "how time grows")
    axes.legend(frameon=False, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.12))
    return figure


def _logarithmic(axes: Axes, x: str, y: str, title: str) -> None:
    axes.set(xscale="log", yscale="log", xlabel=x, ylabel=y, title=title)
    axes.grid(color="#E4E4E4", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)


FIGURES: dict[str, tuple[str, Callable[[dict[str, Any]], Figure]]] = {
    "prox-speed": ("prox", prox_speed),
    "step-cost": ("step", step_cost),
    "growth": ("growth", growth),
}


def main() -> None:
    """Draw all figures."""
    for name, (result, draw) in FIGURES.items():
        draw(results.load(result)).savefig(IMAGES / f"{name}.png", metadata={"Software": None})
        print("wrote", IMAGES / f"{name}.png")


if __name__ == "__main__":
    main()
