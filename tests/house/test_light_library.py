"""The library needs nothing of the extra ``cli``: README's loop runs without, and ``growl`` says what to install."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.house_third_parties import packages_of_the_command

ROOT = Path(__file__).resolve().parents[2]
COMMAND = sorted(packages_of_the_command(ROOT / "pyproject.toml"))

# Not found rather than refused: torch asks find_spec for packages that it can do without.
BLOCK = f"""
from importlib.machinery import PathFinder
find = PathFinder.find_spec
PathFinder.find_spec = lambda name, *rest: None if name.split(".")[0] in {COMMAND} else find(name, *rest)
"""

LOOP = """
import sys
import torch
from torch import nn
torch.manual_seed(0)
torch.set_num_threads(1)

def build_model():
    return nn.Sequential(nn.Linear(12, 32), nn.ReLU(), nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 3))

def train(model, optimizer):
    for _ in range(100):
        x = torch.randn(32, 12)
        loss = nn.functional.cross_entropy(model(x), (x[:, 0] > 0).long())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

def new_optimizer(model):
    return torch.optim.SGD(model.parameters(), lr=0.02)

model = build_model()
optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
example_inputs = torch.randn(4, 12)
exec(sys.stdin.read())
x = torch.randn(50, 12)
torch.testing.assert_close(small.eval()(x), model.eval()(x), rtol=1e-4, atol=1e-5)
print(sum(p.numel() for p in small.parameters()), sum(p.numel() for p in build_model().parameters()))
for name in tg.__all__:
    getattr(tg, name)
for shown in (tg.doctor(model, x), tg.structure_of(small), tg.measure(small, x)):
    assert str(shown)
try:
    tg.plot_rows(build_model())
except tg.GrowlError as error:
    assert "matplotlib" in str(error) and "\\n" not in str(error)
else:
    raise AssertionError("there is no matplotlib")
print(*sorted({name.split(".")[0] for name in sys.modules}))
"""


def python(code: str, folder: Path, given: str = "") -> subprocess.CompletedProcess[str]:
    """Run code in a process in which the packages of the extra ``cli`` cannot be imported."""
    env = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", BLOCK + code]
    return subprocess.run(command, cwd=folder, env=env, input=given, capture_output=True, text=True, check=False)


def test_the_packages_of_the_command_are_those_known() -> None:
    assert COMMAND == ["accelerate", "jinja2", "matplotlib", "pydantic", "rich", "sklearn", "typer", "yaml"]


@pytest.mark.slow
def test_the_loop_of_the_readme_runs_without_the_packages_of_the_command(tmp_path: Path) -> None:
    page = (ROOT / "README.md").read_text("utf-8")
    loop = page.split("## In your own training loop")[1].split("```python")[1].split("```")[0]
    done = python(LOOP, tmp_path, loop)
    assert done.returncode == 0, done.stderr
    *_, sizes, loaded = done.stdout.splitlines()
    small, dense = map(int, sizes.split())
    assert small < dense
    assert {"torch_growl", "numba", "safetensors"} <= set(loaded.split())
    assert set(loaded.split()) & set(COMMAND) == set()


def test_growl_says_in_one_line_what_to_install(tmp_path: Path) -> None:
    done = python(
        'import sys; from torch_growl.__main__ import main; sys.argv = ["growl", "run", "digits"]; main()', tmp_path
    )
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: growl needs ")
    assert 'pip install ".[cli]"' in line


def test_growl_names_each_package_that_is_not_installed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from importlib.metadata import PackageNotFoundError

    from torch_growl import __main__ as command

    class Found:
        requires = (
            "torch>=2.8",
            "scikit-learn>=1.4; extra == 'cli'",
            'PyYAML>=6; extra == "cli"',
            "onnx; extra == 'onnx'",
        )

    def distribution(name: str) -> type[Found]:
        if name in ("scikit-learn", "onnx"):
            raise PackageNotFoundError
        return Found

    monkeypatch.setattr(command, "distribution", distribution)
    with pytest.raises(SystemExit) as stopped:
        command.main()
    assert stopped.value.code == 2
    assert capsys.readouterr().err.startswith("error: growl needs scikit-learn: ")


def test_a_fault_of_the_package_itself_is_no_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch_growl import __main__ as command

    monkeypatch.setattr(command, "_missing", list)
    monkeypatch.setitem(sys.modules, "torch_growl.application.command", None)
    with pytest.raises(ModuleNotFoundError, match="torch_growl"):
        command.main()
