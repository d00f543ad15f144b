"""Draws Figures 4, 5 and 6 of the paper from our runs, and the curve.

Run it with ``python -m benchmarks.learning.pages.pictures``.

They are drawn from the checkpoints of ``benchmarks.learning.experiments.table1``,
``benchmarks.learning.experiments.one_strength`` and ``benchmarks.learning.experiments.best`` (``--runs`` holds the
three folders), and the curve from ``benchmarks/results``.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from benchmarks.harness import results
from benchmarks.harness.command import options
from benchmarks.harness.pages import IMAGES
from benchmarks.learning.training.fitting import state_of
from torch_growl.application.data.datasets import load_mnist
from torch_growl.application.models.convolutional import vgg16
from torch_growl.application.plots import curve_figure, pixels_figure, similarity_histograms_figure
from torch_growl.application.runs.run import Run
from torch_growl.application.runs.run_folder import RunFolder
from torch_growl.mathematics.similarity.dense import row_similarity
from torch_growl.networks.layers import rows_of
from torch_growl.networks.tying.tying import Tying

__all__ = ["curve", "groups", "heat_maps", "histograms", "kept_rows", "main", "mean_curves"]

RUNS = {  # the run of Table 1, and the training whose rows are shown
    "no penalty": ("mnist-none-0", "dense"),
    "group lasso + l2": ("mnist-group-lasso-l2-0", "train"),
    "GrOWL": ("mnist-growl-0", "train"),
    "GrOWL + l2": ("mnist-growl-l2-0", "train"),
}
PIXELS = slice(28 * 8, 28 * 20)  # the middle lines, so that single rows can be seen


def mean_curves(jobs: list[dict[str, Any]]) -> dict[str, list[tuple[float, float]]]:
    """Return the points (times smaller, accuracy) of every method, means over the seeds at one setting."""
    points: dict[str, dict[float, list[tuple[float, float]]]] = defaultdict(lambda: defaultdict(list))
    for job in jobs:
        for point in job["points"]:
            points[point["curve"]][point["knob"]].append((point["network"], point["test"]))
    return {name: [tuple(np.mean(v, axis=0).tolist()) for v in at.values()] for name, at in points.items()}


def curve() -> Figure:
    """Draw accuracy against size of all methods."""
    jobs = results.load("curve")["jobs"]
    dense = float(np.mean([job["dense"] for job in jobs]))
    return curve_figure(mean_curves(jobs), dense=dense, lowest=0.965)


def heat_maps(work: Path, data: Path) -> Figure:
    """Draw Figure 4: the similarity of rows for every regularizer beside the correlation of the inputs."""
    x = load_mnist(data).train.x[:10_000, PIXELS].double()  # type: ignore[attr-defined]
    with np.errstate(invalid="ignore"):
        maps = {"correlation of the pixels": np.nan_to_num(np.corrcoef(x.numpy().T))}
    for name, (folder, stage) in RUNS.items():
        run = Run(RunFolder(work / folder), data_dir=data)
        W = rows_of(run.trained(stage).get_submodule("fc1")).detach()[PIXELS]  # type: ignore[arg-type]
        similarity = np.zeros((len(W), len(W)))
        alive = (W != 0).any(1).numpy()
        similarity[np.ix_(alive, alive)] = row_similarity(W[torch.from_numpy(alive)]).numpy()
        maps[f"rows, {name}"] = similarity
    figure = Figure(figsize=(15, 3.4), dpi=150, layout="constrained")
    axes = figure.subplots(1, len(maps))
    for axis, (title, values) in zip(axes, maps.items(), strict=True):
        shown = axis.imshow(values, vmin=-1, vmax=1, cmap="RdBu_r", interpolation="nearest")
        axis.set_title(title, fontsize=9)
        axis.set_xticks([])
        axis.set_yticks([])
    figure.colorbar(shown, ax=list(axes), shrink=0.8)
    return figure


def kept_rows(jobs: list[dict[str, Any]]) -> Figure:
    """Draw Figure 5: how often each pixel is kept over the seeds."""
    rows: dict[str, list[list[int]]] = defaultdict(list)
    for job in jobs:
        rows[job["row"]].append(job["kept"])
    chosen = {name: np.mean(masks, axis=0) for name, masks in rows.items() if not np.all(masks)}
    figure = Figure(figsize=(3.2 * len(chosen), 3.3), dpi=150, layout="constrained")
    axes = np.atleast_1d(figure.subplots(1, len(chosen)))
    for axis, (name, share) in zip(axes, chosen.items(), strict=True):
        shown = axis.imshow(share.reshape(28, 28), vmin=0, vmax=1, cmap="cividis")
        axis.set_title(f"{name}: {np.mean(rows[name], axis=0).sum():.0f} kept on average", fontsize=9)
        axis.set_xticks([])
        axis.set_yticks([])
    figure.colorbar(shown, ax=list(axes), shrink=0.8, label="share of the seeds")
    return figure


def histograms(work: Path) -> Figure:
    """Draw Figure 6: similarities of rows in every layer of VGG-16 of a quarter's width under GrOWL."""
    state = state_of(next(path for path in work.glob("CIFAR*VGG*GrOWL-0.pt") if "small" not in path.name))
    assert state is not None
    model = vgg16(width=0.25)
    model.load_state_dict(state["model"])
    layers = [f"conv{i}" for i in range(2, 14)] + ["fc1"]
    shown = {}
    for name in layers:
        W = rows_of(model.get_submodule(name), "input").detach()
        left = W[(W != 0).any(1)]  # a pruned row is like no other
        shown[f"{name}: {len(left)} of {len(W)} rows"] = left.numpy()
    return similarity_histograms_figure(shown)


def groups(run: Path) -> Figure:
    """Draw the groups of a run's pixels in colours."""
    tying = Tying.from_json((run / "tying.json").read_text(encoding="utf-8"))
    return pixels_figure("fc1 of mnist-best", tying["fc1"].partition.labels, (28, 28))


def main(arguments: list[str] | None = None) -> None:
    """Draw all pictures, or those of ``--only``."""
    parser = options(__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--runs", type=Path, default=Path("runs/learning"))
    drawers: dict[str, Callable[[argparse.Namespace], Figure]] = {
        "curve": lambda given: curve(),
        "figure4": lambda given: heat_maps(given.runs / "table1", given.data),
        "figure5": lambda given: kept_rows(results.load("table1")["jobs"]),
        "figure6": lambda given: histograms(given.runs / "one_strength"),
        "groups": lambda given: groups(given.runs / "best" / "seed0"),
    }
    parser.add_argument("--only", choices=list(drawers), action="append", help="draw only these pictures")
    given = parser.parse_args(arguments)
    for name in given.only or drawers:
        figure = drawers[name](given)
        figure.savefig(IMAGES / f"{name}.png")
        print("wrote", IMAGES / f"{name}.png")


if __name__ == "__main__":
    main()
