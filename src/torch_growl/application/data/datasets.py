"""Datasets by name: the built-in ones, and users' own by ``package.module:function``. Nothing is downloaded."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils.data import Dataset, IterableDataset, Subset, TensorDataset

from torch_growl.application.data.cifar10 import load_cifar10
from torch_growl.application.data.digits import load_digits_splits
from torch_growl.application.data.mnist import load_mnist
from torch_growl.application.data.splits import Splits, TensorSplit
from torch_growl.application.recipes import check_options, load_object
from torch_growl.application.tasks import read_batch
from torch_growl.arguments import did_you_mean
from torch_growl.errors import DataError, RecipeError

__all__ = ["Splits", "TensorSplit", "load_cifar10", "load_data", "load_digits_splits", "load_mnist"]

_FROM_FILES: dict[str, Callable[..., Splits]] = {"mnist": load_mnist, "cifar10": load_cifar10}
_NAMES = ("digits", *_FROM_FILES)
_PARTS = ("train", "validation", "test")
_WANTED = (
    "a Splits, a dict with 'train', 'test' and optionally 'validation' and 'collate', or a tuple (train[, validation], "
    "test)"
)


def load_data(spec: str, data_dir: str | Path | None = None, seed: int = 0, /, **options: Any) -> Splits:
    """Load a dataset by name.

    The first three arguments are positional, so that an option may have any name.

    Args:
        spec: ``digits``, ``mnist``, ``cifar10``, or ``package.module:function``. The function is called with the
            options, and with ``data_dir`` and ``seed`` if it has parameters of these names. It must return a
            :class:`Splits`, a dict of datasets ``train``, ``test`` and optionally ``validation``, or a tuple
            (train, test) or (train, validation, test). Without a validation set, a tenth of the training set, drawn
            with ``seed``, is used for validation. A dict may also have ``collate``, which makes a batch of a list of
            examples.
        data_dir: the folder with the files of MNIST or CIFAR-10; not needed for digits.
        seed: seed of the validation set that is drawn for a user's dataset; built-in splits do not depend on it.
        options: passed on; see :func:`load_digits_splits`, :func:`load_mnist`, :func:`load_cifar10`.

    Raises:
        DataError: files are missing or malformed, no folder is given, or a function returned something else.
        RecipeError: the name is unknown, cannot be imported, or does not take the options.
    """
    if spec == "digits":
        check_options(load_digits_splits, options, spec=spec, field="data.options")
        return load_digits_splits(**options)
    if spec in _FROM_FILES:
        load = _FROM_FILES[spec]
        check_options(load, options, spec=spec, field="data.options", positional=("",))
        return load(_folder(spec, data_dir), **options)
    if ":" not in spec:
        hint = did_you_mean(spec, _NAMES, otherwise="there are {known}, or package.module:function")
        raise RecipeError(f"data.name = {spec!r}: no such dataset; {hint}")
    function = load_object(spec, field="data.name")
    given = {**_accepted(function, {"data_dir": data_dir, "seed": seed}), **options}
    check_options(function, given, spec=spec, field="data.options")
    return _as_splits(function(**given), spec, seed)


def _folder(name: str, data_dir: str | Path | None) -> Path:
    if data_dir is None:
        raise DataError(f"dataset {name!r} needs the folder with its files: --data DIR (data_dir in Python)")
    if not Path(data_dir).is_dir():
        raise DataError(f"dataset {name!r}: {data_dir} is not a folder; give the one with its files: --data DIR")
    return Path(data_dir)


def _accepted(function: Callable[..., Any], offered: Mapping[str, Any]) -> dict[str, Any]:
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return {}
    return {name: value for name, value in offered.items() if name in parameters}


# ── results of users' functions ─────────────────────────────────────────────────────────────────────────────────────


def _as_splits(found: Any, spec: str, seed: int) -> Splits:
    if isinstance(found, Splits):
        for part in _PARTS:
            _check(getattr(found, part), part, spec)
        return found
    if isinstance(found, tuple) and len(found) in (2, 3):
        found = dict(zip(_PARTS if len(found) == 3 else ("train", "test"), found, strict=True))
    if not isinstance(found, Mapping) or not {"train", "test"} <= set(found) <= {*_PARTS, "collate"}:
        got = f"a dict with {sorted(map(str, found))}" if isinstance(found, Mapping) else f"a {type(found).__name__}"
        raise DataError(f"data.name = {spec!r} must return {_WANTED}; it returned {got}")
    collate = found.get("collate")
    if collate is not None and not callable(collate):
        raise DataError(f"data.name = {spec!r}: 'collate' must be a function, got {type(collate).__name__}")
    parts = {part: _quick(_check(found[part], part, spec), collate) for part in _PARTS if part in found}
    if "validation" not in parts:
        parts["train"], parts["validation"] = _tenth_held_out(parts["train"], spec, seed)
    example = read_batch(_first(parts["train"]))
    shape = next(tuple(leaf.shape) for leaf in pytree.tree_leaves(example.inputs) if isinstance(leaf, Tensor))
    labels = example.labels
    classes = isinstance(parts["train"], TensorSplit) and not labels.ndim and labels.dtype == torch.int64
    n_classes = int(parts["train"].y.max()) + 1 if classes else None
    return Splits(spec, parts["train"], parts["validation"], parts["test"], shape, n_classes, collate=collate)


def _check(dataset: Any, part: str, spec: str) -> Dataset[Any]:
    where = f"data.name = {spec!r}: its {part} set"
    if isinstance(dataset, IterableDataset):
        if next(iter(dataset), None) is None:
            raise DataError(f"{where} is empty")
    elif not hasattr(dataset, "__len__") or not hasattr(dataset, "__getitem__"):
        raise DataError(
            f"{where} must be a dataset with a length and an index, or an IterableDataset, got {type(dataset).__name__}"
        )
    elif not len(dataset):
        raise DataError(f"{where} is empty")
    read_batch(_first(dataset), f"{where}: an example")
    return cast("Dataset[Any]", dataset)


def _first(dataset: Any) -> Any:
    return next(iter(dataset)) if isinstance(dataset, IterableDataset) else dataset[0]


def _quick(dataset: Any, collate: Any) -> Any:
    """Turn a plain TensorDataset of two tensors into a TensorSplit, which is read in batches."""
    if type(dataset) is TensorDataset and len(dataset.tensors) == 2 and collate is None:
        return TensorSplit(*dataset.tensors)
    return dataset


def _tenth_held_out(train: Any, spec: str, seed: int) -> tuple[Any, Any]:
    if isinstance(train, IterableDataset):
        raise DataError(f"data.name = {spec!r}: an iterable train set needs a 'validation' set beside it")
    count = len(train) // 10
    if not count:
        raise DataError(f"data.name = {spec!r}: {len(train)} training examples are too few to hold out a tenth")
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(seed))
    rest, held_out = order[count:].sort().values, order[:count].sort().values
    if isinstance(train, TensorSplit):
        x, y = train.x, train.y
        return TensorSplit(x[rest], y[rest], train.transform), TensorSplit(x[held_out], y[held_out], train.transform)
    return Subset(train, rest.tolist()), Subset(train, held_out.tolist())
