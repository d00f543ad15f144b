"""Seeded weights of any shape, layout, type and memory, in a layer and in guarded memory.

:func:`attempt` builds a network around one such weight, makes proximal steps, and checks that each was right or refused
in the library's words, and that no byte of memory around the weight was read or written. As a program, ``python -m
tests.support.weight_fuzz FIRST LAST`` does so for a range of seeds and prints how many steps were made and refused.
"""

from __future__ import annotations

import math
import random
import sys
import warnings
from collections import Counter
from typing import Any

import torch
from torch import Tensor, nn

import torch_growl as tg
from tests.support.batteries import LAYERS
from torch_growl.networks.layers import Side, rows_of

GUARD = 64  # elements before and behind every weight
TYPES = [torch.float32] * 8 + [torch.float64] * 3 + [torch.bfloat16, torch.float16]
ODD_TYPES = [torch.int32, torch.int8, torch.bool, torch.complex64, torch.float8_e4m3fn]


class Guarded:
    """A tensor of random values inside a larger storage that is filled with NaN (or 77 for integers)."""

    def __init__(self, shape: tuple[int, ...], strides: tuple[int, ...], dtype: torch.dtype) -> None:
        reach = sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True) if size > 0) + 1
        filling = math.nan if dtype.is_floating_point or dtype.is_complex else 77.0
        whole = torch.full((reach + 2 * GUARD,), filling)
        inside = torch.arange(len(whole)).as_strided(shape, strides, GUARD)
        self.outside = torch.ones(len(whole), dtype=torch.bool)
        self.outside[inside.flatten()] = False
        whole[~self.outside] = torch.randn(int((~self.outside).sum()))
        self.whole = whole.to(dtype)
        self.tensor = self.whole.as_strided(shape, strides, GUARD)
        self.size = self.whole.untyped_storage().nbytes()
        self.before = self.bytes()

    def is_whole(self) -> bool:
        return self.whole.untyped_storage().nbytes() == self.size

    def bytes(self) -> Tensor:
        return self.whole.view(torch.uint8).reshape(len(self.whole), -1)[self.outside].clone()

    def untouched(self) -> bool:
        """Whether all around is as it was, or the memory was given back."""
        return not self.is_whole() or torch.equal(self.bytes(), self.before)


def attempt(seed: int) -> str:
    """Make the steps of one seed.

    Returns:
        "made", "refused when built" or "refused in a step".

    Raises:
        AssertionError: memory outside the weight changed, or a step is not its formula.
        Exception: any that is not a ``GrowlError``: a fault.
    """
    rng = random.Random(seed)
    torch.manual_seed(seed)
    case = rng.choice(LAYERS)
    layer: Any = case.make()
    right = tuple(layer.weight.shape)
    first, second = _guarded(rng, right), _guarded(rng, right)
    side = rng.choice(["input", "output"])
    lam, form = tg.oscar(0.5), rng.choice(["scale-free", "paper"])
    try:
        _place(rng, layer, first)
        growl = tg.GrOWL(nn.Sequential(layer), 1.0, lam, layers=["0"], side=side, form=form, min_rows=1)  # type: ignore[arg-type]
    except tg.GrowlError:
        return "refused when built"
    try:
        _step(growl, layer, first, form)
        _place(rng, layer, second)
        if rng.random() < 0.1:
            _shorten(rng, layer.weight)
        _step(growl, layer, second, form)
    except tg.GrowlError:
        return "refused in a step"
    finally:
        assert first.untouched(), "memory around the first weight was written to"
        assert second.untouched(), "memory around the second weight was written to"
    return "made"


def _place(rng: random.Random, layer: Any, guarded: Guarded) -> None:
    tensor = guarded.tensor
    if rng.random() < 0.5 and tensor.dtype == layer.weight.dtype:
        layer.weight.data = tensor
    else:
        layer.weight = nn.Parameter(tensor, requires_grad=tensor.is_floating_point())


def _shorten(rng: random.Random, weight: Tensor) -> None:
    storage = weight.untyped_storage()
    storage.resize_(rng.choice([0, storage.nbytes() // 2, GUARD * weight.itemsize]))


def _guarded(rng: random.Random, right: tuple[int, ...]) -> Guarded:
    shape = right if rng.random() < 0.7 else _wrong(rng, right)
    order = list(range(len(shape)))
    if rng.random() < 0.4:
        rng.shuffle(order)
    strides, step = [0] * len(shape), rng.choice([1, 1, 1, 2])
    for dim in reversed(order):
        strides[dim] = step
        step *= max(shape[dim], 1) + (rng.choice([0, 1, 3]) if rng.random() < 0.15 else 0)
    if shape and rng.random() < 0.08:
        strides[rng.randrange(len(shape))] = rng.choice([0, 1])  # elements that share memory
    dtype = rng.choice(TYPES) if rng.random() < 0.92 else rng.choice(ODD_TYPES)
    return Guarded(shape, tuple(strides), dtype)


def _wrong(rng: random.Random, right: tuple[int, ...]) -> tuple[int, ...]:
    kind = rng.randrange(6)
    if kind == 0:
        return (math.prod(right),)
    if kind == 1:
        return right[:-1]
    if kind == 2:
        return (*right, rng.choice([1, 2]))
    if kind == 3:
        return right[::-1]
    if kind == 4:
        return (math.prod(right[:2]), *right[2:])
    at = rng.randrange(len(right))
    return tuple(rng.choice([0, 1, 2, 5, 40]) if i == at else size for i, size in enumerate(right))


def _step(growl: tg.GrOWL, layer: Any, guarded: Guarded, form: str) -> None:
    """Make a step, and compare it with the operator on a copy of the rows."""
    rows = _rows(layer, growl.side) if guarded.is_whole() else None
    pruned = growl.state_dict()["dead"]["0"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", tg.GrowlWarning)
        growl.prox_(0.05)
    assert rows is not None, "a step was made on a weight that has no rows"
    rows[pruned] = 0.0  # they stay pruned in the next weight
    norm = rows.norm()
    threshold = 0.05 * growl.sequence(len(rows)) / (math.sqrt(len(rows)) * norm if form == "scale-free" else 1.0)
    wanted = tg.prox_growl(rows, threshold)
    if growl.floored:
        return
    if form == "scale-free":
        wanted *= norm / wanted.norm()
    # in half precision a factor smaller than the type can show is applied later
    tolerance = {torch.float16: 1e-2, torch.bfloat16: 3e-2}.get(layer.weight.dtype, 1e-5)
    torch.testing.assert_close(rows_of(layer, growl.side).detach().double(), wanted, rtol=tolerance, atol=tolerance)


def _rows(layer: nn.Module, side: Side) -> Tensor | None:
    if layer.weight.is_complex():
        return None
    try:
        return rows_of(layer, side).detach().double().clone()
    except Exception:  # no rows: the step must be refused
        return None


if __name__ == "__main__":
    found = Counter(attempt(seed) for seed in range(int(sys.argv[1]), int(sys.argv[2])))
    print(*(f"{outcome}: {number}" for outcome, number in sorted(found.items())), sep=", ")
