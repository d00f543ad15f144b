"""The container of a compact file: a safetensors file with a format, a version and a checksum in its header.

Reading it runs no code from the file. The checksum covers every bit of a file of version 2.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor

from torch_growl.checksums import UNSET, check_whole, digits_of, header_place, read_front
from torch_growl.errors import FileFormatError, InvalidValueError

__all__ = ["VERSION", "Contents", "Version", "checksum", "pack", "read"]

FORMAT = "torch-growl"
Version = tuple[int, int]
VERSION: Version = (2, 1)
_STRUCTURE, _CHECKSUM = "structure", "crc32"


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
    metadata = {"format": FORMAT, "version": version, _STRUCTURE: structure, _CHECKSUM: UNSET}
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
    place, tensors_only = header_place(front), memoryview(data)[8 + length :]
    assert place is not None
    return b"".join((front[:place], digits_of(front, tensors_only), front[place + len(UNSET) :], tensors_only))


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
        place = header_place(read_front(file, str(path)))
        if place is None:
            raise FileFormatError(f"{path}: the header must hold {_CHECKSUM!r} once, without blanks")
        check_whole(file, place, str(path))
