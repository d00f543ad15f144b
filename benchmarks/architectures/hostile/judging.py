"""What becomes of a hostile network: compacted, and asked on inputs that the example does not show."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

import torch_growl as tg
from benchmarks.architectures.hostile.networks import Hostile
from torch_growl.errors import first_line
from torch_growl.networks.execution import difference, tensors_in

__all__ = ["Verdict", "judge", "questions"]

TOLERANCE = 1e-4
CALLS = 20


@dataclass(frozen=True)
class Verdict:
    """What became of one network.

    Attributes:
        outcome: ``"cut"``: channels were removed; ``"left"``: only inputs were selected or summed, or nothing;
            ``"refused"``: compact raised an error of its own.
        warned: whether a GrowlWarning says what was not proven.
        differs: the first question that the compact network answers in another way; empty: there is none.
        says: the error or the warning.
    """

    outcome: str
    warned: bool
    differs: str
    says: str

    @property
    def silent(self) -> bool:
        """Whether it is wrong without a word."""
        return bool(self.differs) and not self.warned


def questions(example: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Yield inputs that the example does not show: other batches, sequences, images, values and tokens."""
    generator = torch.Generator().manual_seed(5)

    def drawn(*shape: int) -> Tensor:
        if example.is_floating_point():
            return torch.randn(shape, generator=generator)
        return torch.randint(50, shape, generator=generator)

    rest = tuple(example.shape[1:])
    for batch in (1, 2, 3, 4, 7, 9, 20):
        yield f"batch of {batch}", drawn(batch, *rest)
    if example.is_floating_point():
        yield "large values", 100 * drawn(4, *rest)
        yield "shifted values", 20 + drawn(4, *rest)
    if example.ndim == 2 and example.is_floating_point():
        yield "three dimensions", drawn(4, 6, *rest)
    else:
        for size in (1, 3, 30):
            shape = (size, *rest[1:]) if example.ndim < 4 else (rest[0], size, size)
            yield f"size {size}", drawn(4, *shape)


def judge(hostile: Hostile) -> Verdict:
    """Compact one network and ask both on the same inputs, in eval mode and in train mode, call after call."""
    model = hostile.build()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            small = tg.compact(model, hostile.example())
        except tg.GrowlError as error:
            return Verdict("refused", warned=True, differs="", says=first_line(error))
    said = [str(one.message) for one in caught if issubclass(one.category, tg.GrowlWarning)]
    said = [text for text in said if text.startswith("not proven")]
    cut = any(layer.form == "full" for layer in tg.structure_of(small).layers)
    return Verdict(
        "cut" if cut else "left", bool(said), _first_difference(model, small, hostile.example()), "; ".join(said)
    )


def _first_difference(model: nn.Module, small: nn.Module, example: Tensor) -> str:
    for training in (False, True):
        dense, compact = (copy.deepcopy(network).train(training) for network in (model, small))
        asked = [("the example", example), *questions(example)]
        if not training:
            asked += [(f"call {number}", example) for number in range(len(asked) + 1, CALLS + 1)]
        for name, x in asked:
            wanted = _answer(dense, x)
            if isinstance(wanted, str):
                continue  # the dense network does not take this input
            fault = _fault(_answer(compact, x), wanted)
            if fault:
                return f"{name}{' in train mode' if training else ''}: {fault}"
    return ""


def _answer(network: nn.Module, x: Tensor) -> Any:
    with torch.no_grad():
        try:
            return list(tensors_in(network(x.clone())))
        except Exception as error:
            return f"it raises {type(error).__name__}: {first_line(error)}"


def _fault(found: Any, wanted: list[tuple[str, Tensor]]) -> str:
    if isinstance(found, str):
        return found
    if len(found) != len(wanted):
        return "another number of outputs"
    for (path, value), (_, before) in zip(found, wanted, strict=True):
        here = difference(path, value, before, TOLERANCE)
        if here.fault and before.is_floating_point():
            return here.fault
        if here.fault and (value != before).float().mean() > 0.1:  # else ties of rounding
            return here.fault
    return ""
