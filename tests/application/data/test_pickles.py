"""Python batches are read and not executed."""

from __future__ import annotations

import pickle
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.support.cifar10_batches import ROWS, python_2_batch, python_batch, records
from torch_growl.application.data.pickles import read_python_batch
from torch_growl.errors import DataError


@pytest.mark.parametrize("protocol", [2, 3, 4])
@pytest.mark.parametrize("write", [python_batch, lambda batch, protocol: python_2_batch(batch)])
def test_a_python_batch_is_read_without_numpy(write: Any, protocol: int, tmp_path: Path) -> None:
    (tmp_path / "batch").write_bytes(write(3, protocol))
    x, y = read_python_batch(tmp_path / "batch")
    assert torch.equal(x, torch.from_numpy(records(3)[0]))
    assert torch.equal(y, torch.arange(ROWS) % 10)


class _Evil:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (str(self.path), "w")


def test_a_malicious_pickle_is_refused_and_not_executed(tmp_path: Path) -> None:
    target, batch = tmp_path / "created", tmp_path / "data_batch_1"
    content = pickle.dumps({b"data": _Evil(target), b"labels": []}, 2)
    pickle.loads(content)["data" if False else b"data"].close()
    assert target.exists()  # it would work
    target.unlink()
    batch.write_bytes(content)
    with pytest.raises(DataError, match="data_batch_1 names (io|__builtin__|_io).open, which .* it was not executed"):
        read_python_batch(batch)
    assert not target.exists()


@pytest.mark.parametrize(
    "named",
    [
        "os system",
        "builtins eval",
        "numpy load",
        "numpy.core.multiarray fromfile",
        "_codecs decode",
        "numpy ndarray.tofile",
    ],
)
def test_every_other_name_in_a_pickle_is_refused(named: str, tmp_path: Path) -> None:
    module, name = named.split()
    (tmp_path / "batch").write_bytes(b"\x80\x02c" + f"{module}\n{name}\n".encode() + b".")
    with pytest.raises(DataError, match=f"names {module}.{name}, which a CIFAR-10 batch does not need"):
        read_python_batch(tmp_path / "batch")


def test_allowed_names_are_not_called(tmp_path: Path) -> None:
    # numpy.ndarray((2**40,)): numpy itself would claim a terabyte
    (tmp_path / "batch").write_bytes(b"\x80\x02cnumpy\nndarray\n\x8a\x06\0\0\0\0\0\x01\x85R.")
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match="batch is no CIFAR-10 batch"):
            read_python_batch(tmp_path / "batch")
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


DAMAGED_PICKLES: dict[str, tuple[Callable[[], bytes], str]] = {
    "cut": (lambda: python_batch(0)[:-100], "is cut off or is no pickle"),
    "empty": (lambda: b"", "is cut off or is no pickle"),
    "text": (lambda: b"hello, world", "is cut off or is no pickle"),
    "memo": (lambda: b"\x80\x02Nr\xff\xff\xff\x7f.", "is no CIFAR-10 batch"),
    "sets": (lambda: b"\x80\x04" + b"\x8f" * 4_000_000 + b".", "more than 200,000 operations"),
    "a set": (lambda: b"\x80\x04\x8f.", "is no pickle \\(KeyError"),
    "key": (lambda: b"\x80\x02}(K\x01K\x02u.", "TypeError: a key is a int"),
    "dtypes": (
        lambda: b"\x80\x02}(U\x04datacnumpy\ndtype\n)RU\x06labels]u.",
        "is no CIFAR-10 batch",
    ),
    "an array of dtypes": (
        lambda: (
            b"\x80\x02}(U\x04datacnumpy.core.multiarray\n_reconstruct\n)R(K\x01K\x02cnumpy\ndtype\n)RK\x00U\x00tb"
            b"U\x06labels]u."
        ),
        "is no CIFAR-10 batch \\(IndexError",
    ),
    "long labels": (lambda: pickle.dumps({b"data": records(0)[0], b"labels": [10**30]}, 2), "is no CIFAR-10 batch"),
    "list": (lambda: pickle.dumps([1], 2), "is no CIFAR-10 batch"),
    "no labels": (lambda: pickle.dumps({b"data": records(0)[0]}, 2), "is no CIFAR-10 batch \\(KeyError: b'labels'"),
    "data": (lambda: pickle.dumps({b"data": [1], b"labels": [1]}, 2), "TypeError: data is a list"),
    "type": (
        lambda: pickle.dumps({b"data": np.zeros((2, 3072)), b"labels": [1, 1]}, 2),
        "data must be bytes in C order, found type 'f8'",
    ),
    "order": (
        lambda: pickle.dumps({b"data": np.asfortranarray(records(0)[0]), b"labels": [1]}, 2),
        "data must be bytes in C order",
    ),
    "labels": (
        lambda: pickle.dumps({b"data": records(0)[0], b"labels": ["cat"]}, 2),
        "labels are not a list of integers",
    ),
}


@pytest.mark.parametrize("case", DAMAGED_PICKLES)
def test_a_damaged_python_batch_is_refused_by_name(case: str, tmp_path: Path) -> None:
    write, words = DAMAGED_PICKLES[case]
    (tmp_path / "batch").write_bytes(write())
    with pytest.raises(DataError, match=words) as caught:
        read_python_batch(tmp_path / "batch")
    assert str(tmp_path / "batch") in str(caught.value)


def test_a_python_batch_that_is_too_long_is_not_read(tmp_path: Path) -> None:
    with open(tmp_path / "batch", "wb") as file:
        file.truncate(64_000_001)  # a hole: nothing is written
    with pytest.raises(DataError, match="batch is too long: .* found 64,000,001"):
        read_python_batch(tmp_path / "batch")
