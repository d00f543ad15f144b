"""Recipes: the built-in ones are the paper's, files and settings are checked field by field, in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from pydantic import BaseModel

from torch_growl.application.models.registry import build_network
from torch_growl.application.recipes import Recipe, builtin_recipes, load_recipe, parse_overrides
from torch_growl.application.recipes.schema import Growl
from torch_growl.errors import RecipeError
from torch_growl.mathematics.owl.sequences import sequence_from_dict
from torch_growl.networks.penalty.growl import GrOWL

KINDS = ("none", "weight-decay", "group-lasso", "group-lasso-l2", "growl", "growl-l2")
BUILTIN = {
    "digits",
    "mnist-best",
    "lenet5-mnist",
    *(f"mnist-{kind}" for kind in KINDS),
    *(f"vgg16-cifar10-{kind}" for kind in KINDS),
}
VGG_LAYERS = [*(f"conv{i}" for i in range(2, 14)), "fc1"]


# ── the built-in ones ───────────────────────────────────────────────────────────────────────────────────────────────


def test_the_built_in_recipes_are_these() -> None:
    assert set(builtin_recipes()) == BUILTIN


@pytest.mark.parametrize("name", sorted(BUILTIN))
def test_a_built_in_recipe_builds_its_network_and_penalty_and_survives_its_file(name: str, tmp_path: Path) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    assert recipe.description
    model = build_network(recipe.model.name, **recipe.model.options)
    if recipe.growl and recipe.growl.strength:
        growl = recipe.growl
        overrides: dict[Any, dict[str, Any]] = {}
        for layer, override in growl.overrides.items():
            overrides[layer] = override.model_dump(exclude_none=True)
            if override.sequence:
                overrides[layer]["sequence"] = sequence_from_dict(override.sequence.model_dump())
        sequence = sequence_from_dict(growl.sequence.model_dump())
        penalty = GrOWL(model, growl.strength, sequence, layers=growl.layers, overrides=overrides, form=growl.form)
        assert penalty.layers
        if growl.layers is not None and not any("*" in pattern for pattern in growl.layers):
            assert list(penalty.layers) == growl.layers
    path = tmp_path / "stored.yaml"
    path.write_text(recipe.to_yaml())
    assert load_recipe(path) == recipe
    assert yaml.safe_load(recipe.to_yaml()) == recipe.model_dump()


def test_the_rows_of_table_1_differ_in_the_penalty_alone() -> None:
    """The paper's network, data, optimizer, batch and counting (layer 1); one protocol for all six rows."""
    first = load_recipe("mnist-growl")
    assert first.growl is not None
    for kind in KINDS:
        recipe = load_recipe(f"mnist-{kind}")
        assert recipe.growl is not None
        assert (recipe.data, recipe.model, recipe.tying) == (first.data, first.model, first.tying)
        decay = 5e-4 if kind.endswith("l2") or kind == "weight-decay" else 0
        bare = kind in ("none", "weight-decay")
        for phase in ("dense", "train", "retrain"):
            wanted = getattr(first, phase).model_copy(update={"weight_decay": decay})
            if bare and phase == "train":  # the dense network is what is tied
                wanted = wanted.model_copy(update={"epochs": 0})
            assert getattr(recipe, phase) == wanted
            assert (wanted.optimizer, wanted.batch_size, wanted.momentum) == ("sgd", 128, 0.9)
        assert recipe.growl.layers == ["fc1"]
        assert recipe.growl.strength == (0 if bare else first.growl.strength)
        flat = kind.startswith("group-lasso")
        assert recipe.growl.sequence.name == ("lasso" if flat else "pld")


