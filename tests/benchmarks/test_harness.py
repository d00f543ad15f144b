"""The benchmark harness itself: fresh inputs, peers checked, verdicts, kept results, and docs made from them."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks.deployment import export, export_forms, export_tables, latency, latency_tables
from benchmarks.harness import command, timing
from benchmarks.harness.verdicts import judge
from benchmarks.kernels import figures, growth, prox, prox_peers, tables
from benchmarks.kernels.prox_inputs import KINDS
from benchmarks.training_step import held, pat, step, step_memory
from benchmarks.training_step.subjects import STATES, Snapshot, build, nudge_
from torch_growl import GrOWL
from torch_growl.networks.layers import row_norms, rows_of

RESULTS = sorted(timing.RESULTS.glob("*.json"))


@pytest.fixture
def quiet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Results go to a folder of the test, and the process keeps its threads."""
    monkeypatch.setattr(timing, "RESULTS", tmp_path)
    monkeypatch.setattr(timing, "one_thread", lambda: None)
    return tmp_path


# ── timing ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_every_call_of_every_candidate_gets_an_input_of_its_own() -> None:
    given: dict[str, list[float]] = {"a": [], "b": []}
    times = timing.side_by_side(
        {name: calls.append for name, calls in given.items()}, lambda rng: float(rng.random()), rounds=5, warmup=2
    )
    assert len(given["a"]) == len(given["b"]) == 7
    assert len({*given["a"], *given["b"]}) == 14
    assert {name: summary["rounds"] for name, summary in times.items()} == {"a": 5, "b": 5}


def test_a_candidate_gets_what_it_likes() -> None:
    seen: list[Any] = []
    timing.side_by_side({"a": seen.append}, lambda rng: 3, rounds=1, warmup=0, prepare={"a": lambda value: value + 1})
    assert seen == [4]


# ── what is timed ───────────────────────────────────────────────────────────────────────────────────────────────────


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


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", KINDS)
def test_peers_agree_with_the_definition(dtype: str, kind: str) -> None:
    found = prox.cell(96, dtype, kind, rounds=2)
    assert found["wrong"] == []
    assert {"scipy", "sklearn"} <= set(found["peers"])
    assert set(prox_peers.SORTS) - set(found["times"]) == ({"np.sort of packed keys"} if dtype == "float64" else set())
    assert found["ratio"][prox.OURS]["best peer"] > 0


def test_a_wrong_peer_is_named_and_never_the_best(monkeypatch: pytest.MonkeyPatch) -> None:
    fast = prox_peers.Way(lambda v: v, lambda v: v)
    right = list(prox_peers.peers(KINDS["random"].lam(64)))
    monkeypatch.setattr(prox, "peers", lambda lam: [("cheat", "at once", fast), *right])
    found = prox.cell(64, "float64", "random", rounds=2)
    assert found["wrong"] == ["cheat, at once"]
    assert "cheat" not in found["peers"]
    assert found["peers"]


def test_nothing_is_timed_when_our_own_prox_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prox, "ours", lambda lam: {prox.OURS: prox_peers.Way(lambda v: v, lambda v: v)})
    with pytest.raises(AssertionError, match="our own prox is wrong for n = 64, float32, random"):
        prox.cell(64, "float32", "random", rounds=1)


def test_a_slow_peer_is_skipped_and_named() -> None:
    found = prox.cell(64, "float64", "random", rounds=1, cap=0.0)
    assert found["peers"] == {}
    assert "scipy, np.argsort" in found["skipped"]


@pytest.mark.parametrize("state", STATES)
def test_the_step_is_timed_on_living_rows(state: str) -> None:
    found = step.step_against_weights("784-300-10 MLP", state, threads=1, rounds=2)
    assert found["rows"] == 784
    assert found["alive"]["before"] == found["alive"]["after"] == (784 if state == "fresh" else 392)
    assert min(found["ratio"].values()) > 0


def test_the_states_are_what_they_say() -> None:
    rows = rows_of(build("784-300-10 MLP", "pruned and tied").get_submodule("fc1"))
    assert len(torch.unique(rows[row_norms(build("784-300-10 MLP", "pruned and tied").fc1) > 0], dim=0)) == 392 // 8


