"""What a recipe asks is checked before its network is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.application.runs.test_tying_in_steps import SmallRun
from tests.support.digits_run import run_digits
from torch_growl.application.recipes import load_recipe
from torch_growl.application.runs.attainable import check_groups
from torch_growl.errors import InvalidValueError, LayerError

PHASE = {"epochs": 1, "lr": 0.05}
PLAIN: dict[str, Any] = {"target": None, "growl.strength": 0.0}
ASKED: dict[str, tuple[dict[str, Any], str]] = {
    "a target below the least": ({"target": {"bytes": 0.0001}}, "target: at least"),
    "a training of few steps": (
        {"target": {"bytes": 0.5}, "train.epochs": 1, "train.batch_size": 600},
        "make 2 optimizer steps, which do not fit the target",
    ),
    "a step below the least": (
        {**PLAIN, "tying": {"method": "shrink", "left": {"bytes": [0.5, 0.0001]}}, "merge": PHASE},
        r"tying.left: at least .* bytes are left.*asked were",
    ),
    "steps of shrinking on a single batch": (
        {**PLAIN, "train.batch_size": 2000, "tying": {"method": "shrink", "left": {"bytes": [0.5]}}, "merge": None},
        "train.batch_size = 2000 makes a single one",
    ),
    "a step that leaves all": (
        {**PLAIN, "tying": {"method": "shrink", "left": {"bytes": [10**8]}}, "merge": None},
        "must be less than the dense network's",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", ASKED)
def test_what_cannot_be_met_is_refused_before_the_network_is_trained(case: str, tmp_path: Path) -> None:
    settings, words = ASKED[case]
    with pytest.raises(InvalidValueError, match=words):
        run_digits(tmp_path / "run", settings)
    assert not (tmp_path / "run" / "checkpoints" / "dense.pt").exists()


def test_layers_whose_rows_cannot_be_compared_by_least_squares_are_refused_by_name() -> None:
    model = nn.Sequential(nn.Conv1d(4, 6, 1, groups=2), nn.Conv1d(6, 3, 1))
    tying = {"method": "least-squares", "groups": {"1": [3]}}
    run = SmallRun(load_recipe("digits", {"tying": tying, "merge": None}), model, torch.randn(2, 4, 5))
    check_groups(run)
    run.recipe.tying.groups["0"] = [2]
    with pytest.raises(LayerError, match=r"layer '0' \(Conv1d\) cannot be tied by least squares: it has groups"):
        check_groups(run)
