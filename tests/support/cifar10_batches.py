"""Small batches of CIFAR-10 in both official layouts, of random images with known labels."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np

STEMS = [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]


ROWS = 100


def records(batch: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    random = np.random.default_rng(batch)
    return random.integers(0, 256, (ROWS, 3072), dtype=np.uint8), (np.arange(ROWS) % 10).astype(np.uint8)


def binary(batch: int) -> bytes:
    x, y = records(batch)
    return np.concatenate([y[:, None], x], 1).tobytes()


def python_batch(batch: int, protocol: int = 2) -> bytes:
    x, y = records(batch)
    return pickle.dumps({b"batch_label": b"one", b"labels": y.tolist(), b"data": x, b"filenames": []}, protocol)


def python_2_batch(batch: int) -> bytes:
    """As Python 2 and its numpy wrote the official files: text for bytes, and numpy's old module name."""
    x, y = records(batch)
    raw = x.tobytes()
    out = (
        b"\x80\x02}q\x01(U\x04dataq\x02cnumpy.core.multiarray\n_reconstruct\nq\x03cnumpy\nndarray\nq\x04K\x00\x85U\x01b"
    )
    out += b"\x87Rq\x05(K\x01K\x64M\x00\x0c\x86cnumpy\ndtype\nq\x06U\x02u1K\x00K\x01\x87Rq\x07(K\x03U\x01|NNNJ\xff\xff"
    out += (
        b"\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T" + len(raw).to_bytes(4, "little") + raw + b"tbU\x06labelsq\x08]q\x09("
    )
    return out + b"".join(b"K" + bytes([label]) for label in y.tolist()) + b"eu."
