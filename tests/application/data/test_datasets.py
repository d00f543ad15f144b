"""Datasets by name: the built-in ones, and what a user's function may return."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.splits import everything
from torch_growl.application.data.datasets import load_data
from torch_growl.errors import DataError, RecipeError


def test_missing_data_and_unknown_names_are_errors(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="dataset 'mnist' needs the folder with its files: --data DIR"):
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
        (
            "iterator",
            "its train set must be a dataset with a length and an index, or an Iter.*, got list_iterator",
        ),
        ("single", "its train set: an example must be a tuple .* or a dict of inputs and .labels., got Tensor"),
        ("pairs", "its test set: an example must be a tuple .* got int"),
    ],
)
def test_other_results_of_a_users_function_are_refused(name: str, words: str) -> None:
    with pytest.raises(DataError, match=f"data.name = 'own_data:{name}'.*{words}"):
        load_data(f"own_data:{name}", None, 0)


@pytest.mark.usefixtures("own")
def test_a_users_function_that_is_not_there_or_takes_no_such_option() -> None:
    with pytest.raises(RecipeError, match="data.name = 'own_data:nothing': module 'own_data' has no 'nothing'"):
        load_data("own_data:nothing", None, 0)
    with pytest.raises(RecipeError, match="data.options: 'own_data:as_dict' takes .* unexpected keyword argument 'm'"):
        load_data("own_data:as_dict", None, 0, m=3)