def test_a_snapshot_is_put_back_bit_for_bit() -> None:
    model = build("784-300-10 MLP")
    layers = GrOWL(model).layers
    before = [model.get_submodule(name).weight.detach().clone() for name in layers]
    snapshot = Snapshot.of(model, layers)
    nudge_(snapshot.modules, torch.Generator().manual_seed(0))
    assert not torch.equal(snapshot.weights[0], before[0])
    torch.testing.assert_close(snapshot.weights[0], before[0], rtol=0.01, atol=0)
    snapshot.restore_()
    assert torch.equal(snapshot.weights[0], before[0])


def test_held_bytes_counts_each_tensor_once_and_not_the_models() -> None:
    model = nn.Linear(4, 4)
    kept = torch.zeros(10, dtype=torch.float64)
    holder = Namespace(a=kept, b=[kept[2:]], c={"w": model.weight, "array": np.zeros(3)}, model=model)
    assert held.held_bytes(holder, model) == 80 + 24


@pytest.mark.slow
def test_peak_memory_comes_from_a_process_of_its_own() -> None:
    found = step_memory.in_a_process(256, 16)
    assert found["weights"] == 256 * 16 * 4
    assert 0 <= found["torch"] < 100 * 256
    assert 0 < found["kept"] < 100 * 256
    assert 0 <= found["resident"] < 10e6


def test_the_slope_of_a_square_is_two() -> None:
    sizes = [1, 10, 100, 200, 500, 1000]
    assert growth.slope(sizes, [7.0 if n < 100 else 3.0 * n**2 for n in sizes]) == 2.0
    assert growth.slope([1, 1000], [1.0, 1.0]) is None


def test_both_do_the_same_before_they_are_compared() -> None:
    pytest.importorskip("torchao")
    found = pat.added_time("784-300-10 MLP", "input", rounds=2)
    assert found["held"][pat.PAT] == found["weights_bytes"]
    assert 0 < found["held"][pat.OURS] < found["weights_bytes"] / 10


# ── verdicts ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_target_is_met_only_where_every_ratio_is_within_it() -> None:
    met = judge("so", 1.0, {"here": 0.5, "there": 1.0})
    assert (met["met"], met["held"], met["of"], met["worst"], met["where"]) == (True, 2, 2, 1.0, "there")
    missed = judge("so", 1.0, {"here": 0.5, "there": 1.1, "nowhere": float("nan")})
    assert not missed["met"]
    assert missed["held"] == 1
    assert set(missed["missed"]) == {"there", "nowhere"}
    assert not judge("so", 1.0, {})["met"]


def test_only_the_kinds_that_were_aimed_at_are_judged() -> None:
    ratio = {prox.OURS: {"best peer": 0.5, "np.argsort": 1.0, "best sort": 1.0}}
    bad = {prox.OURS: {"best peer": 9.0, "np.argsort": 9.0, "best sort": 9.0}}
    cells = [{"n": 784, "dtype": "float32", "kind": kind, "ratio": ratio} for kind in prox.AIMED]
    cells += [{"n": 784, "dtype": "float32", "kind": "pld", "ratio": bad}]
    from_784 = prox.targets(cells)[0]
    assert (from_784["met"], from_784["of"]) == (True, 3)


# ── commands and kept results ───────────────────────────────────────────────────────────────────────────────────────


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


