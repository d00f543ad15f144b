"""Compares the clustering of rows with scikit-learn and with the exact optimum.

Run it with ``python -m benchmarks.clustering.clustering``.

Three parts: speed against ``sklearn.cluster.AffinityPropagation`` at its best settings (damping .9, 1,000 iterations),
both sides from the rows on, so the similarity is in both times, on one thread; a battery of random problems in which
our objective must not be below scikit-learn's wherever that converges; and the gap to the proven optimum. An
interrupted run can be resumed.
"""

from __future__ import annotations

import time
import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.clustering.cases import KINDS, Case, cases, scikit_learn, tied_rows
from benchmarks.harness import timing
from benchmarks.harness.command import keep, options
from benchmarks.harness.results import Kept
from benchmarks.harness.verdicts import show_rows
from torch_growl.errors import GrowlWarning, InvalidValueError
from torch_growl.mathematics.clustering.clusters import cluster_rows
from torch_growl.mathematics.clustering.partition import Partition

__all__ = ["main"]

SPEED = {1024: 3, 2048: 3, 4096: 1}  # rows: rounds
TIED = ("duplicates", "tied, noise 1 %", "tied, noise 5 %", "tied, noise 20 %")
TARGETS = {2048: 20.0, 4096: 60.0}
ROW_LENGTH, PREFERENCE = 256, 0.8
SAME = 1e-9  # objectives that differ by less, relative to their size, are the same


