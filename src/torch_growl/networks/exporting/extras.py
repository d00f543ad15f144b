"""The packages that exports need beside torch: their lowest versions, and errors that say how to install them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version

from torch_growl.errors import ExportError, first_line

__all__ = ["EXTRAS", "imported_extra"]

EXTRAS = {  # as in pyproject.toml; a test compares them
    "onnx": ("onnx>=1.17", "onnx-ir>=0.1.15", "onnxscript>=0.6.2", "onnxruntime>=1.20"),
    "executorch": ("executorch>=1.0", "setuptools>=77.0.1"),
}


@contextmanager
def imported_extra(name: str) -> Iterator[None]:
    """Import packages of an extra in the block.

    Raises:
        ExportError: one is too old or cannot be imported; the message has the command that installs them.
    """
    install = "install with: pip install " + " ".join(f"'{requirement}'" for requirement in EXTRAS[name])
    for requirement in EXTRAS[name]:
        package, lowest = requirement.split(">=")
        try:
            found = version(package)
        except PackageNotFoundError:  # installed in another way, or missing: the import tells
            continue
        if _release(found) < _release(lowest):
            raise ExportError(f"{package} {found} is too old; {install}")
    try:
        yield
    except ImportError as error:
        missing = error.name or first_line(error)
        raise ExportError(f"{missing} cannot be imported; {install}") from error


def _release(number: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", number)[:3])
