"""Evaluation: accuracies of the right networks, counts of the compact one, one timer for all latencies."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from torch_growl.application.runs import evaluation
from torch_growl.application.runs.evaluation import compare_run, dense_file_bytes, make_result
from torch_growl.application.runs.run import Run
from torch_growl.application.training.scores import evaluate
from torch_growl.errors import GrowlError
from torch_growl.networks.compaction import structure_of
from torch_growl.networks.measurement import Comparison, measure
from torch_growl.networks.storage import packed_bytes
from torch_growl.networks.tying import tie_


def a_run() -> Any:
    measure = SimpleNamespace(batch_sizes=[1, 256], repeats=7)
    return SimpleNamespace(
        recipe=SimpleNamespace(measure=measure), device=torch.device("cpu"), example=lambda: torch.zeros(2, 3)
    )


def test_settings_are_the_recipes_unless_others_are_given(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[dict[str, Any]] = []

    def compare_latency(dense: nn.Module, small: nn.Module, example: torch.Tensor, **settings: Any) -> list[Comparison]:
        assert example.shape == (2, 3)
        given.append(settings)
        return []

    monkeypatch.setattr(evaluation, "compare_latency", compare_latency)
    compare_run(a_run(), nn.Linear(3, 2), nn.Linear(3, 2))
    compare_run(a_run(), nn.Linear(3, 2), nn.Linear(3, 2), batch_sizes=(8,), runtimes=("compile",), threads=2)
    assert given == [
        {"batch_sizes": [1, 256], "runtimes": ("eager",), "threads": None, "repeats": 7},
        {"batch_sizes": (8,), "runtimes": ("compile",), "threads": 2, "repeats": 7},
    ]


def test_the_fields_of_result_json() -> None:
    found = [Comparison("eager", 1, 2.0, 1.0), Comparison("eager", 256, 40.0, 30.0)]
    assert evaluation._latency_ms(found) == {"dense": {"1": 2.0, "256": 40.0}, "compact": {"1": 1.0, "256": 30.0}}
    with pytest.raises(GrowlError, match="cannot be timed at batch size 256: out of memory"):
        evaluation._latency_ms([found[0], Comparison("eager", 256, None, None, "out of memory")])


@pytest.mark.slow
def test_every_accuracy_is_that_of_its_network(finished_run: Run) -> None:
    result, test = finished_run.folder.result(), finished_run.splits.test
    networks = {
        "dense": finished_run.trained("dense"),
        "regularized": finished_run.trained("train"),
        "tied": tie_(finished_run.trained("train"), finished_run.tying()),
        "retrained": finished_run.trained("retrain"),
        "compact": finished_run.compacted(),
    }
    found = {name: evaluate(network, test, torch.device("cpu")) for name, network in networks.items()}
    assert list(found) == list(result["accuracy"])
    assert found == result["accuracy"]


@pytest.mark.slow
def test_counts_and_ratios_are_those_of_dense_and_compact_network(finished_run: Run) -> None:
    result, tying = finished_run.folder.result(), finished_run.tying()
    dense, small = finished_run.network(), finished_run.compacted()
    for name, network in (("dense", dense), ("compact", small)):
        assert result["parameters"][name] == sum(p.numel() for p in network.parameters())
        assert result["macs"][name] == measure(network, finished_run.example(), latency=False).macs
    assert result["compression"]["network"] == result["bytes"]["dense"] / result["bytes"]["compact"] > 1
    held = [sum(t.numel() * t.element_size() for t in (*n.parameters(), *n.buffers())) for n in (dense, small)]
    assert result["bytes_held"] == {"dense": held[0], "compact": held[1]}
    indices = measure(small, finished_run.example(), latency=False).index_bytes
    assert result["bytes"]["compact"] == held[1] - indices + packed_bytes(structure_of(small))
    assert 0 < packed_bytes(structure_of(small)) < indices
    sizes = dense_file_bytes(dense), finished_run.folder.model_file.stat().st_size
    assert result["compression"]["file"] == sizes[0] / sizes[1]
    assert result["file_bytes"] == {"dense": sizes[0], "compact": sizes[1]}
    assert result["compression"]["layers"] == tying.compression()
    assert (result["sparsity"], result["sharing"]) == (tying.sparsity, tying.sharing)
    assert result["layers"] == tying.records()


@pytest.mark.slow
def test_a_compact_network_with_other_predictions_is_refused(
    finished_run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = finished_run.compacted()
    with torch.no_grad():
        last = [module for module in other.modules() if isinstance(module, nn.Linear)][-1]
        last.weight.neg_()
    monkeypatch.setattr(finished_run, "compacted", lambda: other)
    with pytest.raises(
        GrowlError,
        match=r"differ on \d+ of 360 predictions .*: output differs by .*; please report this",
    ):
        make_result(finished_run)


@pytest.mark.slow
def test_retrained_rows_that_differ_from_the_tying_are_refused(
    finished_run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = finished_run.trained("retrain")
    with torch.no_grad():
        other.get_submodule("fc2").weight.add_(torch.randn(100, 300))  # type: ignore[union-attr, operator]
    trained = finished_run.trained
    monkeypatch.setattr(finished_run, "trained", lambda name: other if name == "retrain" else trained(name))
    with pytest.raises(GrowlError, match="layer 'fc2': the retrained rows differ from the tying; please report this"):
        make_result(finished_run)
