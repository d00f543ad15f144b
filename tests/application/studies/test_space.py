"""What a study varies: ranges, lists, the defaults of a recipe, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from torch_growl.application.recipes import load_recipe
from torch_growl.application.studies.space import Choices, Range, default_space, parse_space
from torch_growl.errors import GrowlError


class Asked:
    """Records how Optuna is asked, and gives the first value."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []

    def suggest_float(self, name: str, low: float, high: float, *, log: bool) -> float:
        self.asked.append((name, low, high, log))
        return low

    def suggest_categorical(self, name: str, texts: tuple[str, ...]) -> str:
        self.asked.append((name, *texts))
        return texts[0]


def test_ranges_and_lists_are_read() -> None:
    found = parse_space(
        [
            "growl.strength=0.1:4",
            "target.macs=0.3:0.9",
            "tying.method=[affinity, none]",
            "growl.sequence=[{name: lasso}, {name: slope, q: 0.1}]",
        ]
    )
    assert found["growl.strength"] == Range(0.1, 4.0)
    assert (Range(0.1, 4.0).log, Range(0.3, 0.9).log, Range(0.0, 9.0).log) == (True, False, False)
    trial = Asked()
    values = {name: each.suggest(trial, name) for name, each in found.items()}
    assert values == {
        "growl.strength": 0.1,
        "target.macs": 0.3,
        "tying.method": "affinity",
        "growl.sequence": {"name": "lasso"},
    }
    assert trial.asked[:2] == [("growl.strength", 0.1, 4.0, True), ("target.macs", 0.3, 0.9, False)]
    assert [str(each) for each in found.values()][:3] == ["0.1:4", "0.3:0.9", '["affinity", "none"]']


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("growl.strength", "must look like key=value"),
        ("growl.strength=1", "a range such as"),
        ("growl.strength=[1]", "a range such as"),
        ("growl.strength=4:1", "the first number is the smaller"),
        ("dense.lr=0.01:0.1", "share the dense network"),
        ("seed=[1, 2]", "share the dense network"),
    ],
)
def test_what_cannot_be_varied_is_refused(setting: str, said: str) -> None:
    with pytest.raises(GrowlError, match=said):
        parse_space([setting])


def test_a_field_is_varied_once() -> None:
    for given in (["growl.strength=1:2", "growl.strength=1:3"], ["growl.strength=[1, 2]", "growl.strength=[1, 3]"]):
        with pytest.raises(GrowlError, match="given twice"):
            parse_space(given)


def test_by_default_strength_sequence_and_tying_or_the_target_are_varied() -> None:
    found = default_space(load_recipe("digits", {"growl.strength": 1.5, "tying.method": "affinity"}))
    assert [*found] == ["growl.strength", "growl.sequence", "tying.preference"]
    shapes = found["growl.sequence"]
    assert isinstance(shapes, Choices)
    for text in shapes.texts:  # each is a recipe
        trial = Asked()
        trial.suggest_categorical = lambda name, texts, text=text: text  # type: ignore[method-assign,misc]
        load_recipe("digits", {"growl.sequence": shapes.suggest(trial, "growl.sequence")})
    aimed = default_space(load_recipe("digits", {"target": {"macs": 0.4}}))
    assert aimed["target.macs"] == Range(0.2, 0.8)
    assert "target.macs" in default_space(load_recipe("digits", {"target": {"macs": 0.4, "compensate": False}}))
    with pytest.raises(GrowlError, match="--vary target"):
        default_space(load_recipe("digits", {"target": {"bytes": 20_000}}))
