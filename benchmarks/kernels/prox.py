"""Times the prox of one vector against other packages and against the sort alone.

Run it with ``python -m benchmarks.kernels.prox``.

Signs, sort, isotonic regression, clip, unsort: the whole operator, one thread, a fresh vector for every call,
candidates in turn. Every result is compared with scipy's isotonic regression in float64 before anything is timed; a
peer that is off is marked wrong and is not the "best peer". Peers come with ``pip install -c constraints.txt -e
".[bench]"`` and ``pip install --no-build-isolation torchsort`` (it needs torch, wheel, setuptools, ninja and a C++
compiler to build, so no extra can name it; where an nvcc without its toolkit is on the PATH, build without it); what is
absent is skipped.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.harness import timing
from benchmarks.harness.command import keep, missing, options
from benchmarks.harness.results import Kept
from benchmarks.harness.verdicts import judge, show, show_rows
from benchmarks.kernels.prox_inputs import KINDS
from benchmarks.kernels.prox_peers import LEFT_OUT, PEERS, SORTS, Way, ours, peers, sorts

__all__ = ["cell", "main", "targets"]

Array = NDArray[Any]

ROUNDS = {64: 400, 256: 300, 784: 300, 4096: 150, 16384: 60, 65536: 41, 262144: 21, 1_000_000: 11}
BURST, BURSTS_TO = 8, 4096  # calls of microseconds are timed in bursts, see timing.side_by_side
QUICK = {64: 60, 784: 60, 4096: 30, 65536: 7}
DTYPES: dict[str, type[np.floating[Any]]] = {"float32": np.float32, "float64": np.float64}
TOLERANCE = {"float32": 1e-5, "float64": 1e-10}  # largest error, as a part of the largest result
AIMED = ("random", "one-block", "cascade")  # the kinds the targets speak of
OURS = "torch-growl"


def cell(n: int, dtype: str, kind: str, rounds: int, cap: float = 2.0) -> dict[str, Any]:
    """Check and time every way of one prox.

    Args:
        n: the length.
        dtype: ``"float32"`` or ``"float64"``.
        kind: of :data:`KINDS`.
        rounds: timed calls of each.
        cap: a peer whose single call takes longer, in seconds, is not timed.

    Returns:
        The medians and quartiles of every way; each peer's fastest right way; the ratios of ours to the best peer and
        to the sorts; what was wrong or skipped.
    """
    form = KINDS[kind]
    lam = form.lam(n).astype(DTYPES[dtype])
    ways: dict[str, Way] = dict(ours(lam))
    owner: dict[str, str] = {}
    for peer, how, way in peers(lam):
        name = f"{peer}, {how}"
        ways[name], owner[name] = way, peer
    error, skipped = {}, {}
    rng = np.random.default_rng(1)
    sample = form.fresh(rng, n, DTYPES[dtype])
    expected = _expected(sample, lam)
    for name in list(ways):
        _call(ways[name], sample)  # compiles
        start = time.perf_counter()
        result = _call(ways[name], sample)
        took = time.perf_counter() - start
        error[name] = float(f"{np.abs(result - expected).max() / max(np.abs(expected).max(), 1e-300):.2g}")
        if took > cap and name in owner:
            skipped[name] = f"one call took {took:.1f} s"
            del ways[name]
    wrong = [name for name, off in error.items() if off > TOLERANCE[dtype]]
    if any(name not in owner for name in wrong):
        raise AssertionError(f"our own prox is wrong for n = {n}, {dtype}, {kind}: {error}")
    floors = sorts(n, DTYPES[dtype])
    ways |= floors
    times = timing.side_by_side(
        {name: way.call for name, way in ways.items()},
        lambda rng: form.fresh(rng, n, DTYPES[dtype]),
        rounds=rounds if n > BURSTS_TO else -(-rounds // BURST),
        burst=1 if n > BURSTS_TO else BURST,
        prepare={name: way.prepare for name, way in ways.items()},
    )
    best: dict[str, float] = {}
    for name, peer in owner.items():
        if name in times and name not in wrong:
            best[peer] = min(best.get(peer, np.inf), times[name]["median"])
    found = {"n": n, "dtype": dtype, "kind": kind, "times": times, "peers": best, "error": error, "wrong": wrong}
    return {**found, "skipped": skipped, "ratio": _ratios(times, best)}


def _ratios(times: dict[str, dict[str, float]], best: dict[str, float]) -> dict[str, Any]:
    median = {name: summary["median"] for name, summary in times.items()}
    fastest_sort = min((name for name in SORTS if name in median), key=lambda name: median[name])
    found: dict[str, Any] = {"best sort": fastest_sort}
    if best:
        found["best peer"] = min(best, key=lambda peer: best[peer])
    found[OURS] = {
        "np.argsort": round(median[OURS] / median["np.argsort"], 4),
        "best sort": round(median[OURS] / median[fastest_sort], 4),
    }
    if best:
        found[OURS]["best peer"] = round(median[OURS] / min(best.values()), 4)
    return found


def targets(cells: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Compare the ratios of the public call with their targets."""
    aimed = [found for found in cells if found["kind"] in AIMED]

    def ratios(to: str, sizes: Any) -> dict[str, float]:
        return {
            f"{found['n']:,} {found['dtype']} {found['kind']}": found["ratio"][OURS][to]
            for found in aimed
            if sizes(found["n"]) and to in found["ratio"][OURS]
        }

    return [
        judge("time of the best peer, every n from 784", 0.85, ratios("best peer", lambda n: n >= 784)),
        judge("time of the best peer, n = 64", 1.0, ratios("best peer", lambda n: n == 64)),
        judge("the bare np.argsort, n = 784", 1.5, ratios("np.argsort", lambda n: n == 784)),
        judge("the bare np.argsort, n from 65,536", 1.15, ratios("np.argsort", lambda n: n >= 65536)),
        judge("the fastest bare sort, n = 784", 1.5, ratios("best sort", lambda n: n == 784)),
        judge("the fastest bare sort, n from 65,536", 1.15, ratios("best sort", lambda n: n >= 65536)),
    ]


