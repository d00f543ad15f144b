"""Datasets: what is read, how it is split and augmented, and that every malformed file is refused by name."""

from __future__ import annotations

import gzip
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from torch_growl.application.data.datasets import Splits, TensorSplit, load_data, load_digits_splits, load_mnist
from torch_growl.application.data.mnist import read_idx
from torch_growl.application.data.splits import stratified
from torch_growl.errors import DataError, RecipeError

# ── splits ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_split_gives_whole_batches_through_its_transform() -> None:
    x, y = torch.arange(12.0).reshape(6, 2), torch.arange(6)
    split = TensorSplit(x, y, lambda batch, generator: batch + (0 if generator is None else 100))
    assert len(split) == 6
    got, classes = split.batch(torch.tensor([4, 0]))
    assert torch.equal(got, x[[4, 0]])
    assert classes.tolist() == [4, 0]
    assert torch.equal(split.batch(torch.tensor([4]), torch.Generator())[0], x[[4]] + 100)
    one, label = split[-1]
    assert torch.equal(one, x[5])
    assert (label.shape, int(label)) == (torch.Size([]), 5)
    assert len(list(split)) == 6  # type: ignore[call-overload]
    with pytest.raises(IndexError, match="example 6 of 6"):
        split[6]


def test_a_split_of_unequal_lengths_or_other_types_is_refused() -> None:
    with pytest.raises(DataError, match="as many inputs as classes, at least one"):
        TensorSplit(torch.zeros(3, 2), torch.zeros(4, dtype=torch.int64))
    with pytest.raises(DataError, match="as many inputs as classes, at least one"):
        TensorSplit(torch.zeros(0, 2), torch.zeros(0, dtype=torch.int64))
    with pytest.raises(DataError, match="classes must be int64, got torch.float32"):
        TensorSplit(torch.zeros(3, 2), torch.zeros(3))


def test_stratified_keeps_shares_leaves_nobody_out_and_repeats_itself() -> None:
    y = torch.tensor([0] * 60 + [1] * 30 + [2] * 10)[torch.randperm(100)]
    kept, out = stratified(y, 20, seed=1)
    assert sorted([*kept.tolist(), *out.tolist()]) == list(range(100))
    assert kept.tolist() == sorted(kept.tolist())
    assert torch.bincount(y[out]).tolist() == [12, 6, 2]
    assert torch.equal(stratified(y, 20, seed=1)[1], out)
    assert not torch.equal(stratified(y, 20, seed=2)[1], out)


# ── digits ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def everything(splits: Splits) -> list[Any]:
    return [splits.train, splits.validation, splits.test]


def test_digits_are_split_once_and_for_all() -> None:
    splits = load_data("digits", None, 0)
    parts = everything(splits)
    assert [len(part) for part in parts] == [1257, 180, 360]
    assert (splits.name, splits.input_shape, splits.pixel_shape, splits.n_classes) == ("digits", (64,), (8, 8), 10)
    for part in parts:
        assert part.x.dtype == torch.float32
        assert (float(part.x.min()), float(part.x.max())) == (0, 1)
        shares = torch.bincount(part.y, minlength=10) / len(part)
        assert float((shares - 0.1).abs().max()) < 0.01
    again = load_data("digits", None, 99)
    assert all(torch.equal(a.x, b.x) for a, b in zip(parts, everything(again), strict=True))
    together = torch.cat([torch.cat([part.x, part.y[:, None]], 1) for part in parts])
    assert len(together.unique(dim=0)) == 1797  # no image is in two parts
    small: Any = load_digits_splits(limit=50)
    assert (len(small.train), len(small.validation)) == (50, 180)
    assert torch.equal(small.train.x, parts[0].x[:50])


@pytest.mark.parametrize("limit", [0, 1258, -1, True, 2.0])
def test_a_limit_out_of_range(limit: Any) -> None:
    with pytest.raises(DataError, match="limit must be an integer from 1 to 1257"):
        load_digits_splits(limit=limit)


# ── MNIST ───────────────────────────────────────────────────────────────────────────────────────────────────────────


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
    "count": (lambda b: idx(IMAGES[:4]), "its shape must be 5×3×4, its header says 4×3×4"),
    "size": (lambda b: idx(IMAGES, (5, 4, 3)), "its shape must be 5×3×4, its header says 5×4×3"),
    "huge": (lambda b: idx(IMAGES, (2**31, 3, 4)), "its header says 2147483648×3×4"),
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


def test_the_real_mnist(data_dir: Path) -> None:
    if not (data_dir / "mnist").is_dir():
        pytest.skip(f"no real MNIST: {data_dir.name}/mnist is not there (set GROWL_DATA)")
    train, validation, test = everything(load_mnist(data_dir))
    assert [len(part) for part in (train, validation, test)] == [55_000, 5_000, 10_000]
    assert train.y[:5].tolist() == [5, 0, 4, 1, 9]
    assert test.y[:5].tolist() == [7, 2, 1, 0, 4]
    assert float(torch.cat([train.x, validation.x]).mean()) == pytest.approx(0.1307, abs=5e-5)
    assert (float(train.x.min()), float(train.x.max())) == (0, 1)


