"""Every loader that reads files: good files of its kind, how one is loaded, and how a changed one is sealed again."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import re
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save
from torch import nn

import torch_growl as tg
from benchmarks.reliability.cases import network
from torch_growl.application.data.cifar10 import read_binary_batch
from torch_growl.application.data.mnist import read_idx
from torch_growl.application.data.pickles import read_python_batch
from torch_growl.application.recipes import Recipe, load_recipe
from torch_growl.application.reports.run_files import read_run
from torch_growl.application.runs import RunFolder
from torch_growl.checksums import UNSET, seal_archive, sealed, sealed_json, sealed_text

__all__ = ["Loader", "loaders"]


@dataclass(frozen=True)
class Loader:
    """One kind of file.

    Attributes:
        name: in the results.
        good: files of the kind.
        load: reads the file at a path.
        sealed: returns a changed file with right checksums, as far as it still has places for them.
        json: whether the file is JSON, or JSON lines.
        share: how often it is drawn.
    """

    name: str
    good: tuple[bytes, ...]
    load: Callable[[Path], object]
    sealed: Callable[[bytes], bytes] = lambda data: data
    json: bool = False
    share: int = 10


def loaders(work: Path) -> tuple[Loader, ...]:
    """Make all kinds; ``work`` is an empty folder for what they need."""
    torch.manual_seed(0)
    compact = tuple(_compact(work, dtype) for dtype in (None, "int8"))
    short = {"dense.epochs": 2, "train.epochs": 1, "retrain.epochs": 1}
    recipe = load_recipe("digits", {**short, "tying": {"method": "affinity"}, "merge": None, "retrain.form": "tied"})
    folder = RunFolder(work / "run")
    folder.create(recipe)
    folder.save_checkpoint("dense", recipe, _state(network()))
    checkpoint = (folder.checkpoints / "dense.pt").read_bytes()
    for stage, epochs in (("dense", 2), ("train", 1), ("retrain", 1)):
        for epoch in range(1, epochs + 1):
            figures = {"train_accuracy": 0.5, "validation_accuracy": 0.5, "compression": 1.5, "layers": {}}
            folder.append_metrics({"stage": stage, "epoch": epoch, **figures})
    tying = sealed_json(json.loads(_tying()))
    result = sealed_json(_result(), indent=2)
    folder.tying_file.write_text(tying)
    folder.result_file.write_text(result)
    folder.save_tensors("row_norms", {"0": torch.rand(2, 6)})
    folder.save_tensors("rows", {"0|trained": torch.rand(6, 4)})
    read_run(folder.path)  # it is a whole folder

    def in_run(name: str) -> Callable[[Path], object]:
        """Read the run for a report with one of its files replaced."""
        whole = (folder.path / name).read_bytes()

        def load(path: Path) -> object:
            try:
                (folder.path / name).write_bytes(path.read_bytes())
                return read_run(folder.path)
            finally:
                (folder.path / name).write_bytes(whole)

        return load

    def from_run(name: str, read: Callable[[], object]) -> Callable[[Path], object]:
        def load(path: Path) -> object:
            (other.path / name).write_bytes(path.read_bytes())
            return read()

        return load

    other = RunFolder(work / "other")
    other.create(recipe)
    metrics, norms = folder.metrics_file.read_bytes(), (folder.checkpoints / "row_norms.safetensors").read_bytes()

    def as_program(path: Path) -> object:
        return tg.load_program(path.rename(path.with_suffix(".pt2")))

    def as_gzip(path: Path) -> object:
        return read_idx(path.rename(path.with_suffix(".gz")), (20, 3, 3))

    json_files: dict[str, Any] = {"sealed": _sealed_json, "json": True}
    lines: dict[str, Any] = {"sealed": _sealed_lines, "json": True}
    head = _sealed_header
    table, figures_file, recipes = (tying.encode(),), (result.encode(),), _recipes(recipe)
    of_dense = from_run("checkpoints/dense.pt", lambda: other.load_checkpoint("dense", recipe))
    of_metrics = from_run("metrics.jsonl", lambda: other.metrics("retrain", 1, recipe))
    return (
        Loader("compact file", compact, lambda path: tg.load(path, _small()), head),
        Loader("compact file as dense", compact, lambda path: tg.load_dense(path, _small()), head),
        Loader("compact file, version 1", (_version_1(),), lambda path: tg.load(path, _old())),
        Loader("program", (_program(work),), as_program, _sealed_program, share=1),
        Loader("tying", table, lambda path: tg.Tying.from_json(path.read_bytes()), **json_files),
        Loader("recipe", recipes, load_recipe, _sealed_text, share=6),
        Loader("checkpoint", (checkpoint,), of_dense, _sealed_archive),
        Loader("metrics", (metrics,), of_metrics, **lines),
        Loader("result", figures_file, from_run("result.json", other.result), **json_files),
        Loader("result in a report", figures_file, in_run("result.json"), **json_files, share=5),
        Loader("tying in a report", table, in_run("tying.json"), **json_files, share=5),
        Loader("metrics in a report", (metrics,), in_run("metrics.jsonl"), **lines, share=5),
        Loader("recipe in a report", recipes, in_run("recipe.yaml"), _sealed_text, share=2),
        Loader("tensors in a report", (norms,), in_run("checkpoints/row_norms.safetensors"), head, share=5),
        Loader("idx file", (_idx(),), lambda path: read_idx(path, (20, 3, 3))),
        Loader("gzipped idx file", (gzip.compress(_idx()),), as_gzip),
        Loader("CIFAR-10 binary batch", (_batch(),), read_binary_batch, share=1),
        Loader("pickle", tuple(_pickle(protocol) for protocol in (2, 4)), read_python_batch),
    )


# ── good files ──────────────────────────────────────────────────────────────────────────────────────────────────────


def _small() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=2), nn.Flatten(),
        nn.Linear(32, 6), nn.ReLU(), nn.Linear(6, 4),
    )  # fmt: skip


@torch.no_grad()
def _compact(work: Path, dtype: str | None) -> bytes:
    model = _small().eval()
    for number in (3, 5, 7):
        weight: Any = model[number].weight  # type: ignore[index]
        weight[:, 1::3] = 0
        weight[:, 2] = weight[:, 0]
    tg.save(tg.compact(model, torch.randn(2, 3, 4, 4)), work / "file", dtype=dtype)
    return (work / "file").read_bytes()


def _old() -> nn.Module:
    return nn.Sequential(nn.Linear(8, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 4))


def _version_1() -> bytes:
    """Return a compact file of version 1 of ``_old``, as docs/format.md describes it."""
    layers = [
        {"name": "0", "inputs": 8, "outputs": 6, "width": 8},
        {"name": "3", "inputs": 6, "outputs": 4, "width": 2, "source": "0", "block": 1},
    ]
    norms = [{"name": "1", "features": 6, "source": "0", "block": 1}]
    tensors = {"0.weight": torch.rand(3, 8), "0.bias": torch.rand(3), "3.layer.weight": torch.rand(4, 2)}
    tensors |= {f"1.{name}": torch.rand(3) for name in ("weight", "bias", "running_mean", "running_var")}
    tensors |= {"3.layer.bias": torch.rand(4), "1.num_batches_tracked": torch.tensor(1)}
    tensors |= {"growl.kept.0": torch.tensor([7], dtype=torch.uint8)}
    tensors |= {"growl.labels.1": torch.tensor([1, 2, 0], dtype=torch.uint8)}
    structure = json.dumps({"layers": layers, "norms": norms})
    return save(tensors, {"format": "torch-growl", "version": "1", "structure": structure})


def _program(work: Path) -> bytes:
    tg.save(nn.Sequential(nn.Linear(4, 3), nn.ReLU()), work / "p.safetensors", example_inputs=torch.randn(2, 4))
    return (work / "p.pt2").read_bytes()


def _state(model: nn.Module) -> dict[str, Any]:
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    return {"epoch": 2, "model": model.state_dict(), "optimizer": optimizer.state_dict(), "seconds": 1.5, "norms": {}}


def _tying() -> str:
    return tg.find_tying(nn.Sequential(nn.Linear(6, 4), nn.Linear(4, 3)), ["0", "1"], preference=0.5).to_json()


def _result() -> dict[str, Any]:
    pair = {"dense": 10, "compact": 5}
    return {
        "schema": 1, "recipe": "digits", "seed": 0, "model": "m", "epochs": {"dense": 2, "train": 1, "retrain": 1},
        "dataset": {"name": "digits", "train": 1, "validation": 1, "test": 1},
        "accuracy": {"dense": 0.5, "compact": 0.5},
        "layers": [{"name": str(n), "rows": rows, "nonzero": rows, "groups": rows} for n, rows in ((0, 6), (1, 4))],
        "sparsity": 0.1, "sharing": 1.5, "compression": {"layers": 2.0, "network": 2.0, "file": 2.0},
        "parameters": pair, "bytes": pair, "macs": pair, "latency_ms": {"dense": {"1": 0.1}, "compact": {"1": 0.1}},
        "seconds": {"dense": 1.0}, "environment": {"torch": "2"},
        "cuts": [{"layer": "0", "form": "full", "rows": [6, 3], "outputs": [4, 4], "reason": ""}],
    }  # fmt: skip


def _recipes(recipe: Recipe) -> tuple[bytes, ...]:
    extending = "extends: digits\nname: mine\nmodel: {name: 'mine:network', options: {width: &w 32, list: [*w, *w]}}\n"
    return sealed_text(recipe.to_yaml()).encode(), sealed_text(extending).encode()


def _idx() -> bytes:
    return struct.pack(">4I", 0x803, 20, 3, 3) + bytes(range(180))


def _batch() -> bytes:
    return b"".join(bytes([n % 10]) + bytes(range(n % 200, n % 200 + 48)) * 64 for n in range(10_000))


def _pickle(protocol: int) -> bytes:
    batch = {b"batch_label": b"x", b"labels": list(range(10)), b"data": np.zeros((10, 12), np.uint8)}
    return pickle.dumps({**batch, b"filenames": [b"a.png"] * 10}, protocol)


# ── sealing ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _sealed_at(data: bytes, pattern: bytes) -> bytes:
    found = re.search(pattern, data, re.DOTALL)
    if found is None:
        return data
    return sealed(data[: found.start(1)] + UNSET.encode() + data[found.end(1) :], found.start(1))


def _sealed_header(data: bytes) -> bytes:
    return _sealed_at(data, rb'"crc32":"([^"]{0,20})"')


def _sealed_json(data: bytes) -> bytes:
    return _sealed_at(data, rb'"crc32": "([^"]{0,20})"')


def _sealed_lines(data: bytes) -> bytes:
    return b"\n".join(map(_sealed_json, data.split(b"\n")))


def _sealed_text(data: bytes) -> bytes:
    return _sealed_at(data, rb"# crc32: ([^\n]{8})\n?\Z")


def _sealed_archive(data: bytes) -> bytes:
    return _sealed_at(data, rb"torch-growl crc32:(.{8})\Z")


def _sealed_program(data: bytes) -> bytes:
    """Write the members that can be read into a whole archive."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = [(info, _raw(data, info)) for info in archive.infolist()]
    except Exception:
        return data
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for info, content in members:
            archive.writestr(info.filename, content)
    seal_archive(file)
    return file.getvalue()


def _raw(data: bytes, info: zipfile.ZipInfo) -> bytes:
    """Return a stored member's bytes, whatever its checksum is."""
    name, extra = struct.unpack("<HH", data[info.header_offset + 26 : info.header_offset + 30])
    start = info.header_offset + 30 + name + extra
    return zlib.decompress(data[start:], -15) if info.compress_type else data[start : start + info.file_size]
