"""Networks by name: the built-in ones and users' own, and what is refused."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import torch

from torch_growl.application.models import registry
from torch_growl.application.models.registry import build_network
from torch_growl.application.recipes.entry_points import load_object
from torch_growl.errors import InvalidTypeError, InvalidValueError, RecipeError

INPUTS: dict[str, tuple[dict[str, Any], tuple[int, ...]]] = {
    "mlp": ({"sizes": [7, 5, 10]}, (7,)),
    "mnist_mlp": ({}, (784,)),
    "digits_mlp": ({}, (64,)),
    "lenet5": ({"channels": [4, 6], "hidden": 20}, (1, 28, 28)),
    "vgg16": ({"width": 0.05}, (3, 32, 32)),
    "resnet_cifar": ({"depth": 8, "width": 0.5}, (3, 32, 32)),
}


def test_every_built_in_network_is_in_the_table() -> None:
    assert set(INPUTS) == set(registry.BUILTIN)


@pytest.mark.parametrize("name", INPUTS)
def test_a_network_gives_ten_finite_scores_and_depends_on_the_seed_alone(name: str) -> None:
    options, shape = INPUTS[name]
    built = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        built.append(build_network(name, **options).eval())
    scores = [network(torch.rand(2, *shape, generator=torch.Generator().manual_seed(0))) for network in built]
    assert scores[0].shape == (2, 10)
    assert torch.isfinite(scores[0]).all()
    assert torch.equal(scores[0], scores[1])
    assert not torch.equal(scores[0], scores[2])


OUT_OF_RANGE: dict[str, tuple[str, dict[str, Any], str]] = {
    "one size": ("mlp", {"sizes": [3]}, "sizes must be two or more integers ≥ 1, got \\[3\\]"),
    "no width": ("mlp", {"sizes": [3, 0, 2]}, "sizes must be two or more integers"),
    "init": ("mlp", {"sizes": [3, 2], "init": "caffe"}, "init must be 'torch' or 'paper', got 'caffe'"),
    "text": ("mlp", {"sizes": "784"}, "sizes must be two or more integers"),
    "one channel": ("lenet5", {"channels": [20]}, "channels must be the widths of two convolutions, got \\[20\\]"),
    "hidden": ("lenet5", {"hidden": 0}, "hidden must be an integer ≥ 1, got 0"),
    "classes": ("vgg16", {"n_classes": 2.0}, "n_classes must be an integer ≥ 1, got 2.0"),
    "vgg width": ("vgg16", {"width": 0}, "width must be finite and > 0, got 0"),
    "resnet width": ("resnet_cifar", {"width": -1}, "width must be finite and > 0, got -1"),
    "depth": ("resnet_cifar", {"depth": 18}, "depth must be 6 n \\+ 2 .*, got 18"),
}


@pytest.mark.parametrize("case", OUT_OF_RANGE)
def test_options_out_of_range_are_refused(case: str) -> None:
    name, options, words = OUT_OF_RANGE[case]
    with pytest.raises((InvalidValueError, InvalidTypeError), match=words):
        build_network(name, **options)


def test_the_error_of_an_unknown_network_has_the_known_ones() -> None:
    with pytest.raises(RecipeError, match=r"model.name = 'vgg': no such network; did you mean 'vgg16'\?"):
        build_network("vgg")
    with pytest.raises(RecipeError, match="there are mlp, mnist_mlp, .* or package.module:function"):
        build_network("nothing_like_it")


def test_options_a_network_does_not_take_are_refused() -> None:
    with pytest.raises(RecipeError, match="model.options: 'vgg16' takes .*width.* but got an unexpected .*'depth'"):
        build_network("vgg16", depth=3)
    with pytest.raises(RecipeError, match="model.options: 'mlp' takes .* missing a required argument: 'sizes'"):
        build_network("mlp")


def test_a_users_network_in_the_current_folder(own_module: Any) -> None:
    own_module(
        "own_networks",
        "from torch import nn\n"
        "class Holder:\n"
        "    @staticmethod\n"
        "    def net(width=3): return nn.Linear(2, width)\n"
        "def wrong(): return 5\n"
        "number = 5\n",
    )
    before = list(sys.path)
    network: Any = build_network("own_networks:Holder.net", width=4)
    assert network.weight.shape == (4, 2)
    assert sys.path == before
    with pytest.raises(RecipeError, match="'own_networks:wrong' must return a torch.nn.Module, got int"):
        build_network("own_networks:wrong")
    with pytest.raises(RecipeError, match="model.options: 'own_networks:wrong' takes \\(\\), but got an unexpected"):
        build_network("own_networks:wrong", width=4)
    with pytest.raises(RecipeError, match="module 'own_networks' has no 'nothing'"):
        load_object("own_networks:nothing", field="model.name")
    with pytest.raises(RecipeError, match="must be a function or a class, got int"):
        load_object("own_networks:number", field="model.name")
