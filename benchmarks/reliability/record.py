"""The record of kills and of the fuzz, ``benchmarks/results/reliability.json``; each part has its own date."""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from typing import Any

from benchmarks.harness import results

__all__ = ["COMMANDS", "keep_part"]

COMMANDS = {"kills": "python -m benchmarks.reliability.kills", "fuzz": "python -m benchmarks.fuzz"}


def keep_part(given: argparse.Namespace, part: str, found: Mapping[str, Any]) -> None:
    """Save one part of the record beside the other, and print where; a quick run is kept only with a name.

    Args:
        given: the command's options.
        part: a key of ``COMMANDS``.
        found: its figures.
    """
    name = given.name or (None if given.quick else "reliability")
    if name is None:
        print("a quick run: nothing kept (give it a --name to keep it)")
        return
    old = results.load(name) if results.exists(name) else {}
    own = {
        "command": COMMANDS[part],
        "quick": given.quick,
        "date": time.strftime("%Y-%m-%d"),
        "commit": results.commit(),
    }
    parts = {key: old[key] for key in COMMANDS if key in old} | {part: {**own, **found}}
    print("kept", results.save(name, {"command": " and ".join(COMMANDS.values()), **parts}))
