"""Every layer with parameters is listed, eligible or with its reason."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from torch_growl.networks.layers.inspection import inspect_layers


def test_every_parametric_layer_is_listed_with_rows_or_a_reason() -> None:
    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(3))
            self.a = nn.Linear(3, 4)
            self.frozen = nn.Linear(4, 4).requires_grad_(False)
            self.norm = nn.LayerNorm(4)
            self.embedding = nn.Embedding(10, 4)
            self.head = nn.Linear(4, 10, bias=False)
            self.head.weight = self.embedding.weight
            self.lazy = nn.LazyLinear(3)
            self.recurrent = nn.LSTM(4, 4)
            self.attention = nn.MultiheadAttention(4, 2)
            self.normed = nn.utils.parametrizations.weight_norm(nn.Linear(4, 4))

    infos = {info.name: info for info in inspect_layers(Mixed())}
    assert {name for name, info in infos.items() if info.eligible} == {"a"}
    assert (infos["a"].n_rows, infos["a"].row_length) == (3, 4)
    expected = {
        "": "no registered rows view",
        "frozen": "frozen",
        "norm": "no registered rows view",
        "head": "weight is shared: embedding.weight = head.weight",
        "lazy": "no registered rows view",
        "recurrent": "no registered rows view",
        "attention": "no registered rows view",
        "attention.out_proj": "no registered rows view",
        "normed": "parametrized",
    }
    for name, words in expected.items():
        assert words in infos[name].reason, name


def _pruned() -> nn.Module:
    layer = nn.Linear(3, 4)
    prune.random_unstructured(layer, "weight", amount=0.5)
    return layer


def _with(weight: torch.Tensor) -> nn.Module:
    layer = nn.Linear(3, 4)
    layer.weight = nn.Parameter(weight, requires_grad=False)
    return layer


def _uninitialised() -> nn.Module:
    layer = nn.Linear(3, 4)
    layer.weight = nn.UninitializedParameter()
    return layer


UNUSABLE = {
    "has no parameter named weight (weight_norm or a replaced parameter?)": _pruned,
    "not initialised yet (run the network once first)": _uninitialised,
    "weight is torch.int8, not floating point": lambda: _with(torch.ones(4, 3, dtype=torch.int8)),
    "weight is empty": lambda: _with(torch.ones(0, 3)).requires_grad_(True),
}


@pytest.mark.parametrize("reason", UNUSABLE)
def test_a_weight_without_usable_rows_is_named_with_its_reason(reason: str) -> None:
    (info,) = inspect_layers(nn.Sequential(UNUSABLE[reason]()))
    assert (info.name, info.reason, info.eligible, info.n_rows, info.row_length) == ("0", reason, False, 0, 0)


def test_layers_inside_wrappers_have_their_plain_names() -> None:
    nested = nn.Sequential(torch.compile(nn.Linear(3, 4)), nn.Linear(4, 2))
    assert [info.name for info in inspect_layers(nested)] == ["0", "1"]


def test_rows_of_the_output_side_are_counted() -> None:
    (info,) = inspect_layers(nn.Conv2d(2, 4, 3), "output")
    assert (info.n_rows, info.row_length) == (4, 18)
