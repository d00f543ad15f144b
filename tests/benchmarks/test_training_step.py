"""The benchmarks of one training step: states of the weights, memory, the comparison with PAT."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks.harness import command, results
from benchmarks.training_step import compact_training, held, pat, sharded_step, step, step_memory
from benchmarks.training_step.subjects import STATES, Snapshot, build, nudge_
from torch_growl import GrOWL
from torch_growl.application.models.perceptrons import mnist_mlp
from torch_growl.networks.layers import row_norms, rows_of


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


@pytest.mark.slow
def test_both_do_the_same_before_they_are_compared() -> None:
    pytest.importorskip("torchao")
    found = pat.added_time("784-300-10 MLP", "input", rounds=2)
    assert found["held"][pat.PAT] == found["weights_bytes"]
    assert 0 < found["held"][pat.OURS] < found["weights_bytes"] / 10


def test_what_is_not_installed_is_named(quiet: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert command.missing({"nobody's": "no_such_module_anywhere", "numpy": "numpy"}) == {"nobody's": "not installed"}
    monkeypatch.setattr(pat, "missing", lambda modules: dict.fromkeys(modules, "not installed"))
    pat.main(["--quick", "--name", "pat"])
    kept = results.load("pat")
    assert kept["left_out"] == {pat.PAT: "not installed"}
    assert not any(target["met"] for target in kept["targets"])


def test_the_forms_of_a_network_with_ties_agree_and_differ_in_their_gradients() -> None:
    torch.manual_seed(0)
    x = torch.randn(8, 784)
    forms = compact_training.in_forms(mnist_mlp(init="torch").eval(), x, groups=10)
    assert list(forms) == list(compact_training.FORMS)
    for model in forms.values():
        torch.testing.assert_close(model(x), forms["after tie_"](x), rtol=1e-4, atol=1e-5)
        model(x).square().sum().backward()
    means, sums = (forms[form].fc1[1].weight.grad for form in compact_training.FORMS[1:])
    sizes = torch.tensor([len(members) for members in forms["compact"].fc1.get_submodule("inputs").groups])
    torch.testing.assert_close(means * sizes, sums, rtol=1e-3, atol=1e-5)


def test_a_spoilt_training_is_a_point_below_or_not_finite() -> None:
    good = {"accuracy": 0.97, "finite": True}
    run = dict(zip(compact_training.FORMS, (good, good | {"accuracy": 0.961}, good | {"finite": False}), strict=True))
    assert [compact_training.spoilt(run, form) for form in run] == [False, False, True]
    assert compact_training.spoilt(run | {"compact": good | {"accuracy": 0.959}}, "compact")


def test_one_collective_is_counted_for_every_way_of_sharding_and_none_for_whole_weights() -> None:
    found = sharded_step.exchanged(32)
    assert len(found) == 10
    for way in found:
        whole = way["way"] == "DistributedDataParallel"
        assert way["collectives"] == (0 if whole else 1)
        assert (way["bytes"] == 0) == whole
        if not whole:
            extra = 3 if way["optimizer"] == "AdamW" else 0  # one number for each layer
            assert way["bytes"] == 8 * (way["rows"] + extra)


def test_a_step_of_the_large_network_is_counted_without_its_weights() -> None:
    found = sharded_step.llama(1)
    assert found["rows"] == 6 * 8192 + 28672
    assert found["bytes"] == 8 * found["rows"]
    assert found["of each"] * found["devices"] == found["weights"]