def test_vgg_carries_the_papers_settings_for_every_layer() -> None:
    lambda1 = [4.5, 11, 11, 11, 10, 9, 8, 7, 6.5, 5.5, 5.5, 3.5, 3.5]
    for kind, at_8 in [("growl", 8), ("growl-l2", 7.5)]:
        recipe = load_recipe(f"vgg16-cifar10-{kind}")
        assert recipe.growl is not None
        assert list(recipe.growl.overrides) == recipe.growl.layers == VGG_LAYERS
        shapes = {name: override.sequence for name, override in recipe.growl.overrides.items()}
        wanted = {**dict(zip(VGG_LAYERS, lambda1, strict=True)), "conv8": at_8}
        assert {name: shape.lambda1 for name, shape in shapes.items() if shape} == wanted
        assert {name: shape.lambda2 for name, shape in shapes.items() if shape} == {
            **dict.fromkeys(VGG_LAYERS, 0.1),
            "conv10": 0.07,
            "conv11": 0.05,
        }
        assert {shape.p for shape in shapes.values() if shape} == {0.1}
    lasso = {
        "group-lasso": [4.8, 11.4, 11.4, 11.4, 9.6, 9.6, 7.8, 6, 4.8, 4.2, 3.6, 3, 3],
        "group-lasso-l2": [4.6, 10.9, 10.9, 10.9, 9.2, 9.2, 7.5, 5.8, 4.6, 4, 3.5, 2.9, 2.9],
    }
    for kind, strengths in lasso.items():
        recipe = load_recipe(f"vgg16-cifar10-{kind}")
        assert recipe.growl is not None
        assert recipe.growl.sequence.name == "lasso"
        found = {name: override.strength for name, override in recipe.growl.overrides.items()}
        assert found == dict(zip(VGG_LAYERS, strengths, strict=True))
    for kind in KINDS:
        recipe = load_recipe(f"vgg16-cifar10-{kind}")
        phases = [(p.epochs, p.lr, p.gamma, p.step_size) for p in (recipe.dense, recipe.train, recipe.retrain)]
        epochs = 0 if kind == "none" else 150
        assert phases == [(150, 0.01, 0.1, 60), (epochs, 0.01, 0.1, 60), (50, 0.001, 0.1, 20)]
        assert recipe.train.weight_decay == (2e-3 if kind.endswith("l2") or kind == "weight-decay" else 0)
        assert (recipe.tying.preference, recipe.tying.max_ratio, recipe.tying.chain) == (0.8, 0.95, True)


def test_baselines_have_no_penalty() -> None:
    for name in BUILTIN:
        growl = load_recipe(name).growl
        assert (growl is None or growl.strength == 0) == name.endswith(("none", "weight-decay")), name


def models(kind: Any = Recipe) -> set[type[BaseModel]]:
    found = {kind} if isinstance(kind, type) and issubclass(kind, BaseModel) else set()
    inner = [f.annotation for f in kind.model_fields.values()] if found else get_args(kind)
    return found.union(*map(models, inner)) if inner else found


def test_every_field_says_what_it_is() -> None:
    assert len(models()) == 11
    for model in models():
        assert [name for name, f in model.model_fields.items() if not f.description] == [], model.__name__


# ── settings ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_settings_are_yaml_values_by_dotted_field() -> None:
    settings = ["train.epochs=3", "dense.lr=1e-3", "precision=no", "growl=null", "data.options={limit: 5}", "name=a=b"]
    parsed = parse_overrides(settings)
    assert parsed == {
        "train.epochs": 3,
        "dense.lr": 0.001,
        "precision": "no",
        "growl": None,
        "data.options": {"limit": 5},
        "name": "a=b",
    }
    recipe = load_recipe("digits", parsed)
    assert (recipe.train.epochs, recipe.dense.lr, recipe.precision, recipe.growl) == (3, 0.001, "no", None)
    assert (recipe.name, recipe.data.options) == ("a=b", {"limit": 5})
    assert load_recipe("digits").train.epochs != 3  # changes are not kept


def test_a_mapping_replaces_and_a_field_below_a_null_makes_one() -> None:
    recipe = load_recipe("digits", parse_overrides(["growl.sequence={name: pld, lambda1: 2, lambda2: 0.5}"]))
    assert recipe.growl is not None
    assert recipe.growl.sequence.model_dump() == {"name": "pld", "lambda1": 2, "lambda2": 0.5}
    recipe = load_recipe("digits", {"growl": None, "growl.strength": 0.25})
    assert recipe.growl is not None
    assert recipe.growl == Growl(strength=0.25)


@pytest.mark.parametrize("setting", ["train.epochs", "=3", "train..epochs=3", ".=1"])
def test_a_setting_that_is_none(setting: str) -> None:
    with pytest.raises(RecipeError, match="must look like key=value, as in train.epochs=3"):
        parse_overrides([setting])


