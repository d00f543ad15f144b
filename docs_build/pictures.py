"""Draw the pictures of docs/how-it-works.md from the tutorial's own network: ``python -m docs_build.pictures``."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, Rectangle
from torch import Tensor

import torch_growl as tg
from docs_build.page_blocks import blocks, run

__all__ = ["main"]

DOCS = Path(__file__).resolve().parents[1] / "docs"
GROUPS = ["#0a9396", "#ca6702", "#5a189a", "#588157", "#bb3e03", "#3a86ff", "#8d99ae", "#9b2226"]
GREY = "#c8c8c8"


def prox() -> Figure:
    """Twelve row norms before and after one step: each shrunk alike, and by a falling λ."""
    norms = torch.tensor([3.0, 2.8, 2.7, 2.6, 1.9, 1.5, 1.45, 1.4, 0.8, 0.6, 0.5, 0.3], dtype=torch.float64)
    figure = Figure(figsize=(9, 2.9), layout="constrained")
    both = (
        (tg.lasso(), "group lasso: every row by the same"),
        (tg.oscar(), "GrOWL: large rows by more, neighbours meet"),
    )
    for axes, (sequence, title) in zip(figure.subplots(1, 2, sharey=True), both, strict=True):
        lam = sequence(len(norms))
        after = tg.prox_owl(norms, 0.7 * lam * len(lam) / lam.sum())
        axes.bar(range(1, 13), norms, color=GREY, label="before the step")
        axes.bar(range(1, 13), after, width=0.5, color=GROUPS[0], label="after it (drawn large)")
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("rows, sorted by norm")
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].set_ylabel("norm of the row")
    figure.axes[0].legend(frameon=False, fontsize=8)
    return figure


def training(steps: list[int], norms: Tensor, left: list[float]) -> Figure:
    """Row norms of the first layer and the weights left, over the steps of the tutorial's training to a target."""
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    rows, size = figure.subplots(1, 2)
    for row in range(96):
        useful = row < 64
        rows.plot(steps, norms[:, row], color=GROUPS[row // 8] if useful else GREY, linewidth=0.8, zorder=1 + useful)
    rows.set(title="norms of the first layer's 96 rows", xlabel="optimizer step")
    size.plot(steps, left, color=GROUPS[0])
    size.axhline(0.2, color=GREY, linestyle="--", linewidth=1)
    size.set(title="weights left of the network", xlabel="optimizer step", ylim=(0, 1.05))
    size.annotate("the target", (steps[-1], 0.2), xytext=(0, 4), textcoords="offset points", ha="right", fontsize=8)
    for axes in (rows, size):
        axes.spines[["top", "right"]].set_visible(False)
        axes.title.set_fontsize(10)
        axes.axvspan(0.1 * steps[-1], 0.5 * steps[-1], color="#f1f1f1", zorder=0)
    return figure


def weights(stages: dict[str, Tensor]) -> Figure:
    """The first layer's weight at each stage, one line for each row."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    limit = float(stages["trained to the target"].abs().max()) * 0.7
    for axes, (title, weight) in zip(figure.subplots(1, len(stages), sharey=True), stages.items(), strict=True):
        axes.imshow(weight.T, aspect="auto", cmap="RdBu", vmin=-limit, vmax=limit, interpolation="nearest")
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("neurons")
    figure.axes[0].set_ylabel("rows: sensors, eight of a source,\nthe last 32 measure nothing")
    return figure


def sums() -> Figure:
    """A layer of six inputs, and the same with two groups and a pruned input."""
    figure = Figure(figsize=(9, 2.6), layout="constrained")
    dense, compact = figure.subplots(1, 2)
    colours = [GROUPS[0], GROUPS[0], GROUPS[0], GROUPS[1], GROUPS[1], GREY]
    for axes in (dense, compact):
        axes.set(xlim=(0, 10), ylim=(0, 7))
        axes.axis("off")
        for i, colour in enumerate(colours):
            _box(axes, 0.3, 6 - i, f"x{i + 1}", colour)
    for i, colour in enumerate(colours):
        for out in range(3):
            _line(dense, 1.3, 6.35 - i, 7, 5.35 - 1.5 * out, colour)
        dense.set_title("tied: three rows equal, two rows equal, one zero", fontsize=10)
    for i, group in enumerate([0, 0, 0, 1, 1]):
        _line(compact, 1.3, 6.35 - i, 4, 4.85 - 2 * group, colours[i])
    for group in (0, 1):
        _box(compact, 4, 4.5 - 2 * group, "Σ", GROUPS[group])
        for out in range(3):
            _line(compact, 5, 4.85 - 2 * group, 7, 5.35 - 1.5 * out, GROUPS[group])
    compact.set_title("compact: inputs are added first, 6 products in place of 18", fontsize=10)
    for axes in (dense, compact):
        for out in range(3):
            _box(axes, 7, 5 - 1.5 * out, f"y{out + 1}", "#444444")
    return figure


def _box(axes: Axes, x: float, y: float, text: str, colour: str) -> None:
    axes.add_patch(Rectangle((x, y), 1, 0.7, color=colour))
    axes.text(
        x + 0.5, y + 0.33, text, ha="center", va="center", fontsize=9, color="white" if colour != GREY else "black"
    )


def _line(axes: Axes, x: float, y: float, to_x: float, to_y: float, colour: str) -> None:
    style = ":" if colour == GREY else "-"
    axes.add_patch(FancyArrowPatch((x, y), (to_x, to_y), arrowstyle="-", color=colour, linestyle=style, linewidth=1.2))


def tutorial() -> dict[str, Figure]:
    """Run the tutorial once more with a look at the weights after each stage and every ten steps."""
    page = DOCS / "tutorial.md"
    start = run(page, first=1)
    scope: dict[str, Any] = dict(start)
    model, build_optimizer, train = scope["model"], scope["build_optimizer"], scope["train"]
    stages = {"dense": model[0].weight.detach().clone()}
    growl = tg.GrOWL(model, target=tg.Target(weights=0.2), example_inputs=scope["x_test"][:8])
    optimizer = build_optimizer(model)
    handle = growl.attach(optimizer, steps=1000)
    steps, norms, left = [0], [model[0].weight.detach().norm(dim=0)], [1.0]

    def look(*_: Any) -> None:
        if growl.steps % 10 == 0:
            steps.append(growl.steps)
            norms.append(model[0].weight.detach().norm(dim=0))
            left.append(growl.progress.left / 58_244)

    optimizer.register_step_post_hook(look)
    train(model, optimizer)
    handle.remove()
    stages["trained to the target"] = model[0].weight.detach().clone()
    tg.tie_(model, tg.find_tying(model, growl.layers, method="ward", groups={"0": 8}))
    train(model, build_optimizer(model), epochs=10)
    stages["tied"] = model[0].weight.detach().clone()
    return {"how-training": training(steps, torch.stack(norms), left), "how-weights": weights(stages)}


def main() -> None:
    """Draw all pictures."""
    assert blocks((DOCS / "tutorial.md").read_text("utf-8"))
    here = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        made = {"how-prox": prox(), "how-sums": sums(), **tutorial()}
        os.chdir(here)
    for name, figure in made.items():
        figure.savefig(DOCS / "images" / f"{name}.png", dpi=110)
        print("wrote", DOCS / "images" / f"{name}.png")


if __name__ == "__main__":
    main()
