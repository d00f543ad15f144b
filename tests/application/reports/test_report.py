"""The report: everything said is in the files, everything is escaped, nothing is loaded from elsewhere."""

from __future__ import annotations

import base64
import io
import json
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib import image as mpimg
from matplotlib.figure import Figure
from rich.console import Console
from safetensors.numpy import load_file, save_file

from torch_growl.application.reports.figures import (
    by_group,
    pixels_figure,
    progress_figure,
    row_norms_figure,
    similarity_figure,
)
from torch_growl.application.reports.report import make_report
from torch_growl.application.reports.summary import headline, summary_table, times
from torch_growl.errors import RunFolderError

NASTY = '<script>alert("x")</script> & {{ 7*7 }} [red]'
LAYERS = {"fc1": (64, 20), "features.3": (30, 12), "fc2": (10, 5)}


def edit(run: Path, change: Callable[[dict[str, Any]], object], name: str = "result.json") -> None:
    data = json.loads((run / name).read_text(encoding="utf-8"))
    change(data)
    (run / name).write_text(json.dumps(data), encoding="utf-8")


def some_labels(n: int) -> list[int]:
    """A third pruned, a third in groups of 3, a third alone."""
    return [-1 if i % 3 == 0 else i // 9 if i % 3 == 1 else 100 + i for i in range(n)]


def tied_rows(labels: list[int], length: int, noise: float) -> np.ndarray:
    rng = np.random.default_rng(1)
    values = {label: rng.normal(size=length) for label in sorted(set(labels))}
    rows = np.array([values[label] + noise * rng.normal(size=length) for label in labels], dtype=np.float32)
    rows[np.array(labels) == -1] = 0
    return rows


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are built but not rendered, for tests that look at the page only."""
    monkeypatch.setattr(Figure, "savefig", lambda self, file, **_: file.write(b"png"))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_run(tmp_path)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with its report, made once; not to be changed."""
    folder = make_run(tmp_path_factory.mktemp("made"))
    make_report(folder)
    return folder


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


# ── the page ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_page_needs_nothing_else(made: Path) -> None:
    found = Page(made / "report.html")
    assert found.links
    assert all(link.startswith("data:image/png;base64,") for link in found.links)
    assert not {"script", "link", "iframe", "object"} & set(found.tags)
    assert "url(" not in found.source
    assert "@import" not in found.source


def test_the_figures_on_the_page_are_the_files(made: Path) -> None:
    found = Page(made / "report.html")
    embedded = {base64.b64decode(link.split(",")[1]) for link in found.links}
    assert embedded == {path.read_bytes() for path in (made / "figures").iterdir()}


def test_the_headline_says_what_was_gained(made: Path) -> None:
    expected = (
        "64-30-10 network: 18.2x smaller in memory, 9.1x fewer MACs, 4.3x faster at batch 256, "
        "1.7x faster at batch 1, accuracy 98.3 % → 98.1 %"
    )
    assert headline(json.loads((made / "result.json").read_text())) == expected
    assert expected in Page(made / "report.html").text.replace("\u00a0", " ")


@pytest.mark.parametrize(
    ("first", "expected"),
    [
        ("weights", "|weights|238,510|14,021|17.0x fewer"),
        ("distinct weights", "|distinct weights|238,499|13,987|17.1x fewer"),
        ("bytes in memory", "|bytes in memory|954,040|52,419|18.2x smaller"),
        ("bytes in file", "|bytes in file|955,016|55,204|17.3x smaller"),
        ("MACs", "|MACs|238,200|26,176|9.1x fewer"),
        ("ms at batch 1", "|ms at batch 1|0.050|0.030|1.7x faster"),
        ("ms at batch 256", "|ms at batch 256|1.290|0.300|4.3x faster"),
        ("test accuracy", "|test accuracy|98.31 %|98.11 %|−0.20 points"),
        ("fc1", "|fc1|64|42|28|34.4 %|1.50|full|64 → 31|30 → 17"),
        ("fc2", "|fc2|10|6|4|40.0 %|1.50|–|–|–|left untied: its rows are too little alike"),
        ("features.3", "|features.3|30|20|14|33.3 %|1.43|local|30 → 13|7 → 7|read by add_3 too"),
        ("last", "|last|99|–|–|–|–|none|99 → 99|10 → 10|not regularised"),
    ],
)
def test_the_tables_say_the_numbers(made: Path, first: str, expected: str) -> None:
    assert Page(made / "report.html").row(first) == expected


@pytest.mark.parametrize(
    "text",
    [
        *("98.31 %", "97.71 %", "94.11 %", "98.11 %", "16.7x", "18.2x", "17.3x", "33.7 %", "1.44 nonzero", "seed 4711"),
        *("1,257 training", "181 validation", "359 test", "dense 12.3", "train 4,567.8", "2.13.0+cpu", "A Processor"),
        *(
            "unique_recipe_line: 1",
            "A folder made by a test",
            "rows bit equal: yes, predictions differ: 0.",
            "dense 3, train 5, retrain 2",
        ),
    ],
)
def test_the_page_says(made: Path, text: str) -> None:
    assert text in Page(made / "report.html").text


@pytest.mark.usefixtures("quick")
def test_names_are_escaped(run: Path) -> None:
    edit(run, lambda r: r.update(recipe=NASTY, model=NASTY, recipe_description=NASTY, environment={NASTY: NASTY}))
    edit(run, lambda r: r["cuts"][0].update(reason=NASTY))
    (run / "recipe.yaml").write_text(f"name: '{NASTY}'\n", encoding="utf-8")
    found = page(run)
    assert "script" not in found.tags
    assert found.text.count('<script>alert("x")</script> & {{ 7*7 }}') >= 7


def test_odd_layer_names_are_drawn_and_stay_in_the_folder(run: Path) -> None:
    name = "../../$x_{$<b>"
    edit(run, lambda result: result["layers"][0].update(name=name))
    edit(run, lambda tying: tying["layers"][0].update(name=name), "tying.json")
    for file in ("rows", "row_norms"):
        path = run / "checkpoints" / f"{file}.safetensors"
        save_file({key.replace("fc1", name): values for key, values in load_file(path).items()}, path)
    before = {path for path in run.parent.rglob("*") if run / "figures" not in path.parents}
    found = page(run)
    after = {path for path in run.parent.rglob("*") if run / "figures" not in path.parents}
    assert after - before == {run / "figures", run / "report.html"}
    assert "b" not in found.tags[found.tags.index("thead") : found.tags.index("tbody")]
    assert name in found.text
    assert (run / "figures" / "similarity-01-.._.._x_b_.png").exists()


# ── honesty ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.usefixtures("quick")
def test_what_is_slower_or_larger_is_said(run: Path) -> None:
    def worse(result: dict[str, Any]) -> None:
        result["latency_ms"]["compact"] = {"1": 0.0626, "256": 1.2904}
        result["bytes"]["compact"] = 1_000_000
        result["macs"]["compact"] = 238_200

    edit(run, worse)
    said = headline(json.loads((run / "result.json").read_text()))
    assert said == (
        "64-30-10 network: larger in memory: 0.95x, no fewer MACs (1.00x), no faster at batch 256 (1.00x), "
        "slower at batch 1: 0.8x, accuracy 98.3 % → 98.1 %"
    )
    found = page(run)
    assert found.row("ms at batch 1") == "|ms at batch 1|0.050|0.063|0.8x, slower"
    assert found.row("bytes in memory") == "|bytes in memory|954,040|1,000,000|0.95x, larger"
    assert found.row("MACs") == "|MACs|238,200|238,200|1.00x, no fewer"
    assert found.source.count('class="worse"') == 3  # these two and the accuracy


@pytest.mark.usefixtures("quick")
def test_skipped_stages_are_said(run: Path) -> None:
    edit(run, lambda result: result.update(accuracy={"dense": None, "regularized": 0.5, "compact": None}))
    found = page(run)
    assert found.text.count("skipped") == 4
    assert "accuracy not measured" in found.text


@pytest.mark.parametrize(
    ("ratio", "said"),
    [(18.24, "18.2x"), (1.04, "1.04x"), (0.8, "0.8x"), (0.042, "0.04x"), (12345.6, "12,346x"), (None, "–")],
)
def test_ratios_are_readable(ratio: float | None, said: str) -> None:
    assert times(ratio) == said
    assert times(float("nan")) == "–"


@pytest.mark.usefixtures("quick")
def test_the_paper_s_count_of_filters_is_said_where_it_was_used(run: Path) -> None:
    assert "also removes the filter" not in page(run).text
    (run / "recipe.yaml").write_text("tying: {chain: true}\n", encoding="utf-8")
    assert "also removes the filter" in page(run).text


def test_the_table_for_the_terminal(run: Path) -> None:
    edit(run, lambda result: result.update(recipe="[red]x[/nope]"))
    console = Console(file=io.StringIO(), width=100)
    console.print(summary_table(json.loads((run / "result.json").read_text())))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "[red]x[/nope]" in shown
    for text in ("238,510", "14,021", "18.2x smaller", "4.3x faster", "−0.20 points", "55,204"):
        assert text in shown


# ── figures ─────────────────────────────────────────────────────────────────────────────────────────────────────────

FIGURES = {"progress", "layers", "pixels", "row-norms", "similarity-histograms"}
MAPS = {"similarity-01-fc1", "similarity-02-features.3", "similarity-03-fc2"}


def test_every_figure_is_drawn(made: Path) -> None:
    files = {path.stem: path for path in (made / "figures").iterdir()}
    assert set(files) == FIGURES | MAPS
    for path in files.values():
        pixels = mpimg.imread(path)
        assert min(pixels.shape[:2]) > 200, path
        assert 0.02 < (pixels[..., :3].min(axis=2) < 0.95).mean() < 0.98, path  # neither empty nor all ink
        coarse = (pixels[..., :3] * 8).astype(int) @ [1, 16, 256]
        assert len(np.unique(coarse)) > 8, path


def test_groups_are_drawn_where_their_pixels_are() -> None:
    labels = [-1] * 64
    labels[9], labels[10], labels[63] = 0, 0, 7  # a group of two in line 1, one alone in the corner
    figure = pixels_figure("fc1", labels, (8, 8))
    axis = figure.axes[0]
    drawn = np.asarray(axis.images[0].get_array())
    assert drawn.shape == (8, 8)
    assert {code: int((drawn == code).sum()) for code in np.unique(drawn).tolist()} == {0: 61, 1: 1, 2: 2}
    assert drawn[1, 1] == drawn[1, 2] == 2
    assert drawn[7, 7] == 1
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["61 pruned", "1 alone", "2 tied in 1 group"]


def test_colour_images_have_a_panel_for_each_channel() -> None:
    figure = pixels_figure("fc1", [0, -1, -1, -1, 1, 1, 1, 1, 2, 2, -1, 0], (2, 2))
    drawn = [np.asarray(axis.images[0].get_array()).tolist() for axis in figure.axes]
    assert [axis.get_title() for axis in figure.axes] == ["channel 1", "channel 2", "channel 3"]
    assert drawn == [[[3, 0], [0, 0]], [[2, 2], [2, 2]], [[4, 4], [0, 3]]]


def test_similarity_is_ordered_by_group() -> None:
    labels = np.array([5, 0, -1, 1, 0, 1, 1])
    assert by_group(labels).tolist() == [3, 5, 6, 1, 4, 0]
    rows = tied_rows(labels.tolist(), 50, 0.0)
    figure = similarity_figure("fc1", labels.tolist(), rows, rows, np.eye(7))
    before, after, inputs = (np.asarray(axis.images[0].get_array()) for axis in figure.axes[:3])
    same = labels[by_group(labels)][:, None] == labels[by_group(labels)]
    np.testing.assert_allclose(before[same], 1, atol=1e-6)
    assert (before[~same] < 0.9).all()
    np.testing.assert_array_equal(before, after)
    np.testing.assert_array_equal(inputs, np.eye(6))


def test_big_layers_are_thinned_and_the_title_says_so() -> None:
    labels = list(range(1000))
    figure = similarity_figure("big", labels, np.random.default_rng(0).normal(size=(1000, 4)))
    assert np.asarray(figure.axes[0].images[0].get_array()).shape == (400, 400)
    assert "400 of 1,000 nonzero rows" in figure.get_suptitle()


def test_of_many_lines_some_of_each_kind_are_drawn() -> None:
    labels = [-1] * 900 + [0, 0, 1]
    figure = row_norms_figure({"fc1": np.ones((4, 903))}, {"fc1": labels})
    assert [len(lines.get_segments()) for lines in figure.axes[0].collections] == [80, 1, 2]  # type: ignore[attr-defined]
    assert figure.axes[0].get_title() == "fc1 (83 of 903 rows drawn)"


def test_stages_are_parted_by_lines() -> None:
    figure = progress_figure(["dense"] * 3 + ["train"] * 4, [0.9] * 7, [0.8] * 7, [1.0] * 7)
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts == ["dense", "train"]
    assert [line.get_xdata()[0] for line in figure.axes[0].lines if len(line.get_xdata()) == 2] == [3.5]


@pytest.mark.usefixtures("quick")
def test_many_layers_have_histograms_but_not_all_a_map(run: Path) -> None:
    labels = some_labels(12)
    names = [f"conv{i}" for i in range(9)]
    record = {"rows": 12, "nonzero": 8, "groups": 6, "tied": True}
    edit(run, lambda result: result.update(layers=[{"name": name, **record} for name in names]))
    edit(run, lambda t: t.update(layers=[{"name": n, "labels": labels} for n in names]), "tying.json")
    save_file({f"{n}|trained": tied_rows(labels, 5, 0.1) for n in names}, run / "checkpoints" / "rows.safetensors")
    found = page(run)
    assert len(list((run / "figures").glob("similarity-0*.png"))) == 6
    assert "drawn for the 6 layers with the most tied rows" in found.text
    assert "No row norms were recorded through training for conv0" in found.text
    assert "the rows of conv0 are not the pixels" in found.text


# ── what may be missing, and what may not ───────────────────────────────────────────────────────────────────────────


@pytest.mark.usefixtures("quick")
def test_optional_files_may_be_missing_and_the_page_says_so(run: Path) -> None:
    for path in (run / "checkpoints").iterdir():
        path.unlink()
    found = page(run)
    assert {path.stem for path in (run / "figures").iterdir()} == {"progress", "layers", "pixels"}
    assert "No figure of row norms: checkpoints/row_norms.safetensors is not in the run folder" in found.text
    assert "No figures of row similarity: checkpoints/rows.safetensors is not in the run folder" in found.text


@pytest.mark.usefixtures("quick")
def test_the_least_that_schema_1_promises_is_enough(run: Path) -> None:
    def least(result: dict[str, Any]) -> None:
        for field in ("recipe_description", "epochs", "measure", "file_bytes", "cuts", "checks"):
            del result[field]
        del result["dataset"]["pixel_shape"]
        result["layers"] = [
            {k: v for k, v in layer.items() if k in {"name", "rows", "nonzero", "groups"}} for layer in result["layers"]
        ]

    edit(run, least)
    found = page(run)
    assert found.row("fc1").startswith("|fc1|64|42|28|")
    assert "distinct weights|" not in "".join(found.rows)
    assert not (run / "figures" / "pixels.png").exists()


@pytest.mark.usefixtures("quick")
def test_a_run_that_regularised_and_trained_nothing(run: Path) -> None:
    edit(run, lambda r: r.update(layers=[], cuts=[], sparsity=0.0, sharing=None, epochs={"dense": 0, "train": 0}))
    edit(run, lambda tying: tying.update(layers=[]), "tying.json")
    (run / "metrics.jsonl").unlink()
    found = page(run)
    assert "No layer was regularised." in found.text
    assert "no epoch was trained" in found.text


@pytest.mark.usefixtures("quick")
def test_a_layer_that_died_whole_is_reported(run: Path) -> None:
    edit(run, lambda result: result["layers"][0].update(nonzero=0, groups=0))
    edit(run, lambda tying: tying["layers"][0].update(labels=[-1] * 64), "tying.json")
    found = page(run)
    assert found.row("fc1").startswith("|fc1|64|0|0|100.0 %|–|")
    assert "No row similarity for fc1: fewer than two rows are left" in found.text


@pytest.mark.parametrize("name", ["result.json", "tying.json", "metrics.jsonl", "recipe.yaml"])
def test_a_missing_file_is_named(run: Path, name: str) -> None:
    (run / name).unlink()
    with pytest.raises(RunFolderError, match=rf"{re.escape(str(run / name))} is not there; .+") as caught:
        make_report(run)
    assert "\n" not in str(caught.value)
    assert not (run / "report.html").exists()
    assert not (run / "figures").exists()


@pytest.mark.parametrize("name", ["result.json", "tying.json", "metrics.jsonl"])
def test_a_cut_off_file_is_named(run: Path, name: str) -> None:
    text = (run / name).read_text()
    (run / name).write_text(text[: len(text) - 20])
    where = ", line 10" if name == "metrics.jsonl" else ""
    with pytest.raises(RunFolderError, match=rf"{re.escape(name)}{where} is not JSON .*; .+`growl"):
        make_report(run)


@pytest.mark.parametrize("name", ["rows", "row_norms"])
@pytest.mark.parametrize(
    ("values", "said"),
    [
        (np.ones((3, 5), np.float32), r"'fc1.*' must be 2-D with 64 rows, got shape \(3, 5\)"),
        (np.ones(64, np.float32), r"must be 2-D with 64 rows, got shape \(64,\)"),
        (np.full((64, 64), np.nan, np.float32), "must be finite"),
        (None, "cannot be read"),
    ],
)
def test_damaged_tensors_are_named(run: Path, name: str, values: np.ndarray | None, said: str) -> None:
    path = run / "checkpoints" / f"{name}.safetensors"
    if values is None:
        path.write_bytes(path.read_bytes()[:100])
    else:
        save_file({"fc1|trained" if name == "rows" else "fc1": values}, path)
    with pytest.raises(RunFolderError, match=rf"{re.escape(str(path))}.*{said}.*; delete it"):
        make_report(run)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda r: r.update(schema=2), "schema: .*1"),
        (lambda r: r.pop("macs"), "macs: Field required"),
        (lambda r: r["bytes"].update(dense="many"), "bytes.dense: .*number"),
        (lambda r: r["layers"][1].pop("rows"), "layers.1.rows: Field required"),
        (lambda r: r["layers"][1].update(rows=31), "tying.json: layer 'features.3' must have 31 labels .* found 30"),
        (lambda r: r["latency_ms"]["compact"].update(big=1.0), "latency_ms.compact.big"),
    ],
)
def test_a_wrong_result_is_named(run: Path, change: Callable[[dict[str, Any]], object], said: str) -> None:
    edit(run, change)
    with pytest.raises(RunFolderError, match=said) as caught:
        make_report(run)
    assert "\n" not in str(caught.value)


