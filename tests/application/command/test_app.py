"""The command: what it does, and that everything wrong is one line on stderr with exit status 2, nothing written."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.support.digits_run import SETTINGS, figures
from tests.support.growl_command import growl
from torch_growl.application.runs.run import Run
from torch_growl.application.runs.run_folder import RunFolder


def test_run_makes_every_file_of_the_run_folder(tmp_path: Path) -> None:
    out = tmp_path / "run"
    few = ["--set", "dense.epochs=1", "--set", "train.epochs=1", "--set", "retrain.epochs=1", "--set", "threads=1"]
    command = [sys.executable, "-m", "torch_growl", "run", "digits", "--out", str(out), *few]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert str(out / "report.html") in done.stdout.replace("\n", "")
    names = {path.name for path in out.iterdir()}
    wanted = {"recipe.yaml", "metrics.jsonl", "checkpoints", "tying.json", "model.safetensors", "result.json"}
    assert names >= wanted | {"report.html", "figures"}
    assert list((out / "figures").glob("*.png"))


def test_the_stages_are_commands_on_a_run_folder(
    capsys: pytest.CaptureFixture[str], finished_run: Run, tmp_path: Path
) -> None:
    """Stage by stage the run has the figures of a whole one, also when a stage is done again."""
    out, wanted = tmp_path / "run", figures(finished_run.folder.result())
    assert growl(capsys, "run", "digits", "--out", str(out), "--until", "train", *SETTINGS)[0] == 0
    assert not (out / "tying.json").exists()
    for stage, made in [
        ("tie", "tying.json"),
        ("retrain", "checkpoints/retrain.pt"),
        ("compact", "model.safetensors"),
        ("eval", "result.json"),
    ]:
        assert growl(capsys, stage, str(out))[0] == 0
        assert (out / made).exists()
    assert figures(RunFolder(out).result()) == wanted
    assert growl(capsys, "tie", str(out), "--again")[0] == 0
    assert not (out / "result.json").exists()
    assert growl(capsys, "run", "digits", "--out", str(out), "--resume", *SETTINGS)[0] == 0
    assert figures(RunFolder(out).result()) == wanted


def test_report_and_bench_work_on_a_finished_run(capsys: pytest.CaptureFixture[str], finished_folder: Path) -> None:
    (finished_folder / "report.html").unlink()
    status, out, _ = growl(capsys, "report", str(finished_folder))
    assert (status, (finished_folder / "report.html").is_file()) == (0, True)
    asked = ["--batch", "4", "--repeats", "3", "--runtime", "eager", "--runtime", "onnxruntime"]
    status, out, _ = growl(capsys, "bench", str(finished_folder), *asked)
    assert status == 0
    assert "compact is" in out
    kept = json.loads((finished_folder / "latency.json").read_text(encoding="utf-8"))
    assert [(each["runtime"], each["batch"]) for each in kept["comparisons"]] == [("eager", 4), ("onnxruntime", 4)]
    assert all(each["verdict"] in out for each in kept["comparisons"])
    assert growl(capsys, "bench", str(finished_folder), "--runtime", "abacus")[0] != 0


def test_export_writes_the_compact_network(
    capsys: pytest.CaptureFixture[str], finished_folder: Path, tmp_path: Path
) -> None:
    import onnxruntime

    status, out, err = growl(capsys, "export", str(finished_folder))
    assert (status, str(finished_folder / "model.onnx") in out) == (0, True), err
    assert "any batch size" in out
    session = onnxruntime.InferenceSession(str(finished_folder / "model.onnx"), providers=["CPUExecutionProvider"])
    (entry,) = session.get_inputs()
    assert session.run(None, {entry.name: np.zeros((3, *entry.shape[1:]), np.float32)})[0].shape == (3, 10)
    status, _, err = growl(
        capsys, "export", str(finished_folder), "--format", "pt2", "--out", str(tmp_path / "mine.pt2")
    )
    assert (status, (tmp_path / "mine.pt2").is_file()) == (0, True), err
    (finished_folder / "model.onnx").unlink()


@pytest.mark.parametrize(
    ("arguments", "words"), [(["--format", "tflite"], "--format"), (["--out", "nowhere/a.onnx"], "nowhere")]
)
def test_export_says_what_is_wrong(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str], finished_folder: Path
) -> None:
    before = {path.name for path in finished_folder.iterdir()}
    status, _, err = growl(capsys, "export", str(finished_folder), *arguments)
    assert (status, words in err, len(err.strip().splitlines())) == (2, True, 1)
    assert {path.name for path in finished_folder.iterdir()} == before


def test_recipes_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = growl(capsys, "recipes")
    assert status == 0
    assert {"digits", "mnist-growl-l2", "mnist-best", "vgg16-cifar10-growl-l2", "lenet5-mnist"} <= set(out.split())
    status, out, _ = growl(capsys, "--help")
    assert status == 0
    for command in ("run", "train", "tie", "retrain", "compact", "eval", "report", "bench", "export", "recipes"):
        assert command in out
    assert growl(capsys, "--version")[1].startswith("torch-growl ")


def test_a_broken_run_folder_stage_order_is_an_error(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert growl(capsys, "run", "digits", "--out", str(out), "--until", "train", *SETTINGS)[0] == 0
    status, _, err = growl(capsys, "retrain", str(out))
    assert (status, "stage 'tie' is not done yet" in err) == (2, True)
    status, _, err = growl(capsys, "export", str(out))
    assert (status, "stage 'compact' is not done yet" in err) == (2, True)


BAD = {
    "unknown recipe": (["run", "digit"], "digits"),
    "unknown field": (["run", "digits", "--set", "train.epoch=3"], "train.epoch"),
    "ill-typed field": (["run", "digits", "--set", "train.epochs=many"], "train.epochs"),
    "not key=value": (["run", "digits", "--set", "train.epochs"], "train.epochs"),
    "increasing lambda": (["run", "digits", "--set", "growl.sequence={name: pld, lambda1: 1, lambda2: -1}"], "lambda2"),
    "negative lambda": (["run", "digits", "--set", "growl.sequence={name: pld, lambda1: -1, lambda2: 0}"], "lambda1"),
    "unknown sequence": (["run", "digits", "--set", "growl.sequence={name: pdl}"], "pdl"),
    "negative strength": (["run", "digits", "--set", "growl.strength=-1"], "growl.strength"),
    "unknown layer": (["run", "digits", "--set", "growl.layers=[fc99]"], "fc99"),
    "unknown override": (["run", "digits", "--set", "growl.overrides={fc98: {strength: 1}}"], "fc98"),
    "missing data": (["run", "mnist-growl-l2", "--data", "nowhere"], "nowhere"),
    "no data folder": (["run", "mnist-growl-l2"], "--data"),
    "unknown stage": (["run", "digits", "--until", "end"], "--until"),
    "unknown device": (["run", "digits", "--device", "tpu"], "device"),
    "not a run": (["eval", "."], "not a run folder"),
    "unknown network": (["run", "digits", "--set", "model.name=nothing_like_it"], "nothing_like_it"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_wrong_is_one_line_exit_2_and_nothing_is_written(
    name: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments, words = BAD[name]
    status, out, err = growl(capsys, *arguments)
    assert status == 2
    assert words in err
    assert "Traceback" not in err + out
    assert err.startswith("error: ")
    assert len(err.strip().splitlines()) == 1, err
    assert list(tmp_path.iterdir()) == []


def test_a_dataset_that_is_cut_off_is_named(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import gzip

    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    header = bytes([0, 0, 8, 3]) + (60000).to_bytes(4, "big") + (28).to_bytes(4, "big") * 2
    (tmp_path / "data" / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(header + bytes(1000)))
    status, _, err = growl(capsys, "run", "mnist-growl-l2", "--data", "data")
    assert (status, len(err.strip().splitlines())) == (2, 1)
    assert "train-images-idx3-ubyte.gz" in err
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("setting", "words"),
    [("dense.lr=1e30", "stage dense: the loss is"), ("train.lr=1e25", "has NaN or infinite weights")],
)
def test_training_that_diverges_is_one_line_and_says_what_to_lower(
    setting: str, words: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    epochs = ["--set", "dense.epochs=1", "--set", "train.epochs=1"]
    status, _, err = growl(capsys, "run", "digits", "--out", str(tmp_path / "run"), *epochs, "--set", setting)
    assert (status, len(err.strip().splitlines())) == (2, 1)
    assert words in err
    assert "lower" in err


def test_the_commands_own_usage_errors_have_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    status, _, err = growl(capsys, "run", "digits", "--sed", "3")
    assert (status, "No such option: --sed" in err) == (2, True)


def test_an_output_folder_in_use_is_left_as_it_is(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, finished_run: Run
) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    status, _, err = growl(capsys, "run", "digits", "--out", str(tmp_path))
    assert (status, "in use by other files" in err) == (2, True)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
    finished = finished_run.folder.path
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("*")}
    status, _, err = growl(capsys, "run", "digits", "--out", str(finished), *SETTINGS)
    assert (status, "--resume" in err) == (2, True)
    assert before == {path: path.stat().st_mtime_ns for path in finished.rglob("*")}


def test_a_users_own_network_and_data_by_name(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(
        "import torch\n"
        "from torch import nn\n"
        "from torch.utils.data import TensorDataset\n"
        "def network(width=24):\n"
        "    return nn.Sequential(nn.Linear(12, width), nn.ReLU(), nn.Linear(width, 16), nn.ReLU(), nn.Linear(16, 2))\n"
        "def data():\n"
        "    x = torch.randn(400, 12, generator=torch.Generator().manual_seed(0))\n"
        "    y = (x[:, 0] + x[:, 1] > 0).long()\n"
        "    return {'train': TensorDataset(x[:300], y[:300]), 'test': TensorDataset(x[300:], y[300:])}\n"
    )
    (tmp_path / "recipe.yaml").write_text(
        "extends: digits\nname: mine\ndescription: a user's own\n"
        "model: {name: 'mine:network', options: {width: 32}}\ndata: {name: 'mine:data', options: {}}\n"
    )
    status, _out, err = growl(capsys, "run", "recipe.yaml", "--out", "out", "--set", "growl.strength=1", *SETTINGS)
    assert status == 0, err
    assert (tmp_path / "out" / "result.json").is_file()
