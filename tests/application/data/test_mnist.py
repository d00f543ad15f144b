"""MNIST: every layout of its files, and every malformed file refused by name."""

from __future__ import annotations

import gzip
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.support.splits import everything
from torch_growl.application.data.datasets import load_data, load_mnist
from torch_growl.application.data.mnist import read_idx
from torch_growl.errors import DataError, InvalidTypeError, InvalidValueError


def idx(values: np.ndarray[Any, Any], shape: tuple[int, ...] | None = None) -> bytes:
    shape = values.shape if shape is None else shape
    head = b"\0\0\x08" + bytes([len(shape)])
    return head + b"".join(n.to_bytes(4, "big") for n in shape) + values.astype(np.uint8).tobytes()


IMAGES = np.arange(5 * 3 * 4).reshape(5, 3, 4)


@pytest.mark.parametrize("name", ["a.gz", "a"])
def test_an_idx_file_is_read_as_it_was_written(name: str, tmp_path: Path) -> None:
    content = idx(IMAGES)
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    found = read_idx(tmp_path / name, (5, 3, 4))
    assert found.dtype == torch.uint8
    assert torch.equal(found, torch.tensor(IMAGES, dtype=torch.uint8))


IDX_DAMAGE: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "magic": (lambda b: b"\0\0\x0d" + b[3:], "an idx file of 3 dimension\\(s\\) starts with 0x803, found 0xd03"),
    "dimensions": (lambda b: idx(IMAGES.reshape(5, 12)), "starts with 0x803, found 0x802"),
    "count": (lambda b: idx(IMAGES[:4]), "its shape must be 5×3×4, but its header has 4×3×4"),
    "size": (lambda b: idx(IMAGES, (5, 4, 3)), "its shape must be 5×3×4, but its header has 5×4×3"),
    "huge": (lambda b: idx(IMAGES, (2**31, 3, 4)), "its header has 2147483648×3×4"),
    "cut": (lambda b: b[:-7], "is cut off: expected 76 bytes.*, found 69"),
    "cut in the header": (lambda b: b[:10], "is cut off: expected 76 bytes.*, found 10"),
    "empty": (lambda b: b"", "is cut off: expected 76 bytes.*, found 0"),
    "long": (lambda b: b + b"\0", "is too long: expected 76 bytes.*, found more"),
}


@pytest.mark.parametrize("name", ["x.gz", "x"])
@pytest.mark.parametrize("case", IDX_DAMAGE)
def test_a_damaged_idx_file_is_refused_by_name(case: str, name: str, tmp_path: Path) -> None:
    damage, words = IDX_DAMAGE[case]
    content = damage(idx(IMAGES))
    path = tmp_path / name
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    with pytest.raises(DataError, match=words) as caught:
        read_idx(path, (5, 3, 4))
    assert str(path) in str(caught.value)


GZIP_DAMAGE: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "cut": (lambda b: b[:-20], "is cut off or corrupt .*: expected 76 bytes unpacked, found"),
    "cut checksum": (lambda b: b[:-3], "is cut off or corrupt"),
    "checksum": (lambda b: b[:-8] + bytes([b[-8] ^ 1]) + b[-7:], "is cut off or corrupt .*CRC"),
    "garbage behind": (lambda b: b + b"garbage", "is cut off or corrupt"),
    "no gzip": (lambda b: b"plain" * 9, "is cut off or corrupt .*Not a gzipped file"),
    "stream": (lambda b: b[:14] + b"\xff" * 9 + b[23:], "is cut off or corrupt"),
    "second member": (lambda b: b + gzip.compress(b"more"), "is too long"),
}


@pytest.mark.parametrize("case", GZIP_DAMAGE)
def test_a_damaged_gzip_file_is_refused_by_name(case: str, tmp_path: Path) -> None:
    damage, words = GZIP_DAMAGE[case]
    path = tmp_path / "labels.gz"
    path.write_bytes(damage(gzip.compress(idx(IMAGES))))
    with pytest.raises(DataError, match=words) as caught:
        read_idx(path, (5, 3, 4))
    assert str(path) in str(caught.value)


def test_a_gzip_bomb_is_read_no_further_than_the_size_expected(tmp_path: Path) -> None:
    path = tmp_path / "bomb.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(idx(IMAGES))
        for _ in range(64):
            file.write(bytes(1 << 20))
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match="is too long: expected 76 bytes unpacked, found more"):
            read_idx(path, (5, 3, 4))
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


@pytest.fixture(scope="module")
def mnist_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Four files of MNIST's sizes; image i is all i % 251."""
    files = {}
    for part, count in [("train", 60_000), ("t10k", 10_000)]:
        values = np.repeat((np.arange(count) % 251).astype(np.uint8), 784).reshape(count, 28, 28)
        files[f"{part}-images-idx3-ubyte"] = idx(values)
        files[f"{part}-labels-idx1-ubyte"] = idx(np.arange(count) % 10)
    return files


