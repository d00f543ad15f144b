"""The report of a run: ``figures/*.png`` and a self-contained ``report.html``, made from the run folder's files alone.

All files are read and checked, and all figures drawn in memory, before anything is written, and every file is written
whole, so a failure leaves the old report unchanged. The same files give the same bytes.
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
from matplotlib.figure import Figure

from torch_growl.application.pages import render
from torch_growl.application.plots import (
    layer_bars_figure,
    pixels_figure,
    progress_figure,
    row_norms_figure,
    similarity_figure,
    similarity_histograms_figure,
)
from torch_growl.application.recipes import ACCURACIES
from torch_growl.application.reports.layer_parts import CostLine, cost_lines, groups_data, short
from torch_growl.application.reports.run_charts import size_view, training_view
from torch_growl.application.reports.run_files import ReportInput, TiedLayer, read_run
from torch_growl.application.reports.summary import comparisons, count, headline, percent
from torch_growl.application.reports.target_notes import target_line
from torch_growl.application.tasks import metric_of, scores_of
from torch_growl.files import write_bytes
from torch_growl.mathematics.clustering import PRUNED
from torch_growl.networks.measurement import in_words

__all__ = ["make_report"]

_MOST_MAPS = 6  # similarity maps on one page
_SHOWN = ("row-norms", "similarity")  # figures whose place no chart of the page takes


@dataclass(frozen=True)
class _Drawn:
    """A figure: the name of its file, title, caption and PNG."""

    file: str
    title: str
    caption: str
    png: bytes

    @property
    def width(self) -> int:
        """Width in CSS pixels, from the PNG's header, which gives letters the same size in all figures."""
        return int.from_bytes(self.png[16:20], "big") * 18 // 25

    @property
    def uri(self) -> str:
        return "data:image/png;base64," + base64.b64encode(self.png).decode("ascii")


def make_report(run: Path) -> Path:
    """Write the figures and the page of a finished run, in place of older ones.

    Args:
        run: a run folder whose last stage is done.

    Returns:
        The path of ``report.html``.

    Raises:
        RunFolderError: a file is missing, malformed or does not fit the others.
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
    """Use matplotlib's defaults in place of the user's settings."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        yield


