"""The report: everything on the page is from the files, everything is escaped, nothing is loaded from elsewhere."""

from __future__ import annotations

import base64
import hashlib
import html
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib import image as mpimg
from safetensors.numpy import load_file, save_file

from tests.support.made_up_run import Page, edit, page, some_labels, tied_rows
from torch_growl.application.reports.report import make_report
from torch_growl.errors import RunFolderError

NASTY = '<script>alert("x")</script> & {{ 7*7 }} [red]'


def test_the_page_needs_nothing_else(made: Path) -> None:
    found = Page(made / "report.html")
    assert all(link.startswith(("data:", "#")) for link in found.links)
    assert not {"iframe", "object", "embed", "form"} & set(found.tags)
    assert found.tags.count("script") == 2  # the groups as JSON, and the page's own script
    assert "script src" not in found.source
    assert "url(" not in found.source
    assert "@import" not in found.source


def test_the_figures_on_the_page_are_the_files(made: Path) -> None:
    found = Page(made / "report.html")
    embedded = {base64.b64decode(link.split(",")[1]) for link in found.links if link.startswith("data:image/png")}
    files = {path.read_bytes(): path.stem for path in (made / "figures").iterdir()}
    assert {files[png] for png in embedded} == set(files.values()) - {"progress", "layers"}  # those are charts


def test_only_the_page_s_own_script_may_run(made: Path) -> None:
    source = (made / "report.html").read_text(encoding="utf-8")
    script = source.split("<script>")[1].split("</script>")[0]
    checksum = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', source)
    assert html.unescape(policy).split("; ") == [
        "default-src 'none'",
        "img-src data:",
        "style-src 'unsafe-inline'",
        f"script-src 'sha256-{checksum}'",
    ]


@pytest.mark.parametrize(
    ("first", "expected"),
    [
        ("weights", "|weights|238,510|14,021|17.0x fewer"),
        ("distinct weights", "|distinct weights|238,499|13,987|17.1x fewer"),
        ("bytes in memory", "|bytes in memory|954,040|60,417|15.8x smaller"),
        ("bytes, indices packed", "|bytes, indices packed|954,040|52,419|18.2x smaller"),
        ("bytes in file", "|bytes in file|955,016|55,204|17.3x smaller"),
        ("MACs", "|MACs|238,200|26,176|9.1x fewer"),
        ("ms at batch 1", "|ms at batch 1|0.050|0.030|1.7x faster"),
        ("ms at batch 256", "|ms at batch 256|1.290|0.300|4.3x faster"),
        ("test accuracy", "|test accuracy|98.31 %|98.11 %|−0.20 points"),
        ("fc1|64", "|fc1|64|42|28|34.4 %|1.50|full|64 → 31|30 → 17"),
        ("fc2|10", "|fc2|10|6|4|40.0 %|1.50|–|–|–|left untied: its rows are not similar enough"),
        ("features.3|30", "|features.3|30|20|14|33.3 %|1.43|local|30 → 13|7 → 7|read by add_3 too"),
        ("last", "|last|99|–|–|–|–|none|99 → 99|10 → 10|not regularised"),
    ],
)
def test_the_tables_have_the_figures(made: Path, first: str, expected: str) -> None:
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
            "Where the weights and MACs went",
        ),
    ],
)
def test_the_page_has(made: Path, text: str) -> None:
    assert text in Page(made / "report.html").text


@pytest.mark.usefixtures("quick")
def test_names_are_escaped(run: Path) -> None:
    edit(run, lambda r: r.update(recipe=NASTY, model=NASTY, recipe_description=NASTY, environment={NASTY: NASTY}))
    edit(run, lambda r: r["cuts"][0].update(reason=NASTY))
    (run / "recipe.yaml").write_text(f"name: '{NASTY}'\n", encoding="utf-8")
    for file, change in (
        ("result.json", lambda result: result["layers"][0].update(name=NASTY)),
        ("tying.json", lambda tying: tying["layers"][0].update(name=NASTY)),
    ):
        edit(run, change, file)
    (run / "checkpoints" / "rows.safetensors").unlink()
    found = page(run)
    assert found.tags.count("script") == 2
    assert found.source.count("<script>") == 1
    assert found.text.count('<script>alert("x")</script> & {{ 7*7 }}') >= 7


@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
def test_skipped_stages_are_named(run: Path) -> None:
    edit(run, lambda result: result.update(accuracy={"dense": None, "regularized": 0.5, "compact": None}))
    found = page(run)
    assert found.text.count("skipped") == 4
    assert "accuracy not measured" in found.text


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
def test_the_page_explains_the_paper_s_count_of_filters_if_it_was_used(run: Path) -> None:
    assert "also removes the filter" not in page(run).text
    (run / "recipe.yaml").write_text("tying: {chain: true}\n", encoding="utf-8")
    assert "also removes the filter" in page(run).text


FIGURES = {"progress", "layers", "pixels", "row-norms", "similarity-histograms"}


MAPS = {"similarity-01-fc1", "similarity-02-features.3", "similarity-03-fc2"}


@pytest.mark.slow
def test_every_figure_is_drawn(made: Path) -> None:
    files = {path.stem: path for path in (made / "figures").iterdir()}
    assert set(files) == FIGURES | MAPS
    for path in files.values():
        pixels = mpimg.imread(path)
        assert min(pixels.shape[:2]) > 200, path
        assert 0.02 < (pixels[..., :3].min(axis=2) < 0.95).mean() < 0.98, path  # neither empty nor all ink
        coarse = (pixels[..., :3] * 8).astype(int) @ [1, 16, 256]
        assert len(np.unique(coarse)) > 8, path


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


@pytest.mark.usefixtures("quick")
def test_the_page_names_missing_optional_files(run: Path) -> None:
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
    assert found.row("fc1|64").startswith("|fc1|64|42|28|")
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
def test_a_layer_with_zero_rows_only_is_reported(run: Path) -> None:
    edit(run, lambda result: result["layers"][0].update(nonzero=0, groups=0))
    edit(run, lambda tying: tying["layers"][0].update(labels=[-1] * 64), "tying.json")
    found = page(run)
    assert found.row("fc1|64").startswith("|fc1|64|0|0|100.0 %|–|")
    assert "No figure of row similarity for fc1: fewer than two rows are left" in found.text


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_report_of_another_task_names_its_metric_and_no_accuracy(run: Path) -> None:
    def regression(result: dict[str, Any]) -> None:
        score = {**dict.fromkeys(result.pop("accuracy"), 54.2), "compact": 56.7}
        metric = {"name": "RMSE", "higher_is_better": False, "unit": "mm"}
        result.update(schema=2, task="regression", metric=metric, score=score)

    edit(run, regression)
    lines = (run / "metrics.jsonl").read_text().replace("accuracy", "score")
    (run / "metrics.jsonl").write_text(lines)
    shown = page(run)
    assert shown.row("test RMSE") == "|test RMSE|54.20 mm|56.70 mm|+2.50 mm"
    for words in (
        "RMSE 54.2 mm → 56.7 mm",
        "RMSE after every stage",
        "lower is better",
        "RMSE against size",
    ):
        assert words in shown.text
    assert "regression" in shown.text
    assert "accuracy" not in shown.text.lower()


def test_layers_that_a_recipe_does_not_tie_are_not_said_to_be_too_different(run: Path) -> None:
    recipe = run / "recipe.yaml"
    recipe.write_text(f"{recipe.read_text()}tying: {{method: ward, groups: {{fc1: [8]}}}}\n", encoding="utf-8")
    assert page(run).row("fc2|10") == "|fc2|10|6|4|40.0 %|1.50|–|–|–"
