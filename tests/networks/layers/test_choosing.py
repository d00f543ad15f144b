"""The choice of layers: the default one, names and patterns, names that are refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from torch import nn

import torch_growl as tg
from torch_growl.errors import GrowlWarning, LayerError
from torch_growl.networks.layers.choosing import choose_layers, default_layers
from torch_growl.networks.layers.inspection import inspect_layers


def net() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Conv2d(4, 8, 3),
        nn.Flatten(),
        nn.Linear(8, 5),
        nn.Linear(5, 2),
    )


def test_by_default_the_first_convolution_and_the_last_layer_stay_out() -> None:
    model = net()
    assert [info.name for info in choose_layers(model, None)] == ["3", "5"]
    assert default_layers(inspect_layers(model)) == {
        "0": "the network's first convolution",
        "6": "the network's last layer",
    }


def test_a_frozen_layer_is_not_left_out_because_it_is_first_or_last() -> None:
    model = net()
    model[0].requires_grad_(False)
    model[6].requires_grad_(False)
    assert default_layers(inspect_layers(model)) == {}
    assert [info.name for info in choose_layers(model, None)] == ["3", "5"]


def test_a_first_linear_stays_in() -> None:
    mlp = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    assert [info.name for info in choose_layers(mlp, None)] == ["0"]


def test_names_and_patterns_choose_layers_in_network_order() -> None:
    assert [info.name for info in choose_layers(net(), ["6", "0"])] == ["0", "6"]
    assert [info.name for info in choose_layers(net(), ["*"])] == ["0", "3", "5", "6"]
    assert [info.name for info in choose_layers(net(), "5")] == ["5"]


def test_unknown_and_ineligible_names_are_errors_that_say_what_to_do() -> None:
    model = nn.Sequential()
    model.add_module("fc1", nn.Linear(3, 3))
    model.add_module("bn1", nn.BatchNorm1d(3))
    with pytest.raises(LayerError, match=r"unknown layer 'fc11'; did you mean 'fc1'\?"):
        choose_layers(model, ["fc11"])
    with pytest.raises(LayerError, match="unknown layer 'zzz'; the network has fc1, bn1"):
        choose_layers(model, ["zzz"])
    with pytest.raises(
        LayerError, match=r"layer 'bn1' \(BatchNorm1d\) is not eligible: type has no registered rows view"
    ):
        choose_layers(model, ["bn1"])
    with pytest.raises(LayerError, match="no layer that matches 'bn\\*' is eligible"):
        choose_layers(model, ["bn*"])
    with pytest.raises(LayerError, match="layers is empty"):
        choose_layers(model, [])
    with pytest.raises(LayerError, match="no layer to work on .*fc1: the network's last layer"):
        choose_layers(model, None)
    with pytest.raises(LayerError, match="side must be 'input' or 'output'"):
        choose_layers(model, None, "both")


class Adapted(nn.Module):
    """A frozen layer with a LoRA adapter, named as peft names its parts."""

    def __init__(self) -> None:
        super().__init__()
        self.base_layer = nn.Linear(12, 12).requires_grad_(False)
        self.lora_A, self.lora_B = (nn.ModuleDict({"default": nn.Linear(*n, bias=False)}) for n in ((12, 4), (4, 12)))


@pytest.mark.parametrize("function", [tg.GrOWL, tg.find_tying])
def test_lora_adapters_alone_are_warned_of(function: Callable[..., object]) -> None:
    model = nn.Sequential(Adapted(), Adapted(), nn.Linear(12, 3))
    message = r"only LoRA adapters are chosen \('0.lora_A.default', …\).*merge_and_unload"
    with pytest.warns(GrowlWarning, match=message) as w:
        function(model)
    assert w[0].filename == __file__
    model[0].base_layer.requires_grad_(True)
    function(model)  # no warning: warnings are errors in the tests
