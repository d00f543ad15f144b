"""Kills the worker of a study ten times, at random calls that change its folder, and compares what is left.

Run it with ``python -m benchmarks.reliability.study_kills``. The study must end with the same trials, settings, values
and best as one whose worker was not killed. Optuna's journal lies in the folder, so that its writes are killed too.
"""

from __future__ import annotations

import json
import random
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.harness import results
from benchmarks.harness.command import options
from benchmarks.reliability.cases import CASES
from benchmarks.reliability.killing import Killer

__all__ = ["compare"]

_TRIALS, _KILLS = 6, 10


def _arguments(folder: Path, trials: int) -> list[str]:
    study = ["--study", str(folder / "study.journal"), "--trials", str(trials), "--vary", "growl.strength=0.5:4"]
    return [*CASES[0].arguments(folder), *study, "--vary", "tying.preference=[0.5, 0.9]"]


def _worker(killer: Killer, folder: Path, trials: int, at: int = 0) -> Any:
    arguments = _arguments(folder, trials)
    return killer.run(["sweep", *arguments[1:]], folder, at=at)


def compare(killer: Killer, work: Path, *, trials: int = _TRIALS, kills: int = _KILLS, seed: int = 0) -> dict[str, Any]:
    """Run a study once without and once with kills.

    Args:
        killer: runs the command.
        work: an empty folder.
        trials: of the study.
        kills: of its worker, one after the other.
        seed: of the calls at which it is killed.

    Returns:
        ``killed_at``: the numbers of the calls; ``trials``: those of both studies; ``best``: of both; ``equal``.
    """
    whole, killed = work / "whole", work / "killed"
    ended = _worker(killer, whole, trials)
    if ended.status != 0:
        raise RuntimeError(ended.said)
    draw, at = random.Random(seed), []
    while len(at) < kills:
        call = draw.randint(1, max(1, 2 * len(ended.calls) // (3 * kills)))
        ended_early = _worker(killer, killed, trials, at=call)
        if ended_early.status is not None:
            raise RuntimeError(f"the worker ended before call {call}: {ended_early.said}")
        at.append(call)
    last = _worker(killer, killed, trials)
    if last.status != 0:
        raise RuntimeError(last.said)
    found = [json.loads((folder / "study.json").read_text("utf-8")) for folder in (whole, killed)]
    return {
        "calls": len(ended.calls),
        "killed_at": at,
        "trials": [sum(each["trials"].values()) for each in found],
        "best": [each["best"] for each in found],
        "equal": found[0] == found[1],
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    given = options(__doc__).parse_args(arguments)
    quick = {"trials": 2, "kills": 2} if given.quick else {}
    with Killer() as killer, tempfile.TemporaryDirectory() as folder:
        found = compare(killer, Path(folder), **quick)
    print(found)
    if not found["equal"]:
        raise SystemExit("the study that was killed differs")
    if given.quick and not given.name:
        print("a quick run: nothing kept (give it a --name to keep it)")
        return
    command = "python -m benchmarks.reliability.study_kills"
    print("kept", results.save(given.name or "study_kills", {"command": command, **found}))


if __name__ == "__main__":
    main()
