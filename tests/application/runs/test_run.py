"""A run before its stages: the same network for the same seed, and each missing stage is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from torch_growl.application.recipes import load_recipe
from torch_growl.application.runs.run import Run
from torch_growl.application.runs.run_folder import RunFolder
from torch_growl.errors import InvalidValueError, RunFolderError


def new_run(path: Path, **settings: Any) -> Run:
    return Run(RunFolder(path), load_recipe("digits", {"device": "cpu", **settings}))


def test_nothing_is_written_before_the_first_stage(tmp_path: Path) -> None:
    run = new_run(tmp_path / "run")
    assert not (tmp_path / "run").exists()
    assert run.layers == ("fc1", "fc2", "fc3")
    assert run.example().shape == (8, 64)


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


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_a_device_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidValueError, match="this machine has no CUDA device; use --device cpu"):
        new_run(tmp_path, device="cuda")
