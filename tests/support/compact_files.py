"""Compact files taken apart, changed and put together by hand, as docs/format.md describes them."""

from __future__ import annotations

import copy
import functools
import json
import re
import struct
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load as tensors_of
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from tests.support.compact_battery import vgg
from tests.support.pruned_networks import settle_, zero_and_tie_
from torch_growl.errors import FileFormatError
from torch_growl.networks.compaction.compactor import compact
from torch_growl.networks.storage.compact_file import load, load_dense, save

Change = Callable[[dict[str, Any], dict[str, Tensor], dict[str, str]], Any]


def split(data: bytes) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Return the metadata and the tensors of a file."""
    (length,) = struct.unpack("<Q", data[:8])
    metadata: dict[str, str] = json.loads(data[8 : 8 + length])["__metadata__"]
    return metadata, {name: value.clone() for name, value in tensors_of(data).items()}


def resealed(data: bytes) -> bytes:
    """Return the file with the right checksum; unchanged if its header holds none."""
    (length,) = struct.unpack("<Q", data[:8])
    header = data[8 : 8 + length]
    zeroed = re.sub(rb'"crc32":"[^"]*"', b'"crc32":"00000000"', header)
    front = struct.pack("<Q", len(zeroed)) + zeroed
    value = zlib.crc32(front + data[8 + length :])
    return front.replace(b'"crc32":"00000000"', f'"crc32":"{value:08x}"'.encode()) + data[8 + length :]


def changed(data: bytes, change: Change) -> bytes:
    """Change a file's structure, tensors and metadata, and correct its checksum.

    A change that returns True has written the structure's text into the metadata itself.
    """
    metadata, tensors = split(data)
    structure = json.loads(metadata["structure"])
    if change(structure, tensors, metadata) is not True:
        metadata["structure"] = json.dumps(structure)
    return resealed(to_bytes(tensors, metadata))


def write_changed(data: bytes, path: Path, change: Change) -> Path:
    """Write a changed file and return its path."""
    path.write_bytes(changed(data, change))
    return path


@functools.cache
def good_file(dtype: str | None = None) -> bytes:
    """Return a file with every kind of entry: labels, sets, a block of channels, normalisations."""
    torch.manual_seed(0)
    small = compact(zero_and_tie_(settle_(vgg()), 4), torch.randn(2, 3, 8, 8))
    with tempfile.TemporaryDirectory() as folder:
        save(small, Path(folder) / "f", dtype=dtype)
        return (Path(folder) / "f").read_bytes()


def refused(data: bytes, path: Path, message: str = ".", model: nn.Module | None = None) -> None:
    """Check that both readers refuse a file with the message, and do not change the network they are given."""
    path.write_bytes(data)
    model = vgg() if model is None else model
    before = copy.deepcopy(model.state_dict())
    for reader in (load, load_dense):
        with pytest.raises(FileFormatError, match=message):
            reader(path, model)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not hasattr(model, "_growl_structure")


# ── changes of the file of good_file(), whose layers 0..4 are modules "0", "4", "8", "13", "17" ────────────────────


def layer(number: int, **fields: Any) -> Callable[..., None]:
    """Change fields of a layer's entry."""
    return lambda data, tensors, header: data["layers"][number].update(fields)


def cut(number: int, **fields: Any) -> Callable[..., None]:
    """Change fields of an entry of the parameters."""
    return lambda data, tensors, header: data["parameters"][number].update(fields)


def attribute(**fields: Any) -> Callable[..., None]:
    """Add an attribute change that would be allowed (a pooling's size), with other fields."""
    entry = {"module": "3", "name": "kernel_size", "before": 2, "after": 1}
    return lambda data, tensors, header: data["attributes"].append({**entry, **fields})


def tensor(name: str, value: Tensor) -> Callable[..., None]:
    """Replace a tensor, or add one."""
    return lambda data, tensors, header: tensors.update({name: value})


def labels(value: Tensor) -> Callable[..., None]:
    """Replace the labels of layer 1."""
    return tensor("growl.labels.1", value)


def kept(value: Tensor) -> Callable[..., None]:
    """Replace set 0, the outputs kept of layer 0."""
    return tensor("growl.set.0", value)


def kept_1(value: Tensor) -> Callable[..., None]:
    """Replace the outputs kept of layer 0 in a file of version 1."""
    return tensor("growl.kept.0", value)


def head(**fields: str) -> Callable[..., bool]:
    """Change fields of the header's metadata."""
    return lambda data, tensors, header: header.update(fields) is None


def gone(part: str, key: Any) -> Callable[..., None]:
    """Remove a field of the structure, or a tensor."""

    def change(data: Any, tensors: Any, header: Any) -> None:
        {"data": data, "tensors": tensors}[part].pop(key)

    return change
