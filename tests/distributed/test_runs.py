"""A recipe on several processes: one writes, and the result is that of one process but for the order of sums."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch.distributed as dist

from tests.support.processes import on_processes
from torch_growl.application.recipes import load_recipe
from torch_growl.application.runs import Run, RunFolder
from torch_growl.application.runs.stages import do_stages
from torch_growl.errors import InvalidValueError

SETTINGS = {
    "dense.epochs": 1,
    "train.epochs": 2,
    "retrain.epochs": 1,
    "model.options.hidden": [40, 20],
    "measure.batch_sizes": [1],
    "measure.repeats": 3,
    "growl.strength": 1.0,
    "target": None,
    "tying": {"method": "affinity", "preference": 0.8},
    "merge": None,
    "device": "cpu",
}


@contextmanager
def launched(rank: int, world: int) -> Iterator[None]:
    """Set what torchrun sets, or nothing for one process."""
    own = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world, "MASTER_ADDR": "localhost", "MASTER_PORT": 29999}
    if world > 1:
        os.environ.update({key: str(value) for key, value in own.items()})
    try:
        yield
    finally:
        for key in own:
            os.environ.pop(key, None)


def done(path: Path, rank: int, world: int, last: str = "eval") -> Run:
    with launched(rank, world):
        recipe = load_recipe("digits", SETTINGS)
        run = Run(RunFolder(path), recipe)
        run.check_task()
        if run.folder.writes:
            run.folder.create(recipe, resume=True)
        run.wait()
        do_stages(run, last)
    return run


def compared(path: Path) -> list[float]:
    """Numbers of the result that do not depend on the clock; a row near a threshold may end on either side of it."""
    result = json.loads((path / "result.json").read_bytes())
    return [result["macs"]["compact"], result["parameters"]["compact"], *result["score"].values()]


def lasting(path: Path) -> dict[str, Any]:
    """The result but for what depends on the clock and the machine."""
    result: dict[str, Any] = json.loads((path / "result.json").read_bytes())
    for key in ("latency_ms", "seconds", "environment", "measure", "crc32"):
        result.pop(key, None)
    return result


def launch(path: Path, *how: str) -> str:
    """Run the recipe by ``accelerate launch`` on two processes; gives what they print."""
    settings = [f"--set={key}={json.dumps(value)}" for key, value in SETTINGS.items() if key != "device"]
    started = [sys.executable, "-m", "accelerate.commands.launch", "--num_processes=2", "--main_process_port=0", *how]
    done = subprocess.run(
        [*started, "-m", "torch_growl", "run", "digits", "--device=cpu", f"--out={path}", *settings],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@on_processes(2)
def test_a_run_is_that_of_one_process_and_goes_on_with_another_number(rank: int, world: int) -> None:
    shared = [tempfile.mkdtemp() if rank == 0 else ""]
    dist.broadcast_object_list(shared)
    together, begun, alone = Path(shared[0]) / "two", Path(shared[0]) / "begun", Path(tempfile.mkdtemp())
    run = done(together, rank, world)
    assert run.accelerator.num_processes == world
    assert run.folder.writes == (rank == 0)
    done(begun, rank, world, "train")
    dist.barrier()
    assert done(alone, 0, 1).accelerator.num_processes == 1
    if rank == 0:
        done(begun, 0, 1)
        wanted = compared(alone)
        said = launch(Path(shared[0]) / "launched", "--multi_gpu")
        assert said.count("dense and compact") == said.count("report: ") == 1
        assert lasting(Path(shared[0]) / "launched") == lasting(together)
        assert len(list((Path(shared[0]) / "launched" / "tensorboard" / "train").iterdir())) == 1
        assert compared(together) == pytest.approx(wanted, rel=0.02)
        assert compared(begun) == pytest.approx(wanted, rel=0.02)
        losses = [
            [json.loads(line)["loss"] for line in (path / "metrics.jsonl").read_text().splitlines()]
            for path in (together, begun, alone)
        ]
        assert losses[0] == pytest.approx(losses[2], rel=1e-4)
        assert losses[1] == pytest.approx(losses[2], rel=1e-4)
    dist.barrier()


@on_processes(2)
def test_fsdp_by_the_command_is_refused_by_name(rank: int, world: int) -> None:
    os.environ["ACCELERATE_USE_FSDP"] = "true"
    try:
        with launched(rank, world), pytest.raises(InvalidValueError, match="accelerate uses FSDP"):
            Run(RunFolder(Path(tempfile.mkdtemp())), load_recipe("digits", SETTINGS))
    finally:
        del os.environ["ACCELERATE_USE_FSDP"]
