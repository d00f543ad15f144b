"""Tests that run on several processes of torch.distributed, on the CPU with gloo.

A test of ``tests/distributed`` is a function of rank and number of processes, under :func:`on_processes`. All that were
chosen run in one go: one process imports everything and forks the ranks of each number of processes in turn, each of
which runs all tests of that number.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]

Case = Callable[[int, int], None]  # rank, number of processes


def on_processes(*worlds: int) -> Callable[[Case], Callable[..., None]]:
    """Make a function of rank and number of processes a test, which passes if it ends on every rank."""

    def decorated(case: Case) -> Callable[..., None]:
        def test(world: int, outcomes: dict[str, list[str]]) -> None:
            found = outcomes[key(case, world)]
            assert found == ["passed"] * world, "\n".join(found)

        test.__name__, test.__doc__, test.__module__ = case.__name__, case.__doc__, case.__module__
        test.case = case  # type: ignore[attr-defined]
        return pytest.mark.slow(pytest.mark.parametrize("world", worlds)(test))

    return decorated


def key(case: Case, world: int) -> str:
    """The name of a test in the results."""
    return f"{Path(case.__code__.co_filename).name}::{case.__name__}[{world}]"


def outcomes_of(items: list[Any]) -> dict[str, list[str]]:
    """Run all tests on several processes among pytest's items; for each one ``passed`` or the error of each rank."""
    chosen = [item for item in items if hasattr(getattr(item, "function", None), "case")]
    jobs = [(str(item.path), item.function.__name__, item.callspec.params["world"]) for item in chosen]
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            [sys.executable, "-m", "tests.support.processes", folder],
            input=json.dumps(jobs),
            text=True,
            check=True,
            cwd=ROOT,
            timeout=250,
            env={**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"},
        )
        found: dict[str, list[str]] = {}
        for file in sorted(Path(folder).glob("*-*.json")):
            for name, outcome in json.loads(file.read_text()).items():
                found.setdefault(name, []).append(outcome)
    for path, name, world in jobs:
        found.setdefault(f"{Path(path).name}::{name}[{world}]", ["was not run: an earlier one failed"])
    return found


def main() -> None:
    """Fork the ranks for each number of processes, and wait for them."""
    import torch
    import torch.distributed.checkpoint
    import torch.distributed.checkpoint.state_dict
    import torch.distributed.fsdp
    import torch.distributed.tensor.debug
    import torch.distributed.tensor.parallel

    import torch_growl as tg

    for dtype in (torch.float32, torch.float64):  # what is compiled and loaded here, no rank has to load
        tg.GrOWL(torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.Linear(5, 2)).to(dtype)).prox_(0.1)
    folder = Path(sys.argv[1])
    jobs = json.loads(sys.stdin.read())
    modules = {path: _loaded(Path(path)) for path in dict.fromkeys(path for path, _, _ in jobs)}
    for module in modules.values():
        getattr(module, "before_forking", lambda: None)()
    for world in sorted({world for _, _, world in jobs}):
        cases = [getattr(modules[path], name).case for path, name, size in jobs if size == world]
        ranks = []
        for rank in range(world):
            if (child := os.fork()) == 0:
                try:
                    _run(rank, world, cases, folder)
                finally:
                    os._exit(0)
            ranks.append(child)
        for child in ranks:
            os.waitpid(child, 0)


def _loaded(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def _run(rank: int, world: int, cases: list[Case], folder: Path) -> None:
    import torch
    import torch.distributed as dist

    store = dist.FileStore(str(folder / f"store-of-{world}"), world)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=world, timeout=timedelta(seconds=60))
    outcomes = {}
    for case in cases:
        torch.manual_seed(0)
        try:
            case(rank, world)
            outcomes[key(case, world)] = "passed"
        except BaseException:
            outcomes[key(case, world)] = f"rank {rank}: {traceback.format_exc()}"
            break  # the other ranks may wait for this one
    (folder / f"{world}-{rank}.json").write_text(json.dumps(outcomes))
    if all(outcome == "passed" for outcome in outcomes.values()):
        dist.barrier()
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
