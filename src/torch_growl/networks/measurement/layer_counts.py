"""The weights and multiply-adds of every layer, of the dense and of the compact network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from torch_growl.networks.compaction import FedLayer
from torch_growl.networks.execution import batch_of, split_inputs
from torch_growl.networks.layers import check_network, kind_of, plain_copy
from torch_growl.networks.measurement.counts import layer_macs

__all__ = ["LayerCost", "layer_costs"]


@dataclass(frozen=True)
class LayerCost:
    """The cost of one layer.

    Attributes:
        name: its dotted name; of a compact network, its name in the dense one.
        type_name: the name of its type.
        weights: elements of its own parameters; those that an earlier layer has too are counted there.
        macs: multiply-adds of one example, without the additions that sum tied inputs.
    """

    name: str
    type_name: str
    weights: int
    macs: int


def layer_costs(model: nn.Module, example_inputs: Any) -> Mapping[str, LayerCost]:
    """Count the weights and multiply-adds of every layer of a registered type, by its name in the dense network.

    Normalisations and other parameters, and products outside of layers such as those of attention, are not in it: they
    are the difference to :func:`torch_growl.measure`.

    Args:
        model: dense or compact; not modified, because a copy is run.
        example_inputs: as for :func:`torch_growl.measure`.

    Raises:
        InvalidValueError: the network cannot be run on them.
    """
    network = plain_copy(check_network("model", model)).eval()
    macs, *_ = layer_macs(network, batch_of(split_inputs(example_inputs), 1))
    seen: set[int] = set()
    found: dict[str, LayerCost] = {}
    for name, module in network.named_modules():
        if kind_of(module) is None:
            continue
        own = {id(p): p for p in module.parameters(recurse=False) if id(p) not in seen}
        seen |= set(own)
        dense = _name_in_dense(network, name)
        found[dense] = LayerCost(dense, type(module).__name__, sum(p.numel() for p in own.values()), macs.get(name, 0))
    return found


def _name_in_dense(network: nn.Module, name: str) -> str:
    """The name of a layer in the dense network: in a compact one it may lie in a module that selects its inputs."""
    while "." in name and isinstance(network.get_submodule(outer := name.rpartition(".")[0]), FedLayer):
        name = outer
    return name