def laid_out(folder: Path, files: dict[str, bytes], *, packed: bool = False, dotted: bool = False) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        name = name.replace("-idx", ".idx") if dotted else name
        if packed:
            (folder / f"{name}.gz").write_bytes(gzip.compress(content, 1))
        else:
            (folder / name).write_bytes(content)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("folder", "packed", "dotted"),
    [("mnist", True, False), ("MNIST/raw", False, False), (".", False, True), ("mnist", True, True)],
)
def test_mnist_is_found_in_every_layout(
    folder: str, packed: bool, dotted: bool, mnist_files: dict[str, bytes], tmp_path: Path
) -> None:
    laid_out(tmp_path / folder, mnist_files, packed=packed, dotted=dotted)
    splits = load_data("mnist", tmp_path, 0, limit=300)
    train, validation, test = everything(splits)
    assert [len(part) for part in (train, validation, test)] == [300, 5000, 10_000]
    assert (splits.input_shape, splits.pixel_shape, splits.n_classes) == ((784,), (28, 28), 10)
    assert torch.equal(train.x[:, 0], torch.arange(300) % 251 / 255)
    assert torch.equal(validation.x[:, 783], torch.arange(55_000, 60_000) % 251 / 255)  # the last of the training file
    assert torch.equal(test.y, torch.arange(10_000) % 10)
    assert train.x.dtype == torch.float32


@pytest.mark.slow
def test_mnist_with_its_second_dimension_kept(mnist_files: dict[str, bytes], tmp_path: Path) -> None:
    laid_out(tmp_path, mnist_files)
    splits = load_mnist(tmp_path, flat=False)
    assert len(splits.train) == 55_000  # type: ignore[arg-type]
    assert splits.input_shape == splits.test[0][0].shape == (1, 28, 28)


def test_mnist_files_that_are_missing_or_have_other_labels(mnist_files: dict[str, bytes], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="train-images-idx3-ubyte.gz .* is in none of .*mnist, .*MNIST/raw, .*put the"):
        load_mnist(tmp_path)
    files = dict(mnist_files)
    labels = bytearray(files["t10k-labels-idx1-ubyte"])
    labels[100] = 10
    files["t10k-labels-idx1-ubyte"] = bytes(labels)
    laid_out(tmp_path, files)
    with pytest.raises(DataError, match="t10k-labels-idx1-ubyte: labels must be 0 to 9, found 10"):
        load_mnist(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(DataError, match="t10k-labels-idx1-ubyte.gz"):
        load_mnist(tmp_path)


@pytest.mark.slow
def test_the_real_mnist(data_dir: Path) -> None:
    if not (data_dir / "mnist").is_dir():
        pytest.skip(f"no real MNIST: {data_dir.name}/mnist is not there (set GROWL_DATA)")
    train, validation, test = everything(load_mnist(data_dir))
    assert [len(part) for part in (train, validation, test)] == [55_000, 5_000, 10_000]
    assert train.y[:5].tolist() == [5, 0, 4, 1, 9]
    assert test.y[:5].tolist() == [7, 2, 1, 0, 4]
    assert float(torch.cat([train.x, validation.x]).mean()) == pytest.approx(0.1307, abs=5e-5)
    assert (float(train.x.min()), float(train.x.max())) == (0, 1)


@pytest.mark.slow
def test_shifted_training_images_are_moved_by_whole_pixels_and_others_never(
    mnist_files: dict[str, bytes], tmp_path: Path
) -> None:
    laid_out(tmp_path, mnist_files)
    splits = load_mnist(tmp_path, flat=False, shift=2, limit=400)
    train, validation, test = everything(splits)
    rows = torch.arange(400)
    plain, moved = train.batch(rows)[0], train.batch(rows, torch.Generator().manual_seed(0))[0]
    padded = torch.nn.functional.pad(plain, (2, 2, 2, 2))
    crops = torch.stack([padded[..., i : i + 28, j : j + 28] for i in range(5) for j in range(5)])
    found = (crops == moved).flatten(2).all(dim=2)  # (25, 400)
    bright = plain.flatten(1).amax(dim=1) > 0
    assert bool(found.any(dim=0).all())
    assert bool(found[:, bright].any(dim=1).all())  # all 25 places occur
    for part in (validation, test):
        assert torch.equal(part.batch(rows)[0], part.batch(rows, torch.Generator().manual_seed(0))[0])


@pytest.mark.parametrize("shift", [-1, 9, 1.0, True])
def test_a_shift_out_of_range(shift: Any, tmp_path: Path) -> None:
    with pytest.raises((InvalidTypeError, InvalidValueError), match=r"shift must be an integer in \[0, 8\] pixels"):
        load_mnist(tmp_path, shift=shift)
