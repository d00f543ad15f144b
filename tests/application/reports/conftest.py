"""Run folders for tests of the report."""

from __future__ import annotations

from pathlib import Path

import pytest
from matplotlib.figure import Figure

from tests.support.made_up_run import make_run
from torch_growl.application.reports.report import make_report


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are built but not rendered, for tests that look at the page only."""
    monkeypatch.setattr(Figure, "savefig", lambda self, file, **_: file.write(b"png"))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_run(tmp_path)


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with its report, made once; not to be changed."""
    folder = make_run(tmp_path_factory.mktemp("made"))
    make_report(folder)
    return folder
