"""CIFAR-10: both official layouts, files that are missing or damaged, augmentation."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.support.cifar10_batches import ROWS, STEMS, binary, python_2_batch, records
from tests.support.splits import everything
from torch_growl.application.data import cifar10
from torch_growl.application.data.cifar10 import read_binary_batch
from torch_growl.application.data.datasets import TensorSplit, load_cifar10, load_data
from torch_growl.errors import DataError, InvalidTypeError, InvalidValueError


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of 100 images, of which 50 are for validation."""
    monkeypatch.setattr(cifar10, "_ROWS", ROWS)
    monkeypatch.setattr(cifar10, "_VALIDATION", 50)


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
    with pytest.raises((InvalidTypeError, InvalidValueError), match=f"^{next(iter(options))} must be"):
        load_cifar10(tmp_path, **options)


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
    got = cifar10.cropped(x, 2, *cifar10._drawn(len(x), 2, torch.Generator().manual_seed(0)))
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
def test_only_training_images_are_augmented_and_only_if_asked(tmp_path: Path) -> None:
    for i, stem in enumerate(STEMS):
        (tmp_path / f"{stem}.bin").write_bytes(binary(i))
    rows = torch.arange(50)
    for augment in (True, False):
        for name, part in vars(load_cifar10(tmp_path, augment=augment)).items():
            if isinstance(part, TensorSplit):
                same = torch.equal(part.batch(rows)[0], part.batch(rows, torch.Generator().manual_seed(0))[0])
                assert same != (augment and name == "train"), name
