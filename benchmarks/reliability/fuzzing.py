"""Trials of the fuzz: changed files are loaded in a fork, which notes every other exception than ``GrowlError``."""

from __future__ import annotations

import json
import os
import signal
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from random import Random
from types import FrameType
from typing import Any

import torch

from benchmarks.reliability.loaders import Loader
from benchmarks.reliability.mutations import mutated, mutated_json
from torch_growl.errors import GrowlError

__all__ = ["SECONDS", "SPARE", "changed_file", "in_a_fork", "try_inputs"]

SECONDS, TIMES, SPARE = 10, 4, 64 * 2**20  # a load may take so long, and so many bytes: TIMES · file + SPARE
_GROUP = 50  # inputs whose memory is measured together


class _TooLong(BaseException):
    """A load took more than ``SECONDS``."""


def changed_file(kinds: Sequence[Loader], seed: int, number: int) -> tuple[Loader, bytes]:
    """Return the input of a number: a kind and a changed file, the same for the same seed."""
    chance = Random(f"{seed}:{number}")
    kind = chance.choices(kinds, [kind.share for kind in kinds])[0]
    good, other = chance.choice(kind.good), chance.choice(kind.good)
    if kind.json and chance.random() < 0.5:
        lines = good.decode().split("\n") if "metrics" in kind.name else [good.decode()]
        place = chance.randrange(max(1, len(lines) - 1))
        lines[place] = mutated_json(lines[place], chance)
        data = "\n".join(lines).encode()
    else:
        data = mutated(good, other, chance)
    return kind, kind.sealed(data) if chance.random() < 0.9 else data


def try_inputs(kinds: Sequence[Loader], seed: int, first: int, count: int) -> dict[str, Any]:
    """Load inputs ``first`` … ``first + count − 1``.

    Returns:
        ``{"inputs", "loaded", "wrong"}``: inputs and loaded ones by kind, and what was wrong: number, kind and reason.
    """
    inputs: Counter[str] = Counter()
    loaded: Counter[str] = Counter()
    wrong: list[dict[str, Any]] = []
    signal.signal(signal.SIGALRM, _stop)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for start in range(first, first + count, _GROUP):
            numbers = range(start, min(start + _GROUP, first + count))
            before = _restart_peak()
            for number in numbers:
                kind, data = changed_file(kinds, seed, number)
                inputs[kind.name] += 1
                reason, whole = _load(kind, data, Path(folder))
                loaded[kind.name] += whole
                if reason:
                    wrong.append({"number": number, "kind": kind.name, "reason": reason})
            if _peak() - before > SPARE:  # some of them took much: measure each alone
                wrong += _too_large(kinds, seed, numbers, Path(folder))
    return {"inputs": inputs, "loaded": loaded, "wrong": wrong}


def in_a_fork(kinds: Sequence[Loader], seed: int, first: int, count: int) -> dict[str, Any]:
    """Call :func:`try_inputs` in a fork of this process; a crash counts as wrong."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        status = 1
        torch.set_num_threads(1)  # a fork waits for ever for the threads of its parent
        try:
            with os.fdopen(write, "w") as file:
                json.dump(try_inputs(kinds, seed, first, count), file)
            status = 0
        except BaseException:
            traceback.print_exc()
        os._exit(status)
    os.close(write)
    with os.fdopen(read) as file:
        text = file.read()
    _, status = os.waitpid(child, 0)
    if status:
        crash = {"number": first, "kind": "any", "reason": f"the process ended with status {status}"}
        return {"inputs": {}, "loaded": {}, "wrong": [crash]}
    found: dict[str, Any] = json.loads(text)
    return found


def _load(kind: Loader, data: bytes, folder: Path) -> tuple[str, bool]:
    """Load one file; return what was wrong, or nothing, and whether it was loaded."""
    path = folder / "file"
    path.write_bytes(data)
    signal.alarm(SECONDS)
    try:
        kind.load(path)
    except GrowlError:
        return "", False
    except _TooLong:
        return f"took more than {SECONDS} s", False
    except BaseException as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__}: {str(error)[:200]} ({Path(place.filename).name}, line {place.lineno})", False
    finally:
        signal.alarm(0)
    return "", True


def _too_large(kinds: Sequence[Loader], seed: int, numbers: Sequence[int], folder: Path) -> list[dict[str, Any]]:
    found = []
    for number in numbers:
        kind, data = changed_file(kinds, seed, number)
        before = _restart_peak()
        _load(kind, data, folder)
        if (taken := _peak() - before) > TIMES * len(data) + SPARE:
            reason = f"took {taken:,} bytes for a file of {len(data):,}"
            found.append({"number": number, "kind": kind.name, "reason": reason})
    return found


def _stop(number: int, frame: FrameType | None) -> None:
    raise _TooLong


def _restart_peak() -> int:
    """Start to measure the largest resident set anew; return the present one."""
    Path("/proc/self/clear_refs").write_text("5")
    return _peak()


def _peak() -> int:
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(fields["VmHWM"].split()[0]) * 1024
