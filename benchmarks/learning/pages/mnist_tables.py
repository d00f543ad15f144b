"""Makes the tables of the experiments on MNIST from the kept results."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.harness import results
from benchmarks.harness.markdown import markdown, spread
from benchmarks.learning.pages.pictures import mean_curves

__all__ = ["at_sizes", "best", "decorrelated", "instability", "methods", "once", "predictive", "table1", "ties"]

TABLE_1 = {
    "none": ("1.0x", "98.3 ± 0.1"),
    "weight decay": ("1.6x", "98.4 ± 0.0"),
    "group lasso": ("15.8 ± 1.0x", "98.1 ± 0.1"),
    "group lasso + l2": ("23.7 ± 2.1x", "98.0 ± 0.1"),
    "GrOWL": ("16.7 ± 1.3x", "98.1 ± 0.1"),
    "GrOWL + l2": ("24.1 ± 0.8x", "98.1 ± 0.1"),
}


def instability(masks: Sequence[Sequence[int]]) -> float:
    """Return the paper's instability: mean over the seeds of ‖m − m̄‖₁ / nnz(m̄), m a 0/1 mask of kept rows."""
    m = np.asarray(masks, dtype=float)
    mean = m.mean(0)
    return float((np.abs(m - mean).sum(1) / (mean > 0).sum()).mean())


def table1(name: str = "table1") -> str:
    """Return every row of the paper's Table 1, the paper's figures beside ours.

    Args:
        name: of the kept result.
    """
    if not results.exists(name):
        return NOT_RUN
    jobs: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for job in results.load(name)["jobs"]:
        jobs[job["row"]].append(job)
    rows = []
    for row, (compression, accuracy) in TABLE_1.items():
        of = jobs[row]
        if not of:
            rows.append([row, *["–"] * 6, f"{compression}, {accuracy} %"])
            continue
        if "steps" in of[0]:
            steps = [job["steps"] for job in of]
            rows.append(
                [
                    f"{row} (strength {of[0]['strength']:g})",
                    spread([s["sparsity"] for s in steps], 1, 100),
                    spread([s["sharing"] for s in steps], 1),
                    spread([s["compression"] for s in steps], 1) + "x",
                    spread([s["test"] for s in steps], 2, 100),
                    spread([s["tied"] for s in steps], 1, 100),
                    f"{instability([job['kept'] for job in of]):.2%}" if len(of) > 1 else "–",
                    f"{compression}, {accuracy} %",
                ]
            )
        else:
            test = spread([job["dense"]["test"] for job in of], 2, 100)
            rows.append([row, "0", "1.0", "1.0x", test, "–", "–", f"{compression}, {accuracy} %"])
    head = ["regularizer", "sparsity %", "sharing", "compression", "accuracy %", "right after tying %"]
    return markdown([*head, "instability of kept rows", "the paper's"], rows)


def once() -> str:
    """Return the results with one affinity propagation."""
    rows = []
    jobs = [job for job in results.load("table1")["jobs"] if "once" in job]
    for name in dict.fromkeys(job["row"] for job in jobs):
        found = [job["once"] for job in jobs if job["row"] == name]
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


def best(name: str = "best") -> str:
    """Return the seeds of mnist-best, and their mean if there are several.

    Args:
        name: of the kept result.
    """
    jobs = results.load(name)["jobs"]
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
    if len(jobs) > 1:
        rows.append(_mean_of_seeds(jobs))
    head = ["seed", "pixels → groups", "accuracy", "`compression.network`", "MACs", "`compression.file`"]
    return markdown([*head, "int8 file", "minutes"], rows)


