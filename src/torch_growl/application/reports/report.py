"""The report of a run: ``figures/*.png`` and a self-contained ``report.html``, made from the run folder's files alone.

Everything is read, checked and drawn in memory before anything is written, and each file is swapped in whole, so a
report that cannot be made leaves the old one as it was. The same files give the same bytes.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure

from torch_growl.application.recipes import ACCURACIES
from torch_growl.application.reports.figures import (
    layer_bars_figure,
    pixels_figure,
    progress_figure,
    row_norms_figure,
    similarity_figure,
    similarity_histograms_figure,
)
from torch_growl.application.reports.run_files import ReportInput, TiedLayer, read_run
from torch_growl.application.reports.summary import comparisons, count, headline, percent, times
from torch_growl.files import write_bytes
from torch_growl.mathematics.clustering import PRUNED

__all__ = ["make_report"]

_MOST_MAPS = 6  # similarity maps on one page


@dataclass(frozen=True)
class _Drawn:
    """One figure: its file's name, what it shows and what to see in it, its PNG."""

    file: str
    title: str
    caption: str
    png: bytes

    @property
    def width(self) -> int:
        """CSS pixels at which letters have the same size in every figure; read from the PNG's header."""
        return int.from_bytes(self.png[16:20], "big") * 18 // 25

    @property
    def uri(self) -> str:
        return "data:image/png;base64," + base64.b64encode(self.png).decode("ascii")


def make_report(run: Path) -> Path:
    """Write a run's figures and page; may be called again any time.

    Args:
        run: a run folder whose last stage is done.

    Returns:
        The path of ``report.html``.

    Raises:
        RunFolderError: a file the report is made from is missing, malformed or does not fit the others.
    """
    run = Path(run)
    given = read_run(run)
    with _plain_style():
        drawn, missing = _draw(given)
    page = _page(given, drawn, missing)
    (run / "figures").mkdir(exist_ok=True)
    for figure in drawn:
        write_bytes(run / "figures" / figure.file, figure.png)
    write_bytes(run / "report.html", page.encode("utf-8"))
    return run / "report.html"


