"""The container: its bytes are those that safetensors writes, and weights are read when they are asked for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save

from torch_growl.errors import FileFormatError, InvalidValueError
from torch_growl.networks.storage.container import _DTYPES, Weights, read, write


def tensors() -> dict[str, torch.Tensor]:
    found = {f"t{n}": torch.arange(6).reshape(2, 3).to(dtype) for n, dtype in enumerate(_DTYPES)}
    return {**found, "scalar": torch.tensor(2.5), "empty": torch.zeros(0, 4), "b": torch.ones(3), "a": torch.ones(3)}


def test_types_order_and_bytes_are_those_of_safetensors(tmp_path: Path) -> None:
    path, wanted = tmp_path / "file", tensors()
    write(path, "{}", wanted)
    found = load_file(path)
    assert {name: value.dtype for name, value in found.items()} == {name: t.dtype for name, t in wanted.items()}
    for name, value in wanted.items():
        assert torch.equal(found[name].double(), value.double())
    data, theirs = path.read_bytes(), save(wanted)
    sizes = [int.from_bytes(each[:8], "little") for each in (data, theirs)]
    assert data[8 + sizes[0] :] == theirs[8 + sizes[1] :]
    mine = json.loads(data[8 : 8 + sizes[0]])
    del mine["__metadata__"]
    assert mine == json.loads(theirs[8 : 8 + sizes[1]])


def test_weights_are_read_one_by_one_and_a_file_that_has_become_shorter_is_refused(tmp_path: Path) -> None:
    path, wanted = tmp_path / "file", tensors()
    write(path, "{}", {**wanted, "growl.kept.0": torch.ones(2)})
    contents = read(path)
    assert isinstance(contents.weights, Weights)
    assert (set(contents.weights), set(contents.tensors)) == (set(wanted), {"growl.kept.0"})
    assert all(torch.equal(contents.weights[name].double(), value.double()) for name, value in wanted.items())
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(FileFormatError, match="damaged: .* is cut off"):
        _ = [contents.weights[name] for name in wanted]


def test_a_type_without_a_name_is_refused_and_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidValueError, match=r"cannot be stored: 'z' \(torch.complex64\)"):
        write(tmp_path / "file", "{}", {"z": torch.zeros(2, dtype=torch.complex64)})
