"""Writes the kept results into the page on kernels.

Run it with ``python -m benchmarks.kernels.tables``.

The page is ``docs/kernels.md``; :mod:`benchmarks.harness.pages` says how tables get into it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.clustering import tables as clustering_tables
from benchmarks.harness import results
from benchmarks.harness.markdown import markdown, short
from benchmarks.harness.pages import DOCS, Page, targets, where_measured
from benchmarks.kernels.prox_peers import PEERS

__all__ = ["PAGE", "main"]

OURS = "torch-growl"
MEASURED = ("prox", "step", "pat", "growth", "clustering", "clustering_growth")


def prox_times(dtype: str, kind: str) -> str:
    """Return the median times of all ways for one kind of input."""
    cells = [c for c in results.load("prox")["cells"] if (c["dtype"], c["kind"]) == (dtype, kind)]
    peers = [peer for peer in PEERS if any(peer in c["peers"] for c in cells)]
    rows = []
    for c in cells:
        median = {name: summary["median"] for name, summary in c["times"].items()}
        shown = [median[OURS], *(c["peers"].get(peer) for peer in peers)]
        shown += [median["np.argsort"], median[c["ratio"]["best sort"]]]
        rows.append([f"{c['n']:,}", *("–" if time is None else short(time) for time in shown)])
    return markdown(["n", "`prox_owl`", *peers, "np.argsort alone", "fastest sort alone"], rows)


def prox_ratios(to: str) -> str:
    """Return the ratios of our time to another, for every size and input."""
    cells = results.load("prox")["cells"]
    kinds = list(dict.fromkeys((c["dtype"], c["kind"]) for c in cells))
    found = {(c["n"], c["dtype"], c["kind"]): c["ratio"][OURS].get(to) for c in cells}
    rows = []
    for n in dict.fromkeys(c["n"] for c in cells):
        ratios = [found.get((n, *kind)) for kind in kinds]
        rows.append([f"{n:,}", *("–" if ratio is None else f"{ratio:.2f}" for ratio in ratios)])
    return markdown(["n", *(f"{dtype} {kind}" for dtype, kind in kinds)], rows)


def prox_remarks() -> str:
    """Return which packages are missing, were skipped, or gave wrong results."""
    data = results.load("prox")
    lines = [f"* {name}: {why}." for name, why in data["left_out"].items()]
    names = dict.fromkeys(name for c in data["cells"] for name in (*c["wrong"], *c["skipped"]))
    for name in names:
        for what in ("wrong", "skipped"):
            cells = [c for c in data["cells"] if name in c[what]]
            if cells:
                off = f" by up to {max(c['error'][name] for c in cells):.1g} of the largest value"
                at = ", ".join(f"{c['n']:,} {c['dtype']} {c['kind']}" for c in cells)
                lines.append(f"* {name}: {what}{off if what == 'wrong' else ' (one call takes too long)'} at {at}.")
    return "\n".join(lines)


def step() -> str:
    """Return the ratios of the step to one pass over the weights."""
    rows = []
    for f in results.load("step")["against the weights"]:
        times = [f["times"][name]["median"] for name in ("GrOWL.prox_", "w.mul_", "torch._foreach_mul_")]
        ratios = [f"{f['ratio'][name]:.2f}" for name in ("w.mul_", "torch._foreach_mul_")]
        alive = f"{f['alive']['after']:,} of {f['rows']:,}"
        who = [f"{f['network']}, {f['state']}", str(f["threads"]), alive, f"{f['weights']:,}"]
        rows.append([*who, *map(short, times), *ratios])
    head = ["network", "threads", "rows alive", "weights", "`prox_`", "`w.mul_(s)`", "`_foreach_mul_`"]
    return markdown([*head, "/ `w.mul_`", "/ `_foreach_mul_`"], rows)


def step_share() -> str:
    """Return the share of training that the step takes."""
    rows = [
        [
            f["network"],
            str(f["threads"]),
            *(short(f["times"][name]["median"] / 1e3) for name in ("training step", "GrOWL.prox_")),
            f"{100 * f['share']:.2f} %",
        ]
        for f in results.load("step")["share"]
    ]
    return markdown(["network", "threads", "training step, ms", "`prox_`, ms", "share"], rows)


def step_memory() -> str:
    """Return the memory beyond the model."""
    rows = [
        [
            f"{f['rows']:,} × {f['row_length']:,}",
            f"{f['weights'] / 1e6:,.1f} MB",
            *(f"{f[measure] / 1e6:,.2f} MB" for measure in ("kept", "resident", "torch")),
            f"{(f['kept'] + f['resident']) / f['rows']:,.0f} bytes",
        ]
        for f in results.load("step")["memory"]
    ]
    head = ["rows × length", "weights", "GrOWL keeps", "a step: resident set", "a step: torch", "in all, a row"]
    return markdown(head, rows)


def pat() -> str:
    """Return the added time and memory beside those of torchao."""
    rows = []
    for c in results.load("pat")["cases"]:
        who = [f"{c['network']}, {c['side']} rows", f"{c['rows']:,}", short(c["times"]["SGD alone"]["median"])]
        ratios = [f"{ratio:.2f}" for ratio in c["ratio"].values()]
        held = [f"{c['held'][name] / 1e3:,.0f} kB" for name in ("torchao PAT", "GrOWL")]
        rows.append([*who, *map(short, c["added"].values()), *ratios, *held])
    head = ["network", "rows", "SGD alone", "+ torchao PAT", "+ GrOWL", "+ GrOWL as group lasso"]
    return markdown([*head, "GrOWL / PAT", "group lasso / PAT", "PAT keeps", "GrOWL keeps"], rows)


def growth() -> str:
    """Return the slopes."""
    rows = growth_rows(results.load("growth")["series"])
    return markdown(["what", "over", "from … to", "takes", "slope, upper decade"], rows)


def growth_rows(series: list[dict[str, Any]]) -> list[list[str]]:
    """Return a row for each series: what, over what, from and to, values, slope."""
    return [
        [
            s["of"],
            s["by"],
            f"{s['sizes'][0]:,} … {s['sizes'][-1]:,}",
            f"{short(s['values'][0])} … {short(s['values'][-1])} {s['unit']}",
            "–" if s["slope"] is None else f"{s['slope']:.2f}",
        ]
        for s in series
    ]


TABLES: dict[str, Callable[[], str]] = {
    **{f"where-{name}": (lambda name=name: where_measured(results.load(name))) for name in MEASURED},
    **{f"targets-{name}": (lambda name=name: targets(name)) for name in ("prox", "step", "pat")},
    "prox-random": lambda: prox_times("float32", "random"),
    "prox-best-peer": lambda: prox_ratios("best peer"),
    "prox-argsort": lambda: prox_ratios("np.argsort"),
    "prox-best-sort": lambda: prox_ratios("best sort"),
    "prox-remarks": prox_remarks,
    "step": step,
    "step-share": step_share,
    "step-memory": step_memory,
    "pat": pat,
    "growth": growth,
    **clustering_tables.TABLES,
}

PAGE = Page(DOCS / "kernels.md", TABLES)


def main() -> None:
    """Fill the page."""
    PAGE.fill()


if __name__ == "__main__":
    main()
