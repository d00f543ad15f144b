"""CIFAR-10: both official layouts, pickles that are read and not executed, augmentation."""

from __future__ import annotations

import pickle
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from torch_growl.application.data import cifar10
from torch_growl.application.data.cifar10 import read_binary_batch
from torch_growl.application.data.datasets import Splits, TensorSplit, load_cifar10, load_data
from torch_growl.application.data.pickles import read_python_batch
from torch_growl.errors import DataError


def everything(splits: Splits) -> list[Any]:
    return [splits.train, splits.validation, splits.test]


# ── CIFAR-10 ────────────────────────────────────────────────────────────────────────────────────────────────────────

STEMS = [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]
ROWS = 100


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of 100 images, of which 50 are for validation."""
    monkeypatch.setattr(cifar10, "_ROWS", ROWS)
    monkeypatch.setattr(cifar10, "_VALIDATION", 50)


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


@pytest.mark.parametrize("folder", ["cifar-10-batches-bin", "cifar-10-batches-py", ".", "./"])
@pytest.mark.usefixtures("small_batches")
def test_cifar10_is_found_in_every_layout(folder: str, tmp_path: Path) -> None:
    root = tmp_path / folder
    root.mkdir(exist_ok=True)
    as_binary = folder in ("cifar-10-batches-bin", ".")
    for i, stem in enumerate(STEMS):
        (root / f"{stem}.bin" if as_binary else root / stem).write_bytes(binary(i) if as_binary else python_2_batch(i))
    splits = load_data("cifar10", tmp_path, 0)
    train, validation, test = everything(splits)
    assert [len(part) for part in (train, validation, test)] == [450, 50, 100]
    assert torch.bincount(validation.y).tolist() == [5] * 10
    assert (splits.input_shape, splits.n_classes, splits.pixel_shape) == ((3, 32, 32), 10, None)
    assert test.x.dtype == torch.uint8
    assert torch.equal(test.x, torch.from_numpy(records(5)[0]).reshape(ROWS, 3, 32, 32))
    assert torch.equal(test.y, torch.arange(ROWS) % 10)
    every = torch.from_numpy(np.concatenate([records(i)[0] for i in range(5)])).reshape(-1, 3, 32, 32)
    kept = {bytes(image.numpy().tobytes()) for image in [*train.x, *validation.x]}
    assert kept == {bytes(image.numpy().tobytes()) for image in every}
    assert torch.equal(load_cifar10(tmp_path, limit=7).train.x, train.x[:7])  # type: ignore[attr-defined]


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
    with pytest.raises(DataError, match="data_batch_1 names (io|__builtin__|_io).open, which .* refused, not executed"):
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
def test_whatever_else_a_pickle_names_is_refused(named: str, tmp_path: Path) -> None:
    module, name = named.split()
    (tmp_path / "batch").write_bytes(b"\x80\x02c" + f"{module}\n{name}\n".encode() + b".")
    with pytest.raises(DataError, match=f"names {module}.{name}, which a CIFAR-10 batch does not need"):
        read_python_batch(tmp_path / "batch")


def test_what_may_be_named_does_nothing(tmp_path: Path) -> None:
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
    "memo": (lambda: b"\x80\x02Nr\xff\xff\xff\x7f.", "is cut off or is no pickle \\(ValueError: memo index 2147483647"),
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
        "labels are not a list of whole numbers",
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


@pytest.mark.usefixtures("small_batches")
def test_cifar10_files_that_are_missing_or_damaged(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="CIFAR-10 is in none of .*batches-bin, .*batches-py, .*; unpack"):
        load_cifar10(tmp_path)
    for i, stem in enumerate(STEMS[:-1]):
        (tmp_path / f"{stem}.bin").write_bytes(binary(i))
    with pytest.raises(DataError, match="CIFAR-10 file test_batch.bin is missing in"):
        load_cifar10(tmp_path)
    path = tmp_path / "test_batch.bin"
    path.write_bytes(binary(5)[:-1])
    with pytest.raises(DataError, match="test_batch.bin is cut off: expected 307,300 bytes, found 307,299"):
        load_cifar10(tmp_path)
    path.write_bytes(binary(5) + b"x")
    with pytest.raises(DataError, match="test_batch.bin is too long: expected 307,300 bytes, found 307,301"):
        load_cifar10(tmp_path)
    path.write_bytes(b"\x0a" + binary(5)[1:])
    with pytest.raises(DataError, match="test_batch.bin: labels must be 0 to 9, found 0 to 10"):
        load_cifar10(tmp_path)


@pytest.mark.usefixtures("small_batches")
def test_a_python_batch_of_another_shape(tmp_path: Path) -> None:
    for stem in STEMS:
        (tmp_path / stem).write_bytes(pickle.dumps({b"data": records(0)[0][:50], b"labels": [1] * 100}, 2))
    with pytest.raises(DataError, match="expected 100 images of 3,072 bytes .*, found images of shape \\(50, 3072\\)"):
        load_cifar10(tmp_path)


def test_an_official_batch_has_30_730_000_bytes(tmp_path: Path) -> None:
    path = tmp_path / "data_batch_1.bin"
    path.write_bytes(bytes(30_730_000))
    assert read_binary_batch(path)[0].shape == (10_000, 3, 32, 32)
    path.write_bytes(bytes(30_729_999))
    with pytest.raises(DataError, match="expected 30,730,000 bytes, found 30,729,999"):
        read_binary_batch(path)


@pytest.mark.parametrize("options", [{"normalize": "batch"}, {"padding": -1}, {"padding": 17}, {"padding": 2.0}])
def test_cifar10_options_out_of_range(options: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"{next(iter(options))} must be"):
        load_cifar10(tmp_path, **options)


# ── augmentation ────────────────────────────────────────────────────────────────────────────────────────────────────


def images(count: int = 40) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8)


def test_images_are_standardised_one_by_one() -> None:
    x = images()
    x[0] = 7  # a plain image becomes zero, not NaN
    y = cifar10._transform("per-image", None)(x, torch.Generator())
    assert torch.equal(y[0], torch.zeros(3, 32, 32))
    torch.testing.assert_close(y[1:].mean((1, 2, 3)), torch.zeros(39), atol=1e-5, rtol=0)
    torch.testing.assert_close(y[1:].std((1, 2, 3), correction=0), torch.ones(39), atol=1e-5, rtol=0)


def test_channels_are_normalised_as_torchvision_does() -> None:
    x = images()
    y = cifar10._transform("channels", None)(x, None)
    for channel, (mean, std) in enumerate(zip((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), strict=True)):
        torch.testing.assert_close(y[:, channel], (x[:, channel] / 255 - mean) / std)


def test_an_augmented_image_is_one_of_the_crops_of_the_padded_image_or_its_mirror() -> None:
    x = images(300)
    found = set()
    got = cifar10._augmented(x, 2, torch.Generator().manual_seed(0))
    assert got.dtype == torch.uint8
    padded = torch.nn.functional.pad(x, (2, 2, 2, 2))
    for before, after in zip(padded, got, strict=True):
        crops = {
            (top, left, flip): (before[:, top : top + 32, left : left + 32].flip(2 * flip) if flip else
                                before[:, top : top + 32, left : left + 32])
            for top in range(5) for left in range(5) for flip in (0, 1)
        }  # fmt: skip
        matches = [key for key, crop in crops.items() if torch.equal(crop, after)]
        assert len(matches) == 1
        found.add(matches[0])
    assert len(found) == 50  # every place and both mirrors occur


def test_augmentation_is_only_for_training_and_follows_its_generator() -> None:
    x, y = images(), torch.zeros(40, dtype=torch.int64)
    split = TensorSplit(x, y, cifar10._transform("channels", 2))
    plain = cifar10._transform("channels", None)(x, None)
    rows = torch.arange(40)
    assert torch.equal(split.batch(rows)[0], plain)
    assert torch.equal(split[3][0], plain[3])
    one, two, three = (split.batch(rows, torch.Generator().manual_seed(seed))[0] for seed in (1, 1, 2))
    assert torch.equal(one, two)
    assert not torch.equal(one, three)
    assert not torch.equal(one, plain)


@pytest.mark.usefixtures("small_batches")
def test_training_images_are_augmented_unless_told_otherwise_and_others_never(tmp_path: Path) -> None:
    for i, stem in enumerate(STEMS):
        (tmp_path / f"{stem}.bin").write_bytes(binary(i))
    rows = torch.arange(50)
    for augment in (True, False):
        for name, part in vars(load_cifar10(tmp_path, augment=augment)).items():
            if isinstance(part, TensorSplit):
                same = torch.equal(part.batch(rows)[0], part.batch(rows, torch.Generator().manual_seed(0))[0])
                assert same != (augment and name == "train"), name
