"""Runs ``mnist-best`` with some seeds, five by default, and stores its networks in int8.

Run it with ``python -m benchmarks.learning.experiments.best --data DIR``.

The runs are those of the command (``growl run mnist-best --seed S --out WORK/seedS``); finished ones are only read.
Their compact networks are also stored in int8, loaded again and tested.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch_growl as tg
from benchmarks.harness import timing
from benchmarks.harness.command import keep, options
from benchmarks.learning.training.fitting import accuracy
from benchmarks.learning.training.recipe_runs import finished_run, settings
from torch_growl.application.runs.evaluation import dense_file_bytes

__all__ = ["job", "main"]


def job(path: Path, seed: int, data: Path, quick: bool = False) -> dict[str, Any]:
    """Run or resume one seed, and store its network in int8."""
    run = finished_run(path, settings("mnist-best", seed, quick), data)
    folder = run.folder
    result = folder.result()
    small = tg.load(folder.model_file, run.network())
    with tempfile.TemporaryDirectory() as temporary:
        file = Path(temporary) / "model.safetensors"
        tg.save(small, file, dtype="int8")
        stored = accuracy(tg.load(file, run.network()), run.splits.test)
        size = file.stat().st_size
    dense = dense_file_bytes(run.network())
    tying = run.tying()["fc1"].partition
    return {
        "seed": seed,
        **{key: result[key] for key in ("accuracy", "compression", "macs", "bytes", "file_bytes", "seconds")},
        "int8": {"accuracy": stored, "bytes": size, "file": dense / size},
        "pixels": {"kept": tying.nonzero, "groups": tying.n_groups},
    }


def main(arguments: list[str] | None = None) -> None:
    """Run the seeds that are left, and keep the result."""
    parser = options(__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--work", type=Path, default=Path("runs/learning/best"))
    parser.add_argument("--seeds", type=int, default=5, help="the number of seeds, from 0 on")
    given = parser.parse_args(arguments)
    timing.one_thread()
    jobs = []
    for seed in range(1 if given.quick else given.seeds):
        jobs.append(job(given.work / f"seed{seed}", seed, given.data, given.quick))
        print({key: jobs[-1][key] for key in ("seed", "accuracy", "compression", "int8")}, flush=True)
    keep(given, "learning.experiments.best", {"jobs": jobs})


if __name__ == "__main__":
    main()
