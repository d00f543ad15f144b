"""A run before its stages: the same network for the same seed, and each missing stage is named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.support.growl_command import growl
from torch_growl.application.recipes import load_recipe
from torch_growl.application.runs.run import Run
from torch_growl.application.runs.run_folder import RunFolder
from torch_growl.application.runs.stages import do_stage
from torch_growl.errors import InvalidValueError, RunFolderError


def new_run(path: Path, **settings: Any) -> Run:
    return Run(RunFolder(path), load_recipe("digits", {"device": "cpu", **settings}))


def test_nothing_is_written_before_the_first_stage(tmp_path: Path) -> None:
    run = new_run(tmp_path / "run")
    assert not (tmp_path / "run").exists()
    assert run.layers == ("fc1", "fc2", "fc3")
    assert run.example().shape == (8, 256)


def test_the_network_is_the_seed_s(tmp_path: Path) -> None:
    run, other = new_run(tmp_path), new_run(tmp_path, seed=1)
    torch.manual_seed(5)
    first = run.network().state_dict()
    second, third = run.network().state_dict(), other.network().state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert not torch.equal(first["fc1.weight"], third["fc1.weight"])


def test_what_a_stage_makes_is_refused_before_it_is_done(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    with pytest.raises(RunFolderError, match="stage 'tie' is not done yet"):
        run.tying()
    with pytest.raises(RunFolderError, match="stage 'compact' is not done yet; continue with `growl run … --resume`"):
        run.compacted()
    with pytest.raises(RunFolderError, match="train"):
        run.trained("train")


def test_the_last_stages_of_the_first_process_need_no_other_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others wait at the end of the stage; a score that they had to share would never end."""

    def shared(*_: Any) -> None:
        raise AssertionError("another process would have to take part")

    run = new_run(tmp_path)
    alone = run.validation_score(run.network())
    for name in ("broadcast_object_list", "all_gather_object", "all_reduce", "barrier"):
        monkeypatch.setattr(f"torch.distributed.{name}", shared)
    monkeypatch.setattr("torch_growl.application.runs.run.broadcast_object_list", shared)
    waits: list[None] = []
    monkeypatch.setattr(
        run,
        "accelerator",
        SimpleNamespace(process_index=0, num_processes=2, wait_for_everyone=lambda: waits.append(None)),
    )
    monkeypatch.setattr(
        "torch_growl.application.runs.stages.make_result",
        lambda run: {"seconds": {}, "score": run.decided(lambda: run.validation_score(run.network()))},
    )
    run.folder.create(run.recipe)
    do_stage(run, "eval")
    assert run.folder.result()["score"] == alone
    assert len(waits) == 1
    with pytest.raises(AssertionError, match="another process"):
        run.validation_score(run.network())


RECIPE = """
data: {name: "own_task:data"}
model: {name: "own_task:net"}
dense: {epochs: 3, lr: 0.05}
train: {epochs: 3, lr: 0.05}
growl: {}
retrain: {epochs: 2, lr: 0.05}
"""
MODULE = """
import torch
from torch import nn
from torch.utils.data import TensorDataset as T
def data(): return {"train": T(X[:250], y[:250]), "test": T(X[250:], y[250:])}
"""
MLP = "def net(): return nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, {}))"
CONVOLUTIONS = (
    "def net(): return nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1), "
    "nn.ReLU(), nn.Conv2d(16, 2, 1))"
)
X = "X = torch.randn(300, 20)"
TASKS = {
    "regression": (
        [X, "y = X[:, :1] * 2", MLP.format(1)],
        "as for task 'regression'; task 'classification' needs one",
    ),
    "segmentation": (
        ["X = torch.randn(300, 3, 8, 8)", "y = (X.sum(1) > 0).long()", CONVOLUTIONS],
        "the labels of its train set are int64 of shape (",
    ),
    "classes of pixels": (
        ["X = torch.randn(300, 3, 8, 8)", "y = torch.arange(300) % 2", CONVOLUTIONS],
        "model.name = 'own_task:net' returns a tensor of shape (8, 2, 8, 8) in eval mode",
    ),
    "several labels": ([X, "y = (X[:, :4] > 0).float()", MLP.format(4)], "as for task 'multilabel'"),
    "language model": (
        [
            "X = torch.randint(50, (300, 16))",
            "y = X.roll(-1, 1)",
            "def net(): return nn.Sequential(nn.Embedding(50, 8), nn.Linear(8, 9), nn.Linear(9, 50))",
        ],
        "as for task 'language-model'",
    ),
    "labels beyond the outputs": (
        [X, "y = torch.arange(300) % 7", MLP.format(5)],
        "go up to class 6, but the network has 5 outputs",
    ),
    "dict output": (
        [
            X,
            "y = torch.arange(300) % 2",
            "class net(nn.Sequential):\n    def __init__(self): super().__init__(nn.Linear(20, 9), nn.Linear(9, 2))\n"
            "    def forward(self, x): return {'hidden': super().forward(x)}",
        ],
        "model.name = 'own_task:net' returns a dict with hidden in eval mode",
    ),
}


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("command", ["run", "sweep"])
def test_a_task_that_is_no_classification_is_refused_before_training(
    command: str, task: str, own_module: Callable[[str, str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    lines, said = TASKS[task]
    own_module("own_task", MODULE + "\n".join(lines))
    Path("own.yaml").write_text(RECIPE)
    status, out, err = growl(capsys, command, "own.yaml")
    assert (status, out, len(err.splitlines())) == (2, "", 1), err
    assert err.startswith("error: ")
    assert said in err
    assert not Path("runs").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_a_device_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidValueError, match="this machine has no CUDA device; use --device cpu"):
        new_run(tmp_path, device="cuda")
