"""Tying held while plain weights train: after every optimizer step the rows of a group are set to their mean.

This is the paper's stage (ii) as it is written: a step of every row, then the average of the group. The weights stay
plain parameters of their own shapes, so optimizers, checkpoints, wrappers and compiled code are those of an untied
network. :func:`torch_growl.tie_` trains one value for each group instead, which takes less memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from torch_growl.errors import InvalidValueError, LayerError
from torch_growl.networks.layers import clean_name, inspect_layers, plain_model, rows_of, write_rows_
from torch_growl.networks.optimizers import is_schedule_free
from torch_growl.networks.tying.row_groups import RowGroups
from torch_growl.networks.tying.tying import LayerTying, Tying

__all__ = ["HeldTying"]


class HeldTying:
    """A tying that is enforced after every step of some optimizers.

    Args:
        model: the network; its rows are tied at once, in place.
        tying: the tying.
        optimizers: torch optimizers that train the network.

    Raises:
        InvalidValueError: an optimizer is schedule-free: it trains several sequences of weights.
        LayerError: the network lacks a layer, or the layer has other rows; nothing is changed then.
    """

    def __init__(self, model: nn.Module, tying: Tying, optimizers: Sequence[Optimizer]) -> None:
        for optimizer in optimizers:
            if is_schedule_free(optimizer):
                raise InvalidValueError(
                    f"{type(optimizer).__name__} trains several sequences of weights, so rows cannot be tied while it "
                    "trains; tie them afterwards with tg.find_tying and tg.tie_"
                )
        self.tying = tying
        self._model = model
        self._layers = [_Groups(model, layer) for layer in tying]
        self.project_(model)
        self._handles: list[RemovableHandle] = [each.register_step_post_hook(self._after) for each in optimizers]

    def _after(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        self.project_(self._model)

    @torch.no_grad()
    def project_(self, model: nn.Module) -> None:
        """Set the rows of every group to their mean, and pruned rows to zero, in this or an equal network."""
        modules = {clean_name(name): module for name, module in plain_model(model).named_modules()}
        for layer in self._layers:
            layer.project_(modules[layer.name])

    def remove(self) -> None:
        """Stop; the rows stay as they are."""
        for handle in self._handles:
            handle.remove()


class _Groups:
    """The groups of several rows and the pruned rows of one layer."""

    def __init__(self, model: nn.Module, layer: LayerTying) -> None:
        infos = {info.name: info for info in inspect_layers(model, layer.side)}
        found = infos.get(layer.name)
        if found is None or not found.eligible or found.n_rows != layer.partition.n_rows:
            raise LayerError(f"layer {layer.name!r} is not one of {layer.partition.n_rows} rows; the tying has them")
        self.name, self.side = layer.name, layer.side
        self._groups = RowGroups(layer.partition)
        self._pruned = layer.partition.tensor().lt(0)

    def project_(self, module: nn.Module) -> None:
        """Tie the rows of the layer; rows that are equal already stay as they are."""
        rows = rows_of(module, self.side).clone()
        members = self._groups.members.to(rows.device)
        rows[members] = self._groups.means(rows[members])
        rows[self._pruned.to(rows.device)] = 0
        write_rows_(module, rows, self.side)