def ours(W: Tensor, preference: float, **options: Any) -> tuple[float, bool, int, float]:
    """Cluster and return the objective, whether it converged, the groups and the seconds."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", GrowlWarning)
        start = time.perf_counter()
        found = cluster_rows(W, preference, **options)
        took = time.perf_counter() - start
    return found.objective, found.converged, found.n_groups, took


def speed_round(kind: str, n: int, seed: int) -> dict[str, Any]:
    """Run both sides on the same fresh rows, in random order."""
    in_group, noise = KINDS[kind]
    rng = np.random.default_rng([n, seed])
    W = tied_rows(n, ROW_LENGTH, n // in_group if in_group else 1, noise, rng)
    first = rng.random() < 0.5
    if first:
        objective, converged, groups, seconds = ours(W, PREFERENCE)
    theirs = scikit_learn(W, PREFERENCE)
    if not first:
        objective, converged, groups, seconds = ours(W, PREFERENCE)
    return {
        "seconds": seconds,
        "objective": objective,
        "converged": converged,
        "groups": groups,
        "theirs_seconds": theirs.similarity_seconds + theirs.seconds,
        "theirs_similarity_seconds": theirs.similarity_seconds,
        "theirs_objective": theirs.objective,
        "theirs_converged": theirs.converged,
    }


def speed(kept: Kept, sizes: dict[int, int]) -> list[dict[str, Any]]:
    """Return times, their ratio and the rounds for every kind and size."""
    rows = []
    for n, rounds in sizes.items():
        for kind in KINDS if n <= 2048 else TIED:  # scikit-learn takes minutes for the others
            found = [
                kept.get(f"speed {kind} {n} {seed}", lambda k=kind, n=n, s=seed: speed_round(k, n, s))
                for seed in range(rounds)
            ]
            mine = timing.summary([f["seconds"] for f in found])
            theirs = timing.summary([f["theirs_seconds"] for f in found])
            row = {"kind": kind, "n": n, "ours": mine, "theirs": theirs, "rounds": found}
            rows.append({**row, "ratio": round(theirs["median"] / mine["median"], 1)})
            print(f"{kind}, n = {n}: {mine['median'] / 1e6:.3f} s, {rows[-1]['ratio']}x", flush=True)
    return rows


def compare(case: Case) -> dict[str, Any]:
    """Solve one problem of the battery on both sides."""
    objective, converged, groups, seconds = ours(case.W, case.preference)
    theirs = scikit_learn(case.W, case.preference)
    return {
        **_drawn(case),
        "objective": objective,
        "converged": converged,
        "groups": groups,
        "seconds": seconds,
        "theirs_objective": theirs.objective,
        "theirs_converged": theirs.converged,
        "theirs_seconds": theirs.similarity_seconds + theirs.seconds,
    }


def battery(kept: Kept, number: int, largest: int) -> dict[str, Any]:
    """Count where our objective is above, equal or below."""
    found = [kept.get(f"battery {i}", lambda c=case: compare(c)) for i, case in enumerate(cases(number, largest, 1))]
    counted = [f for f in found if f["theirs_converged"] and f["theirs_objective"] is not None]
    more = [(f["objective"] - f["theirs_objective"]) / f["theirs_objective"] for f in counted]
    return {
        "cases": len(found),
        "largest_n": largest,
        "theirs_converged": len(counted),
        "ours_converged": sum(f["converged"] for f in found),
        "above": sum(x > SAME for x in more),
        "equal": sum(abs(x) <= SAME for x in more),
        "below": sum(x < -SAME for x in more),
        "worst": min(more),
        "best": max(more),
        "mean": float(np.mean(more)),
        "found": found,
    }


def alone(case: Case) -> tuple[float, bool]:
    """Run affinity propagation alone; return the objective of its exemplars and whether it converged."""
    from torch_growl.mathematics.clustering._affinity import components, new_state, propagate
    from torch_growl.mathematics.clustering._local_search import Graph, net_similarity, use
    from torch_growl.mathematics.similarity.sparse import similar_pairs

    same = Partition.from_rows(case.W)
    _, first = np.unique(same.labels, return_index=True)
    pairs = similar_pairs(case.W[first], case.preference)
    m = np.array(same.sizes, dtype=np.float64)[pairs.order]
    graph = Graph(pairs.indptr, pairs.indices, pairs.values, m, case.preference + (m - 1))
    members, starts = components(graph)
    state, n = new_state(len(m)), len(m)
    total, converged = 0.0, True
    for c in range(len(starts) - 1):
        mine = members[starts[c] : starts[c + 1]]
        if len(mine) > 1:
            took = propagate(mine, graph, 0.9, 1000, np.empty(n, np.float32), np.empty((2, n)), state.chosen)
            converged &= took > 0
        use(mine, graph, state)
        total += net_similarity(mine, graph, state)
    return total, converged


def against_optimum(case: Case) -> dict[str, Any]:
    """Solve one problem in every way; ``optimum`` is None if it could not be proven in a minute."""
    best = None
    try:
        best, _, _, seconds = ours(case.W, case.preference, method="exact", time_limit=60.0)
    except InvalidValueError:
        seconds = None
    single, spread = alone(case)
    default, converged, _, took = ours(case.W, case.preference)
    theirs = scikit_learn(case.W, case.preference)
    return {
        **_drawn(case),
        "optimum": best,
        "optimum_seconds": seconds,
        "propagation": single,
        "propagation_converged": spread,
        "default": default,
        "default_converged": converged,
        "default_seconds": took,
        "scikit-learn": theirs.objective,
        "scikit-learn_converged": theirs.converged,
    }


def gap(kept: Kept, number: int, largest: int) -> dict[str, Any]:
    """Measure the gap of each way to the optimum, relative to the optimum."""
    found = [
        kept.get(f"gap {i}", lambda c=case: against_optimum(c)) for i, case in enumerate(cases(number, largest, 2))
    ]
    proven = [f for f in found if f["optimum"] is not None]
    result: dict[str, Any] = {"cases": len(found), "largest_n": largest, "proven": len(proven)}
    for way in ("propagation", "scikit-learn", "default"):
        gaps = [1 - f[way] / f["optimum"] for f in proven if f[way] is not None and f[f"{way}_converged"]]
        result[way] = {
            "converged": len(gaps),
            "at_optimum": sum(g <= SAME for g in gaps),
            "mean": float(np.mean(gaps)),
            "p90": float(np.quantile(gaps, 0.9)),
            "p99": float(np.quantile(gaps, 0.99)),
            "worst": max(gaps),
        }
    return {**result, "found": found}


def _drawn(case: Case) -> dict[str, Any]:
    return {name: getattr(case, name) for name in ("n", "row_length", "groups", "noise", "preference")}


def main(arguments: list[str] | None = None) -> None:
    """Measure, print and keep the result."""
    given = options(__doc__).parse_args(arguments)
    timing.one_thread()
    ours(torch.randn(300, 2), 0.3)  # compiles
    ours(torch.randn(300, 2, dtype=torch.float64), 0.3)
    kept = Kept("clustering-quick" if given.quick else "clustering")
    found = {
        "row_length": ROW_LENGTH,
        "preference": PREFERENCE,
        "times": "from the rows on, the similarity included on both sides; one thread",
        "speed": speed(kept, {256: 2} if given.quick else SPEED),
        "battery": battery(kept, *((10, 100) if given.quick else (300, 2048))),
        "gap": gap(kept, *((10, 50) if given.quick else (300, 150))),
    }
    found["targets"] = [
        {"n": row["n"], "kind": row["kind"], "least": TARGETS[row["n"]], "ratio": row["ratio"]}
        for row in found["speed"]
        if row["n"] in TARGETS and row["kind"] in TIED
    ]
    show_rows(
        "against scikit-learn, from the rows on",
        ("rows", "n", "ours", "scikit-learn", "ratio"),
        [
            (r["kind"], str(r["n"]), f"{r['ours']['median'] / 1e6:.3f} s", f"{r['theirs']['median'] / 1e6:.2f} s",
             f"{r['ratio']}x")
            for r in found["speed"]
        ],
    )  # fmt: skip
    print({k: v for k, v in found["battery"].items() if k != "found"})
    print({k: v for k, v in found["gap"].items() if k != "found"})
    keep(given, "clustering.clustering", found, packages=("scikit-learn",))
    kept.done()


if __name__ == "__main__":
    main()
