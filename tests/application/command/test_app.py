"""The command: help, version, and every wrong input one line on stderr with exit status 2, and nothing written."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer

import torch_growl
from tests.support.growl_command import growl
from torch_growl.application.command import app
from torch_growl.application.recipes import builtin_recipes

COMMANDS = [
    "run",
    "sweep",
    "train",
    "tie",
    "retrain",
    "compact",
    "eval",
    "report",
    "bench",
    "export",
    "doctor",
    "shrink",
    "init",
    "recipes",
]


def test_help_lists_the_commands_in_the_order_of_their_use(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = growl(capsys, "--help")
    assert (status, re.findall(r"(?m)^│ (\w+)  ", out)) == (0, COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_explained_and_fits_80_columns(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    status, out, _ = growl(capsys, name, "--help")
    assert status == 0
    assert "…" not in out.replace("A,B,…", "")  # nothing is cut off
    assert max(map(len, out.splitlines())) <= 80
    assert "<bool>" not in out  # a flag takes no value
    words = re.sub(r"[│\s]+", "", out)
    parameters = typer.main.get_command(app.app).commands[name].params  # type: ignore[attr-defined]
    for parameter in parameters:
        assert parameter.help, parameter.name
        assert re.sub(r"[\\\s]+", "", parameter.help) in words
    shown = set(re.findall(r"--[a-z-]+", out.split("Options")[1]))
    assert shown >= {option for parameter in parameters for option in parameter.opts if option.startswith("--")}


@pytest.mark.slow
def test_recipes_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = growl(capsys, "recipes")
    names = [line.split()[0] for line in out.splitlines() if line[0] != " "]
    assert (status, names) == (0, ["recipe", *builtin_recipes()])
    assert growl(capsys, "--version")[1] == f"torch-growl {torch_growl.__version__}\n"


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
    "a name that leaves the folder": (
        ["run", "digits", "--set", "name=../../x"],
        "name: must be a name of at most 100",
    ),
    "an absolute name": (["run", "digits", "--set", "name=/tmp/x"], "name: must be a name of at most 100 letters"),
    "a name with a NUL": (["run", "digits", "--set", 'name="a\\0b"'], "name: must be a name of at most 100 letters"),
    "a long name": (["run", "digits", "--set", f"name={'x' * 300}"], "name: must be a name of at most 100 letters"),
    "a long recipe": (["run", "x" * 300], "there is no recipe"),
    "a long folder": (["run", "digits", "--out", "x" * 300], "File name too long"),
    "no folder": (["run", "digits", "--out", "/dev/null/run"], "Not a directory"),
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


def test_the_commands_own_usage_errors_have_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    status, _, err = growl(capsys, "run", "digits", "--sed", "3")
    assert (status, "No such option: --sed" in err) == (2, True)
