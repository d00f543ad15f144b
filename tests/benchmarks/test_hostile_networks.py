"""Hostile networks: none answers differently without a word, and the page shows what became of each."""

from __future__ import annotations

import random

import pytest
import torch
from torch import Tensor, nn

import torch_growl as tg
from benchmarks.architectures import hostile_networks as command
from benchmarks.architectures.hostile import FAMILIES, Hostile, hostile_networks, judge
from benchmarks.harness import results

NETWORKS = hostile_networks()
SOME = random.Random(0).sample(NETWORKS, 12)
# Whose other way the proof reaches by itself, and those that it must name.
CUT_RIGHTLY = (
    "batch of 1",
    "batch of 1, as a statement",
    "batch of 2",
    "odd batch",
    "second call",
    "every second call",
)
NAMED = ("batch of 7", "long sequence", "tokens above 30", "ninth call", "layer in train mode only", "large values")


def of(name: str) -> Hostile:
    return next(one for one in NETWORKS if one.name == name)


def test_there_are_a_hundred_of_all_families() -> None:
    assert len(NETWORKS) >= 100
    assert {one.family for one in NETWORKS} == set(FAMILIES)
    assert len({(one.family, one.name) for one in NETWORKS}) == len(NETWORKS)


@pytest.mark.parametrize("hostile", SOME, ids=lambda one: one.name)
def test_none_of_some_is_wrong_without_a_word(hostile: Hostile) -> None:
    assert not judge(hostile).silent


@pytest.mark.slow
@pytest.mark.parametrize(
    "hostile", [one for one in NETWORKS if one not in SOME], ids=lambda one: f"{one.family}, {one.name}"
)
def test_none_is_wrong_without_a_word(hostile: Hostile) -> None:
    verdict = judge(hostile)
    assert not verdict.silent, verdict


@pytest.mark.parametrize("name", CUT_RIGHTLY)
def test_what_the_proof_reaches_is_right(name: str) -> None:
    verdict = judge(of(name))
    assert verdict.outcome in ("cut", "left")
    assert (verdict.differs, verdict.warned) == ("", False)


@pytest.mark.parametrize("name", NAMED)
def test_what_the_proof_does_not_reach_is_named(name: str) -> None:
    verdict = judge(of(name))
    assert verdict.warned
    assert verdict.differs
    assert "branches.py:" in verdict.says


def test_a_wrong_network_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The judge itself: a compact network with a changed bias is wrong without a word."""
    right = tg.compact

    def wrong(model: nn.Module, x: Tensor) -> nn.Module:
        small = right(model, x)
        with torch.no_grad():
            small.b.bias[0] += 1e-2  # type: ignore[index, union-attr]
        return small

    monkeypatch.setattr(tg, "compact", wrong)
    assert judge(of("activation in place")).silent


def test_the_page_is_of_all_networks() -> None:
    kept = results.load(command.RESULT)
    assert not kept["quick"]
    assert [(one["family"], one["name"]) for one in kept["networks"]] == [(one.family, one.name) for one in NETWORKS]
    assert not [one for one in kept["networks"] if command.kind(one) == "wrong without a word"]
