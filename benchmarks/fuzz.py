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


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    parser = options(__doc__)
    parser.add_argument("--minutes", type=float, default=60, help="time after which no more inputs are begun")
    parser.add_argument("--seed", type=int, default=0, help="of all inputs")
    parser.add_argument("--only", type=int, help="load the input of this number alone, and show what was wrong")
    parser.add_argument("--resume", action="store_true", help="go on after the inputs of the last run that was stopped")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        kinds = loaders(Path(folder))
        if given.only is not None:
            print(try_inputs(kinds, given.seed, given.only, 1))
            return
        kept = results.Kept(given.name or "fuzz", resume=given.resume)
        end, first = time.monotonic() + 60 * (0.2 if given.quick else given.minutes), 0
        inputs: Counter[str] = Counter()
        loaded: Counter[str] = Counter()
        wrong = []
        while f"{given.seed}:{first}" in kept.found or time.monotonic() < end:
            found = kept.get(f"{given.seed}:{first}", lambda first=first: in_a_fork(kinds, given.seed, first, _BATCH))
            inputs.update(found["inputs"])
            loaded.update(found["loaded"])
            wrong += found["wrong"]
            for each in found["wrong"]:
                print(f"seed {given.seed}, input {each['number']}, {each['kind']}: {each['reason']}", flush=True)
            first += _BATCH
        print(f"seed {given.seed}: {inputs.total():,} inputs, {loaded.total():,} loaded, {len(wrong)} wrong")
        figures = {"seed": given.seed, "inputs": inputs.total(), "loaded": loaded.total(), "wrong": wrong}
        limits = {"seconds": SECONDS, "memory": "4 times the file and 64 MiB"}
        by_kind = {name: {"inputs": inputs[name], "loaded": loaded[name]} for name in sorted(inputs)}
        keep_part(given, "fuzz", {**figures, "limits": limits, "kinds": by_kind})
        kept.done()


if __name__ == "__main__":
    main()
