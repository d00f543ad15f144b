"""Sentences about a target: what is left on the way, and whether the target is reached in the end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch_growl.application.reports.summary import count, percent
from torch_growl.application.tasks import PERCENT, metric_of

__all__ = ["target_line", "target_progress"]

_NAMES = {"macs": "MACs", "file_bytes": "bytes of the file", "latency_ms": "ms"}


def target_progress(target: Mapping[str, Any]) -> str:
    """Say what is left in the middle of a training.

    Args:
        target: the field ``target`` of a record of ``metrics.jsonl``.
    """
    left = percent(target["left"] / target["dense"], 1)
    if target["of"] == "accuracy_drop":
        return f"weights {left} left, drop of {target['asked']:g} allowed"
    return f"{_name(target['of'])} {left} left, {percent(target['asked'] / target['dense'], 1)} asked"


def target_line(result: Mapping[str, Any]) -> str:
    """Say whether the target is reached, with what is left before and after tying; empty without a target.

    Args:
        result: a run's ``result.json``.
    """
    target = result.get("target")
    if target is None:
        return ""
    of, asked, left, pruned = (target[name] for name in ("of", "asked", "left", "pruned"))
    line = f"target {'reached' if target['reached'] else 'not reached'}: "
    if of == "accuracy_drop":
        metric = metric_of(result)
        unit = "points" if metric.unit == PERCENT else metric.unit
        line += f"{max(left, 0):.2f} {unit} of validation {metric.name} are lost, at most {asked:g} were allowed"
        before = f"{max(pruned, 0):.2f}"
    else:
        dense = target["dense"]
        line += (
            f"{_amount(of, left)} of {_amount(of, dense)} {_name(of)} are left ({percent(left / dense, 1)}), at most "
            f"{_amount(of, asked)} ({percent(asked / dense, 1)}) were asked"
        )
        before = f"{_amount(of, pruned)} ({percent(pruned / dense, 1)})"
    if pruned != left:
        line += f"; {before} before tying"
    return line if target["why"] is None else f"{line}; {target['why']}"


def _name(of: str) -> str:
    return _NAMES.get(of, of)


def _amount(of: str, value: float) -> str:
    return f"{value:.3g}" if of == "latency_ms" else count(value)