def test_a_result_that_is_no_mapping_and_a_recipe_that_is_no_yaml(run: Path) -> None:
    (run / "recipe.yaml").write_text("a: [", encoding="utf-8")
    with pytest.raises(RunFolderError, match="recipe.yaml is not YAML"):
        make_report(run)
    (run / "result.json").write_text("[]", encoding="utf-8")
    with pytest.raises(RunFolderError, match="result.json: the whole: "):
        make_report(run)


# ── again, and without traces ───────────────────────────────────────────────────────────────────────────────────────


def test_the_same_files_give_the_same_bytes_and_a_failure_leaves_them(run: Path) -> None:
    report = make_report(run)
    first = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    assert make_report(run) == report == run / "report.html"
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == first
    (run / "checkpoints" / "rows.safetensors").write_bytes(b"")
    with pytest.raises(RunFolderError):
        make_report(run)
    assert report.read_bytes() == first[report]
    assert [path for path in run.rglob("*") if path.name.endswith(".tmp")] == []


def test_no_pyplot_no_settings_no_threads_left(run: Path) -> None:
    code = (
        "import sys, threading, matplotlib\n"
        "def settings():  # reading 'backend' would import pyplot\n"
        "    return {k: matplotlib.rcParams[k] for k in matplotlib.rcParams if k != 'backend'}\n"
        "before = settings()\n"
        "from pathlib import Path; from torch_growl.application.reports.report import make_report\n"
        "matplotlib.rcParams['font.size'] = 33\n"
        "make_report(Path(sys.argv[1]))\n"
        "assert settings() == {**before, 'font.size': 33.0}\n"
        "assert 'matplotlib.pyplot' not in sys.modules, 'pyplot'\n"
        "print(sum(t.name.startswith('Thread-') for t in threading.enumerate()))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(run)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "0"), done.stderr
    threads = threading.active_count()
    there = (run / "report.html").read_bytes()
    make_report(run)
    assert threading.active_count() == threads
    assert (run / "report.html").read_bytes() == there  # the font size of whoever calls does not change the figures
