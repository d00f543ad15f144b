"""The container of a compact file: a safetensors file with a format, a version and a checksum in its header.

Reading it runs no code from the file. The checksum covers every bit of a file of version 2.
"""

from __future__ import annotations

import json
import re
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor

from torch_growl.errors import FileFormatError, InvalidValueError

__all__ = ["VERSION", "Contents", "Version", "checksum", "pack", "read"]

FORMAT = "torch-growl"
Version = tuple[int, int]
VERSION: Version = (2, 1)
_STRUCTURE, _CHECKSUM = "structure", "crc32"
_UNSET = "00000000"
_CHUNK = 2**20
_MOST_HEADER = 100_000_000  # safetensors' own limit


@dataclass(frozen=True)
class Contents:
    """The contents of a file, before they are compared with a network."""

    version: Version
    structure: str
    tensors: dict[str, Tensor]


def pack(structure: str, tensors: Mapping[str, Tensor]) -> bytes:
    """Return the bytes of a file; the same contents give the same bytes.

    Args:
        structure: the JSON text of the structure.
        tensors: contiguous CPU tensors that do not share memory.

    Raises:
        InvalidValueError: safetensors cannot hold one of them (complex numbers, sparse tensors).
    """
    version = ".".join(map(str, VERSION))
    metadata = {"format": FORMAT, "version": version, _STRUCTURE: structure, _CHECKSUM: _UNSET}
    try:
        data = to_bytes(dict(tensors), metadata)
    except (SafetensorError, ValueError, KeyError, RuntimeError) as error:
        raise InvalidValueError(f"the network's tensors cannot be stored: {error}") from error
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))  # the library's own order changes
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    front = struct.pack("<Q", len(text)) + text
    value = zlib.crc32(memoryview(data)[8 + length :], zlib.crc32(front))
    place = front.index(_field(_UNSET)) + len(_field("")) - 1
    return front[:place] + f"{value:08x}".encode() + front[place + len(_UNSET) :] + data[8 + length :]


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
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, RuntimeError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, FileFormatError):
            raise
        raise FileFormatError(f"{path}: not a safetensors file, or a damaged one: {error}") from None
    return Contents(version, header[_STRUCTURE], tensors)


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
        start = file.read(8)
        length = struct.unpack("<Q", start)[0]
        if length > _MOST_HEADER:
            raise FileFormatError(f"{path}: the header claims {length} bytes")
        text = file.read(length)
        if text.count(_field(claimed)) != 1:
            raise FileFormatError(f"{path}: the header must hold {_CHECKSUM!r} once, without blanks")
        value = zlib.crc32(start + text.replace(_field(claimed), _field(_UNSET)))
        while chunk := file.read(_CHUNK):
            value = zlib.crc32(chunk, value)
    if f"{value:08x}" != claimed:
        raise FileFormatError(f"{path}: damaged: its checksum is {value:08x}, the header says {claimed}")


def _field(value: str) -> bytes:
    return f'"{_CHECKSUM}":"{value}"'.encode()
