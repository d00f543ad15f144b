"""Kills runs and sweeps at every system call that changes their folder, resumes each, and compares the files.

Run it with ``python -m benchmarks.reliability.kills``. A call is killed before it changes anything; one that appends to
a file in its place is also killed after half of its bytes. Every file must be bit-equal to that of a run that was not
killed, but for times. The report, which shows times, must exist.
"""

from __future__ import annotations

import math
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.harness import results
from benchmarks.harness.command import options
from benchmarks.reliability.cases import CASES, Subject
from benchmarks.reliability.killing import Killer
from benchmarks.reliability.record import keep_part

_QUICK = 3  # kills of each case


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    parser = options(__doc__)
    parser.add_argument("--resume", action="store_true", help="go on where the last run was stopped")
    parser.add_argument("--minutes", type=float, default=math.inf, help="time after which no more kills are begun")
    names = [case.name for case in CASES]
    parser.add_argument("--only", choices=names, action="append", help="do this case; the others stay as recorded")
    given = parser.parse_args(arguments)
    kept = results.Kept(given.name or "kills", resume=given.resume)
    found: dict[str, dict[str, Any]] = {}
    end, whole = time.monotonic() + 60 * given.minutes, True
    name = given.name or "reliability"
    recorded = results.load(name)["kills"]["cases"] if given.only and results.exists(name) else {}
    with Killer() as killer, tempfile.TemporaryDirectory() as folder:
        for case in CASES:
            if given.only and case.name not in given.only:
                continue
            work = Path(folder) / str(len(found))
            work.mkdir()
            subject = Subject(case, killer, work)
            outcomes, killed = [], set()
            for at, half in subject.kills(_QUICK if given.quick else None):
                key = f"{case.name}, call {at}{', half' if half else ''} of {len(subject.calls)}"
                if key not in kept.found and time.monotonic() > end:
                    whole = False
                    continue
                killed.add(at)
                outcome = kept.get(key, lambda subject=subject, at=at, half=half: subject.kill(at, half))
                outcomes.append(outcome)
                if outcome["differs"]:
                    print(f"{key}: {outcome}", flush=True)
            found[case.name] = {
                "calls": dict(Counter(subject.calls)),
                "calls_killed": len(killed),
                "kills": len(outcomes),
                "equal": sum(not outcome["differs"] for outcome in outcomes),
            }
            print(case.name, found[case.name], flush=True)
    found = {**recorded, **found}
    total = {key: sum(each[key] for each in found.values()) for key in ("kills", "equal")}
    keep_part(given, "kills", {**total, "cases": found})
    if whole:
        kept.done()


if __name__ == "__main__":
    main()
