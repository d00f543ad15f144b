"""Loads changed files with every loader; each must be loaded or refused with a ``GrowlError``.

Run it with ``python -m benchmarks.fuzz --minutes N``. Checksums are made right again in nine of ten files, so that what
lies behind them is reached. No load may take more than 10 s, or more memory than 4 times the file and 64 MiB. An input
depends on the seed and its number alone: ``--seed S --only NUMBER`` shows one again.
"""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from benchmarks.harness import results
from benchmarks.harness.command import options
from benchmarks.reliability.fuzzing import SECONDS, in_a_fork, try_inputs
from benchmarks.reliability.loaders import loaders
from benchmarks.reliability.record import keep_part

_BATCH = 1000
_OF_ONE_KIND = 100  # inputs of a batch of one kind


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    parser = options(__doc__)
    parser.add_argument("--minutes", type=float, default=60, help="time after which no more inputs are begun")
    parser.add_argument("--seed", type=int, default=0, help="of all inputs")
    parser.add_argument("--only", type=int, help="load the input of this number alone, and show what was wrong")
    parser.add_argument("--kind", help="load files of this kind alone; the others stay as recorded")
    parser.add_argument("--resume", action="store_true", help="go on after the inputs of the last run that was stopped")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        kinds = [kind for kind in loaders(Path(folder)) if given.kind in (None, kind.name)]
        if not kinds:
            parser.error(f"there is no kind {given.kind!r}")
        if given.only is not None:
            print(try_inputs(kinds, given.seed, given.only, 1))
            return
        kept = results.Kept(given.name or "fuzz", resume=given.resume)
        size = _OF_ONE_KIND if given.kind else _BATCH
        end, first = time.monotonic() + 60 * (0.2 if given.quick else given.minutes), 0
        inputs: Counter[str] = Counter()
        loaded: Counter[str] = Counter()
        wrong = []
        while (key := f"{given.kind}:{given.seed}:{first}") in kept.found or time.monotonic() < end:
            found = kept.get(key, lambda first=first: in_a_fork(kinds, given.seed, first, size))
            inputs.update(found["inputs"])
            loaded.update(found["loaded"])
            wrong += found["wrong"]
            for each in found["wrong"]:
                print(f"seed {given.seed}, input {each['number']}, {each['kind']}: {each['reason']}", flush=True)
            first += size
        print(f"seed {given.seed}: {inputs.total():,} inputs, {loaded.total():,} loaded, {len(wrong)} wrong")
        name = given.name or "reliability"
        recorded = results.load(name)["fuzz"] if given.kind and results.exists(name) else {"kinds": {}, "wrong": []}
        new = {kind: {"inputs": number, "loaded": loaded[kind]} for kind, number in inputs.items()}
        by_kind = dict(sorted({**recorded["kinds"], **new}.items()))
        wrong = [each for each in recorded["wrong"] if each["kind"] not in new] + wrong
        total = {key: sum(each[key] for each in by_kind.values()) for key in ("inputs", "loaded")}
        limits = {"seconds": SECONDS, "memory": "4 times the file and 64 MiB"}
        keep_part(given, "fuzz", {"seed": given.seed, **total, "wrong": wrong, "limits": limits, "kinds": by_kind})
        kept.done()


if __name__ == "__main__":
    main()
