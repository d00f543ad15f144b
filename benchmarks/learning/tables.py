"""Writes the kept results into ``docs/experiments.md``: ``python -m benchmarks.learning.tables``."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import pages, timing
from benchmarks.learning.pictures import mean_curves
from benchmarks.markdown import markdown

__all__ = ["PAGE", "TABLES", "filled", "instability", "main"]

PAGE = Path(__file__).parents[2] / "docs" / "experiments.md"
RESULTS = Path(timing.__file__).parent / "results"
TABLE_1 = {
    "none": ("1.0x", "98.3 ± 0.1"),
    "weight decay": ("1.6x", "98.4 ± 0.0"),
    "group lasso": ("15.8 ± 1.0x", "98.1 ± 0.1"),
    "group lasso + l2": ("23.7 ± 2.1x", "98.0 ± 0.1"),
    "GrOWL": ("16.7 ± 1.3x", "98.1 ± 0.1"),
    "GrOWL + l2": ("24.1 ± 0.8x", "98.1 ± 0.1"),
}


def spread(values: Sequence[float], digits: int = 2, factor: float = 1.0) -> str:
    """Mean ± standard deviation; a single value as it is."""
    scaled = np.asarray(values) * factor
    if len(scaled) == 1:
        return f"{scaled[0]:.{digits}f}"
    return f"{scaled.mean():.{digits}f} ± {scaled.std(ddof=1):.{digits}f}"


def instability(masks: Sequence[Sequence[int]]) -> float:
    """The paper's: mean over the seeds of ‖m − m̄‖₁ / nnz(m̄), m a 0/1 mask of kept rows."""
    m = np.asarray(masks, dtype=float)
    mean = m.mean(0)
    return float((np.abs(m - mean).sum(1) / (mean > 0).sum()).mean())


def table1() -> str:
    """Every row of the paper's Table 1 beside the paper's."""
    jobs: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for job in timing.load("table1")["jobs"]:
        jobs[job["row"]].append(job)
    rows = []
    for name, (compression, accuracy) in TABLE_1.items():
        of = jobs[name]
        if "steps" in of[0]:
            steps = [job["steps"] for job in of]
            rows.append(
                [
                    f"{name} (strength {of[0]['strength']:g})",
                    spread([s["sparsity"] for s in steps], 1, 100),
                    spread([s["sharing"] for s in steps], 1),
                    spread([s["compression"] for s in steps], 1) + "x",
                    spread([s["test"] for s in steps], 2, 100),
                    spread([s["tied"] for s in steps], 1, 100),
                    f"{instability([job['kept'] for job in of]):.2%}",
                    f"{compression}, {accuracy} %",
                ]
            )
        else:
            test = spread([job["dense"]["test"] for job in of], 2, 100)
            rows.append([name, "0", "1.0", "1.0x", test, "–", "–", f"{compression}, {accuracy} %"])
    head = ["regularizer", "sparsity %", "sharing", "compression", "accuracy %", "right after tying %"]
    return markdown([*head, "instability of kept rows", "the paper's"], rows)


def once() -> str:
    """One affinity propagation, for the rows that had it."""
    rows = []
    for name in ("group lasso + l2", "GrOWL + l2"):
        found = [job["once"] for job in timing.load("table1")["jobs"] if job["row"] == name]
        rows.append(
            [
                name,
                spread([f["groups"] for f in found], 1),
                spread([f["compression"] for f in found], 1) + "x",
                spread([f["tied"] for f in found], 1, 100),
                spread([f["test"] for f in found], 2, 100),
            ]
        )
    return markdown(["", "groups", "compression", "right after tying %", "accuracy %"], rows)


def best() -> str:
    """mnist-best, seed by seed, and the mean."""
    jobs = timing.load("best")["jobs"]
    rows = [
        [
            str(job["seed"]),
            f"{job['pixels']['kept']} → {job['pixels']['groups']}",
            f"{job['accuracy']['dense']:.2%} → {job['accuracy']['compact']:.2%}",
            f"{job['compression']['network']:.1f}x",
            f"{job['macs']['dense'] / job['macs']['compact']:.1f}x",
            f"{job['compression']['file']:.1f}x",
            f"{job['int8']['file']:.0f}x, {job['int8']['accuracy']:.2%}",
            f"{sum(job['seconds'].values()) / 60:.1f}",
        ]
        for job in jobs
    ]
    rows.append(
        [
            "mean ± sd",
            "",
            spread([job["accuracy"]["compact"] for job in jobs], 2, 100) + " %",
            spread([job["compression"]["network"] for job in jobs], 1) + "x",
            spread([job["macs"]["dense"] / job["macs"]["compact"] for job in jobs], 1) + "x",
            spread([job["compression"]["file"] for job in jobs], 1) + "x",
            f"{spread([job['int8']['file'] for job in jobs], 0)}x, "
            f"{spread([job['int8']['accuracy'] for job in jobs], 2, 100)} %",
            "",
        ]
    )
    head = ["seed", "pixels → groups", "accuracy", "`compression.network`", "MACs", "`compression.file`"]
    return markdown([*head, "int8 file", "minutes"], rows)


