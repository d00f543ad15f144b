"""The whole way on small real data: the stages, the promises of the result, stopping and going on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support.digits_run import QUICK, SETTINGS, figures, run_digits
from tests.support.growl_command import growl
from torch_growl.application.recipes import STAGE_NAMES, load_recipe
from torch_growl.application.reports.report import make_report
from torch_growl.application.runs.evaluation import dense_file_bytes
from torch_growl.application.runs.listeners import Silent
from torch_growl.application.runs.run import Run
from torch_growl.application.runs.run_folder import RunFolder
from torch_growl.application.runs.stages import do_stages
from torch_growl.application.training.scores import evaluate
from torch_growl.files import write_text
from torch_growl.networks.layers import rows_of
from torch_growl.networks.tying.tying import Tying


@pytest.mark.slow
def test_the_result_has_the_fields_of_schema_2(finished_run: Run) -> None:
    result = finished_run.folder.result()
    assert (result["schema"], result["task"]) == (2, "classification")
    assert result["metric"] == {"name": "accuracy", "higher_is_better": True, "unit": "%"}
    assert result["score"] == result["accuracy"]
    assert set(result["accuracy"]) == {"dense", "regularized", "tied", "retrained", "compact"}
    assert set(result["compression"]) == {"layers", "network", "file"}
    assert set(result["dataset"]) >= {"name", "train", "validation", "test"}
    for key in ("parameters", "bytes", "macs", "latency_ms"):
        assert set(result[key]) == {"dense", "compact"}
    assert set(result["latency_ms"]["compact"]) == {"1", "256"}
    assert {"recipe", "seed", "model", "sparsity", "sharing", "seconds", "environment"} <= set(result)
    for layer in result["layers"]:
        assert layer["groups"] <= layer["nonzero"] <= layer["rows"]
    assert all(0 <= value <= 1 for value in result["accuracy"].values())


@pytest.mark.slow
def test_the_files_of_a_run(finished_run: Run) -> None:
    folder = finished_run.folder
    for name in ("recipe.yaml", "metrics.jsonl", "tying.json", "model.safetensors", "result.json"):
        assert (folder.path / name).is_file()
    records = [json.loads(line) for line in folder.metrics_file.read_text().splitlines()]
    assert [(r["stage"], r["epoch"]) for r in records] == [
        *(("dense", e) for e in range(1, 4)),
        *(("train", e) for e in range(1, 7)),
        *(("retrain", e) for e in range(1, 4)),
    ]
    assert not list(folder.path.rglob("*.tmp*"))
    for stage in ("dense", "train", "retrain"):
        (events,) = (folder.path / "tensorboard" / stage).glob("events.out.tfevents.*")
        assert b"validation_accuracy" in events.read_bytes()


@pytest.mark.slow
def test_groups_are_bit_equal_pruned_rows_zero_and_predictions_the_same(finished_run: Run) -> None:
    result = finished_run.folder.result()
    retrained = finished_run.trained("retrain")
    tying = Tying.from_json(finished_run.folder.tying_file.read_text())
    assert len(tying) == len(result["layers"]) == 3
    assert tying.sparsity > 0.1
    assert tying.sharing > 1.01  # so there are rows to be zero, and groups to be equal
    for layer in tying:
        assert layer.partition.holds(rows_of(retrained.get_submodule(layer.name), layer.side))
    small = finished_run.compacted()
    test: Any = finished_run.splits.test
    with torch.no_grad():
        a, b = (network.cpu().eval()(test.x).argmax(1) for network in (retrained, small))
    assert len(a) == result["dataset"]["test"]
    assert torch.equal(a, b)
    assert result["checks"]["predictions_differ"] == 0
    assert result["accuracy"]["retrained"] == result["accuracy"]["compact"]


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["int8", "bfloat16"])
def test_the_figures_are_those_of_the_file_as_stored(dtype: str, finished_run: Run, finished_folder: Path) -> None:
    folder = RunFolder(finished_folder)
    folder.drop_from("compact")
    write_text(folder.recipe_file, load_recipe("digits", {**QUICK, "compact.dtype": dtype}).to_yaml())
    run = Run(folder)
    do_stages(run)
    result, float32 = folder.result(), finished_run.folder.result()
    size = folder.model_file.stat().st_size
    assert (result["file_dtype"], float32["file_dtype"]) == (dtype, "float32")
    assert size < float32["file_bytes"]["compact"] * (0.45 if dtype == "int8" else 0.62)
    assert result["compression"]["file"] == dense_file_bytes(run.trained("dense").cpu()) / size
    assert result["compression"]["network"] == float32["compression"]["network"]
    small = run.compacted()
    assert result["accuracy"]["compact"] == evaluate(small, run.splits.test, run.device)
    assert abs(result["accuracy"]["compact"] - result["accuracy"]["retrained"]) < 0.02


@pytest.mark.slow
def test_the_same_seed_gives_the_same_result_and_another_another(finished_run: Run, tmp_path: Path) -> None:
    assert figures(run_digits(tmp_path / "again").folder.result()) == figures(finished_run.folder.result())
    other = run_digits(tmp_path / "other", {**QUICK, "seed": 5}).folder.result()
    assert figures(other) != figures(finished_run.folder.result())


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGE_NAMES)
def test_a_run_stopped_after_any_stage_ends_the_same(stage: str, finished_run: Run, tmp_path: Path) -> None:
    run_digits(tmp_path / "run", until=stage)
    assert figures(run_digits(tmp_path / "run").folder.result()) == figures(finished_run.folder.result())


class _Killed(Exception):
    pass


class _Recorder(Silent):
    def __init__(self) -> None:
        self.epochs: list[tuple[str, int]] = []

    def epoch(self, record: dict[str, Any], score: str) -> None:
        self.epochs.append((record["stage"], record["epoch"]))


@pytest.mark.slow
@pytest.mark.parametrize(("stage", "epoch"), [("dense", 2), ("train", 1), ("train", 5), ("retrain", 2)])
def test_a_run_killed_in_the_middle_of_an_epoch_ends_the_same(
    stage: str, epoch: int, finished_run: Run, tmp_path: Path
) -> None:
    class Killer(Silent):
        now = ""

        def stage(self, name: str, epochs: int, epoch: int) -> None:
            self.now = name

        def step(self, at: int, step: int, steps: int, loss: float) -> None:
            if (self.now, at) == (stage, epoch):
                raise _Killed

    folder = RunFolder(tmp_path / "run")
    folder.create(load_recipe("digits", QUICK))
    with pytest.raises(_Killed):
        do_stages(Run(folder, watcher=Killer()))
    recorder = _Recorder()
    do_stages(Run(folder, watcher=recorder))
    epochs = [
        (record["stage"], record["epoch"]) for record in map(json.loads, folder.metrics_file.read_text().splitlines())
    ]
    assert len(epochs) == 12
    assert recorder.epochs == epochs[epochs.index((stage, epoch)) :]  # those before are not trained again
    assert figures(folder.result()) == figures(finished_run.folder.result())


@pytest.mark.slow
def test_the_command_killed_by_the_system_and_resumed_ends_the_same(finished_run: Run, tmp_path: Path) -> None:
    out = tmp_path / "run"
    command = [sys.executable, "-m", "torch_growl", "run", "digits", "--out", str(out), *SETTINGS, "--resume"]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    for wanted in ("checkpoints/dense.pt", "checkpoints/train.pt"):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=env)
        deadline = time.monotonic() + 120
        while not (out / wanted).exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert (out / wanted).exists()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=env, timeout=240)
    assert figures(RunFolder(out).result()) == figures(finished_run.folder.result())


@pytest.mark.slow
def test_without_a_penalty_the_regularized_network_is_the_dense_one(tmp_path: Path) -> None:
    settings = {**QUICK, "growl.strength": 0.0, "train.epochs": 0, "train.start": "dense"}
    result = run_digits(tmp_path / "run", settings).folder.result()
    assert result["accuracy"]["regularized"] == result["accuracy"]["dense"]
    assert result["sparsity"] == 0


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:no zero rows and no bit-equal rows")  # compact reads input rows only
def test_a_run_with_neurons_as_rows_is_finished_and_reported(tmp_path: Path) -> None:
    run = run_digits(tmp_path / "run", {**QUICK, "growl.side": "output", "growl.layers": ["fc1", "fc2"]})
    result = run.folder.result()
    assert [(layer["name"], layer["rows"], layer["side"]) for layer in result["layers"]] == [
        ("fc1", 300, "output"),
        ("fc2", 100, "output"),
    ]
    assert make_report(run.folder.path).is_file()


FORGETS = """
import torch
from torch.utils.data import TensorDataset

