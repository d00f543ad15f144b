"""A recipe's target, in place of a strength: what it takes, what it replaces, what does not go with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.support.recipe_files import written
from torch_growl.application.recipes import build_penalty, load_recipe, parse_overrides
from torch_growl.errors import InvalidValueError, RecipeError


@pytest.mark.parametrize("target", [{"weights": 0.5}, {"macs": 20_000}, {"bytes": 0.1}], ids=repr)
def test_a_target_is_in_place_of_a_strength(target: dict[str, float], tmp_path: Path) -> None:
    recipe = load_recipe("digits", {"target": target})
    assert recipe.target == target
    assert recipe.growl is not None
    assert recipe.growl.strength is None
    assert recipe.penalised
    assert load_recipe(written(tmp_path / "stored.yaml", recipe.to_yaml())) == recipe


REFUSED = {
    "two measures": ("target={macs: 0.5, bytes: 0.5}", "target: Target takes one of "),
    "no measure": ("target={}", "target: Target takes one of "),
    "unknown": ("target={mac: 0.5}", "target: unknown measure 'mac'; did you mean 'macs'?"),
    "zero": ("target={macs: 0}", "target: macs must be finite and > 0, got 0"),
    "a word": ("target={macs: half}", "target: macs must be a number, got str"),
    "no mapping": ("target=0.5", "target: must be a valid dictionary, found 0.5"),
    "no batches": ("target={macs: 0.5, compensate: 8}", "target: compensate must be true or false"),
    "a drop, compensated": (
        "target={accuracy_drop: 1, compensate: true}",
        "target: Target: an accuracy_drop takes no compensate",
    ),
    "ties of a file": ("target={file_bytes: 0.5, ties: true}", "target: Target: ties need compensate"),
    "ties, not compensated": ("target={macs: 0.5, compensate: false, ties: true}", "target: Target: ties need comp"),
    "ties that are no flag": ("target={macs: 0.5, ties: 1}", "target: ties must be True or False, got 1"),
    "no training": ("train.epochs=0", "target needs a training: train.epochs must be ≥ 1"),
    "form": ("growl.form=paper", "growl.form cannot be combined with target"),
    "side": ("growl.side=output", "growl.side cannot be combined with target"),
    "every": ("growl.every=5", "growl.every cannot be combined with target"),
    "warmup": ("growl.warmup_epochs=2", "growl.warmup_epochs cannot be combined with target"),
    "balance": ("growl.balance=none", "growl.balance cannot be combined with target"),
    "a layer's": ("growl.overrides={fc1: {strength: 2}}", "growl.overrides.fc1.strength cannot be combined with targ"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_a_target_is_refused_by_its_field(case: str) -> None:
    setting, words = REFUSED[case]
    with pytest.raises(RecipeError) as caught:
        load_recipe("digits", {"target": {"macs": 0.5}, **parse_overrides([setting])})
    assert str(caught.value).startswith(f"recipe 'digits': {words}")
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"target": {"macs": 0.5}, "growl.strength": 2.0}, "growl.strength cannot be combined with target"),
        (
            {"target": {"accuracy_drop": 1}, "train.average": 0.9},
            "train.average cannot be combined with an accuracy_drop",
        ),
        (
            {"target": {"accuracy_drop": 1}, "train.recalibrate": True},
            "train.recalibrate cannot be combined with an accuracy_drop",
        ),
        ({"target": {"macs": 0.5}, "growl": None}, "target needs the penalty, but growl is null"),
        ({"growl.strength": None, "target": None}, "growl.strength must be a number where there is no target"),
    ],
)
def test_one_of_strength_and_target_is_needed(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        load_recipe("digits", changes)


def test_what_is_given_last_counts_strength_or_target(tmp_path: Path) -> None:
    base = "extends: digits\ngrowl: {strength: 2, every: 5, balance: none, warmup_epochs: 1}\n"
    written(tmp_path / "base.yaml", base)
    lighter = load_recipe(written(tmp_path / "lighter.yaml", "extends: base.yaml\ntarget: {macs: 0.5}\n"))
    assert lighter.growl is not None
    assert (lighter.target, lighter.growl.strength, lighter.growl.every) == ({"macs": 0.5}, None, 1)
    assert load_recipe(tmp_path / "lighter.yaml", {"target": {"bytes": 0.2}}).target == {"bytes": 0.2}
    again = load_recipe(written(tmp_path / "again.yaml", "extends: lighter.yaml\ngrowl: {strength: 3}\n"))
    assert again.growl is not None
    assert (again.target, again.growl.strength) == (None, 3)
    assert load_recipe(tmp_path / "lighter.yaml", {"growl": None}).target is None


def test_a_recipe_with_a_target_needs_no_field_growl(tmp_path: Path) -> None:
    text = "data: {name: digits}\nmodel: {name: digits_mlp}\ntarget: {weights: 0.5}\n"
    phases = "".join(f"{phase}: {{epochs: 1, lr: 0.1}}\n" for phase in ("dense", "train", "retrain"))
    recipe = load_recipe(written(tmp_path / "short.yaml", text + phases))
    assert recipe.growl is not None
    assert recipe.penalised


def test_checkpoints_of_runs_without_a_target_stay_valid(tmp_path: Path) -> None:
    text = "seed: 3\ndata: {name: digits}\nmodel: {name: digits_mlp}\ngrowl: {strength: 2}\n"
    phases = "".join(f"{phase}: {{epochs: 1, lr: 0.1}}\n" for phase in ("dense", "train", "retrain"))
    path = written(tmp_path / "old.yaml", text + phases)
    found = {name: load_recipe(path).fingerprint(name)[:16] for name in ("dense", "train", "retrain")}
    assert found == {
        "dense": "78a873a65b29038b",
        "train": "7d4dc8982f6ff022",
        "retrain": "b0054da8af60caf5",
    }  # of the version before targets
    aimed = load_recipe(path, {"target": {"macs": 0.5}})
    assert aimed.fingerprint("dense")[:16] == found["dense"]
    assert aimed.fingerprint("train") != load_recipe(path, {"target": {"macs": 0.4}}).fingerprint("train")


def test_the_penalty_has_the_target_and_one_that_cannot_be_met_is_refused() -> None:
    model = nn.Sequential(nn.Linear(12, 9), nn.ReLU(), nn.Linear(9, 3))
    recipe = load_recipe("digits", {"target": {"weights": 0.6}, "growl.layers": ["0", "2"]})
    penalty = build_penalty(model, recipe, torch.zeros(2, 12))
    assert "target=Target(weights=0.6, compensate=False)" in repr(penalty)
    smaller = load_recipe("digits", {"target": {"weights": 0.01}, "growl.layers": ["0", "2"]})
    with pytest.raises(InvalidValueError, match="target: at least"):
        build_penalty(model, smaller, torch.zeros(2, 12))


def test_rows_are_tied_by_a_target_without_another_field_and_channels_are_not() -> None:
    tied = {"target": {"macs": 0.5, "ties": True}}
    assert load_recipe("digits", tied).is_compensated
    with pytest.raises(RecipeError, match=r"target\.ties ties rows that are inputs"):
        load_recipe("digits", {**tied, "growl.side": "channel"})