def test_settings_that_cannot_be_read() -> None:
    with pytest.raises(RecipeError, match="setting 'seed' is given twice"):
        parse_overrides(["seed=1", "seed=2"])
    with pytest.raises(RecipeError, match="setting 'growl.layers', line 1: "):
        parse_overrides(["growl.layers=[fc1"])
    with pytest.raises(RecipeError, match="setting 'train.epochs.x': train.epochs = [0-9]+ has no fields"):
        load_recipe("mnist-growl", {"train.epochs.x": 3})


WRONG = {
    "unknown": ("train.epoch=3", "unknown field train.epoch; did you mean train.epochs?"),
    "unknown at the top": ("grwl=3", "unknown field grwl; did you mean growl?"),
    "like nothing": ("compact.xyz=3", "unknown field compact.xyz; there are full"),
    "in an override": ("growl.overrides={fc1: {skp: true}}", "unknown field growl.overrides.fc1.skp; did you mean "),
    "in the penalty": ("growl.strenght=1", "unknown field growl.strenght; did you mean growl.strength?"),
    "missing": ("data={}", "field data.name is missing"),
    "word": ("train.epochs=many", "train.epochs: must be a valid integer, found 'many'"),
    "decimal": ("train.epochs=3.0", "train.epochs: must be a valid integer, found 3.0"),
    "truth": ("train.epochs=true", "train.epochs: must be a valid integer, found True"),
    "quoted": ("dense.lr='0.1'", "dense.lr: must be a valid number, found '0.1'"),
    "negative": ("growl.strength=-1", "growl.strength: must be greater than or equal to 0, found -1"),
    "not finite": ("dense.lr=.nan", "dense.lr: must be a finite number, found nan"),
    "zero rate": ("dense.lr=0", "dense.lr: must be greater than 0, found 0"),
    "choice": ("device=tpu", "device: must be 'auto', 'cpu' or 'cuda', found 'tpu'"),
    "preference": ("tying.preference=0", "tying.preference: must be greater than 0, found 0"),
    "every": ("growl.every=0", "growl.every: must be a whole number ≥ 1 or 'epoch', found 0"),
    "every word": ("growl.every=step", "growl.every: must be a whole number ≥ 1 or 'epoch', found 'step'"),
    "no batch": ("measure.batch_sizes=[1, 0]", "measure.batch_sizes: must all be ≥ 1, found [1, 0]"),
    "no layers": ("growl.layers=[]", "growl.layers: "),
    "nesterov": ("dense={epochs: 1, lr: 1, momentum: 0, nesterov: true}", "dense: nesterov needs momentum > 0"),
    "sequence": ("growl.sequence={name: pdl}", "growl.sequence.name: must be 'pld', 'lasso', 'oscar', "),
    "its field": ("growl.sequence={name: lasso, p: 1}", "growl.sequence: sequence 'lasso' has no field p"),
    "its range": ("growl.sequence={name: pld, lambda1: 1, lambda2: -1}", "growl.sequence: pld: lambda2 must be ≥ 0"),
    "long": ("device=" + "x" * 500, "device: must be 'auto', 'cpu' or 'cuda', found 'xxxx"),
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


def test_several_wrong_fields_are_counted() -> None:
    with pytest.raises(RecipeError, match="unknown field|must be .* \\(and 2 more\\)"):
        load_recipe("digits", {"train.epochs": -1, "seed": "x", "nothing_at_all": 1})
    with pytest.raises(RecipeError, match="\\(and 2 more\\)$"):
        load_recipe("digits", {"train.epochs": -1, "seed": "x", "nothing_at_all": 1})


def test_a_recipe_cannot_be_changed() -> None:
    recipe: Any = load_recipe("digits")
    with pytest.raises(ValueError, match="frozen"):
        recipe.train.epochs = 5


# ── names and files ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_recipe_that_does_not_exist() -> None:
    with pytest.raises(RecipeError, match=r"there is no recipe 'mnist-grwl'; did you mean 'mnist-growl'\?"):
        load_recipe("mnist-grwl")
    with pytest.raises(RecipeError, match="there is no recipe 'zzzz'; there are digits, .*, or a YAML file"):
        load_recipe("zzzz")
    with pytest.raises(RecipeError, match="there is no recipe file nowhere/mine.yaml"):
        load_recipe("nowhere/mine.yaml")
    with pytest.raises(RecipeError, match="there is no recipe file mine.yml"):
        load_recipe(Path("mine.yml"))


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_a_file_extends_another_field_by_field_and_named_choices_whole(tmp_path: Path) -> None:
    written(tmp_path / "base.yaml", "extends: vgg16-cifar10-growl\ntrain: {epochs: 7}\nmodel: {name: 'mine:f'}\n")
    (tmp_path / "inner").mkdir()
    path = written(
        tmp_path / "inner" / "child.yaml",
        "extends: ../base.yaml\ntrain: {lr: 1e-2}\ngrowl: {sequence: {name: oscar, floor: 0}}\n",
    )
    recipe, parent = load_recipe(path), load_recipe("vgg16-cifar10-growl")
    assert recipe.name == "child"
    assert (recipe.train.epochs, recipe.train.lr, recipe.train.step_size) == (7, 0.01, 60)
    assert recipe.growl is not None
    assert recipe.growl.sequence.model_dump() == {"name": "oscar", "floor": 0}
    assert recipe.growl.form == "paper"
    assert (recipe.model.name, recipe.retrain) == ("mine:f", parent.retrain)


def test_extending_goes_wrong(tmp_path: Path) -> None:
    written(tmp_path / "a.yaml", "extends: b.yaml\n")
    written(tmp_path / "b.yaml", "extends: a.yaml\n")
    with pytest.raises(RecipeError, match="a.yaml extends itself: .*a.yaml → .*b.yaml → .*a.yaml"):
        load_recipe(tmp_path / "a.yaml")
    with pytest.raises(RecipeError, match="extends must be a recipe's name or file, found 3"):
        load_recipe(written(tmp_path / "c.yaml", "extends: 3\n"))
    with pytest.raises(RecipeError, match="there is no recipe 'digit'; did you mean 'digits'"):
        load_recipe(written(tmp_path / "d.yaml", "extends: digit\n"))


BROKEN = {
    "twice": ("name: x\nseed: 1\nseed: 2\n", "line 3: key 'seed' is there twice"),
    "inner twice": ("data: {name: a, name: b}\n", "line 1: key 'name' is there twice"),
    "syntax": ("name: x\ndata: [1, 2\n", "line 3: "),
    "list": ("- name\n", "line 1: must be a mapping of fields to values, found list"),
    "empty": ("", "line 1: must be a mapping of fields to values, found NoneType"),
    "number key": ("name: x\n1: 2\n", "line 2: key 1 must be text"),
    "object": ("name: !!python/object/apply:os.system ['true']\n", "line 1: could not determine a constructor"),
    "two documents": ("name: x\n---\nname: y\n", "line 2: but found another document"),
    "control character": ("name: \x07\n", "no readable YAML"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_file_is_said_with_its_line(case: str, tmp_path: Path) -> None:
    text, words = BROKEN[case]
    path = written(tmp_path / "recipe.yaml", text)
    with pytest.raises(RecipeError) as caught:
        load_recipe(path)
    assert str(path) in str(caught.value)
    assert words in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RecipeError, match="recipe.yaml cannot be read"):
        load_recipe(tmp_path / "recipe.yaml")


def test_plain_values_are_yaml_1_2(tmp_path: Path) -> None:
    text = (
        "extends: digits\ndata: {name: x, options: {a: 1e-3, b: no, c: 1:30, d: 2020-01-01, e: .5, f: 012, g: true}}\n"
    )
    recipe = load_recipe(written(tmp_path / "r.yaml", text))
    wanted = {"a": 0.001, "b": "no", "c": "1:30", "d": "2020-01-01", "e": 0.5, "f": "012", "g": True}
    assert recipe.data.options == wanted
    again = load_recipe(written(tmp_path / "again.yaml", recipe.to_yaml()))
    assert again == recipe
    assert {type(value) for value in again.data.options.values()} == {float, str, bool}
