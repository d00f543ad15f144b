"""The loop with Accelerate of docs/trainers.md: run as it stands, stopped in each phase and resumed, bit-equal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import torch_growl as tg
from tests.support.small_mlp import mlp, two_of

ROOT = Path(__file__).resolve().parents[2]
EPOCHS = 12  # of 4 steps: free until step 5, shrinking until 24


def code() -> str:
    page = (ROOT / "docs" / "trainers.md").read_text("utf-8")
    return page.split("<!-- runs: accelerate -->\n```python\n")[1].split("```")[0]


def run(folder: Path, resume: Path | None = None, first: int = 0) -> dict[str, Any]:
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(reset_partial_state=True)
    model = mlp()
    scope: dict[str, Any] = {
        "torch": torch,
        "model": model,
        "optimizer": torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9),
        "loader": DataLoader(TensorDataset(*two_of(10, 64, seed=3)), batch_size=16),
        "example_inputs": torch.randn(4, 10, generator=torch.Generator().manual_seed(1)),
        "epochs": EPOCHS,
        "first_epoch": first,
        "resume": resume,
        "folder": folder,
    }
    exec(code(), scope)  # the page's own code
    return scope


@pytest.mark.slow
def test_the_loop_of_the_page_is_resumed_bit_equal_in_each_phase(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole")
    weights = whole["model"].state_dict()
    for epoch in (0, 2, 8):
        again = run(tmp_path / f"from {epoch}", tmp_path / "whole" / str(epoch), epoch + 1)
        assert all(torch.equal(weights[name], value) for name, value in again["model"].state_dict().items())
    x = whole["example_inputs"]
    assert tg.measure(whole["small"], x, latency=False).macs <= 0.6 * tg.measure(mlp(), x, latency=False).macs
