"""The page on the fields of recipes is that of the schema."""

from __future__ import annotations

from pathlib import Path

from torch_growl.application.authoring.reference import field_reference
from torch_growl.application.recipes.penalty_fields import Growl
from torch_growl.application.recipes.schema import Phase, Recipe, TrainPhase

PAGE = Path(__file__).resolve().parents[3] / "docs" / "recipe-fields.md"


def test_the_page_is_the_one_that_the_command_writes() -> None:
    assert PAGE.read_text("utf-8") == field_reference(), "run: growl recipes --fields > docs/recipe-fields.md"


def test_every_field_is_in_a_table_and_those_of_all_trainings_once() -> None:
    rows = [line.split("|")[1].strip(" `") for line in field_reference().splitlines() if line.startswith("| `")]
    assert set(Recipe.model_fields) | set(TrainPhase.model_fields) <= set(rows)
    for name in set(Phase.model_fields) - set(Growl.model_fields):
        assert rows.count(name) == 1, name


def test_a_cell_has_no_column_of_its_own() -> None:
    assert {line.count("|") for line in field_reference().splitlines() if line.startswith("|")} == {5}
