"""Mutations: one-line changes of a copy of the package, each of which must make one named test fail.

A :class:`Bench` keeps a Python process that has imported torch and the other third parties, and forks it for every
run: the fork imports the package from the copy and runs the named tests alone.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "torch_growl"


@dataclass(frozen=True)
class Mutation:
    """What a mutation changes, and the test that must then fail."""

    name: str  # what the changed code does wrong
    file: str  # of the package
    stands: str  # occurs once in that file
    becomes: str
    test: str  # of tests/: "networks/tying/test_tying.py::test_name", or one case of it: "…::test_name[case]"

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Outcome:
    """What a run of tests on a copy of the package gave; tests are named as in :class:`Mutation`."""

    package: Path  # the folder that ``torch_growl`` was imported from
    passed: list[str]
    failed: list[str]  # in their own code: neither in a fixture nor on import
    broken: list[str]  # in a fixture, on import, or not collected
    output: str


def copied(folder: Path) -> Path:
    """Copy the package, with its compiled kernels: those of changed files are compiled anew."""
    return shutil.copytree(PACKAGE, folder / PACKAGE.name)


def mutate(package: Path, mutation: Mutation) -> None:
    file = package / mutation.file
    text = file.read_text(encoding="utf-8")
    count = text.count(mutation.stands)
    assert count == 1, f"{mutation.file} holds {mutation.stands!r} {count} times: bring the mutation up to date"
    assert mutation.becomes != mutation.stands
    file.write_text(text.replace(mutation.stands, mutation.becomes), encoding="utf-8")


class Bench:
    """A process to run tests in, with third parties imported and this package not."""

    def __init__(self) -> None:
        # kernels of a mutated file are compiled for one short test; without any optimisation numba could not keep them
        env = {**os.environ, "OMP_NUM_THREADS": "1", "NUMBA_OPT": "1"}
        env = {name: value for name, value in env.items() if not name.startswith(("PYTEST_", "PYTHONPATH"))}
        env["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # plugins would be imported anew in every fork
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("forked_tests.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=env,
            cwd=ROOT,
        )

    def run(self, package: Path, tests: list[str], *, seconds: float = 120) -> Outcome:
        """Run tests on a copy of the package; a run that takes too long counts as an error of the mutation."""
        assert self.process.stdin
        assert self.process.stdout
        job = {"package": str(package), "tests": [str(ROOT / "tests" / test) for test in tests], "seconds": seconds}
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()
        ready, _, _ = select.select([self.process.stdout], [], [], seconds + 60)
        assert ready, "the process that runs the tests does not answer"
        answer = json.loads(self.process.stdout.readline())
        assert not answer["error"], f"{answer['error']}\n{answer['output']}"
        found = {key: [test.removeprefix("tests/") for test in answer[key]] for key in ("passed", "failed", "broken")}
        return Outcome(package=Path(answer["file"]).parent, output=answer["output"], **found)

    def close(self) -> None:
        with self.process:  # closes its pipes; the process ends with its standard input
            pass
