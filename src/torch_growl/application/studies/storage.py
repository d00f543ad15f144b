"""Optuna's storages for a study: a journal file, or a database by its URL.

The journal is locked by ``flock``, which the kernel takes back from a process that is killed. A record that such a
process has not written whole is cut off by the next one that writes.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch_growl.errors import InvalidValueError, first_line

__all__ = ["open_storage", "waiting_lock"]

_LONGEST = 2**20  # bytes of what one call writes
_ATTEMPTS, _PAUSE = 6, 0.5  # to open a database, and the seconds between them


@contextmanager
def waiting_lock(path: Path) -> Iterator[None]:
    """Lock a file for this process until the block, or the process, ends; wait for the process that has it."""
    with open(path, "ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


class _JournalLock:
    """The lock of a journal file, as Optuna's backend uses it."""

    def __init__(self, journal: Path) -> None:
        self._journal, self._path = journal, journal.with_name(f".{journal.name}.lock")
        self._file: Any = None

    def acquire(self) -> bool:
        """Wait for the lock; cut off a record that was not written whole."""
        self._file = open(self._path, "ab")  # noqa: SIM115 (closed by release)
        fcntl.flock(self._file, fcntl.LOCK_EX)
        size = self._journal.stat().st_size
        with open(self._journal, "rb") as journal:
            journal.seek(max(0, size - _LONGEST))
            end = journal.read()
        if not end.endswith(b"\n"):
            os.truncate(self._journal, size - len(end) + end.rfind(b"\n") + 1)
        return True

    def release(self) -> None:
        """Give the lock back."""
        self._file.close()


def _database(optuna: Any, place: str) -> Any:
    """Open a database; where workers that begin at once make its tables, all but one fail and try again."""
    for _ in range(_ATTEMPTS - 1):
        try:
            return optuna.storages.RDBStorage(place)
        except Exception as error:  # of sqlalchemy, which Optuna brings along
            if type(error).__name__ not in ("IntegrityError", "OperationalError"):
                raise
            time.sleep(_PAUSE)
    return optuna.storages.RDBStorage(place)


def open_storage(place: str) -> Any:
    """Open a storage, or make it.

    Args:
        place: the path of a journal file, or a URL such as ``sqlite:///study.db`` or ``postgresql://…``.

    Raises:
        InvalidValueError: Optuna is not installed, or the storage cannot be opened.
    """
    try:
        import optuna
    except ModuleNotFoundError:
        raise InvalidValueError("--study needs Optuna, the extra torch-growl[optuna]") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        if "://" in place:
            return _database(optuna, place)
        path = Path(place)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        lock: Any = _JournalLock(path)
        return optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(path), lock_obj=lock))
    except Exception as error:  # a driver, a URL or a file of another kind
        raise InvalidValueError(f"--study {place} cannot be opened: {first_line(error)}") from None
