"""The contents of run folders, to compare a run that was killed and resumed with one that was not."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch

__all__ = ["contents", "differences"]

_TIMES = ("seconds", "latency_ms", "environment", "crc32")  # these differ between any two runs


def contents(folder: Path) -> dict[str, Any]:
    """Read all files of a folder by name, without times; TensorBoard's events and the lock are left out."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != ".lock")
    names = {path.relative_to(folder).as_posix(): path for path in files}
    return {name: _content(path) for name, path in names.items() if "tensorboard/" not in name}


def differences(a: dict[str, Any], b: dict[str, Any]) -> list[str]:
    """Return the names of files that differ or that only one of two folders has."""
    return sorted(name for name in a.keys() | b.keys() if name not in a or name not in b or a[name] != b[name])


def _content(path: Path) -> Any:
    if path.suffix == ".html":  # it shows times
        return "a page"
    if path.suffix == ".pt":
        return _plain(torch.load(path, weights_only=True))
    if path.suffix in (".json", ".jsonl"):
        lines = path.read_text("utf-8").splitlines() if path.suffix == ".jsonl" else [path.read_text("utf-8")]
        return [_plain(json.loads(line)) for line in lines]
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _plain(value: Any) -> Any:
    """Return nested values without times, and tensors as their bits."""
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items() if key not in _TIMES}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, torch.Tensor):
        data = value.contiguous().view(-1).view(torch.uint8).numpy().tobytes() if value.numel() else b""
        return [str(value.dtype), list(value.shape), hashlib.sha256(data).hexdigest()]
    return value
