"""The settings that a study varies: ranges of numbers and lists of values, by field of the recipe."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from torch_growl.application.recipes import Recipe, parse_overrides
from torch_growl.errors import InvalidValueError
from torch_growl.networks.targets import MEASURES

__all__ = ["Choices", "Range", "Space", "default_space", "parse_space"]

_PARTS = ("growl", "target", "tying", "train", "retrain", "merge")  # what may be varied: the dense network stays


@dataclass(frozen=True)
class Range:
    """Numbers from low to high; by their logarithm where high is ten times low or more."""

    low: float
    high: float

    @property
    def log(self) -> bool:
        return self.low > 0 and self.high / self.low >= 10

    def suggest(self, trial: Any, name: str) -> float:
        """Let Optuna choose a number."""
        return float(trial.suggest_float(name, self.low, self.high, log=self.log))

    def __str__(self) -> str:
        return f"{self.low:g}:{self.high:g}"


@dataclass(frozen=True)
class Choices:
    """Some values; kept as JSON text, since Optuna's own are plain values."""

    texts: tuple[str, ...]

    def suggest(self, trial: Any, name: str) -> Any:
        """Let Optuna choose a value."""
        return json.loads(trial.suggest_categorical(name, self.texts))

    def __str__(self) -> str:
        return f"[{', '.join(self.texts)}]"


Space = Mapping[str, Range | Choices]


def parse_space(settings: Iterable[str]) -> dict[str, Range | Choices]:
    """Read ``growl.strength=0.1:4`` (a range) and ``tying.preference=[0.6, 0.8]`` (a list of values).

    Raises:
        RecipeError: a setting is not ``field=value``, or a field is given twice.
        InvalidValueError: a value is neither a range nor a list of two or more values, or the field belongs to the
            dense network, which all trials share.
    """
    given = list(settings)
    ranges = {key: text for key, equals, text in (each.partition("=") for each in given) if equals and _is_range(text)}
    lists = parse_overrides(each for each in given if each.partition("=")[0] not in ranges)
    found: dict[str, Range | Choices] = {}
    for each in given:
        name = each.partition("=")[0].strip()
        if name.split(".")[0] not in _PARTS:
            raise InvalidValueError(
                f"--vary {name}: a study varies fields of {', '.join(_PARTS)}; all trials share the dense network"
            )
        if name in found:
            raise InvalidValueError(f"--vary {name} is given twice")
        if name in ranges:
            low, high = map(float, ranges[name].split(":"))
            if not low < high:
                raise InvalidValueError(
                    f"--vary {name}: {ranges[name]} is no range; the first number is the smaller one"
                )
            found[name] = Range(low, high)
        elif isinstance(lists[name], list) and len(lists[name]) >= 2:
            found[name] = Choices(tuple(json.dumps(value, sort_keys=True) for value in lists[name]))
        else:
            raise InvalidValueError(f"--vary {each}: give a range such as 0.1:4 or a list such as [0.6, 0.8]")
    return found


def _is_range(text: str) -> bool:
    try:
        return len([float(part) for part in text.split(":")]) == 2
    except ValueError:
        return False


def default_space(recipe: Recipe) -> dict[str, Range | Choices]:
    """The settings that are varied if none is named: strength and sequence or the target, and tying.preference."""
    found: dict[str, Range | Choices] = {}
    if recipe.target is None:
        found["growl.strength"] = Range(0.1, 4.0)
        shapes = [{"name": "pld", "p": 0.3, "floor": 0.85}, {"name": "oscar", "floor": 0.85}, {"name": "lasso"}]
        found["growl.sequence"] = Choices(tuple(json.dumps(shape, sort_keys=True) for shape in shapes))
    else:
        (measure,) = (name for name in recipe.target if name in MEASURES)
        if measure == "accuracy_drop" or recipe.target[measure] >= 1:
            raise InvalidValueError(f"name what is varied, such as --vary target.{measure}=LOW:HIGH")
        found[f"target.{measure}"] = Range(recipe.target[measure] / 2, min(0.95, 2 * recipe.target[measure]))
    if recipe.tying.method == "affinity":
        found["tying.preference"] = Range(0.4, 0.95)
    return found
