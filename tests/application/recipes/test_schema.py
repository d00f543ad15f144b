"""The fields of a recipe: described, checked, and not to be changed."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from pydantic import BaseModel

from torch_growl.application.recipes import Recipe, load_recipe, parse_overrides
from torch_growl.errors import RecipeError


def models(kind: Any = Recipe) -> set[type[BaseModel]]:
    found = {kind} if isinstance(kind, type) and issubclass(kind, BaseModel) else set()
    inner = [f.annotation for f in kind.model_fields.values()] if found else get_args(kind)
    return found.union(*map(models, inner)) if inner else found


def test_every_field_says_what_it_is() -> None:
    assert len(models()) == 12
    for model in models():
        assert [name for name, f in model.model_fields.items() if not f.description] == [], model.__name__


WRONG = {
    "unknown": ("train.epoch=3", "unknown field train.epoch; did you mean 'epochs'?"),
    "unknown at the top": ("grwl=3", "unknown field grwl; did you mean 'growl'?"),
    "like nothing": ("compact.xyz=3", "unknown field compact.xyz; there are full"),
    "in an override": ("growl.overrides={fc1: {skp: true}}", "unknown field growl.overrides.fc1.skp; did you mean "),
    "in the penalty": ("growl.strenght=1", "unknown field growl.strenght; did you mean 'strength'?"),
    "missing": ("data={}", "field data.name is missing"),
    "word": ("train.epochs=many", "train.epochs: must be a valid integer, found 'many'"),
    "decimal": ("train.epochs=3.0", "train.epochs: must be a valid integer, found 3.0"),
    "truth": ("train.epochs=true", "train.epochs: must be a valid integer, found True"),
    "quoted": ("dense.lr='0.1'", "dense.lr: must be a valid number, found '0.1'"),
    "negative": ("growl.strength=-1", "growl.strength: must be greater than or equal to 0, found -1"),
    "not finite": ("dense.lr=.nan", "dense.lr: must be a finite number, found nan"),
    "zero rate": ("dense.lr=0", "dense.lr: must be greater than 0, found 0"),
    "task": ("task=regresion", "task: did you mean 'regression'?, found 'regresion'"),
    "unlike any task": ("task=x", "task: must be package.module:function, or classification, multilabel, regression"),
    "workers": ("data.workers=-1", "data.workers: must be greater than or equal to 0, found -1"),
    "choice": ("device=tpu", "device: must be 'auto', 'cpu', 'cuda', 'mps' or 'xpu', found 'tpu'"),
    "preference": ("tying.preference=0", "tying.preference: must be greater than 0, found 0"),
    "every": ("growl.every=0", "growl.every: must be a whole number ≥ 1 or 'epoch', found 0"),
    "every word": ("growl.every=step", "growl.every: must be a whole number ≥ 1 or 'epoch', found 'step'"),
    "no batch": ("measure.batch_sizes=[1, 0]", "measure.batch_sizes: must all be ≥ 1, found [1, 0]"),
    "no layers": ("growl.layers=[]", "growl.layers: "),
    "nesterov": ("dense={epochs: 1, lr: 1, momentum: 0, nesterov: true}", "dense: nesterov needs momentum > 0"),
    "sequence": ("growl.sequence={name: pdl}", "growl.sequence.name: must be 'pld', 'lasso', 'oscar', "),
    "its field": ("growl.sequence={name: lasso, p: 1}", "growl.sequence: sequence 'lasso' has no field p"),
    "its range": (
        "growl.sequence={name: pld, lambda1: 1, lambda2: -1}",
        "pld: lambda2 must be finite and ≥ 0",
    ),
    "long": ("device=" + "x" * 500, "device: must be 'auto', 'cpu', 'cuda', 'mps' or 'xpu', found 'xxxx"),
    "start": ("dense.start=fresh", "unknown field dense.start; there are epochs, batch_size, "),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_field_is_one_line_with_field_found_and_allowed(case: str) -> None:
    setting, words = WRONG[case]
    with pytest.raises(RecipeError) as caught:
        load_recipe("digits", parse_overrides([setting]))
    message = str(caught.value)
    assert message.startswith("recipe 'digits': ")
    assert words in message
    assert len(message.splitlines()) == 1
    assert len(message) < 300


def test_tied_outputs_cannot_be_fitted() -> None:
    outputs = {"target": None, "growl.strength": 1.0, "growl.side": "output", "tying.compensate": True}
    with pytest.raises(RecipeError, match=r"tying\.compensate fits rows that are inputs"):
        load_recipe("digits", outputs)


def test_several_wrong_fields_are_counted() -> None:
    with pytest.raises(RecipeError, match=r"^recipe 'digits': seed: must be .*, found 'x' \(and 2 more\)$"):
        load_recipe("digits", {"train.epochs": -1, "seed": "x", "nothing_at_all": 1})


def test_a_recipe_cannot_be_changed() -> None:
    recipe: Any = load_recipe("digits")
    with pytest.raises(ValueError, match="frozen"):
        recipe.train.epochs = 5