@contextmanager
def _plain_style() -> Iterator[None]:
    """matplotlib's own defaults, whatever the user's matplotlibrc says."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        yield


def _draw(given: ReportInput) -> tuple[list[_Drawn], list[str]]:
    """All figures there is data for, and a sentence for each that is left out."""
    drawn: list[_Drawn] = []
    missing: list[str] = []

    def add(name: str, figure: Figure, title: str, caption: str) -> None:
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png")
        drawn.append(_Drawn(f"{name}.png", title, caption, buffer.getvalue()))

    if given.epochs:
        columns = zip(
            *((e.stage, e.train_accuracy, e.validation_accuracy, e.compression) for e in given.epochs), strict=True
        )
        stages, train, validation, compression = (list(column) for column in columns)
        add(
            "progress",
            progress_figure(stages, train, validation, compression),
            "Accuracy and compression through training",
            "The compression climbs while the penalty drives rows to zero in train, and jumps once more where rows are "
            "tied; the accuracy that tying costs should come back in retrain. The accuracy axis starts just "
            "below all but the few lowest epochs.",
        )
    else:
        missing.append("No figure of accuracy through training: no epoch was trained.")
    layers = given.facts.layers
    if layers:
        counts = (
            [layer.rows for layer in layers],
            [layer.nonzero for layer in layers],
            [layer.groups for layer in layers],
        )
        add(
            "layers",
            layer_bars_figure([layer.name for layer in layers], *counts),
            "What is left of every layer",
            "The step from rows to nonzero rows is pruning, the step from there to groups is tying: one row is stored "
            "for each group.",
        )
    else:
        missing.append("No figures of layers: no layer was regularised.")
    _draw_pixels(given, add, missing)
    _draw_norms(given, add, missing)
    _draw_similarity(given, add, missing)
    return drawn, missing


def _draw_pixels(given: ReportInput, add: Any, missing: list[str]) -> None:
    shape = given.facts.dataset.pixel_shape
    first = given.tying[0] if given.tying else None
    if shape is None or first is None:
        return
    if first.side != "input" or len(first.labels) % (shape[0] * shape[1]):
        missing.append(f"The groups are not drawn on the pixels: the rows of {first.name} are not the pixels.")
        return
    add(
        "pixels",
        pixels_figure(first.name, first.labels, shape),
        "The groups on the pixels",
        "Each pixel is one row of the first layer. Light grey pixels are not read at all; pixels of one colour share "
        "one row of weights, so the network reads only their sum; dark ones keep a row of their own. Pixels that carry "
        "the same information, neighbours above all, should share a colour. With many groups colours begin again; "
        "white lines part neighbours of different groups.",
    )


def _draw_norms(given: ReportInput, add: Any, missing: list[str]) -> None:
    labels = {layer.name: layer.labels for layer in given.tying}
    norms = {name: values for name, values in (given.norms or {}).items() if values.shape[0] > 1}
    norms = {name: norms[name] for name in labels if name in norms}
    if given.norms is None:
        missing.append("No figure of row norms: checkpoints/row_norms.safetensors is not in the run folder.")
    elif left := [name for name in labels if name not in norms]:
        missing.append(f"No row norms were recorded through training for {', '.join(left)}.")
    if norms:
        add(
            "row-norms",
            row_norms_figure(norms, labels),
            "Row norms through training with the penalty",
            "One line for each row, coloured by what became of it. Pruned rows fall to zero and stay there; rows that "
            "are tied later tend to run together already here.",
        )


def _draw_similarity(given: ReportInput, add: Any, missing: list[str]) -> None:
    if given.rows is None:
        missing.append("No figures of row similarity: checkpoints/rows.safetensors is not in the run folder.")
        return
    kept: dict[str, Any] = {}
    maps: list[tuple[TiedLayer, Any]] = []
    for layer in given.tying:
        trained = given.rows.get(f"{layer.name}|trained")
        alive = np.asarray(layer.labels) != PRUNED
        if trained is None or alive.sum() < 2:
            reason = (
                "its rows are not in checkpoints/rows.safetensors"
                if trained is None
                else "fewer than two rows are left"
            )
            missing.append(f"No row similarity for {layer.name}: {reason}.")
            continue
        kept[layer.name] = trained[alive]
        maps.append((layer, trained))
    if kept:
        add(
            "similarity-histograms",
            similarity_histograms_figure(kept),
            "How alike the rows are before tying",
            "Similarity ⟨wᵢ, wⱼ⟩ / max(‖wᵢ‖², ‖wⱼ‖²) over all pairs of nonzero rows. What lies near 1 can be tied at "
            "little cost; a layer with nothing there is better left untied.",
        )
    if len(maps) > _MOST_MAPS:
        gains = sorted((_tied_rows(layer) for layer, _ in maps), reverse=True)
        maps = [(layer, rows) for layer, rows in maps if _tied_rows(layer) >= gains[_MOST_MAPS - 1]][:_MOST_MAPS]
        missing.append(f"Row similarity is drawn for the {_MOST_MAPS} layers with the most tied rows.")
    for number, (layer, trained) in enumerate(maps, start=1):
        more = [given.rows.get(f"{layer.name}|{kind}") for kind in ("retrained", "input_correlation")]
        add(
            f"similarity-{number:02d}-{re.sub(r'[^A-Za-z0-9.-]+', '_', layer.name)[:60]}",
            similarity_figure(layer.name, layer.labels, trained, *more),
            f"Row similarity of {layer.name}",
            "Black frames are groups, the biggest first; after them come rows that stay alone. Before tying a good "
            "group is a red square already; after retraining it is exactly 1. Red outside the frames are alike rows "
            "that were not tied.",
        )


def _tied_rows(layer: TiedLayer) -> int:
    """How many rows a layer saves by tying: nonzero rows less groups."""
    kept = [label for label in layer.labels if label != PRUNED]
    return len(kept) - len(set(kept))


def _page(given: ReportInput, drawn: list[_Drawn], missing: list[str]) -> str:
    environment = Environment(
        loader=PackageLoader("torch_growl.application.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": percent, "times": times, "count": count}
    facts = given.facts
    cuts = {cut.layer: cut for cut in facts.cuts}
    regularised = {layer.name for layer in facts.layers}
    return environment.get_template("report.html.j2").render(
        facts=facts,
        headline=headline(given.result).replace(" %", "\u00a0%"),
        comparisons=comparisons(given.result),
        accuracies=[(stage, facts.accuracy.get(stage)) for stage in ACCURACIES],
        layers=[(layer, cuts.get(layer.name)) for layer in facts.layers],
        others=[cut for cut in facts.cuts if cut.layer not in regularised],
        figures=drawn,
        missing=missing,
        recipe=given.recipe,
        chain=given.chain,
    )
