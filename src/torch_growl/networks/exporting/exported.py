"""Writing an exported network: checks before and after, and the description of the file that was written.

A file is written only after the runtime it is for has given the network's outputs from its bytes, on the example and
on random inputs; otherwise nothing is written, and an existing file stays as it is.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from torch_growl.errors import InvalidValueError, first_line
from torch_growl.files import write_bytes

__all__ = ["Exported", "checked_target", "root_cause", "write_exported"]


@dataclass(frozen=True)
class Exported:
    """A file that was written.

    Attributes:
        path: the file.
        bytes: its size.
        difference: largest difference from the network's outputs, as a part of the largest output.
        dynamic_batch: whether it takes any batch size.
    """

    path: Path
    bytes: int
    difference: float
    dynamic_batch: bool

    def __str__(self) -> str:
        batch = "any batch size" if self.dynamic_batch else "the example's batch size"
        return f"{self.path}: {self.bytes:,} bytes, {batch}, outputs within {self.difference:.1e} of the largest"


def checked_target(path: str | os.PathLike[str]) -> Path:
    """Return the path of a file to be written.

    Raises:
        InvalidValueError: it is a folder, or its folder does not exist.
    """
    target = Path(path)
    if target.is_dir() or not target.parent.is_dir():
        raise InvalidValueError(f"path must be a file in a folder that exists, got {target}")
    return target


def write_exported(target: Path, data: bytes, difference: float, *, dynamic_batch: bool) -> Exported:
    """Write the bytes that were checked, whole or not at all, and describe the file."""
    write_bytes(target, data)
    return Exported(target, len(data), difference, dynamic_batch)


def root_cause(error: BaseException) -> str:
    """Return the first line of the error that an exporter's errors were raised from."""
    while error.__cause__ is not None:
        error = error.__cause__
    return first_line(error)
