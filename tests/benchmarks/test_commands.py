"""The commands ``python -m benchmarks.…``: every one that is named anywhere exists and explains itself."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

import benchmarks

ROOT = Path(benchmarks.__file__).parents[1]
COMMAND = re.compile(r"python -m (benchmarks(?:\.\w+)++)(?!\.?\{)")  # not the beginning of an f-string's
NAMED: dict[str, list[str]] = {}
for path in sorted(
    file
    for pattern in ("*.md", "docs/**/*.md", "src/**/*.py", "benchmarks/**/*.py", "benchmarks/results/*.json")
    for file in ROOT.glob(pattern)
):
    for name in COMMAND.findall(path.read_text("utf-8")):
        if not name.split(".")[1].isupper():  # benchmarks.NAME stands for any of them
            NAMED.setdefault(name, []).append(str(path.relative_to(ROOT)))

WITH_OPTIONS = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in (ROOT / "benchmarks").rglob("*.py")
    if "= options(__doc__)" in path.read_text("utf-8")
)


def test_commands_are_named() -> None:
    assert len(NAMED) > 20
    assert len(WITH_OPTIONS) > 15


@pytest.mark.parametrize("module", sorted(NAMED))
def test_a_named_command_is_a_module_that_runs_its_main(module: str) -> None:
    spec = find_spec(module)
    assert spec is not None, f"{module} is named in {', '.join(NAMED[module])}"
    assert spec.origin is not None
    assert '\nif __name__ == "__main__":\n' in Path(spec.origin).read_text("utf-8")


@pytest.mark.parametrize("module", WITH_OPTIONS)
def test_a_command_explains_itself(module: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert module in NAMED
    with pytest.raises(SystemExit) as stopped:
        import_module(module).main(["--help"])
    assert stopped.value.code == 0
    said = capsys.readouterr().out
    assert {"--help", "--quick", "--name"} <= set(re.findall(r"--\w+", said))
    described = said.split("\n\n")[1]
    assert described.strip().endswith("."), described


@pytest.mark.slow
def test_a_command_runs_as_a_module() -> None:
    command = [sys.executable, "-m", "benchmarks.kernels.prox", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
    assert "--resume" in done.stdout
