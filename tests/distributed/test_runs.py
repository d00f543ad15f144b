"""A recipe on several processes: one writes, and the result is that of one process but for the order of sums.

The runs are in float64, where another order of sums does not bring a row to the other side of a threshold.
"""

from __future__ import annotations

import atexit
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist

from tests.support.processes import on_processes
from torch_growl.application.recipes import load_recipe
from torch_growl.application.runs import Run, RunFolder, Silent
from torch_growl.application.runs.stages import do_stages
from torch_growl.errors import InvalidValueError

SETTINGS = {
    "model": {"name": "tests.support.double_digits:network", "options": {"size": 16, "hidden": [40, 20]}},
    "data": {"name": "tests.support.double_digits:data", "options": {"size": 16, "shift": 1, "limit": 512}},
    "dense.epochs": 1,
    "train.epochs": 2,
    "train.lr": 0.1,
    "merge.epochs": 1,
    "retrain.epochs": 1,
    "measure.batch_sizes": [1],
    "measure.repeats": 3,
    "growl.strength": 12.0,
    "target": None,
}
FSDP2 = {
    "ACCELERATE_USE_FSDP": "true",
    "FSDP_VERSION": "2",
    "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
    "FSDP_TRANSFORMER_CLS_TO_WRAP": "Linear",
}
ALONE = Path(tempfile.gettempdir()) / f"torch-growl-run-of-{os.getpid()}"
BY_THE_CLOCK = ("latency_ms", "seconds", "environment", "measure", "crc32")


class Stopped(Exception):
    """A run was stopped."""


class Stopping(Silent):
    """Stops a run after the second epoch of a stage, before its checkpoint."""

    def __init__(self, stage: str) -> None:
        self._stage = stage

    def epoch(self, record: dict[str, Any], score: str) -> None:
        if (record["stage"], record["epoch"]) == (self._stage, 2):
            raise Stopped


@contextmanager
def launched(rank: int, world: int, sharding: dict[str, str]) -> Iterator[None]:
    """Set what torchrun sets, or nothing for one process, and what ``accelerate launch`` sets for sharded weights."""
    own = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world, "MASTER_ADDR": "localhost", "MASTER_PORT": 29999}
    if world > 1:
        os.environ.update({key: str(value) for key, value in own.items()} | sharding)
    try:
        yield
    finally:
        for key in (*own, *sharding):
            os.environ.pop(key, None)


def done(path: Path, rank: int, world: int, stopped: str = "", **sharding: str) -> Run:
    """Do a run, or continue it, possibly until it is stopped in a stage."""
    with launched(rank, world, sharding):
        recipe = load_recipe("digits", SETTINGS)
        run = Run(RunFolder(path), recipe, watcher=Stopping(stopped))
        run.check_task()
        if run.folder.writes:
            run.folder.create(recipe, resume=True)
        run.wait()
        if not stopped:
            do_stages(run)
            return run
        with pytest.raises(Stopped):
            do_stages(run)
        return run


def lasting(path: Path) -> dict[str, Any]:
    """The result but for what depends on the clock and the machine, and the losses and rows of all epochs."""
    result: dict[str, Any] = json.loads((path / "result.json").read_bytes())
    epochs = [json.loads(line) for line in (path / "metrics.jsonl").read_bytes().splitlines()]
    return {
        **{key: value for key, value in result.items() if key not in BY_THE_CLOCK},
        "tying": (path / "tying.json").read_bytes(),
        "epochs": [{key: value for key, value in each.items() if key not in BY_THE_CLOCK} for each in epochs],
    }


def rounded(value: Any) -> Any:
    """Numbers as another order of sums leaves them."""
    if isinstance(value, dict):
        return {key: rounded(each) for key, each in value.items()}
    if isinstance(value, list):
        return [rounded(each) for each in value]
    return float(f"{value:.8g}") if isinstance(value, float) else value


def shared_folder(rank: int) -> Path:
    found = [tempfile.mkdtemp() if rank == 0 else ""]
    dist.broadcast_object_list(found)
    return Path(found[0])


def launch(path: Path) -> str:
    """Run the recipe by ``accelerate launch`` on two processes; gives what they print."""
    settings = [f"--set={key}={json.dumps(value)}" for key, value in SETTINGS.items()]
    launcher = ["accelerate.commands.launch", "--multi_gpu", "--num_processes=2", "--main_process_port=0"]
    done = subprocess.run(
        [sys.executable, "-m", *launcher, "-m", "torch_growl", "run", "digits", f"--out={path}", *settings],
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def before_forking() -> None:
    """Do a run on one process, once for all tests; what it imports, no rank has to import."""
    atexit.register(shutil.rmtree, ALONE, ignore_errors=True)
    done(ALONE, 0, 1)


@pytest.mark.slow
def test_accelerate_launch_on_two_processes_makes_the_run_of_one_and_one_process_writes(tmp_path: Path) -> None:
    said = launch(tmp_path / "launched")
    assert said.count("test accuracy") == said.count("report: ") == 1
    assert len(list((tmp_path / "launched" / "tensorboard" / "train").iterdir())) == 1
    done(tmp_path / "alone", 0, 1)
    assert rounded(lasting(tmp_path / "launched")) == rounded(lasting(tmp_path / "alone"))


@on_processes(3)
def test_a_run_is_that_of_one_process_but_for_the_order_of_sums(rank: int, world: int) -> None:
    folder = shared_folder(rank)
    run = done(folder / "together", rank, world)
    assert run.accelerator.num_processes == world
    assert run.folder.writes == (rank == 0)
    done(folder / "sharded", rank, world, **FSDP2)
    if rank == 0:
        alone = lasting(ALONE)
        assert 0.5 < alone["sparsity"] < 1
        assert rounded(lasting(folder / "together")) == rounded(alone)
        assert rounded(lasting(folder / "sharded")) == rounded(alone)
    dist.barrier()


@on_processes(2)
def test_a_run_that_was_stopped_goes_on_with_another_number_and_sharded_weights(rank: int, world: int) -> None:
    folder = shared_folder(rank)
    done(folder / "sharded", rank, world, stopped="train", **FSDP2)
    state = torch.load(folder / "sharded" / "checkpoints" / "train.pt", weights_only=True)
    assert state["epoch"] == 1
    assert state["model"]["fc1.weight"].shape == (40, 256)
    if rank == 0:
        shutil.copytree(folder / "sharded", folder / "less")
    dist.barrier()
    done(folder / "sharded", rank, world, **FSDP2)
    if rank == 0:
        done(folder / "less", 0, 1)
        assert rounded(lasting(folder / "sharded")) == rounded(lasting(folder / "less")) == rounded(lasting(ALONE))
    dist.barrier()


@on_processes(2)
def test_what_runs_with_sharded_weights_do_not_have_is_refused_by_name(rank: int, world: int) -> None:
    changes = {"train.average": 0.9}
    with launched(rank, world, FSDP2), pytest.raises(InvalidValueError, match=r"train\.average is not for"):
        Run(RunFolder(Path(tempfile.mkdtemp())), load_recipe("digits", SETTINGS | changes))
