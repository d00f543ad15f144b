"""A copy of the state of a network in training, which can be put back in place.

The tensors themselves stay: optimizers, wrappers and compiled code that refer to them go on with the values of the
copy. What a schedule sets in an optimizer's groups, such as the learning rate, stays too: the schedule goes on.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from torch_growl.errors import InvalidValueError

__all__ = ["Checkpoint"]

_SCHEDULED = frozenset(
    ("lr", "initial_lr", "max_lr", "min_lr", "weight_decay", "momentum", "betas", "base_momentum", "max_momentum")
)


class Checkpoint:
    """The weights and buffers of a network, the state of its optimizers, and other tensors.

    Args:
        tensors: for each tensor of the network and beside it a copy, by name.
        optimizers: for each optimizer the state of its parameters, by their place in the groups, and its groups'
            values that no schedule sets.
    """

    def __init__(self, tensors: dict[str, Tensor], optimizers: list[dict[str, Any]]) -> None:
        self._tensors, self._optimizers = tensors, optimizers

    @classmethod
    @torch.no_grad()
    def of(cls, model: nn.Module, optimizers: Sequence[Optimizer], beside: Iterable[Tensor]) -> Checkpoint:
        """Copy a state.

        Args:
            model: the network; its buffers are copied with its weights.
            optimizers: all that train it.
            beside: more tensors, always the same number in the same order.
        """
        return cls(
            {name: tensor.detach().clone() for name, tensor in _tensors(model, beside)},
            [
                {
                    "state": {i: copy.deepcopy(optimizer.state[p]) for i, p in _with_state(optimizer)},
                    "groups": [copy.deepcopy(_own(group)) for group in optimizer.param_groups],
                }
                for optimizer in optimizers
            ],
        )

    @torch.no_grad()
    def put_back(self, model: nn.Module, optimizers: Sequence[Optimizer], beside: Iterable[Tensor]) -> None:
        """Write the state back into the same network and optimizers.

        Raises:
            InvalidValueError: the network has other tensors now, or there are other optimizers; nothing is changed.
        """
        present = dict(_tensors(model, beside))
        if {n: t.shape for n, t in present.items()} != {n: t.shape for n, t in self._tensors.items()}:
            raise InvalidValueError("the network's parameters and buffers are not those of the checkpoint any more")
        if len(optimizers) != len(self._optimizers) or any(
            len(optimizer.param_groups) != len(state["groups"])
            for optimizer, state in zip(optimizers, self._optimizers, strict=True)
        ):
            raise InvalidValueError("the optimizers are not those of the checkpoint any more")
        for name, tensor in present.items():
            tensor.copy_(self._tensors[name])
        for optimizer, state in zip(optimizers, self._optimizers, strict=True):
            for i, p in enumerate(_parameters(optimizer)):
                if i in state["state"]:
                    own = optimizer.state[p]
                    for key in [key for key in own if key not in state["state"][i]]:
                        del own[key]
                    for key, value in state["state"][i].items():
                        own[key] = _written(own.get(key), value)
                else:
                    optimizer.state.pop(p, None)
            for group, values in zip(optimizer.param_groups, state["groups"], strict=True):
                group.update(copy.deepcopy(values))

    def state_dict(self) -> dict[str, Any]:
        """The copy as tensors and plain values."""
        return {"tensors": dict(self._tensors), "optimizers": copy.deepcopy(self._optimizers)}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Checkpoint:
        """Make a checkpoint of what :meth:`state_dict` returned."""
        return cls(
            {name: tensor.detach().clone() for name, tensor in state["tensors"].items()},
            copy.deepcopy(state["optimizers"]),
        )


def _tensors(model: nn.Module, beside: Iterable[Tensor]) -> Iterator[tuple[str, Tensor]]:
    yield from model.named_parameters()
    yield from model.named_buffers()
    yield from ((f"beside.{i}", tensor) for i, tensor in enumerate(beside))


def _parameters(optimizer: Optimizer) -> list[Tensor]:
    return [p for group in optimizer.param_groups for p in group["params"]]


def _with_state(optimizer: Optimizer) -> Iterator[tuple[int, Tensor]]:
    return ((i, p) for i, p in enumerate(_parameters(optimizer)) if p in optimizer.state)


def _own(group: dict[str, Any]) -> dict[str, Any]:
    """The values of a group that the optimizer itself changes, or nothing changes."""
    return {key: value for key, value in group.items() if key != "params" and key not in _SCHEDULED}


def _written(present: Any, value: Any) -> Any:
    """Write a value into the tensor that holds it now, or give a copy of it."""
    if isinstance(value, Tensor) and isinstance(present, Tensor) and present.shape == value.shape:
        if present.dtype == value.dtype:
            return present.copy_(value)
        return value.to(device=present.device, copy=True)
    return copy.deepcopy(value)