def methods() -> str:
    """The largest compression of every method at three accuracies."""
    rows = []
    for name, points in mean_curves(timing.load("curve")["jobs"]).items():
        cells = []
        for wanted in (0.985, 0.983, 0.981):
            reached = [size for size, accuracy in points if accuracy >= wanted]
            cells.append(f"{max(reached):.1f}x" if reached else "–")
        rows.append([name, *cells])
    return markdown(["method", "≥ 98.5 %", "≥ 98.3 %", "≥ 98.1 %"], rows)


def one_strength() -> str:
    """One strength on every task."""
    tasks: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for job in timing.load("one_strength")["jobs"]:
        tasks[job["task"], job["penalty"]].append(job)
    rows = [
        [
            f"{task}, {penalty}",
            str(len(of)),
            " + ".join(map(str, of[0]["epochs"])),
            spread([job["dense"] for job in of], 2, 100),
            spread([job["compact"] for job in of], 2, 100),
            spread([job["network"] for job in of], 2) + "x",
            spread([job["macs"] for job in of], 2) + "x",
        ]
        for (task, penalty), of in tasks.items()
    ]
    head = ["task, penalty", "seeds", "epochs", "dense %", "compact %", "`compression.network`", "MACs"]
    return markdown(head, rows)


def resnet20() -> str:
    """The path to half the MACs."""
    found = timing.load("resnet20")
    macs, weights, accuracy = found["macs"], found["weights"], found["accuracy"]
    row = [
        f"{found['epochs']['path']:.1f} + {found['epochs']['compact']}",
        f"{accuracy['dense']:.2%}",
        f"{accuracy['compact']:.2%}",
        f"{macs['dense'] / macs['compact']:.2f}x",
        f"{weights['dense'] / weights['compact']:.2f}x",
    ]
    return markdown(["epochs", "dense", "compact", "MACs", "weights"], [row])


def ties() -> str:
    """Accuracy right after tying and after retraining."""
    cells: dict[tuple[str, str, int], list[dict[str, Any]]] = defaultdict(list)
    for job in timing.load("ties")["jobs"]:
        groups = job["groups"] if job["how"] == "at once" else 0
        cells[job["penalty"], job["how"], groups].append(job)
    rows = [
        [
            penalty,
            how,
            spread([job["groups"] for job in of], 0),
            spread([job["nonzero"] for job in of], 0),
            spread([job["tied"] for job in of], 1, 100),
            spread([job["test"] for job in of], 2, 100),
        ]
        for (penalty, how, _), of in cells.items()
    ]
    return markdown(["penalty", "how", "groups", "rows before", "right after tying %", "retrained %"], rows)


def table2() -> str:
    """What there is of Table 2."""
    if not (RESULTS / "table2.json").is_file():
        return "**Not run**: no GPU was at hand. The command is tested end to end on a few batches."
    jobs = timing.load("table2")["jobs"]
    rows = [
        [
            job["row"],
            str(job["seed"]),
            f"{job['paper']['compression']:.1f}x" if "paper" in job else "–",
            f"{job['test']:.2%}",
            f"{job['network']:.1f}x",
            f"{job['macs']:.2f}x",
        ]
        for job in jobs
    ]
    return markdown(["row", "seed", "the paper's counting", "accuracy", "`compression.network`", "MACs"], rows)


NAMES = ("table1", "best", "curve", "one_strength", "resnet20", "ties")
TABLES: dict[str, Callable[[], str]] = {
    **{f"where-{name}": (lambda name=name: pages.where_measured(timing.load(name))) for name in NAMES},  # type: ignore[misc]
    "table1": table1,
    "once": once,
    "best": best,
    "methods": methods,
    "one-strength": one_strength,
    "resnet20": resnet20,
    "ties": ties,
    "table2": table2,
}


def filled(page: str) -> str:
    """The page with its tables written anew."""
    return pages.filled(page, TABLES)


def main() -> None:
    """Fill the page."""
    pages.fill(PAGE, TABLES)


if __name__ == "__main__":
    main()
