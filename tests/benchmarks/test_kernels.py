"""The benchmarks of kernels: inputs, peers that are checked before they are timed, resuming, figures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.harness import results
from benchmarks.kernels import figures, growth, prox, prox_peers
from benchmarks.kernels.prox_inputs import KINDS


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [64, 4096])
def test_inputs_are_vectors_with_a_lambda(kind: str, dtype: Any, n: int) -> None:
    rng = np.random.default_rng(0)
    lam, v, again = KINDS[kind].lam(n), KINDS[kind].fresh(rng, n, dtype), KINDS[kind].fresh(rng, n, dtype)
    assert lam.shape == v.shape == (n,)
    assert (np.diff(lam) <= 0).all()
    assert lam[-1] >= 0
    assert v.dtype == dtype
    assert not np.array_equal(v, again)


@pytest.mark.parametrize(("kind", "least", "most"), [("one-block", 1.0, 1.0), ("cascade", 0.6, 0.8)])
def test_the_hard_inputs_pool_as_they_say(kind: str, least: float, most: float) -> None:
    from scipy.optimize import isotonic_regression

    n = 4096
    v = np.sort(np.abs(KINDS[kind].fresh(np.random.default_rng(0), n, np.float64)))[::-1]
    fitted = isotonic_regression(v - KINDS[kind].lam(n), increasing=False)
    assert least <= np.diff(fitted.blocks).max() / n <= most
    assert fitted.x[-1] > 0


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", KINDS)
def test_peers_agree_with_the_definition(dtype: str, kind: str) -> None:
    found = prox.cell(96, dtype, kind, rounds=2)
    assert found["wrong"] == []
    assert {"scipy", "sklearn"} <= set(found["peers"])
    assert set(prox_peers.SORTS) - set(found["times"]) == ({"np.sort of packed keys"} if dtype == "float64" else set())
    assert found["ratio"][prox.OURS]["best peer"] > 0


@pytest.mark.slow
def test_a_wrong_peer_is_named_and_never_the_best(monkeypatch: pytest.MonkeyPatch) -> None:
    fast = prox_peers.Way(lambda v: v, lambda v: v)
    right = list(prox_peers.peers(KINDS["random"].lam(64)))
    monkeypatch.setattr(prox, "peers", lambda lam: [("cheat", "at once", fast), *right])
    found = prox.cell(64, "float64", "random", rounds=2)
    assert found["wrong"] == ["cheat, at once"]
    assert "cheat" not in found["peers"]
    assert found["peers"]


@pytest.mark.slow
def test_nothing_is_timed_when_our_own_prox_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prox, "ours", lambda lam: {prox.OURS: prox_peers.Way(lambda v: v, lambda v: v)})
    with pytest.raises(AssertionError, match="our own prox is wrong for n = 64, float32, random"):
        prox.cell(64, "float32", "random", rounds=1)


def test_a_slow_peer_is_skipped_and_named() -> None:
    found = prox.cell(64, "float64", "random", rounds=1, cap=0.0)
    assert found["peers"] == {}
    assert "scipy, np.argsort" in found["skipped"]


def test_only_the_kinds_that_were_aimed_at_are_judged() -> None:
    ratio = {prox.OURS: {"best peer": 0.5, "np.argsort": 1.0, "best sort": 1.0}}
    bad = {prox.OURS: {"best peer": 9.0, "np.argsort": 9.0, "best sort": 9.0}}
    cells = [{"n": 784, "dtype": "float32", "kind": kind, "ratio": ratio} for kind in prox.AIMED]
    cells += [{"n": 784, "dtype": "float32", "kind": "pld", "ratio": bad}]
    from_784 = prox.targets(cells)[0]
    assert (from_784["met"], from_784["of"]) == (True, 3)


@pytest.mark.slow
def test_a_run_that_was_cut_off_goes_on(quiet: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prox, "QUICK", {16: 2})
    real, calls = prox.cell, []

    def stops(*arguments: Any) -> dict[str, Any]:
        calls.append(arguments)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(prox, "cell", stops)
    with pytest.raises(KeyboardInterrupt):
        prox.main(["--quick"])
    prox.main(["--quick", "--resume", "--name", "again"])
    assert len(calls) == 4 + 2 * len(KINDS) - 3
    kept = json.loads((quiet / "again.json").read_text("utf-8"))
    assert len(kept["cells"]) == 2 * len(KINDS)
    assert [path.name for path in quiet.iterdir()] == ["again.json"]


def test_the_slope_of_a_square_is_two() -> None:
    sizes = [1, 10, 100, 200, 500, 1000]
    assert growth.slope(sizes, [7.0 if n < 100 else 3.0 * n**2 for n in sizes]) == 2.0
    assert growth.slope([1, 1000], [1.0, 1.0]) is None


@pytest.mark.parametrize("name", figures.FIGURES)
def test_figures_are_drawn_from_the_results(name: str) -> None:
    result, draw = figures.FIGURES[name]
    figure = draw(results.load(result))
    assert all(axes.lines or axes.patches for axes in figure.axes)
    assert figure.axes
