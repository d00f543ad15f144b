"""What is killed: runs, sweeps, and stages that are done again, all on the digits with few epochs."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from benchmarks.reliability.folders import contents, differences
from benchmarks.reliability.killing import Ended, Killer

__all__ = ["CASES", "Case", "Subject"]

_FEW = ("dense.epochs=2", "train.epochs=2", "retrain.epochs=1", "growl.strength=8", "data.options={}")
_TIED = ("tying.method=affinity", "tying.preference=0.4", "retrain.form=tied")
_QUICK = ("measure.repeats=1", "measure.batch_sizes=[1]", "threads=1", "device=cpu", "growl.layers=['2']")
_SMALL = ("model={name: 'benchmarks.reliability.cases:network', options: {}}",)
_MERGES = ("tying={method: ward, groups: {'2': [12, 6]}}", "merge={epochs: 1, batch_size: 64, lr: 0.05}")


def network() -> nn.Module:
    """Return a small network for the digits, so that a run takes a second."""
    return nn.Sequential(nn.Linear(64, 24), nn.ReLU(), nn.Linear(24, 16), nn.ReLU(), nn.Linear(16, 10))


@dataclass(frozen=True)
class Case:
    """A command that is killed.

    Attributes:
        name: in the results.
        command: the command's name.
        settings: of the recipe, in addition to those that make it quick.
        options: of the command.
        again: this stage of a finished run is done again, and that is killed; none: the run itself.
    """

    name: str
    command: str = "run"
    settings: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    again: str = ""

    def arguments(self, folder: Path) -> list[str]:
        """Return the arguments of the command that makes or resumes the folder."""
        settings = [part for each in (*_FEW, *_TIED, *_QUICK, *_SMALL, *self.settings) for part in ("--set", each)]
        return [self.command, "digits", "--out", str(folder), *self.options, *settings, "--resume"]

    def killed(self, folder: Path) -> list[str]:
        """Return the arguments of the command that is killed."""
        return [self.again, str(folder), "--again"] if self.again else self.arguments(folder)


CASES = (
    Case("run"),
    Case("run that ties in steps", settings=_MERGES),
    Case("sweep", command="sweep", options=("--strengths", "2,8")),
    *(Case(f"{stage} --again", again=stage) for stage in ("train", "tie", "retrain", "compact", "eval")),
)


class Subject:
    """A case, run once to its end.

    Args:
        case: what is killed.
        killer: runs it.
        work: an empty folder.

    Attributes:
        calls: the names of the calls that change the folder.
    """

    def __init__(self, case: Case, killer: Killer, work: Path) -> None:
        self.case, self.killer, self.work = case, killer, work
        self.whole = work / "whole"
        ended = _done(killer.run(case.arguments(self.whole), self.whole))
        self.expected = contents(self.whole)
        if case.again:
            shutil.copytree(self.whole, work / "again")
            ended = _done(killer.run(case.killed(work / "again"), work / "again"))
        self.calls = ended.calls

    def kills(self, most: int | None = None) -> Iterator[tuple[int, bool]]:
        """Yield the number of each call, with False, and with True where a write to a file in place is cut in half.

        Args:
            most: only so many, chosen at random with a seed.
        """
        found = [(n, half) for n, name in enumerate(self.calls, 1) for half in (False, True)[: 1 + (name == "append")]]
        yield from found if most is None else sorted(random.Random(0).sample(found, min(most, len(found))))

    def kill(self, at: int, half: bool) -> dict[str, Any]:
        """Kill the case at a call, resume it, and compare the folder with that of the run that was not killed.

        Returns:
            ``{"call", "half", "differs"}``: the name of the call, and the files that differ.
        """
        folder = self.work / "killed"
        shutil.rmtree(folder, ignore_errors=True)
        if self.case.again:
            shutil.copytree(self.whole, folder)
        ended = self.killer.run(self.case.killed(folder), folder, at=at, half=half)
        if ended.status is not None:
            raise RuntimeError(f"{self.case.name} was not killed at call {at}: {ended.said}")
        resumed = self.killer.run(self.case.arguments(folder), folder)
        wrong = [resumed.said[-500:]] if resumed.status else differences(self.expected, contents(folder))
        return {"call": self.calls[at - 1], "half": half, "differs": wrong}


def _done(ended: Ended) -> Ended:
    if ended.status != 0:
        raise RuntimeError(ended.said)
    return ended
