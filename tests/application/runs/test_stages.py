"""The whole way on small real data: the stages, the promises of the result, stopping and going on."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from torch_growl.application.recipes import load_recipe
from torch_growl.application.runs.run_folder import RunFolder
from torch_growl.application.runs.stages import STAGES, Pipeline
from torch_growl.networks.layers import rows_of
from torch_growl.networks.tying.tying import Tying

QUICK: dict[str, Any] = {
    "dense.epochs": 3,
    "train.epochs": 6,
    "retrain.epochs": 3,
    "measure.repeats": 3,
    "threads": 1,
}


def finish(path: Path, settings: dict[str, Any] = QUICK, until: str = "eval") -> tuple[Pipeline, dict[str, Any]]:
    folder = RunFolder(path)
    folder.create(load_recipe("digits", settings), resume=True)
    pipeline = Pipeline(folder)
    pipeline.run(until)  # type: ignore[arg-type]
    return pipeline, (folder.result() if until == "eval" else {})


def figures(result: dict[str, Any]) -> dict[str, Any]:
    """What must not depend on when a run was stopped: everything but times."""
    return {key: value for key, value in result.items() if key not in ("seconds", "latency_ms", "environment")}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Pipeline, dict[str, Any]]:
    return finish(tmp_path_factory.mktemp("digits") / "run")


def test_the_result_has_the_fields_of_schema_1(whole: tuple[Pipeline, dict[str, Any]]) -> None:
    _, result = whole
    assert result["schema"] == 1
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


def test_the_files_of_a_run(whole: tuple[Pipeline, dict[str, Any]]) -> None:
    folder = whole[0].folder
    for name in ("recipe.yaml", "metrics.jsonl", "tying.json", "model.safetensors", "result.json"):
        assert (folder.path / name).is_file()
    records = [json.loads(line) for line in folder.metrics_file.read_text().splitlines()]
    assert [(r["stage"], r["epoch"]) for r in records] == [
        *(("dense", e) for e in range(1, 4)),
        *(("train", e) for e in range(1, 7)),
        *(("retrain", e) for e in range(1, 4)),
    ]
    assert not list(folder.path.rglob("*.tmp"))
    for stage in ("dense", "train", "retrain"):
        (events,) = (folder.path / "tensorboard" / stage).glob("events.out.tfevents.*")
        assert b"validation_accuracy" in events.read_bytes()


def test_groups_are_bit_equal_pruned_rows_zero_and_predictions_the_same(whole: tuple[Pipeline, dict[str, Any]]) -> None:
    from torch_growl.application.runs.training import predictions
    from torch_growl.networks.storage.compact_file import load

    pipeline, result = whole
    retrained = pipeline.trained("retrain")
    tying = Tying.from_json(pipeline.folder.tying_file.read_text())
    assert len(tying) == len(result["layers"]) > 0
    for layer in tying:
        assert layer.partition.holds(rows_of(retrained.get_submodule(layer.name), layer.side))
    small = load(pipeline.folder.model_file, pipeline.network())
    a, _ = predictions(retrained, pipeline.splits.test, pipeline.device)
    b, _ = predictions(small, pipeline.splits.test, pipeline.device)
    assert len(a) == result["dataset"]["test"]
    assert torch.equal(a, b)
    assert result["accuracy"]["retrained"] == result["accuracy"]["compact"]


@pytest.mark.parametrize("dtype", ["int8", "bfloat16"])
def test_the_figures_are_those_of_the_file_as_stored(
    dtype: str, whole: tuple[Pipeline, dict[str, Any]], tmp_path: Path
) -> None:
    from torch_growl.application.runs.evaluation import dense_file_bytes
    from torch_growl.application.runs.training import evaluate
    from torch_growl.networks.storage.compact_file import load

    shutil.copytree(whole[0].folder.path, tmp_path / "run")
    folder = RunFolder(tmp_path / "run")
    folder.drop_from("compact")
    folder.write_text(folder.recipe_file, load_recipe("digits", {**QUICK, "compact.dtype": dtype}).to_yaml())
    pipeline = Pipeline(folder)
    pipeline.run()
    result, float32 = folder.result(), whole[1]
    size = folder.model_file.stat().st_size
    assert (result["file_dtype"], float32["file_dtype"]) == (dtype, "float32")
    assert size < float32["file_bytes"]["compact"] * (0.45 if dtype == "int8" else 0.62)
    assert result["compression"]["file"] == dense_file_bytes(pipeline.trained("dense").cpu()) / size
    assert result["compression"]["network"] == float32["compression"]["network"]
    small = load(folder.model_file, pipeline.network())
    assert result["accuracy"]["compact"] == evaluate(small, pipeline.splits.test, pipeline.device)
    assert abs(result["accuracy"]["compact"] - result["accuracy"]["retrained"]) < 0.02


def test_the_same_seed_gives_the_same_result_and_another_another(
    whole: tuple[Pipeline, dict[str, Any]], tmp_path: Path
) -> None:
    assert figures(finish(tmp_path / "again")[1]) == figures(whole[1])
    other = finish(tmp_path / "other", {**QUICK, "seed": 5})[1]
    assert figures(other) != figures(whole[1])


@pytest.mark.parametrize("stage", STAGES)
def test_a_run_stopped_after_any_stage_ends_the_same(
    stage: str, whole: tuple[Pipeline, dict[str, Any]], tmp_path: Path
) -> None:
    finish(tmp_path / "run", until=stage)
    assert figures(finish(tmp_path / "run")[1]) == figures(whole[1])


class _Killed(Exception):
    pass


@pytest.mark.parametrize(("stage", "epoch"), [("dense", 2), ("train", 1), ("train", 5), ("retrain", 2)])
def test_a_run_killed_in_the_middle_of_an_epoch_ends_the_same(
    stage: str, epoch: int, whole: tuple[Pipeline, dict[str, Any]], tmp_path: Path
) -> None:
    class Killer:
        now = ""

        def stage(self, name: str, epochs: int, epoch: int) -> None:
            self.now = name

        def step(self, at: int, step: int, steps: int, loss: float) -> None:
            if (self.now, at) == (stage, epoch):
                raise _Killed

        def epoch(self, record: dict[str, Any]) -> None:
            pass

    folder = RunFolder(tmp_path / "run")
    folder.create(load_recipe("digits", QUICK))
    with pytest.raises(_Killed):
        Pipeline(folder, watcher=Killer()).run()
    assert figures(finish(tmp_path / "run")[1]) == figures(whole[1])
    assert len(folder.metrics_file.read_text().splitlines()) == 12


@pytest.mark.slow
def test_the_command_killed_by_the_system_and_resumed_ends_the_same(
    whole: tuple[Pipeline, dict[str, Any]], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    settings = [part for key, value in QUICK.items() for part in ("--set", f"{key}={value}")]
    command = [sys.executable, "-m", "torch_growl", "run", "digits", "--out", str(out), *settings, "--resume"]
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
    assert figures(RunFolder(out).result()) == figures(whole[1])


def test_without_a_penalty_the_pipeline_is_the_baseline(tmp_path: Path) -> None:
    settings = {**QUICK, "growl.strength": 0.0, "train.epochs": 0, "train.start": "dense"}
    _, result = finish(tmp_path / "run", settings)
    assert result["accuracy"]["regularized"] == result["accuracy"]["dense"]
    assert result["sparsity"] == 0


@pytest.mark.filterwarnings("ignore:no zero rows and no bit-equal rows")  # compact reads input rows only
def test_neurons_as_rows_go_the_whole_way_too(tmp_path: Path) -> None:
    from torch_growl.application.reports.report import make_report

    pipeline, result = finish(tmp_path / "run", {**QUICK, "growl.side": "output", "growl.layers": ["fc1", "fc2"]})
    assert [(layer["name"], layer["rows"], layer["side"]) for layer in result["layers"]] == [
        ("fc1", 300, "output"),
        ("fc2", 100, "output"),
    ]
    assert make_report(pipeline.folder.path).is_file()
