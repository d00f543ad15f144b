"""A training with a target goes on from a path: the rows that were zero at its nearest point go first, at once."""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from torch import nn

import torch_growl as tg
from tests.support.digits_networks import digits, mlp, train
from torch_growl.errors import InvalidTypeError
from torch_growl.networks.paths.path import PathPoint, PruningPath

STEPS = 100
RNG = np.random.default_rng(0)
LIGHT = {"0": [0, 8], "2": sorted(RNG.choice(64, 20, replace=False).tolist()), "4": [3, 4, 5]}
HEAVY = {"0": [0, 8, 9], "2": sorted({*LIGHT["2"], *RNG.choice(64, 30, replace=False).tolist()}), "4": [*range(3, 16)]}
ROWS = {"0": 64, "2": 64, "4": 32}


def point(gone: dict[str, list[int]]) -> PathPoint:
    return PathPoint(10, 1, 1, 1, {name: ROWS[name] - len(rows) for name, rows in gone.items()}, gone, 97.0, True)


PATH = PruningPath(1000, 98.0, True, ROWS, {"0": 3.0, "2": 1.5, "4": 0.5}, (point(LIGHT), point(HEAVY)))


@cache
def dense() -> nn.Sequential:
    torch.manual_seed(0)
    model = mlp()
    train(model, torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9), 200)
    return model


def trained(target: tg.Target, path: PruningPath | None, steps: int = STEPS) -> tuple[nn.Sequential, tg.GrOWL]:
    model = copy.deepcopy(dense())
    growl = tg.GrOWL(model, target=target, example_inputs=digits()[0][:4], min_rows=2, path=path)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    handle = growl.attach(optimizer, steps=STEPS)
    torch.manual_seed(1)
    train(model, optimizer, steps)
    handle.remove()
    return model, growl


def zero(model: nn.Sequential) -> dict[str, set[int]]:
    return {name: set((model[int(name)].weight == 0).all(dim=0).nonzero().flatten().tolist()) for name in ROWS}


def left(gone: dict[str, list[int]]) -> int:
    """The weights of the compact network without certain rows."""
    model = copy.deepcopy(dense())
    with torch.no_grad():
        for name, rows in gone.items():
            model[int(name)].weight[:, rows] = 0
    return tg.measure(tg.compact(model, digits()[0][:4]), digits()[0][:4], latency=False).weights


@pytest.mark.parametrize(
    ("asked", "near"), [(left(LIGHT) - 50, LIGHT), (left(HEAVY) - 50, HEAVY)], ids=["light", "heavy"]
)
def test_the_rows_of_the_nearest_larger_network_go_first_and_then_others(
    asked: int, near: dict[str, list[int]]
) -> None:
    model, growl = trained(tg.Target(weights=asked), PATH)
    assert growl.progress.reached
    assert growl.progress.left >= 0.98 * asked
    gone = zero(model)
    assert sum(len(set(near[name]) - gone[name]) for name in near) <= 2  # rows that the target does not need
    assert sum(len(rows) for rows in gone.values()) > sum(len(rows) for rows in near.values())
    alone, _ = trained(tg.Target(weights=asked), None)
    assert zero(alone) != gone


def test_a_target_above_the_whole_path_takes_rows_of_its_largest_network_alone() -> None:
    model, growl = trained(tg.Target(weights=left(LIGHT) + 300), PATH)
    assert growl.progress.reached
    assert any(zero(model).values())
    assert all(rows <= set(LIGHT[name]) for name, rows in zero(model).items())


def test_rows_shrink_from_the_first_step_on_and_the_structure_is_held_sooner() -> None:
    target = tg.Target(macs=0.5)
    assert trained(target, PATH, 1)[1].progress.phase == "shrinking"
    assert trained(target, None, 1)[1].progress.phase == "free"
    assert trained(target, PATH, 30)[1].progress.phase == "holding"
    assert trained(tg.Target(macs=0.5, compensate=False), None, 30)[1].progress.phase == "shrinking"


def test_another_networks_path_and_a_state_of_a_training_without_one_are_refused() -> None:
    target = tg.Target(weights=0.5)
    narrow = nn.Sequential(nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 10))
    with pytest.raises(tg.GrowlError, match="give the path of this network"):
        tg.GrOWL(narrow, target=target, example_inputs=digits()[0][:4], path=PATH)
    _, without = trained(target, None, 5)
    _, growl = trained(target, PATH, 5)
    with pytest.raises(tg.GrowlError, match="had path or had none; give GrOWL the same"):
        growl.load_state_dict(without.state_dict())
    growl.load_state_dict(growl.state_dict())
    with pytest.raises(tg.GrowlError, match="example_inputs are for a target"):
        tg.GrOWL(dense(), path=PATH)


@pytest.mark.parametrize("target", [tg.Target(weights=0.5), tg.Target(accuracy_drop=1.0, validate=lambda _: 97.0)])
def test_a_path_of_another_type_is_refused(target: tg.Target) -> None:
    with pytest.raises(InvalidTypeError, match="path must be a PruningPath, got str"):
        tg.GrOWL(dense(), target=target, example_inputs=digits()[0][:4], path="path.json")  # type: ignore[arg-type]


@pytest.mark.parametrize("target", [tg.Target(weights=0.5), tg.Target(accuracy_drop=1.0, validate=lambda _: 97.0)])
@pytest.mark.parametrize("side", ["input", "channel"])
def test_a_path_of_rows_of_another_side_is_refused_by_name(target: tg.Target, side: str) -> None:
    other = "channel" if side == "input" else "input"
    given = {"target": target, "example_inputs": digits()[0][:4], "path": replace(PATH, side=other), "side": side}
    with pytest.raises(tg.GrowlError, match=f"path is of a training with side='{other}', not '{side}'"):
        tg.GrOWL(dense(), **given)  # type: ignore[arg-type]


def test_a_path_without_trials_begins_anew() -> None:
    empty = PruningPath(1000, 98.0, True, ROWS, {"0": 3.0}, ())
    assert trained(tg.Target(weights=0.5), empty, 1)[1].progress.phase == "free"
