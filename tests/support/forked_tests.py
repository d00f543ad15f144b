"""Runs tests on copies of the package, one fork a run; started by ``tests.support.mutations``.

Reads one job a line from standard input, as JSON, and answers with a line on standard output.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]

THIRD_PARTIES = """accelerate hypothesis jinja2 matplotlib.figure numba pydantic rich.table safetensors.torch
scipy.sparse.csgraph sklearn.cluster torch torch.export torch.utils.flop_counter typer yaml"""


class Listener:
    """Notes how each test ends."""

    def __init__(self) -> None:
        self.passed: list[str] = []
        self.failed: list[str] = []
        self.broken: list[str] = []

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.broken.append(report.nodeid)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" and report.passed:
            self.passed.append(report.nodeid)
        elif report.when == "call" and report.failed:
            self.failed.append(report.nodeid)
        elif report.failed:
            self.broken.append(report.nodeid)


def run(job: dict[str, Any], output: Path) -> dict[str, Any]:
    """Run the tests of a job; this process has imported the copy then, so it can do so once."""
    package = Path(job["package"])
    sys.path.insert(0, str(package.parent))
    os.environ["PYTHONPATH"] = str(package.parent)  # for processes that the tests start
    with output.open("w", encoding="utf-8") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    listener = Listener()
    options = ["-x", "-q", "-p", "no:cacheprovider", "--rootdir", str(ROOT), "-W", "ignore::pytest.PytestWarning"]
    code = pytest.main([*options, *job["tests"]], plugins=[listener])
    sys.stdout.flush()
    file_of = import_module("torch_growl").__file__
    known = code in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)
    return {"file": file_of, "error": "" if known else f"pytest ended with {code}", **vars(listener)}


def main() -> None:
    for name in THIRD_PARTIES.split():
        import_module(name)
    assert "torch_growl" not in sys.modules
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    for line in sys.stdin:
        job = json.loads(line)
        with tempfile.TemporaryDirectory() as folder:
            output, answer = Path(folder) / "output", Path(folder) / "answer"
            child = os.fork()
            if child == 0:
                os.chdir(folder)
                os.setsid()
                try:
                    answer.write_text(json.dumps(run(job, output)), encoding="utf-8")
                finally:
                    os._exit(0)
            finished = _wait(child, job["seconds"])
            said = output.read_text("utf-8") if output.exists() else ""
            told = json.loads(answer.read_text("utf-8")) if answer.exists() else {}
            error = told.get("error", "no answer") if finished else f"stopped after {job['seconds']} s"
            answers.write(json.dumps({**told, "error": error, "output": said[-3000:]}) + "\n")
            answers.flush()


def _wait(child: int, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if os.waitpid(child, os.WNOHANG)[0]:
            return True
        time.sleep(0.02)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


if __name__ == "__main__":
    main()