# ── by name ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_data_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="dataset 'mnist' needs the folder that holds its files: --data DIR"):
        load_data("mnist", None, 0)
    with pytest.raises(DataError, match="dataset 'cifar10': nowhere is not a folder"):
        load_data("cifar10", "nowhere", 0)
    with pytest.raises(RecipeError, match=r"data.name = 'minst': no such dataset; did you mean 'mnist'\?"):
        load_data("minst", tmp_path, 0)
    with pytest.raises(RecipeError, match="there are digits, mnist, cifar10, or package.module:function"):
        load_data("zzzz", tmp_path, 0)
    with pytest.raises(RecipeError, match="data.options: 'mnist' takes .* unexpected keyword argument 'augment'"):
        load_data("mnist", tmp_path, 0, augment=True)
    with pytest.raises(RecipeError, match="data.options: 'mnist' takes .* multiple values for argument 'root'"):
        load_data("mnist", tmp_path, 0, root="elsewhere")
    with pytest.raises(RecipeError, match="data.options: 'digits' takes .* unexpected keyword argument 'flat'"):
        load_data("digits", None, 0, flat=True)


OWN = """
import torch
from torch.utils.data import Dataset, TensorDataset
from torch_growl.application.data.datasets import Splits, TensorSplit

def part(n, shift=0):
    return TensorDataset(torch.arange(n).float()[:, None] + shift, torch.arange(n) % 3)

class Listed(Dataset):
    def __init__(self, n): self.n = n
    def __len__(self): return self.n
    def __getitem__(self, i): return torch.full((2, 2), float(i)), i % 3

def as_dict(n=40): return {"train": part(n), "test": part(5)}
def as_list(): return {"train": Listed(40), "test": Listed(5)}
def as_pair(): return part(40), part(5)
def as_triple(): return part(40), part(6), part(5)
def as_splits(data_dir, seed): return Splits(f"{data_dir} {seed}", part(4), part(6), part(5), (1,), 3)
def empty(): return {"train": part(40), "test": part(0)}
def few(): return {"train": part(9), "test": part(5)}
def number(): return 5
def other(): return {"train": part(40), "valid": part(5), "test": part(5)}
def iterator(): return {"train": iter([]), "test": part(5)}
def single(): return {"train": [torch.zeros(2)] * 20, "test": part(5)}
def pairs(): return Splits("x", part(4), part(6), [3], (1,), 3)
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_data.py").write_text(OWN)
    yield
    sys.modules.pop("own_data", None)


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize("name", ["as_dict", "as_pair", "as_list"])
def test_a_tenth_of_users_training_data_is_held_out_by_the_seed(name: str) -> None:
    splits = load_data(f"own_data:{name}", None, 3)
    assert [len(part) for part in everything(splits)] == [36, 4, 5]
    seen = sorted(float(x.flatten()[0]) for part in (splits.train, splits.validation) for x, _ in part)  # type: ignore[attr-defined]
    assert seen == list(range(40))
    assert splits.input_shape == ((2, 2) if name == "as_list" else (1,))
    assert splits.n_classes == (None if name == "as_list" else 3)

    def held_out(seed: int) -> list[float]:
        part: Any = load_data(f"own_data:{name}", None, seed).validation
        return [float(x.flatten()[0]) for x, _ in part]

    assert held_out(3) == held_out(3) != held_out(4)


@pytest.mark.usefixtures("own")
def test_users_data_in_their_own_splits(tmp_path: Path) -> None:
    assert [len(part) for part in everything(load_data("own_data:as_triple", None, 0))] == [40, 6, 5]
    assert load_data("own_data:as_splits", "here", 7).name == "here 7"
    assert load_data("own_data:as_splits", "here", 7, data_dir="there").name == "there 7"
    assert len(load_data("own_data:as_dict", None, 0, n=20).train) == 18  # type: ignore[arg-type]


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("number", "must return a Splits, a dict with .*; it returned a int"),
        ("other", "it returned a dict with \\['test', 'train', 'valid'\\]"),
        ("empty", "its test set is empty"),
        ("few", "9 training examples are too few to hold out a tenth"),
        ("iterator", "its train set must be a dataset with a length and an index, got list_iterator"),
        ("single", "its train set must give pairs \\(input tensor, class\\), got Tensor"),
        ("pairs", "its test set must give pairs \\(input tensor, class\\), got int"),
    ],
)
def test_what_else_a_users_function_returns_is_refused(name: str, words: str) -> None:
    with pytest.raises(DataError, match=f"data.name = 'own_data:{name}'.*{words}"):
        load_data(f"own_data:{name}", None, 0)


@pytest.mark.usefixtures("own")
def test_a_users_function_that_is_not_there_or_takes_no_such_option() -> None:
    with pytest.raises(RecipeError, match="data.name = 'own_data:nothing': module 'own_data' has no 'nothing'"):
        load_data("own_data:nothing", None, 0)
    with pytest.raises(RecipeError, match="data.options: 'own_data:as_dict' takes .* unexpected keyword argument 'm'"):
        load_data("own_data:as_dict", None, 0, m=3)
