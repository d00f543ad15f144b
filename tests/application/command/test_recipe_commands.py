"""Commands before a run: init, whose recipe runs as it is, and recipes; the output of all as JSON or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.growl_command import growl
from torch_growl.application.authoring import field_reference
from torch_growl.application.recipes import builtin_recipes, load_recipe
from torch_growl.application.runs.run import Run

Own = Callable[[str, str], None]

NET = """
from torch import nn

def build():
    return nn.Sequential(nn.Linear(8, 24), nn.ReLU(), nn.Linear(24, 16), nn.ReLU(), nn.Linear(16, 2))
"""
DATA = """
import torch
from torch.utils.data import TensorDataset

def load():
    x = torch.randn(1100, 8, generator=torch.Generator().manual_seed(0))
    y = (x[:, 0] > x[:, 1]).long()
    return {"train": TensorDataset(x[:1000], y[:1000]), "test": TensorDataset(x[1000:], y[1000:])}
"""


@pytest.mark.slow
def test_the_recipe_that_init_writes_runs_as_it_is(
    own_module: Own, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    own_module("ownnet", NET)
    own_module("owndata", DATA)
    status, out, err = growl(capsys, "init", "ownnet:build", "--data", "owndata:load")
    assert (status, err) == (0, "")
    assert "recipe: ownnet.yaml" in out
    assert "next:   growl run ownnet.yaml" in out
    assert "layer" in out  # the table of doctor
    before = (tmp_path / "ownnet.yaml").read_bytes()
    status, _, err = growl(capsys, "init", "ownnet:build", "--data", "owndata:load")
    assert (status, err) == (2, "error: ownnet.yaml exists already; give another --out\n")
    assert (tmp_path / "ownnet.yaml").read_bytes() == before
    status, out, err = growl(capsys, "run", "ownnet.yaml", "--json")
    assert status == 0, err
    result = json.loads(out)
    assert result["target"]["reached"]
    assert result["macs"]["compact"] <= 0.5 * result["macs"]["dense"]
    assert result["accuracy"]["compact"] > 0.9
    assert "growl init" not in growl(capsys, "report", "runs/ownnet")[1]


def test_init_as_json_has_the_file_and_the_diagnosis(own_module: Own, capsys: pytest.CaptureFixture[str]) -> None:
    own_module("ownnet", NET)
    own_module("owndata", DATA)
    status, out, _ = growl(capsys, "init", "ownnet:build", "--data", "owndata:load", "--out", "x.yaml", "--json")
    found = json.loads(out)
    assert (status, found["file"], found["trained"]) == (0, "x.yaml", False)
    assert [layer["name"] for layer in found["diagnosis"]["layers"]] == ["0", "2", "4"]
    assert load_recipe("x.yaml").model.name == "ownnet:build"


def test_a_recipe_is_printed_with_its_fields_explained(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    status, out, _ = growl(capsys, "recipes", "mnist-best")
    assert status == 0
    assert "  # Passes over the training data; 0: no training.\n  epochs: 30\n" in out
    (tmp_path / "printed.yaml").write_text(out, encoding="utf-8")
    assert load_recipe(tmp_path / "printed.yaml") == load_recipe("mnist-best")
    assert "  min_rows: 4\n" in growl(capsys, "recipes", "mnist-best", "--defaults")[1]
    assert growl(capsys, "recipes", "mnist-bets")[2].startswith("error: there is no recipe 'mnist-bets'; did you mean")
    assert growl(capsys, "recipes", "--fields")[1] == field_reference()


@pytest.mark.parametrize("words", [["--defaults"], ["digits", "--fields"], ["--fields", "--defaults"]])
def test_options_of_recipes_that_do_not_go_together(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = growl(capsys, "recipes", *words)
    assert (status, out, len(err.splitlines())) == (2, "", 1)


def test_json_is_one_object_and_quiet_shows_nothing(finished_run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    listed = json.loads(growl(capsys, "recipes", "--json")[1])
    assert [each["name"] for each in listed] == list(builtin_recipes())
    assert json.loads(growl(capsys, "recipes", "digits", "--json")[1])["target"] == {
        "bytes": 0.1,
        "compensate": False,
    }
    found = json.loads(growl(capsys, "doctor", str(finished_run.folder.path), "--no-latency", "--json")[1])
    assert found["weights"] == 51_410
    assert growl(capsys, "recipes", "--quiet") == (0, "", "")
    assert growl(capsys, "recipes")[1].startswith("recipe")  # the next command shows everything again


@pytest.mark.slow
def test_reports_benches_and_exports_as_json(finished_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stored = json.loads((finished_folder / "result.json").read_text("utf-8"))
    shown = json.loads(growl(capsys, "report", str(finished_folder), "--json")[1])
    assert shown["accuracy"] == stored["accuracy"]
    short = ("--batch", "1", "--runtime", "eager", "--repeats", "3", "--json")
    benched = json.loads(growl(capsys, "bench", str(finished_folder), *short)[1])
    assert benched["comparisons"][0]["runtime"] == "eager"
    written = json.loads(growl(capsys, "export", str(finished_folder), "--format", "pt2", "--json")[1])
    assert Path(written["file"]).is_file()
    staged = json.loads(growl(capsys, "compact", str(finished_folder), "--json")[1])
    assert staged == {"run": str(finished_folder), "stage": "compact"}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_shell_completes_commands_and_recipes(
    shell: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = {"COMP_WORDS": "growl run mnist-b", "COMP_CWORD": "2", "_TYPER_COMPLETE_ARGS": "growl run mnist-b"}
    for name, value in {"_GROWL_COMPLETE": f"complete_{shell}", **words}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("_TYPER_COMPLETE_FISH_ACTION", "get-args")
    assert "mnist-best" in growl(capsys)[1]
