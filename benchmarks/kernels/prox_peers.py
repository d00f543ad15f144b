"""Calls the same operator in other packages, each at its best, and the sort alone as a lower bound.

A package that has the whole operator is called as it is. If it has only the isotonic regression, or expects sorted
magnitudes, numpy's (or torch's) sort, clipping, scatter and signs are added, with every way of sorting; the fastest
counts. Inputs are converted to the package's preferred type, and λ to the same type, before the clock starts.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr
from dataclasses import dataclass
from importlib.util import find_spec
from io import StringIO
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

__all__ = ["LEFT_OUT", "PEERS", "SORTS", "Way", "ours", "peers", "sorts"]

Array = NDArray[Any]

PEERS = {  # name → (distribution, module)
    "skglm": ("skglm", "skglm"),
    "scipy": ("scipy", "scipy"),
    "sklearn": ("scikit-learn", "sklearn"),
    "torchsort": ("torchsort", "torchsort"),
    "growl-reg": ("growl-reg", "growl"),
    "ModOpt": ("modopt", "modopt"),
}
LEFT_OUT = {"libslope": "the wheel of sortedl1 exposes whole model fits only, not the prox"}
SORTS = ("np.argsort", "np.sort of packed keys", "torch.sort")

_LOW = np.uint64(0xFFFFFFFF)
_HIGH = np.uint64(32)


@dataclass(frozen=True)
class Way:
    """One way to compute it: ``call(prepare(v))``; ``prepare`` is not timed."""

    prepare: Callable[[Array], Any]
    call: Callable[[Any], Any]


def ours(lam: Array) -> dict[str, Way]:
    """Return the public call on torch tensors."""
    import torch_growl as tg

    weights = torch.from_numpy(lam)
    return {"torch-growl": Way(torch.from_numpy, lambda v: tg.prox_owl(v, weights))}


def sorts(n: int, dtype: type[np.floating[Any]]) -> dict[str, Way]:
    """Return ways to sort |v| in descending order; packed keys (bits and place in one word) are for float32 only."""
    ways = {
        "np.argsort": Way(lambda v: -np.abs(v), np.argsort),
        "torch.sort": Way(lambda v: torch.from_numpy(np.abs(v)), lambda v: torch.sort(v, descending=True)),
    }
    if dtype is np.float32:
        places = np.arange(n, dtype=np.uint64)
        ways["np.sort of packed keys"] = Way(lambda v: _packed(v, places), np.sort)
    return ways


def peers(lam: Array) -> Iterator[tuple[str, str, Way]]:
    """Yield every installed package in every way, with both names; λ is of the vector's type."""
    makers: dict[str, Callable[[Array], dict[str, Way]]] = {
        "skglm": _skglm,
        "scipy": _scipy,
        "sklearn": _sklearn,
        "torchsort": _torchsort,
        "growl-reg": _growl_reg,
        "ModOpt": _modopt,
    }
    for name, maker in makers.items():
        if find_spec(PEERS[name][1]) is not None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                for way, made in maker(lam).items():
                    yield name, way, made


def _skglm(lam: Array) -> dict[str, Way]:
    from skglm.utils.prox_funcs import prox_SLOPE  # clips too

    return _around(lambda magnitudes: prox_SLOPE(magnitudes, lam), lam)


def _scipy(lam: Array) -> dict[str, Way]:
    from scipy.optimize import isotonic_regression

    weights = lam.astype(np.float64)
    return _around(lambda a: np.maximum(isotonic_regression(a - weights, increasing=False).x, 0.0), lam)


def _sklearn(lam: Array) -> dict[str, Way]:
    from sklearn.isotonic import isotonic_regression

    return _around(lambda magnitudes: isotonic_regression(magnitudes - lam, y_min=0, increasing=False), lam)


def _torchsort(lam: Array) -> dict[str, Way]:
    from torchsort.isotonic_cpu import isotonic_l2

    weights = torch.from_numpy(lam)

    def whole(v: torch.Tensor) -> torch.Tensor:
        magnitudes, order = v.abs().sort(descending=True)
        x = isotonic_l2((magnitudes - weights).unsqueeze(0)).squeeze(0).clamp_(min=0)
        return torch.empty_like(v).scatter_(0, order, x).copysign_(v)

    def between(magnitudes: Array) -> Array:
        z = torch.from_numpy(magnitudes - lam).unsqueeze(0)
        x: Array = isotonic_l2(z).squeeze(0).clamp_(min=0).numpy()
        return x

    return {"torch.sort": Way(torch.from_numpy, whole), **_around(between, lam)}


def _growl_reg(lam: Array) -> dict[str, Way]:
    from growl.prox_operator import prox_owl

    weights = lam.astype(np.float64)
    return {"as it is": Way(lambda v: v.astype(np.float64), lambda v: prox_owl(v, weights))}


def _modopt(lam: Array) -> dict[str, Way]:
    with redirect_stderr(StringIO()):  # it says that astropy is not there
        from modopt.opt.proximity import OrderedWeightedL1Norm

    return {"as it is": Way(_itself, OrderedWeightedL1Norm(lam).op)}


def _around(shrink: Callable[[Array], Array], lam: Array) -> dict[str, Way]:
    """Return the whole operator around a function of the sorted magnitudes."""

    def sorted_by_argsort(v: Array) -> Array:
        magnitudes = np.abs(v)
        order = np.argsort(-magnitudes)
        return _back(v, order, shrink(magnitudes[order]))

    places = np.arange(len(lam), dtype=np.uint64)

    def sorted_by_packing(v: Array) -> Array:
        keys = _packed(v, places)
        keys.sort()
        order = (keys & _LOW).view(np.int64)
        magnitudes = (~(keys >> _HIGH).astype(np.uint32) & np.uint32(0x7FFFFFFF)).view(np.float32)
        return _back(v, order, shrink(magnitudes))

    ways = {"np.argsort": Way(_itself, sorted_by_argsort)}
    if lam.dtype == np.float32:
        ways["np.sort of packed keys"] = Way(_itself, sorted_by_packing)
    return ways


def _packed(v: Array, places: Array) -> Array:
    """Pack each float32 into one word: the inverted bits of |v|, so that the largest sorts first, then its place."""
    bits = ~v.view(np.uint32) | np.uint32(0x80000000)
    keys: Array = (bits.astype(np.uint64) << _HIGH) | places
    return keys


def _back(v: Array, order: Array, x: Array) -> Array:
    out = np.empty(len(v), x.dtype)
    out[order] = x
    return np.copysign(out, v, out=out)


def _itself(v: Array) -> Array:
    return v
