"""The container of a compact file: a safetensors file with a format, a version and a checksum in its header.

Reading it runs no code from the file. The checksum covers every bit of a file of version 2.
"""

from __future__ import annotations

import json
import re
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from torch_growl.checksums import UNSET, check_whole, header_place, read_front
from torch_growl.errors import FileFormatError, InvalidValueError

__all__ = ["OWN", "VERSION", "Contents", "Version", "checksum", "read", "write"]

FORMAT = "torch-growl"
Version = tuple[int, int]
VERSION: Version = (2, 2)
_STRUCTURE, _CHECKSUM = "structure", "crc32"
OWN = "growl."  # the beginning of the names of the structure's tensors and of scales
_DTYPES = {
    torch.bool: "BOOL", torch.uint8: "U8", torch.int8: "I8", torch.float8_e5m2: "F8_E5M2",
    torch.float8_e4m3fn: "F8_E4M3", torch.int16: "I16", torch.uint16: "U16", torch.float16: "F16",
    torch.bfloat16: "BF16", torch.int32: "I32", torch.uint32: "U32", torch.float32: "F32", torch.float64: "F64",
    torch.int64: "I64", torch.uint64: "U64",
}  # fmt: skip
_ORDER = list(_DTYPES.values())  # safetensors puts the last types first


class Weights(Mapping[str, Tensor]):
    """The network's tensors in a file; each is read from it when it is asked for, and is not kept."""

    def __init__(self, path: Path, header: Mapping[str, Any], start: int) -> None:
        self._path, self._start = path, start
        self._entries = {name: entry for name, entry in header.items() if not name.startswith((OWN, "__metadata__"))}

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, name: str) -> Tensor:
        entry = self._entries[name]
        dtype = {text: dtype for dtype, text in _DTYPES.items()}.get(entry["dtype"])
        if dtype is None:
            raise FileFormatError(f"{self._path}: {name!r} is of type {entry['dtype']}, which is not read")
        value = torch.empty(entry["shape"], dtype=dtype)
        begin, end = entry["data_offsets"]
        with open(self._path, "rb") as file:
            file.seek(self._start + begin)
            if value.nbytes != end - begin or file.readinto(_bytes_of(value)) != value.nbytes:
                raise FileFormatError(f"{self._path}: damaged: {name!r} is cut off")
        return value


@dataclass(frozen=True)
class Contents:
    """The contents of a file, before they are compared with a network.

    Attributes:
        version: the file's.
        structure: the JSON text of the structure.
        tensors: those of the structure and the scales of int8 weights, whose names begin with ``growl.``.
        weights: all others.
    """

    version: Version
    structure: str
    tensors: dict[str, Tensor]
    weights: Weights


def write(path: Path, structure: str, tensors: Mapping[str, Tensor]) -> None:
    """Write a file, one tensor after the other; the same contents give the same bytes.

    Args:
        path: the file; replaced.
        structure: the JSON text of the structure.
        tensors: contiguous tensors on the CPU.

    Raises:
        InvalidValueError: safetensors has no name for the type of one of them (complex numbers).
    """
    unknown = [f"{name!r} ({value.dtype})" for name, value in tensors.items() if value.dtype not in _DTYPES]
    if unknown:
        raise InvalidValueError(f"the network's tensors cannot be stored: {', '.join(unknown)}")
    version = ".".join(map(str, VERSION))
    header: dict[str, Any] = {
        "__metadata__": {_CHECKSUM: UNSET, "format": FORMAT, _STRUCTURE: structure, "version": version}
    }
    order = sorted(tensors, key=lambda name: (-_ORDER.index(_DTYPES[tensors[name].dtype]), name))
    end = 0
    for name in order:
        value, begin = tensors[name], end
        end += value.nbytes
        header[name] = {"dtype": _DTYPES[value.dtype], "shape": list(value.shape), "data_offsets": [begin, end]}
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    front = struct.pack("<Q", len(text)) + text
    place = header_place(front)
    assert place is not None
    crc = zlib.crc32(front)
    with open(path, "wb") as file:
        file.write(front)
        for name in order:
            data = _bytes_of(tensors[name])
            crc = zlib.crc32(data, crc)
            file.write(data)
        file.seek(place)
        file.write(f"{crc:08x}".encode())


def _bytes_of(tensor: Tensor) -> memoryview:
    """Return the memory of a contiguous tensor on the CPU."""
    return memoryview(cast(Any, tensor.detach().reshape(-1).view(torch.uint8).numpy()))


def read(path: Path) -> Contents:
    """Read a file and check its format, version and checksum.

    Raises:
        FileFormatError: there is no such file, it is not a compact file, is of an unknown version, or is damaged.
    """
    if not path.is_file():
        raise FileFormatError(f"{path}: there is no such file")
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            version = _version(path, header)
            if version >= (2, 0):
                _check_whole(path, header.get(_CHECKSUM))
            if not isinstance(header.get(_STRUCTURE), str):
                raise FileFormatError(f"{path}: the header has no structure")
            tensors = {name: file.get_tensor(name) for name in file.keys() if name.startswith(OWN)}  # noqa: SIM118
        with open(path, "rb") as opened:
            front = read_front(opened, str(path))
        weights = Weights(path, json.loads(front[8:]), len(front))
    except (SafetensorError, OSError, ValueError, RuntimeError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, FileFormatError):
            raise
        raise FileFormatError(f"{path}: not a safetensors file, or a damaged one: {error}") from None
    return Contents(version, header[_STRUCTURE], tensors, weights)


def checksum(path: Path) -> str:
    """Return the checksum in a compact file's header; empty if it has none."""
    with safe_open(path, framework="pt") as file:
        return str((file.metadata() or {}).get(_CHECKSUM, ""))


def _version(path: Path, header: Mapping[str, Any]) -> Version:
    if header.get("format") != FORMAT:
        raise FileFormatError(f"{path}: not a torch-growl file: its format is {header.get('format')!r}")
    text = str(header.get("version"))
    if text == "1":
        return (1, 0)
    found = re.fullmatch(r"(\d{1,4})\.(\d{1,4})", text, re.ASCII)
    if found is None or int(found[1]) != VERSION[0]:
        raise FileFormatError(f"{path}: version {text!r} is not understood; this torch-growl reads 1 and {VERSION[0]}")
    return int(found[1]), int(found[2])


def _check_whole(path: Path, claimed: Any) -> None:
    """Compare the checksum with that of the file's bytes, with zeros in place of the checksum's own digits."""
    if not isinstance(claimed, str) or not re.fullmatch("[0-9a-f]{8}", claimed):
        raise FileFormatError(f"{path}: the header has no checksum {_CHECKSUM!r} of eight hexadecimal digits")
    with open(path, "rb") as file:
        place = header_place(read_front(file, str(path)))
        if place is None:
            raise FileFormatError(f"{path}: the header must hold {_CHECKSUM!r} once, without blanks")
        check_whole(file, place, str(path))
