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
_MOST_OPERATIONS = 200_000  # the official batches have about 40,000
_NOT_NEEDED = {  # operations: sets, extensions, objects made without a call of a name, and the top of the stack twice
    *(pickle.EMPTY_SET, pickle.ADDITEMS, pickle.FROZENSET, pickle.EXT1, pickle.EXT2, pickle.EXT4, pickle.DUP),
    *(pickle.INST, pickle.OBJ, pickle.NEWOBJ, pickle.NEWOBJ_EX, pickle.PERSID, pickle.BINPERSID, pickle.DICT),
    *(pickle.BYTEARRAY8, pickle.NEXT_BUFFER, pickle.READONLY_BUFFER),
}
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


_Unpickler: Any = pickle._Unpickler  # in Python, so that operations can be left out


class _Reader(_Unpickler):  # type: ignore[misc]
    """A reader of the operations that a batch needs; it counts them, and takes text and bytes alone as keys."""

    dispatch: dict[int, Any] = {  # noqa: RUF012
        code: method for code, method in _Unpickler.dispatch.items() if chr(code).encode("latin1") not in _NOT_NEEDED
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _ARRAY:
            return _Noted(name)
        if (module, name) == ("_codecs", "encode"):  # Python 3 writes bytes thus in protocol 2
            return lambda text, encoding: str.encode(text, "latin1")
        raise _Forbidden(f"{module}.{name}")

    def load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self.stack[-1][_key(key)] = value

    def load_setitems(self) -> None:
        items = self.pop_mark()
        self.stack[-1].update(zip(map(_key, items[::2]), items[1::2], strict=True))

    dispatch[pickle.SETITEM[0]] = load_setitem
    dispatch[pickle.SETITEMS[0]] = load_setitems


def _key(key: Any) -> str | bytes:
    """Refuse other keys: the hash of nested tuples can take for ever."""
    if not isinstance(key, str | bytes):
        raise TypeError(f"a key is a {type(key).__name__}")
    return key


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
        _check_operations(content)
        batch = _Reader(io.BytesIO(content), encoding="bytes").load()
    except _Forbidden as error:
        raise DataError(f"{path} names {error}, which a CIFAR-10 batch does not need; it was not executed") from error
    except Exception as error:  # a malformed pickle can raise nearly anything
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise DataError(f"{path} is cut off or is no pickle ({reason}); found {size:,} bytes") from error
    try:
        return _array(batch[b"data"]), _labels(batch[b"labels"])
    except Exception as error:  # records of any shape
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise DataError(
            f"{path} is no CIFAR-10 batch ({reason}): it needs a byte array and a list of labels"
        ) from error


def _check_operations(content: bytes) -> None:
    """Refuse a pickle of more operations than a batch has, before it is read: each may make an object."""
    for number, (_, _, place) in enumerate(pickletools.genops(content)):
        if number == _MOST_OPERATIONS:
            raise ValueError(f"more than {number:,} operations in its first {place:,} bytes")


def _array(noted: Any) -> Tensor:
    """Build the array of a record, whose state is (version, shape, dtype, whether in Fortran order, bytes)."""
    if not isinstance(noted, _Noted) or noted.name != "_reconstruct":
        raise TypeError(f"data is a {type(noted).__name__}")
    _, shape, dtype, fortran, raw = noted.state
    kind = dtype.args[0].decode() if isinstance(dtype.args[0], bytes) else dtype.args[0]
    if dtype.name != "dtype" or not isinstance(kind, str) or kind != "u1" or fortran or not isinstance(raw, bytes):
        raise ValueError(f"data must be bytes in C order, found type {str(kind)[:20]!r}")
    return torch.frombuffer(bytearray(raw), dtype=torch.uint8).reshape(tuple(shape))


def _labels(labels: Any) -> Tensor:
    if not isinstance(labels, list) or not all(type(label) is int for label in labels):
        raise TypeError("labels are not a list of integers")
    return torch.tensor(labels, dtype=torch.int64)
