"""Packages of the extras: a missing or old one is refused before anything is written, with the command that helps."""

from __future__ import annotations

import shlex
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import torch_growl as tg
from torch_growl.errors import ExportError
from torch_growl.networks.exporting import extras
from torch_growl.networks.exporting.extras import EXTRAS

ROOT = Path(__file__).resolve().parents[3]
WRITERS = {"onnx": tg.export_onnx, "executorch": tg.export_executorch}


def test_the_requirements_are_those_of_pyproject() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    assert {name: list(requirements) for name, requirements in EXTRAS.items()} == {
        name: declared[name] for name in WRITERS
    }


@pytest.mark.parametrize(("module", "extra"), [("onnxscript", "onnx"), ("executorch", "executorch")])
def test_a_missing_package_is_named_with_the_command_that_installs_the_extra(
    module: str, extra: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for loaded in [name for name in sys.modules if name.startswith(f"{module}.")]:
        monkeypatch.delitem(sys.modules, loaded)  # other tests may have imported it
    monkeypatch.setitem(sys.modules, module, None)  # what Python does for a package that is not there
    with pytest.raises(ExportError, match=rf"^{module}\S* cannot be imported; install with: pip install ") as raised:
        WRITERS[extra](nn.Linear(6, 4), torch.randn(2, 6), tmp_path / "a.file")
    assert shlex.split(str(raised.value))[-len(EXTRAS[extra]) :] == list(EXTRAS[extra])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("package", "found", "extra"),
    [("onnxscript", "0.6.1", "onnx"), ("onnx-ir", "0.1.9", "onnx"), ("executorch", "0.7.0", "executorch")],
)
def test_an_older_package_is_refused(
    package: str, found: str, extra: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    versions = {package: found}
    monkeypatch.setattr(extras, "version", lambda name: versions.get(name, "99.0"))
    with pytest.raises(ExportError, match=rf"^{package} {found} is too old; install with: pip install '"):
        WRITERS[extra](nn.Linear(6, 4), torch.randn(2, 6), tmp_path / "a.file")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("found", ["0.6.2", "0.6.10", "0.7", "1.0.0.dev1", "0.6.2+local"])
def test_the_lowest_version_and_newer_ones_are_taken(found: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def version(package: str) -> Any:
        return found if package == "onnxscript" else "99.0"

    monkeypatch.setattr(extras, "version", version)
    with extras.imported_extra("onnx"):
        pass