def _mean_of_seeds(jobs: Sequence[dict[str, Any]]) -> list[str]:
    return [
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


def methods() -> str:
    """Return the largest compression of every method at three accuracies."""
    rows = []
    for name, points in mean_curves(results.load("curve")["jobs"]).items():
        cells = []
        for wanted in (0.985, 0.983, 0.981):
            reached = [size for size, accuracy in points if accuracy >= wanted]
            cells.append(f"{max(reached):.1f}x" if reached else "–")
        rows.append([name, *cells])
    return markdown(["method", "≥ 98.5 %", "≥ 98.3 %", "≥ 98.1 %"], rows)


def at_sizes() -> str:
    """Return the test accuracy of every method's networks that are at least so many times smaller.

    Between two points of a curve it is interpolated; a setting does not count if another one is smaller and better.
    """
    sizes = (3, 4, 5, 7, 10, 12, 15, 20, 25, 30, 40)
    rows = []
    for name, points in mean_curves(results.load("curve")["jobs"]).items():
        best = sorted(one for one in points if not any(a > one[0] and b > one[1] for a, b in points))
        x, y = (np.asarray(values) for values in zip(*best, strict=True))
        there = [np.interp(np.log(size), np.log(x), y) if size <= x[-1] else np.nan for size in sizes]
        rows.append([name, *("–" if np.isnan(value) else f"{100 * value:.2f}" for value in there)])
    return markdown(["test %", *(f"{size}x" for size in sizes)], rows)


def ties() -> str:
    """Return the accuracy right after tying and after retraining."""
    cells: dict[tuple[str, str, int], list[dict[str, Any]]] = defaultdict(list)
    for job in results.load("ties")["jobs"]:
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


def _points() -> dict[tuple[str, str], dict[tuple[float, int | None], dict[str, float]]]:
    """Return means over the seeds by inputs and penalty, then by strength and groups."""
    found: dict[Any, Any] = defaultdict(lambda: defaultdict(list))
    for point in results.load("decorrelated")["points"]:
        flat = {**point, **{f"dense {split}": value for split, value in point["dense"].items()}}
        found[point["inputs"], point["penalty"]][point["strength"], point["groups"]].append(flat)
    keys = ("nonzero", "tied", "validation", "test", "dense validation", "dense test", "correlation")
    return {
        place: {at: {key: float(np.mean([p[key] for p in of])) for key in keys} for at, of in points.items()}
        for place, points in found.items()
    }


def _missing() -> bool:
    return not results.exists("decorrelated")


NOT_RUN = "**Not run to the end**: the command is tested on a few batches."
DROP = 0.005  # what is given up of the dense network's accuracy, on the validation split


def decorrelated() -> str:
    """Return how much of the saving is pruning and how much is tying, at equal accuracy.

    Of the points that keep the accuracy on the validation split: with pruned rows only, the one of fewest rows; with
    ties, the one of fewest groups, and among those the most accurate.
    """
    if _missing():
        return NOT_RUN
    rows = []
    for (inputs, penalty), points in _points().items():
        any_point = next(iter(points.values()))
        level = any_point["dense validation"] - DROP
        good = [(groups, of) for (_, groups), of in points.items() if of["validation"] >= level]
        pruned = min((of for groups, of in good if groups is None), key=lambda of: of["nonzero"], default=None)
        tied = min(
            ((groups, of) for groups, of in good if groups),
            key=lambda found: (found[0], -found[1]["validation"]),
            default=None,
        )
        cells = ["–", "–"]
        if pruned is not None:
            cells[0] = f"{784 / pruned['nonzero']:.1f}x at {pruned['test']:.2%}"
        if tied is not None:
            groups, of = tied
            cells[1] = (
                f"{784 / groups:.1f}x = {784 / of['nonzero']:.1f} · {of['nonzero'] / groups:.1f} at {of['test']:.2%}"
            )
        rows.append(
            [f"{inputs}, {penalty}", f"{any_point['correlation']:.2f}", f"{any_point['dense test']:.2%}", *cells]
        )
    head = ["inputs, penalty", "correlation of neighbours", "dense"]
    return markdown([*head, "pruned only", "with ties = pruning · tying"], rows)


def predictive() -> str:
    """Return the accuracy right after tying and after retraining, at the same numbers of groups."""
    if _missing():
        return NOT_RUN
    rows = []
    for (inputs, penalty), points in _points().items():
        strengths = sorted({strength for strength, _ in points})
        for strength in strengths:
            counts = sorted({groups for at, groups in points if at == strength and groups}, reverse=True)
            cells = [points[strength, groups] for groups in counts]
            rows.append(
                [
                    f"{inputs}, {penalty}" + (f" {strength:g}" if strength else ""),
                    f"{cells[0]['nonzero']:.0f}",
                    *(f"{100 * of['tied']:.1f} → {100 * of['test']:.2f}" for of in cells),
                ]
            )
    counts = sorted({groups for points in _points().values() for _, groups in points if groups}, reverse=True)
    return markdown(["inputs, penalty and strength", "rows", *(f"{groups} groups, %" for groups in counts)], rows)
