"""``growl run`` and the commands of the stages: what they write, and what they leave alone."""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.digits_run import SETTINGS, figures
from tests.support.growl_command import growl
from torch_growl.application.runs.run import Run
from torch_growl.application.runs.run_folder import RunFolder


@pytest.mark.slow
def test_run_makes_every_file_of_the_run_folder(tmp_path: Path) -> None:
    out = tmp_path / "run"
    few = [part for phase in ("dense", "train", "merge", "retrain") for part in ("--set", f"{phase}.epochs=2")]
    command = [sys.executable, "-m", "torch_growl", "run", "digits", "--out", str(out), *few]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert str(out / "report.html") in done.stdout.replace("\n", "")
    assert "growl init mypkg.net:build --data mypkg.data:load" in done.stdout.splitlines()[-5]  # what to do next
    assert "target reached" in done.stdout
    names = {path.name for path in out.iterdir()}
    wanted = {"recipe.yaml", "metrics.jsonl", "checkpoints", "tying.json", "model.safetensors", "result.json"}
    assert names >= wanted | {"report.html", "figures"}
    assert list((out / "figures").glob("*.png"))


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_broken_run_folder_stage_order_is_an_error(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert growl(capsys, "run", "digits", "--out", str(out), "--until", "train", *SETTINGS)[0] == 0
    status, _, err = growl(capsys, "retrain", str(out))
    assert (status, "stage 'tie' is not done yet" in err) == (2, True)
    status, _, err = growl(capsys, "export", str(out))
    assert (status, "stage 'compact' is not done yet" in err) == (2, True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("setting", "words"),
    [("dense.lr=1e30", "stage dense: the loss is"), ("train.lr=1e25", "has NaN or infinite weights")],
)
def test_training_that_diverges_is_one_line_and_says_what_to_lower(
    setting: str, words: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    epochs = ["--set", "dense.epochs=1", "--set", "train.epochs=2"]
    status, _, err = growl(capsys, "run", "digits", "--out", str(tmp_path / "run"), *epochs, "--set", setting)
    assert (status, len(err.strip().splitlines())) == (2, 1)
    assert words in err
    assert "lower" in err


@pytest.mark.slow
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


@pytest.mark.slow
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
        "tying: {method: affinity}\nretrain: {form: tied}\n"
    )
    few = [
        "--set",
        "dense.epochs=2",
        "--set",
        "train.epochs=3",
        "--set",
        "retrain.epochs=2",
        "--set",
        "growl.strength=1",
    ]
    status, _out, err = growl(capsys, "run", "recipe.yaml", "--out", "out", *few)
    assert status == 0, err
    assert (tmp_path / "out" / "result.json").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_run_with_one_line_on_how_to_go_on(number: signal.Signals, tmp_path: Path) -> None:
    out = tmp_path / "run"
    command = ["run", "digits", "--out", str(out), "--set", "dense.epochs=500"]
    process = subprocess.Popen(
        [sys.executable, "-m", "torch_growl", *command], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 240
    while not (out / "checkpoints" / "dense.pt").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert err == f"stopped; go on with: growl {' '.join(command)} --resume\n"
    assert not list(out.rglob("*.tmp*"))


@pytest.mark.slow
@pytest.mark.parametrize("most", [0, 20_000])
def test_a_file_that_cannot_be_written_is_one_line_and_exit_2(most: int, tmp_path: Path) -> None:
    """A limit on the size of files fails as a full disk does: the recipe, and a checkpoint."""
    out = tmp_path / "run"
    command = ["run", "digits", "--out", str(out), *SETTINGS]
    done = subprocess.run(
        [sys.executable, "-m", "torch_growl", *command],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (most, most)),
    )
    file = out / ("checkpoints/dense.pt" if most else "recipe.yaml")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert done.stderr.startswith(f"error: {file}: File too large; go on with: growl run digits --out {out} ")
    assert done.stderr.endswith(" --resume\n")
    assert not list(out.rglob("*.tmp*"))


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied"), OSError(30, "Read-only file system")])
def test_a_folder_that_cannot_be_written_is_one_line_and_exit_2(
    error: OSError, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The superuser may write anywhere, so the system's answer is given in its place."""

    def refuse(path: Path, *_: object, **__: object) -> None:
        error.filename = str(path)
        raise error

    monkeypatch.setattr(Path, "mkdir", refuse)
    status, _, err = growl(capsys, "run", "digits", "--out", str(tmp_path / "run"))
    assert (status, err.count("\n")) == (2, 1)
    assert err.startswith(f"error: {tmp_path / 'run'}: {error.strerror}; go on with: growl run digits --out")


def test_a_sweep_on_several_processes_is_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    code, _, said = growl(capsys, "sweep", "digits", "--out", str(tmp_path / "sweep"))
    assert code == 2
    assert "growl sweep runs in one process" in said
    assert not (tmp_path / "sweep").exists()
