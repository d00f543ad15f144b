"""One finished run of ``digits``, made once for all tests of the application that read one."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.digits_run import run_digits
from torch_growl.application.reports.report import make_report
from torch_growl.application.runs.run import Run


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished run with its report; its folder must not be changed."""
    run = run_digits(tmp_path_factory.mktemp("digits") / "run")
    make_report(run.folder.path)
    return run


@pytest.fixture
def finished_folder(finished_run: Run, tmp_path: Path) -> Path:
    """A copy of the finished run's folder, for tests that write into it."""
    return Path(shutil.copytree(finished_run.folder.path, tmp_path / "finished"))


@pytest.fixture
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], None]]:
    """Writes a module of a user into the current folder; forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    written: list[str] = []

    def write(name: str, text: str) -> None:
        (tmp_path / f"{name}.py").write_text(text)
        written.append(name)

    yield write
    for name in written:
        sys.modules.pop(name, None)
