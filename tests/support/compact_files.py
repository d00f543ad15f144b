"""Compact files taken apart and put together by hand, independently of the package: what docs/format.md says."""

from __future__ import annotations

import json
import re
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors.torch import load as tensors_of
from safetensors.torch import save as to_bytes
from torch import Tensor

Change = Callable[[dict[str, Any], dict[str, Tensor], dict[str, str]], Any]


def split(data: bytes) -> tuple[dict[str, str], dict[str, Tensor]]:
    """The metadata and the tensors of a file."""
    (length,) = struct.unpack("<Q", data[:8])
    metadata: dict[str, str] = json.loads(data[8 : 8 + length])["__metadata__"]
    return metadata, {name: value.clone() for name, value in tensors_of(data).items()}


def resealed(data: bytes) -> bytes:
    """The file with the checksum that its other bytes have; as it is where the header holds none."""
    (length,) = struct.unpack("<Q", data[:8])
    header = data[8 : 8 + length]
    zeroed = re.sub(rb'"crc32":"[^"]*"', b'"crc32":"00000000"', header)
    front = struct.pack("<Q", len(zeroed)) + zeroed
    value = zlib.crc32(front + data[8 + length :])
    return front.replace(b'"crc32":"00000000"', f'"crc32":"{value:08x}"'.encode()) + data[8 + length :]


def changed(data: bytes, change: Change) -> bytes:
    """The file with its structure, tensors and metadata changed, and a checksum that is right again.

    A change that returns True has written the structure's text into the metadata itself.
    """
    metadata, tensors = split(data)
    structure = json.loads(metadata["structure"])
    if change(structure, tensors, metadata) is not True:
        metadata["structure"] = json.dumps(structure)
    return resealed(to_bytes(tensors, metadata))


def write_changed(data: bytes, path: Path, change: Change) -> Path:
    """The changed file under a name."""
    path.write_bytes(changed(data, change))
    return path
