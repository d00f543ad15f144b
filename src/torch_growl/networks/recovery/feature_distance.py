"""The distance of a network's features from those of a teacher, in the parts whose outputs have the same shape."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.hooks import RemovableHandle

from torch_growl.errors import InvalidValueError
from torch_growl.networks.compaction import recorded
from torch_growl.networks.layers import plain_model, registered_kind, training_hook

__all__ = ["FeatureDistance"]

Found = dict[str, Tensor | None]


class FeatureDistance:
    """Compares the outputs of a network's parts, its children, with those of the parts of the same names in a teacher.

    Of a network with a single child, the child's are its parts. Of an output with several tensors the first counts,
    such as transformers' last hidden state. Parts without such a tensor, or with another shape in the two networks, and
    the part that is called last, whose outputs are the network's, are left out. Of a compact network's layers, the
    teacher's channels that were kept are compared. Every example's features are scaled to length 1, so that parts count
    alike.

    Args:
        student: the network that is trained.
        teacher: the network whose features are wanted; it is to be called on the same inputs.

    Raises:
        InvalidValueError: the networks have no two parts of the same name.
    """

    def __init__(self, student: nn.Module, teacher: nn.Module) -> None:
        mine, theirs = _parts(plain_model(student)), _parts(plain_model(teacher))
        names = [name for name in mine if name in theirs]
        if len(names) < 2:
            raise InvalidValueError(
                "the network and its teacher have no two parts (children) of the same names, whose features could be "
                "compared"
            )
        structure = recorded(plain_model(student))
        kept = {cut.name: cut.kept for cut in (structure.layers if structure else ()) if cut.kept is not None}
        self._found: tuple[Found, Found] = ({}, {})  # in the order of calls
        self._handles: list[RemovableHandle] = []
        for name in names:
            keep = _keeping(self._found[0], name)
            self._handles.append(mine[name].register_forward_hook(keep))
            dim = registered_kind(theirs[name]).channel_dim if name in kept else 0
            keep = _keeping(self._found[1], name, dim, kept.get(name))
            self._handles.append(theirs[name].register_forward_hook(keep))

    def value(self) -> Tensor:
        """The mean squared distance in the last calls of both networks; 0 ≤ value ≤ 4.

        Raises:
            InvalidValueError: no part has outputs of the same shape in both networks.
        """
        mine, theirs = self._found
        terms = [
            (_directions(own) - _directions(wanted)).square().sum(1).mean()
            for name, own in list(mine.items())[:-1]
            if own is not None and (wanted := theirs.get(name)) is not None and own.shape == wanted.shape
        ]
        mine.clear()
        theirs.clear()
        if not terms:
            raise InvalidValueError("no part of the network has features of the same shape as its teacher's")
        return torch.stack(terms).mean()

    def remove(self) -> None:
        """Take the hooks off both networks."""
        for handle in self._handles:
            handle.remove()


def _parts(network: nn.Module) -> dict[str, nn.Module]:
    """The children by their names in the network; of a single child, its children."""
    found, prefix = dict(network.named_children()), ""
    while len(found) == 1:
        ((name, only),) = found.items()
        prefix, found = f"{prefix}{name}.", dict(only.named_children())
    return {f"{prefix}{name}": part for name, part in found.items()}


def _keeping(
    found: Found, name: str, dim: int = 0, kept: Sequence[int] | None = None
) -> Callable[[nn.Module, Any, Any], None]:
    def keep(module: nn.Module, args: Any, output: Any) -> None:
        found.pop(name, None)  # a part that is called again is the last one
        values = output.values() if isinstance(output, Mapping) else output
        first = next(iter(values), None) if isinstance(values, Iterable) and not isinstance(values, Tensor) else values
        found[name] = None
        if isinstance(first, Tensor) and first.is_floating_point() and first.ndim > 1:
            index = None if kept is None else torch.tensor(list(kept), device=first.device)
            found[name] = first if index is None else first.index_select(dim, index)

    return training_hook(keep)


def _directions(features: Tensor) -> Tensor:
    return F.normalize(features.flatten(1).float(), dim=1)