def _call(way: Way, v: Array) -> Array:
    return np.asarray(way.call(way.prepare(v.copy())), dtype=np.float64)


def _expected(v: Array, lam: Array) -> Array:
    """Compute the definition in float64: signs, sort, isotonic regression of scipy, clip, unsort."""
    from scipy.optimize import isotonic_regression

    magnitudes = np.abs(v.astype(np.float64))
    order = np.argsort(-magnitudes, kind="stable")
    fitted = isotonic_regression(magnitudes[order] - lam.astype(np.float64), increasing=False).x
    x = np.empty(len(v))
    x[order] = np.maximum(fitted, 0.0)
    return np.copysign(x, v)


def _print(cells: list[dict[str, Any]]) -> None:
    names = [peer for peer in PEERS if any(peer in found["peers"] for found in cells)]
    for dtype, kind in dict.fromkeys((found["dtype"], found["kind"]) for found in cells):
        rows = []
        for found in cells:
            if (found["dtype"], found["kind"]) != (dtype, kind):
                continue
            median = {name: summary["median"] for name, summary in found["times"].items()}
            ratio = found["ratio"][OURS]
            rows.append(
                [
                    f"{found['n']:,}",
                    f"{median[OURS]:,.0f}",
                    *(f"{found['peers'][peer]:,.0f}" if peer in found["peers"] else "–" for peer in names),
                    f"{median['np.argsort']:,.0f}",
                    f"{median[found['ratio']['best sort']]:,.0f}",
                    f"{ratio['best peer']:.2f} {found['ratio']['best peer']}" if "best peer" in ratio else "–",
                    f"{ratio['np.argsort']:.2f}",
                    f"{ratio['best sort']:.2f}",
                ]
            )
        head = ["n", "ours", *names, "argsort", "best sort", "/ best peer", "/ argsort", "/ best sort"]
        show_rows(f"median µs, {dtype}, {kind}", head, rows)
    wrong = {name: found["error"][name] for found in cells for name in found["wrong"]}
    for name in wrong:
        where = [f"{found['n']:,} {found['dtype']} {found['kind']}" for found in cells if name in found["wrong"]]
        worst = max(found["error"][name] for found in cells if name in found["wrong"])
        print(f"wrong: {name}: error up to {worst:g} at {'; '.join(where)}")
    for found in cells:
        for name, why in found["skipped"].items():
            print(f"skipped: {name} at {found['n']:,} {found['dtype']} {found['kind']}: {why}")


def main(arguments: list[str] | None = None) -> None:
    """Measure cell by cell; ``--resume`` goes on with an interrupted run."""
    parser = options(__doc__)
    parser.add_argument("--resume", action="store_true", help="go on with an interrupted run")
    parser.add_argument("--cap", type=float, default=2.0, help="skip a peer that takes more seconds for a single call")
    given = parser.parse_args(arguments)
    timing.one_thread()
    rounds = QUICK if given.quick else ROUNDS
    kept = Kept("prox-quick" if given.quick else "prox", resume=given.resume)
    cells = []
    for n in rounds:
        for dtype in DTYPES:
            for kind in KINDS:
                arguments_of_cell = (n, dtype, kind, rounds[n], given.cap)
                cells.append(kept.get(f"{n} {dtype} {kind}", lambda these=arguments_of_cell: cell(*these)))
        print(f"n = {n:,} done", flush=True)
    left_out = {**missing({name: module for name, (_, module) in PEERS.items()}), **LEFT_OUT}
    _print(cells)
    for name, why in left_out.items():
        print(f"left out: {name}: {why}")
    verdicts = targets(cells)
    show(verdicts)
    kinds = {name: kind.says for name, kind in KINDS.items()}
    data = {"unit": "µs", "kinds": kinds, "left_out": left_out, "cells": cells, "targets": verdicts}
    keep(given, "kernels.prox", data, packages=tuple(package for package, _ in PEERS.values()))
    kept.done()


if __name__ == "__main__":
    main()
