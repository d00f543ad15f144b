"""Weights in the CPU's memory as parts: every dense layout is read and scaled in place, cuts hold every weight once."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.support.batteries import LAYERS, WIDE, Case
from tests.support.weight_fuzz import attempt
from torch_growl.mathematics.owl import row_scaling
from torch_growl.networks.layers import Side, rows_of
from torch_growl.networks.penalty import weight_memory
from torch_growl.networks.penalty.weight_memory import dense_layout

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("side", ["input", "output"])
@pytest.mark.parametrize("case", [*LAYERS, WIDE], ids=str)
def test_every_dense_layout_is_read_and_scaled_where_it_lies(case: Case, side: Side) -> None:
    module = case.make()
    weight: Tensor = module.weight
    whole = dense_layout(module, weight, side)
    assert whole is not None, "this layout should take the compiled way"
    rows = rows_of(module, side).detach().clone()
    parts = np.array([(*whole, 0, 0)], dtype=np.int64)
    sums, norms = np.full(len(rows), np.nan), np.full(len(rows), np.nan)
    row_scaling.squares(parts, sums)
    row_scaling.combine(parts, sums, norms)
    torch.testing.assert_close(torch.from_numpy(norms), rows.double().norm(dim=1), rtol=1e-14, atol=0)
    scale = torch.rand(len(rows), dtype=torch.float64)
    scale[0] = 0.0
    row_scaling.rescale_(parts, scale.numpy())
    expected = rows * scale.float().unsqueeze(1)
    assert torch.equal(rows_of(module, side), expected)


@pytest.mark.parametrize("case", [*LAYERS, WIDE], ids=str)
def test_parts_hold_every_weight_once(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weight_memory, "_LEAST", 16)  # weights of a part: small ones are cut too
    module = case.make()
    for side in ("input", "output"):
        whole = dense_layout(module, module.weight, side)
        assert whole is not None
        parts = list(weight_memory.parts_of(whole))
        assert (len(parts) > 1) == (module.weight.numel() > 16 and max(whole[2:5]) > 1)
        assert len(parts) <= 8
        covered = np.zeros(module.weight.numel(), dtype=int)
        for (address, _, groups, outer, rows, inner), _ in parts:
            start = (address - module.weight.data_ptr()) // 4
            covered[start : start + groups * outer * rows * inner] += 1
        assert (covered == 1).all()


def test_memory_with_gaps_or_of_other_types_is_no_part() -> None:
    gaps = nn.Linear(8, 6)
    gaps.weight = nn.Parameter(torch.randn(6, 16)[:, ::2])
    empty = nn.Linear(8, 6)
    empty.weight = nn.Parameter(torch.empty(6, 0))
    for module in (gaps, nn.Linear(8, 6).bfloat16(), nn.Linear(8, 6).half(), empty, nn.Bilinear(3, 3, 2)):
        assert dense_layout(module, module.weight, "input") is None
    transposed = nn.Linear(8, 6)
    transposed.weight = nn.Parameter(torch.randn(8, 6).t())
    assert dense_layout(transposed, transposed.weight, "input") == (transposed.weight.data_ptr(), 0, 1, 1, 8, 6)
    assert dense_layout(nn.Linear(8, 6).double(), torch.empty(6, 8).double(), "output")[1:] == (1, 1, 1, 6, 8)


@pytest.mark.slow
def test_no_weight_makes_a_step_touch_memory_around_it() -> None:
    """Seeded weights of any shape, layout and type: each step is its formula or refused; the memory around is NaN."""
    found = Counter(attempt(seed) for seed in range(600))
    assert len(found) == 3
    assert min(found.values()) > 100


@pytest.mark.slow
def test_compiled_code_stays_within_its_arrays_on_thousands_of_weights(tmp_path: Path) -> None:
    environment = {**os.environ, "NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-m", "tests.support.weight_fuzz", "1000", "3000"]
    ended = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert re.fullmatch(r"made: [5-8]\d\d, refused in a step: [5-8]\d\d, refused when built: [5-8]\d\d\n", ended.stdout)
