"""Writing whole files: under a temporary name first, then renamed, so that an interruption never leaves half a file.

A process that is killed leaves its temporary file; the next one that locks the folder deletes it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from torch_growl.errors import RunFolderError

__all__ = ["is_temporary", "locked", "replacing", "write_bytes", "write_text", "write_whole"]

_TEMPORARY = re.compile(r"\..+\.\d+\.tmp(\.\w+)?", re.DOTALL)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary name beside ``path``; the file written there replaces ``path`` when the block ends.

    The temporary name begins with a dot and keeps the suffix of ``path``. When the block raises, the temporary file is
    removed and ``path`` stays as it was.

    Args:
        path: the file to write; its folder must exist.

    Raises:
        OSError: the file cannot be written or renamed.
    """
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None and error.errno:
            error.filename = str(path)
        raise


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Call ``write`` with a temporary name beside ``path``, then rename that file to ``path``."""
    with replacing(path) as temporary:
        write(temporary)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file, whole or not at all."""
    write_whole(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def write_bytes(path: Path, data: bytes) -> None:
    """Write a binary file, whole or not at all."""
    write_whole(path, lambda temporary: temporary.write_bytes(data))


def is_temporary(name: str) -> bool:
    """Return whether a file's name is one that :func:`replacing` gives."""
    return _TEMPORARY.fullmatch(name) is not None


@contextmanager
def locked(folder: Path, *inner: str) -> Iterator[None]:
    """Lock a folder for this process until the block, or the process, ends; delete temporary files that were left.

    Args:
        folder: the folder; it must exist.
        inner: names of folders in it from which temporary files are deleted too.

    Raises:
        RunFolderError: another process has locked it.
        OSError: the lock file ``.lock`` cannot be written.
    """
    import fcntl

    with open(folder / ".lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise RunFolderError(f"{folder} is in use by another process that is running now") from None
        for place in (folder, *(folder / name for name in inner)):
            for entry in list(place.iterdir()) if place.is_dir() else []:
                if is_temporary(entry.name) and not entry.is_dir():
                    entry.unlink(missing_ok=True)
        yield
