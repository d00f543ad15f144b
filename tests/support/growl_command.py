"""The command ``growl``, called within the test's process."""

from __future__ import annotations

import sys
import warnings

import pytest

from torch_growl.application.command import app


def growl(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Run the command in this process: exit status, stdout, stderr."""
    shown = warnings.showwarning
    old = sys.argv
    sys.argv = ["growl", *arguments]
    try:
        with pytest.raises(SystemExit) as stopped:
            app.main()
    finally:
        sys.argv = old
        warnings.showwarning = shown
    captured = capsys.readouterr()
    code = stopped.value.code
    return (code if isinstance(code, int) else 0), captured.out, captured.err