class Forgets(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.fc2 = torch.nn.Linear(6, 16), torch.nn.Linear(16, 2)
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def forward(self, x):
        self.steps += self.training
        y = self.fc2(self.fc1(x).relu())
        return y if self.training or not 21 <= self.steps <= 30 else -y  # wrong in eval mode after the third epoch

def data():
    x = torch.randn(400, 6, generator=torch.Generator().manual_seed(0))
    y = (x[:, 0] > 0).long()
    return {"train": TensorDataset(x[:300], y[:300]), "test": TensorDataset(x[300:], y[300:])}
"""

FORGETS_RECIPE = """
name: forgets
data: {name: "forgets:data"}
model: {name: "forgets:Forgets"}
dense: {epochs: 0, lr: 0.1}
train: {epochs: 4, lr: 0.1, batch_size: 27, start: fresh}
growl: {strength: 0.1}
retrain: {epochs: 1, lr: 0.1}
measure: {repeats: 1, batch_sizes: [1]}
"""


@pytest.mark.filterwarnings("always:stage train. the validation accuracy fell")
def test_a_fall_of_the_validation_accuracy_is_one_warning(
    own_module: Callable[[str, str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    own_module("forgets", FORGETS)
    with open("forgets.yaml", "w") as file:
        file.write(FORGETS_RECIPE)
    status, _, err = growl(capsys, "run", "forgets.yaml", "--until", "train")
    assert status == 0, err
    (line,) = err.splitlines()
    assert line.startswith("warning: stage train: the validation accuracy fell to ")
    assert " in epoch 3, from " in line
