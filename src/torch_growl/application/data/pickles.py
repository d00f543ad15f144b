"""CIFAR-10's Python batches, read without executing code.

A pickle is a program that calls functions by name. Here the functions that an array needs are replaced by objects that
record their arguments, so not even numpy is called; the array is built from the records. All other names are refused.
"""

from __future__ import annotations

import io
import pickle
import pickletools
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from torch_growl.errors import DataError

__all__ = ["read_python_batch"]

_LARGEST = 64_000_000  # bytes; the official batches have 31 million, written again by Python 3 up to 45
_ARRAY = {
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
}


class _Forbidden(Exception):
    """The pickle names a function that is not in the list."""


class _Noted:
    """Record of a function, or of a call of it: name, arguments, state."""

    __slots__ = ("args", "name", "state")

    def __init__(self, name: str, args: tuple[Any, ...] = ()) -> None:
        self.name = name
        self.args = args
        self.state: Any = None

    def __call__(self, *args: Any) -> _Noted:
        return _Noted(self.name, args)

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _ARRAY:
            return _Noted(name)
        if (module, name) == ("_codecs", "encode"):  # Python 3 writes bytes thus in protocol 2
            return lambda text, encoding: str.encode(text, "latin1")
        raise _Forbidden(f"{module}.{name}")


def read_python_batch(path: Path) -> tuple[Tensor, Tensor]:
    """Read a Python batch: a pickled dict with ``data``, a numpy array of bytes, and ``labels``, a list of integers.

    Args:
        path: the file; at most 64 MB.

    Returns:
        Images, uint8, and labels, int64, in the shapes of the file.

    Raises:
        DataError: the file is too long, cut off, not such a pickle, or names another function than those of an array
            (the message has its name).
    """
    size = path.stat().st_size
    if size > _LARGEST:
        raise DataError(f"{path} is too long: a CIFAR-10 batch has about 31 million bytes, found {size:,}")
    content = path.read_bytes()
    try:
        _check_memo(content)
        batch = _Reader(io.BytesIO(content), encoding="bytes").load()
    except _Forbidden as error:
        raise DataError(f"{path} names {error}, which a CIFAR-10 batch does not need; it was not executed") from error
    except Exception as error:  # a malformed pickle can raise nearly anything
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise DataError(f"{path} is cut off or is no pickle ({reason}); found {size:,} bytes") from error
    try:
        return _array(batch[b"data"]), _labels(batch[b"labels"])
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise DataError(
            f"{path} is no CIFAR-10 batch ({reason}): it needs a byte array and a list of labels"
        ) from error


def _check_memo(content: bytes) -> None:
    """Refuse memo indices beyond the file's length: the unpickler allocates memory for all smaller indices."""
    for opcode, argument, _ in pickletools.genops(content):
        if opcode.name.endswith("PUT") and not 0 <= int(argument or 0) <= len(content):
            raise ValueError(f"memo index {argument}")


def _array(noted: Any) -> Tensor:
    """Build the array of a record, whose state is (version, shape, dtype, whether in Fortran order, bytes)."""
    if not isinstance(noted, _Noted) or noted.name != "_reconstruct":
        raise TypeError(f"data is a {type(noted).__name__}")
    _, shape, dtype, fortran, raw = noted.state
    kind = dtype.args[0].decode() if isinstance(dtype.args[0], bytes) else dtype.args[0]
    if dtype.name != "dtype" or kind != "u1" or fortran or not isinstance(raw, bytes):
        raise ValueError(f"data must be bytes in C order, found type {kind!r}")
    return torch.frombuffer(bytearray(raw), dtype=torch.uint8).reshape(tuple(shape))


def _labels(labels: Any) -> Tensor:
    if not isinstance(labels, list) or not all(type(label) is int for label in labels):
        raise TypeError("labels are not a list of integers")
    return torch.tensor(labels, dtype=torch.int64)
