"""Reads the largest resident set of this process."""

from __future__ import annotations

import resource
from pathlib import Path

__all__ = ["peak", "restart_peak"]

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def restart_peak() -> int:
    """Reset the peak if the system can; return the resident set from which the next is counted."""
    try:
        _CLEAR.write_text("5")
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return peak()


def peak() -> int:
    """Return the largest resident set since the peak was reset, in bytes."""
    if _STATUS.exists():
        fields = dict(line.split(":", 1) for line in _STATUS.read_text().splitlines())
        return int(fields["VmHWM"].split()[0]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
