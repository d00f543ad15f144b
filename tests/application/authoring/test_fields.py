"""The fields of recipes in words."""

from __future__ import annotations

from typing import Any

import pytest

from torch_growl.application.authoring.fields import described_fields
from torch_growl.application.recipes.penalty_fields import Growl
from torch_growl.application.recipes.schema import Recipe, TrainPhase, Tying


def of(model: Any) -> dict[str, Any]:
    return {field.name: field for field in described_fields(model)}


CASES = [
    (Recipe, "seed", "integer ≥ 0, < 4294967296", "0"),
    (Recipe, "device", "auto, cpu, cuda, mps, xpu", "auto"),
    (Recipe, "threads", "integer ≥ 1, or null", "null"),
    (Recipe, "data", "fields", ""),
    (Recipe, "merge", "fields, or null", "null"),
    (TrainPhase, "lr", "number > 0", ""),
    (TrainPhase, "gamma", "number > 0, ≤ 1", "0.1"),
    (TrainPhase, "nesterov", "true or false", "false"),
    (Growl, "layers", "list of text not empty, or null", "null"),
    (Growl, "every", "integer or epoch", "1"),
    (Growl, "balance", "weights, none or number ≥ 0, ≤ 2, or null", "null"),
    (Growl, "sequence", "fields", "{name: pld, p: 0.3, floor: 0.85}"),
    (Growl, "overrides", "mapping of names to fields", "{}"),
    (Tying, "groups", "mapping of names to list of integer or number", "{}"),
]


@pytest.mark.parametrize(("model", "name", "values", "default"), CASES)
def test_a_field_has_its_type_range_and_default(model: Any, name: str, values: str, default: str) -> None:
    field = of(model)[name]
    assert (field.values, field.default) == (values, default)


def test_every_field_of_every_part_has_a_meaning() -> None:
    waiting, seen = [Recipe], set()
    while waiting:
        for field in described_fields(waiting.pop()):
            assert field.meaning.endswith("."), field.name
            if field.part is not None and field.part not in seen:
                seen.add(field.part)
                waiting.append(field.part)  # type: ignore[arg-type]
    assert len(seen) == 11
