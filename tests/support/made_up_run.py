"""A run folder made of numbers that occur nowhere else, and its report's page taken apart."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from torch_growl.application.reports.report import make_report

LAYERS = {"fc1": (64, 20), "features.3": (30, 12), "fc2": (10, 5)}


def some_labels(n: int) -> list[int]:
    """A third pruned, a third in groups of 3, a third alone."""
    return [-1 if i % 3 == 0 else i // 9 if i % 3 == 1 else 100 + i for i in range(n)]


def tied_rows(labels: list[int], length: int, noise: float) -> np.ndarray:
    rng = np.random.default_rng(1)
    values = {label: rng.normal(size=length) for label in sorted(set(labels))}
    rows = np.array([values[label] + noise * rng.normal(size=length) for label in labels], dtype=np.float32)
    rows[np.array(labels) == -1] = 0
    return rows


def make_run(tmp_path: Path) -> Path:
    """A run folder as `growl run` leaves it, with numbers that occur nowhere else."""
    labels = {name: some_labels(n) for name, (n, _) in LAYERS.items()}
    epochs = {"dense": 3, "train": 5, "retrain": 2}
    records = []
    for stage, n in epochs.items():
        for epoch in range(1, n + 1):
            accuracy = 0.9 + 0.01 * epoch
            counts = {"train_accuracy": accuracy + 0.01, "validation_accuracy": accuracy, "lr": 0.1, "seconds": 1.0}
            record = {"stage": stage, "epoch": epoch, "loss": 0.1, "penalty": None, "layers": {}, **counts}
            records.append({**record, "compression": {"dense": 1.0, "train": 1.0 + epoch / 5, "retrain": 4.0}[stage]})
    layers = []
    for name, values in labels.items():
        kept = [label for label in values if label >= 0]
        counted = {"rows": len(values), "nonzero": len(kept), "groups": len(set(kept))}
        layers.append({"name": name, **counted, "row_length": LAYERS[name][1], "tied": name != "fc2"})
    pair = {"rows": [64, 31], "outputs": [30, 17]}
    result = {
        "schema": 1,
        "recipe": "made-up",
        "recipe_description": "A folder made by a test",
        "seed": 4711,
        "dataset": {"name": "digits", "train": 1257, "validation": 181, "test": 359, "pixel_shape": [8, 8]},
        "model": "64-30-10",
        "epochs": epochs,
        "accuracy": {
            "dense": 0.98312,
            "regularized": 0.97713,
            "tied": 0.94114,
            "retrained": 0.98115,
            "compact": 0.98115,
        },
        "layers": layers,
        "sparsity": 0.337,
        "sharing": 1.437,
        "compression": {"layers": 16.7, "network": 18.2, "file": 17.3},
        "parameters": {"dense": 238510, "compact": 14021},
        "bytes": {"dense": 954040, "compact": 52419},
        "bytes_held": {"dense": 954040, "compact": 60417},
        "macs": {"dense": 238200, "compact": 26176},
        "measure": {"dense": {"distinct_weights": 238499}, "compact": {"distinct_weights": 13987}},
        "file_bytes": {"dense": 955016, "compact": 55204},
        "latency_ms": {"dense": {"1": 0.0501, "256": 1.2904}, "compact": {"1": 0.0301, "256": 0.3001}},
        "cuts": [
            {"layer": "fc1", "form": "full", **pair, "reason": ""},
            {
                "layer": "features.3",
                "form": "local",
                "rows": [30, 13],
                "outputs": [7, 7],
                "reason": "read by add_3 too",
            },
            {"layer": "last", "form": "none", "rows": [99, 99], "outputs": [10, 10], "reason": None},
        ],
        "layer_costs": [
            {
                "name": name,
                "type": "Conv2d" if name == "features.3" else "Linear",
                "weights": {"dense": 60_000 // (i + 1), "compact": 4_000 // (i + 1)},
                "macs": {"dense": 90_000 // (i + 1), "compact": 9_000 // (i + 1)},
            }
            for i, name in enumerate(LAYERS)
        ],
        "checks": {"rows_bit_equal": True, "predictions_differ": 0},
        "seconds": {"dense": 12.34, "train": 4567.8},
        "environment": {"torch": "2.13.0+cpu", "processor": "A Processor"},
    }
    folder = tmp_path / "run"
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "result.json").write_text(json.dumps(result), encoding="utf-8")
    (folder / "metrics.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records), encoding="utf-8")
    tying = [{"name": name, "labels": v, "row_length": LAYERS[name][1]} for name, v in labels.items()]
    (folder / "tying.json").write_text(json.dumps({"schema": 1, "layers": tying}), encoding="utf-8")
    (folder / "recipe.yaml").write_text("name: made-up\nunique_recipe_line: 1\n", encoding="utf-8")
    rows = {f"{n}|trained": tied_rows(v, LAYERS[n][1], 0.3) for n, v in labels.items()}
    rows |= {f"{n}|retrained": tied_rows(v, LAYERS[n][1], 0.0) for n, v in labels.items()}
    save_file(rows, folder / "checkpoints" / "rows.safetensors")
    fade = np.linspace(1, 0, 6, dtype=np.float32)[:, None]
    norms = {n: np.where(np.array(v) == -1, fade, 1 + 0.1 * fade).astype(np.float32) for n, v in labels.items()}
    save_file(norms, folder / "checkpoints" / "row_norms.safetensors")
    return folder


def edit(run: Path, change: Callable[[dict[str, Any]], object], name: str = "result.json") -> None:
    data = json.loads((run / name).read_text(encoding="utf-8"))
    change(data)
    (run / name).write_text(json.dumps(data), encoding="utf-8")


class Page(HTMLParser):
    """The page's visible text, its tags, and everything it refers to."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.rows: list[str] = []
        self.text = ""
        self.in_row = False
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)
        self.text = re.sub(r"\s+", " ", self.text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [v or "" for k, v in attributes if k in {"src", "href", "srcset", "data", "action", "poster"}]
        if tag == "tr":
            self.rows.append("")
            self.in_row = True

    def handle_endtag(self, tag: str) -> None:
        self.in_row = self.in_row and tag != "tr"

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.in_row and data.strip():
            self.rows[-1] += f"|{data.strip()}"

    def row(self, first: str) -> str:
        return next(row for row in self.rows if row.startswith(f"|{first}|"))


def page(run: Path) -> Page:
    return Page(make_report(run))
