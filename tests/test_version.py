"""The version is known without installed metadata, and is the installed one."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest

import torch_growl


def test_the_version_is_known_when_the_package_is_only_on_the_path(tmp_path: Path) -> None:
    """Importing a copy of ``version.py`` alone, without any installed metadata, gives the version."""
    source = Path(torch_growl.__file__).parent
    package = tmp_path / "torch_growl"
    package.mkdir()
    for name in ("__init__.py", "version.py"):
        (package / name).write_bytes((source / name).read_bytes())
    command = [sys.executable, "-S", "-c", "import torch_growl; print(torch_growl.__version__)"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env={}, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, torch_growl.__version__), done.stderr


def test_the_installed_version_is_the_package_s() -> None:
    try:
        installed = importlib.metadata.version("torch-growl")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("the package is not installed, only on the path")
    assert installed == torch_growl.__version__
