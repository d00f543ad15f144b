"""The library works where no trainer and no search engine can be imported, and its integrations name their extra."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ["accelerate", "lightning", "pytorch_lightning", "transformers", "optuna", "torchmetrics"]
BLOCK = f"""
from importlib.machinery import PathFinder
find = PathFinder.find_spec
PathFinder.find_spec = lambda name, *rest: None if name.split(".")[0] in {PACKAGES} else find(name, *rest)
import sys
"""
TRAINING = """
import torch
import torch_growl as tg
from torch_growl.integrations.phases import Phases
torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 2))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
phases = Phases(None, tg.Target(macs=0.7), "compact", 0.6, 0.75, 0.0, torch.randn(2, 8), {"min_rows": 2})
phases.begin(model, [optimizer], 20, 0, lambda: None)
for step in range(20):
    optimizer.zero_grad()
    x = torch.randn(16, 8)
    torch.nn.functional.cross_entropy(model(x), (x[:, 0] > 0).long()).backward()
    optimizer.step()
    phases.after_step(step + 1, model)
small = phases.finish(model)
print(sum(p.numel() for p in small.parameters()) < sum(p.numel() for p in model.parameters()))
print(*sorted({name.split(".")[0] for name in sys.modules}))
"""


def python(code: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, "-c", BLOCK + code], env=env, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_a_training_with_a_target_ties_and_compaction_needs_none_of_them() -> None:
    done = python(TRAINING)
    assert done.returncode == 0, done.stderr
    smaller, loaded = done.stdout.splitlines()
    assert smaller == "True"
    assert "torch_growl" in loaded
    assert set(loaded.split()) & set(PACKAGES) == set()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["transformers", "lightning"])
def test_an_integration_without_its_package_names_the_extra(name: str) -> None:
    done = python(f"import torch_growl.integrations.{name}")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        f"ModuleNotFoundError: torch_growl.integrations.{name} needs the extra torch-growl[{name}]"
    )
