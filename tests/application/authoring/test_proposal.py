"""A recipe for a network of one's own: which layers, why not others, what can be left, how long it trains."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from torch_growl.application.authoring.proposal import propose
from torch_growl.application.recipes import load_recipe
from torch_growl.errors import DataError, GrowlError, InvalidValueError, LayerError, RecipeError

Own = Callable[[str, str], None]

NETS = """
import torch
from torch import nn

def build():
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 12, 3, padding=1), nn.ReLU(), nn.Flatten(),
        nn.Linear(192, 20), nn.ReLU(), nn.Linear(20, 3),
    )

def trained():
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 3))
    with torch.no_grad():
        for layer, size in ((network[1], 3), (network[3], 3)):
            layer.weight.zero_(), layer.bias.zero_()
            layer.weight[:size, :size] = 10 * torch.eye(3)
    return network

def attentive():
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 24), nn.LayerNorm(24), nn.GELU(), nn.Linear(24, 3))

def without_rows():
    return nn.Sequential(nn.Flatten(), nn.BatchNorm1d(16), nn.AdaptiveAvgPool1d(3))

def smallest():
    return nn.Sequential(nn.Flatten(), nn.AdaptiveAvgPool1d(4), nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 3))
"""
DATA = """
import torch
from torch.utils.data import TensorDataset

def load():
    x = torch.rand(400, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    y = x.flatten(1)[:, :3].argmax(1)
    return {"train": TensorDataset(x[:300], y[:300]), "test": TensorDataset(x[300:], y[300:])}

class Endless(torch.utils.data.IterableDataset):
    def __iter__(self):
        while True:
            yield torch.rand(1, 4, 4), 1

def endless():
    return {"train": Endless(), "validation": load()["test"], "test": load()["test"]}

def numbers():
    x = torch.rand(400, 1, 4, 4)
    return {"train": TensorDataset(x[:300], x[:300, 0, 0, :3]), "test": TensorDataset(x[300:], x[300:, 0, 0, :3])}
"""


@pytest.fixture
def own(own_module: Own) -> None:
    own_module("ownnets", NETS)
    own_module("owndata", DATA)


@pytest.mark.usefixtures("own")
def test_layers_and_reasons_limits_and_lengths_are_in_the_recipe(tmp_path: Path) -> None:
    found = propose("ownnets:build", "owndata:load")
    path = tmp_path / "own.yaml"
    path.write_text(found.text, encoding="utf-8")
    recipe = load_recipe(path)
    assert recipe.growl is not None
    assert (recipe.name, recipe.target, recipe.growl.layers) == ("ownnets", {"macs": 0.5}, ["2", "5", "7"])
    assert (recipe.dense.epochs, recipe.dense.optimizer, recipe.dense.batch_size) == (61, "sgd", 8)
    assert recipe.train.epochs * (270 // 8) >= 2000  # optimizer steps
    text = " ".join(line.strip("# ") for line in found.text.splitlines())
    assert "0 (Conv2d, " in text
    assert "left as it is: left out by default: the network's first convolution" in text
    assert "2 (Conv2d, " in text
    for of in ("weights", "macs", "bytes", "file_bytes"):
        (reach,) = (each for each in found.diagnosis.feasibility.measures if each.of == of)
        assert f"{reach.least:,.0f}" in text
    assert text.count("self-check passed") == 2
    effects = {effect.layer: effect.exponent for effect in found.diagnosis.effects}
    assert f"{effects['5']:.2g} in 5" in text


@pytest.mark.usefixtures("own")
def test_a_trained_classifier_is_seen_and_not_trained_before(tmp_path: Path) -> None:
    found, fresh = (propose(f"ownnets:{name}", "owndata:load") for name in ("trained", "attentive"))
    assert (found.trained, fresh.trained) == (True, False)
    assert "dense:" in found.text
    said = {False: "epochs: 61", True: "epochs: 0"}
    for each in (found, fresh):
        dense = each.text.split("\ndense:")[1].split("\ntrain:")[0]
        assert said[each.trained] in dense
    assert propose("ownnets:trained", "owndata:load", trained=False).trained is False


@pytest.mark.usefixtures("own")
def test_networks_with_normalised_layers_get_adamw_and_its_exponent() -> None:
    found = propose("ownnets:attentive", "owndata:load")
    assert "optimizer: adamw" in found.text
    assert all(effect.exponent > 0 for effect in found.diagnosis.effects)


@pytest.mark.usefixtures("own")
def test_what_cannot_be_used_is_an_error_that_says_why() -> None:
    with pytest.raises(LayerError, match="no layer to work on .*type has no registered rows view"):
        propose("ownnets:without_rows", "owndata:load")
    with pytest.raises(InvalidValueError, match="no layer of 'ownnets:smallest' can be made smaller: with the fewest"):
        propose("ownnets:smallest", "owndata:load")
    with pytest.raises(DataError, match="task 'regression'"):
        propose("ownnets:build", "owndata:numbers")
    with pytest.raises(RecipeError, match=r"model.name = 'ownnets:nothing'"):
        propose("ownnets:nothing", "owndata:load")
    with pytest.raises(GrowlError, match="task"):
        propose("ownnets:build", "owndata:load", task="clasification")


@pytest.mark.usefixtures("own")
def test_another_task_has_its_loss_and_metric() -> None:
    found = propose("ownnets:build", "owndata:numbers", task="regression")
    assert "\ntask: regression\n" in found.text
    assert not found.trained
    assert "-inf" not in found.text


@pytest.mark.usefixtures("own")
def test_data_without_an_end_get_the_steps_of_an_epoch(tmp_path: Path) -> None:
    found = propose("ownnets:build", "owndata:endless")
    (tmp_path / "own.yaml").write_text(found.text, encoding="utf-8")
    assert load_recipe(tmp_path / "own.yaml").data.steps_per_epoch == 200
    assert "10 epochs of 200 steps are 2,000 steps" in found.text