def test_a_quick_run_is_not_kept_without_a_name(quiet: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command.keep(Namespace(name=None, quick=True), "prox", {})
    assert "nothing kept" in capsys.readouterr().out
    assert list(quiet.iterdir()) == []


def test_what_is_not_installed_is_named(quiet: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert command.missing({"nobody's": "no_such_module_anywhere", "numpy": "numpy"}) == {"nobody's": "not installed"}
    monkeypatch.setattr(pat, "missing", lambda modules: dict.fromkeys(modules, "not installed"))
    pat.main(["--quick", "--name", "pat"])
    kept = timing.load("pat")
    assert kept["left_out"] == {pat.PAT: "not installed"}
    assert not any(target["met"] for target in kept["targets"])


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_a_kept_result_says_where_it_was_measured(path: Path) -> None:
    kept = json.loads(path.read_text("utf-8"))
    assert kept["command"].startswith("python -m benchmarks.")
    for field in ("processor", "cores", "torch", "python", "commit", "date", "packages"):
        assert kept["environment"][field], field


def test_there_are_kept_results() -> None:
    assert {"prox", "step", "pat", "growth"} <= {path.stem for path in RESULTS}


def test_the_docs_show_what_was_measured() -> None:
    page = tables.PAGE.read_text("utf-8")
    assert tables.filled(page) == page
    assert all(f"<!-- table: {name} -->" in page for name in tables.TABLES)


def test_a_changed_figure_in_the_docs_is_found() -> None:
    page = tables.PAGE.read_text("utf-8")
    changed = page.replace("| yes |", "| no |").replace("**no**", "yes").replace(".", ",")
    assert "| yes |" in page or "**no**" in page
    assert tables.filled(changed) != changed
    assert tables.filled(page.replace("| yes |", "| no |").replace("**no**", "yes")) == page
    with pytest.raises(KeyError, match="no-such"):
        tables.filled("<!-- table: no-such -->\n<!-- end -->")


@pytest.mark.parametrize("name", figures.FIGURES)
def test_figures_are_drawn_from_the_results(name: str) -> None:
    result, draw = figures.FIGURES[name]
    figure = draw(timing.load(result))
    assert all(axes.lines or axes.patches for axes in figure.axes)
    assert figure.axes


# ── exports ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("rest", [(), (3, 2)], ids=["linear", "convolution"])
@pytest.mark.parametrize("form", export_forms.FORMS)
def test_every_form_of_a_sum_in_onnx_is_the_sum(form: str, rest: tuple[int, ...]) -> None:
    import onnxruntime

    groups = export.some_groups(20, 14, 5)
    assert sorted(map(len, groups)) != [1] * 5
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    data = export_forms.model(form, groups, (20, *rest))
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    x = np.random.default_rng(0).integers(-8, 8, (3, 20, *rest)).astype(np.float32)
    wanted = np.stack([x[:, members].sum(1) for members in groups], 1)
    assert np.array_equal(session.run(None, {"x": x})[0], wanted)


def test_the_latency_page_shows_what_was_measured() -> None:
    page = latency_tables.PAGE.read_text("utf-8")
    assert latency_tables.filled(page) == page
    assert all(f"<!-- table: {name} -->" in page for name in latency_tables.TABLES)


def test_latency_targets_are_judged_from_times() -> None:
    def cell(network: str, runtime: str, batch: int, **times: float) -> dict[str, Any]:
        return {
            "network": network,
            "runtime": runtime,
            "batch": batch,
            "times": {(latency.PEER if key == "peer" else key): {"median": value} for key, value in times.items()},
        }

    sizes = {"dense": {"weights": 30, "macs": 10}, "compact": {"weights": 2, "macs": 2}}
    data = {
        "sizes": {"784-300-10": sizes, "VGG-16": sizes},
        "times": [
            cell("784-300-10", "eager", 256, dense=8.0, compact=1.0),
            cell("VGG-16", "eager", 32, dense=10.0, compact=2.4, peer=2.5),
            cell("VGG-16", "onnxruntime", 32, dense=10.0, compact=3.0, peer=2.5),
        ],
    }
    mlp, weights, macs, share, peer = latency.targets(data)
    assert (mlp["met"], mlp["worst"]) == (True, 0.125)
    assert weights["met"]
    assert macs["met"]
    assert (share["met"], share["missed"]) == (False, {"onnxruntime": 1.5})
    assert peer["missed"] == {"onnxruntime, batch 32": 1.2}


def test_the_export_page_shows_what_was_measured() -> None:
    page = export_tables.PAGE.read_text("utf-8")
    assert export_tables.filled(page) == page
    assert all(f"<!-- table: {name} -->" in page for name in export_tables.TABLES)
