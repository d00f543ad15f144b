"""Fixtures of the benchmarks' tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.harness import results, timing


@pytest.fixture
def quiet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that results go to; the process keeps its threads."""
    monkeypatch.setattr(results, "RESULTS", tmp_path)
    monkeypatch.setattr(timing, "one_thread", lambda: None)
    return tmp_path