def _draw(given: ReportInput) -> tuple[list[_Drawn], list[str]]:
    """Draw all figures that there are data for; return them, and a sentence for each that is left out."""
    metric = metric_of(given.result)
    drawn: list[_Drawn] = []
    missing: list[str] = []

    def add(name: str, figure: Figure, title: str, caption: str) -> None:
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png")
        drawn.append(_Drawn(f"{name}.png", title, caption, buffer.getvalue()))

    if given.epochs:
        columns = zip(*((e.stage, e.train_score, e.validation_score, e.compression) for e in given.epochs), strict=True)
        stages, train, validation, compression = (list(column) for column in columns)
        add(
            "progress",
            progress_figure(stages, train, validation, compression, metric),
            f"{metric.title} and compression through training",
            "In train the compression rises while the penalty drives rows to zero; it rises again when rows are tied. "
            + (
                f"{metric.title} lost by tying should be regained in retrain. The {metric.name} axis starts just below "
                "all epochs but the few lowest."
                if metric.higher_is_better
                else f"If tying raises the {metric.name}, retrain should lower it again. The {metric.name} axis ends "
                "just above all epochs but the few highest."
            ),
        )
    else:
        missing.append(f"No figure of {metric.name} through training: no epoch was trained.")
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
            "Rows, nonzero rows and groups of every layer",
            "Pruning reduces rows to nonzero rows, and tying reduces nonzero rows to groups: one row is stored "
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
        missing.append(f"No figure of the groups on the pixels: the rows of {first.name} are not the pixels.")
        return
    add(
        "pixels",
        pixels_figure(first.name, first.labels, shape),
        "The groups on the pixels",
        "Each pixel is one row of the first layer. Light grey pixels are pruned: the network does not read them. "
        "Pixels of one colour share one row of weights, so the network reads only their sum; dark grey pixels have "
        "their own row. Pixels with similar values, such as neighbours, should share a colour. With many groups, "
        "colours are used several times; white lines separate neighbours of different groups.",
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
            "One line for each row, coloured by its final state. Pruned rows fall to zero and stay there; rows that "
            "are tied later often have similar norms already here.",
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
            missing.append(f"No figure of row similarity for {layer.name}: {reason}.")
            continue
        kept[layer.name] = trained[alive]
        maps.append((layer, trained))
    if kept:
        add(
            "similarity-histograms",
            similarity_histograms_figure(kept),
            "Row similarity before tying",
            "Similarity ⟨wᵢ, wⱼ⟩ / max(‖wᵢ‖², ‖wⱼ‖²) of all pairs of nonzero rows. Pairs near 1 can be tied with "
            "little loss; a layer without such pairs is better left untied.",
        )
    if len(maps) > _MOST_MAPS:
        gains = sorted((_tied_rows(layer) for layer, _ in maps), reverse=True)
        maps = [(layer, rows) for layer, rows in maps if _tied_rows(layer) >= gains[_MOST_MAPS - 1]][:_MOST_MAPS]
        missing.append(f"Maps of row similarity are drawn for the {_MOST_MAPS} layers with the most tied rows.")
    for number, (layer, trained) in enumerate(maps, start=1):
        more = [given.rows.get(f"{layer.name}|{kind}") for kind in ("retrained", "input_correlation")]
        add(
            f"similarity-{number:02d}-{re.sub(r'[^A-Za-z0-9.-]+', '_', layer.name)[:60]}",
            similarity_figure(layer.name, layer.labels, trained, *more),
            f"Row similarity of {layer.name}",
            "Black frames are groups, the largest first; the rows after them are not tied. A good group is a red "
            "square before tying; after retraining its similarity is exactly 1. Red outside the frames shows similar "
            "rows that were not tied.",
        )


def _tied_rows(layer: TiedLayer) -> int:
    """The number of rows that tying saves: nonzero rows minus groups."""
    kept = [label for label in layer.labels if label != PRUNED]
    return len(kept) - len(set(kept))


def _page(given: ReportInput, drawn: list[_Drawn], missing: list[str]) -> str:
    facts = given.facts
    cuts = {cut.layer: cut for cut in facts.cuts}
    regularised = {layer.name for layer in facts.layers}
    metric = metric_of(given.result)
    costs = cost_lines(facts)
    widest = (
        max((each.weights[0] for each in costs[:-1]), default=0),
        max((each.macs[0] for each in costs[:-1]), default=0),
    )
    groups, left_out = groups_data(given)
    return render(
        "torch_growl.application.reports",
        "report.html.j2",
        {"percent": percent, "in_words": in_words, "count": count, "short": short},
        facts=facts,
        script="groups.js",
        sections=[
            ("size", f"{metric.title} against size"),
            ("numbers", "Dense and compact"),
            ("where", "Weights and MACs"),
            ("training", "Training"),
            *([("groups", "Groups")] if groups else []),
            ("figures", "Figures"),
            ("settings", "Settings"),
        ],
        headline=headline(given.result).replace(" %", "\u00a0%"),
        target=target_line(given.result),
        comparisons=comparisons(given.result),
        metric=metric,
        scores=[(stage, scores_of(given.result).get(stage)) for stage in ACCURACIES],
        size=size_view(given),
        swept=bool(given.sweep),
        training=training_view(given),
        costs=[(line, line.shares(widest) if line is not costs[-1] else _whole(line)) for line in costs],
        layers=[(layer, cuts.get(layer.name)) for layer in facts.layers],
        others=[cut for cut in facts.cuts if cut.layer not in regularised],
        groups=groups,
        pixels=next((figure for figure in drawn if figure.file == "pixels.png"), None),
        figures=[figure for figure in drawn if figure.file.startswith(_SHOWN)],
        missing=[*left_out, *missing],
        recipe=given.recipe,
        chain=given.chain,
        ties=given.ties,
    )


def _whole(line: CostLine) -> list[tuple[float, float]]:
    """The bars of the whole network, on their own scale."""
    return line.shares((line.weights[0], line.macs[0]))
