"""Runs the examples of the page on tasks by the command, each with its target, and keeps what they end with.

Run it with ``python -m benchmarks.learning.experiments.task_examples``; runs are kept in ``--work``, finished ones are
only read.

Each is ``growl run examples/tasks/NAME.yaml``, a process of its own with one thread. The seconds are those of its
processor time, which does not depend on what else the machine does.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.harness import results
from benchmarks.harness.command import keep, options, workplace
from benchmarks.harness.verdicts import judge, show

__all__ = ["EXAMPLES", "main", "run"]

ROOT = Path(__file__).parents[3]
EXAMPLES = ("regression", "multilabel", "segmentation", "language-model")
MOST_SECONDS = 120
QUICK = ["dense.epochs=1", "train.epochs=4", "retrain.epochs=1", "measure.repeats=1"]


def run(name: str, out: Path, settings: list[str]) -> dict[str, Any]:
    """Run an example; return its target, its scores and its times."""
    record = out.with_suffix(".json")
    if record.exists():
        return dict(results.read(record))
    shutil.rmtree(out, ignore_errors=True)
    changes = [word for setting in settings for word in ("--set", setting)]
    command = [sys.executable, "-m", "torch_growl", "run", f"examples/tasks/{name}.yaml", "--out", str(out.resolve())]
    started, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([*command, *changes], cwd=ROOT, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    result = results.read(out / "result.json")
    kept = {field: result[field] for field in ("task", "metric", "score", "target", "parameters", "macs")}
    found = {**kept, "cpu_seconds": round(cpu, 1), "seconds": round(time.perf_counter() - started, 1)}
    results.write(record, found)
    return found


def main(arguments: list[str] | None = None) -> None:
    """Run the examples that are left; keep the result."""
    parser = options(__doc__)
    parser.add_argument("--work", type=Path, default=Path("runs/learning/task_examples"), help="folder of the runs")
    given = parser.parse_args(arguments)
    place = workplace(given)
    found = {
        name: run(name, place / name, QUICK if given.quick else []) for name in EXAMPLES[: 1 if given.quick else 4]
    }
    shares = {name: one["target"]["left"] / one["target"]["asked"] for name, one in found.items()}
    verdicts = [
        judge("processor seconds", MOST_SECONDS, {name: one["cpu_seconds"] for name, one in found.items()}),
        judge("left over asked", 1.0, shares),
        judge("asked but not left", 0.02, {name: 1 - share for name, share in shares.items()}),
    ]
    show(verdicts)
    keep(given, "learning.experiments.task_examples", {"targets": verdicts, "examples": found})


if __name__ == "__main__":
    main()
