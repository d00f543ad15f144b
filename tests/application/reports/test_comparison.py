"""The comparison of runs: every run has its figures, a point on its curve, its layers and its settings."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.support.made_up_run import Page, edit, make_run
from torch_growl.application.reports.comparison import make_comparison
from torch_growl.errors import RunFolderError

NASTY = "<script>alert(1)</script>"


def renamed(run: Path, name: str) -> Path:
    return run.rename(run.with_name(name))


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, Path]:
    """Two runs of one recipe, the second one smaller and worse, with another strength."""
    first = renamed(make_run(tmp_path), "first")
    second = renamed(make_run(tmp_path), "second")

    def smaller(result: dict[str, Any]) -> None:
        result["compression"]["network"] = 40.5
        result["accuracy"]["compact"] = 0.961
        result["layers"].pop()
        result["layers"][0].update(nonzero=30, groups=10)

    edit(second, smaller)
    (first / "recipe.yaml").write_text("name: made-up\ngrowl: {strength: 1.0, every: 2}\n")
    (second / "recipe.yaml").write_text("name: other\ngrowl: {strength: 2.0, every: 2}\n")
    return first, second


def compared(tmp_path: Path, *runs: Path) -> Page:
    return Page(make_comparison(runs, tmp_path / "comparison.html"))


def test_every_run_has_a_line_a_point_its_layers_and_its_settings(tmp_path: Path, two: tuple[Path, Path]) -> None:
    found = compared(tmp_path, *two)
    first, second = (next(row for row in found.rows if row.startswith(f"|{run}")) for run in ("A: first", "B: second"))
    assert "|98.11 %|accuracy, dense 98.31 %, −0.20 points|15.8x smaller|954,040 → 60,417|9.1x fewer|" in first
    assert "|96.10 %|" in second
    assert (
        'aria-label="Accuracy against size of 2 runs. A: 98.11 %, 18.2x smaller; B: 96.10 %, 40.5x smaller'
        in found.source
    )
    assert found.source.count('class="line c1 line"') == 2  # one recipe and seed: one line, in both widths
    assert found.row("fc1") == "|fc1|64 → 42 → 28|weights 7 %, MACs 10 %|64 → 30 → 10|weights 7 %, MACs 10 %"
    assert found.row("fc2") == "|fc2|10 → 6 → 4|weights 7 %, MACs 10 %|weights 7 %, MACs 10 %"
    assert found.row("growl.strength") == "|growl.strength|1.0|2.0"
    assert not [row for row in found.rows if row.startswith(("|growl.every", "|name"))]


def test_runs_of_other_seeds_have_one_colour_and_no_line(tmp_path: Path, two: tuple[Path, Path]) -> None:
    edit(two[1], lambda result: result.update(seed=4712))
    found = compared(tmp_path, *two)
    assert 'class="line' not in found.source
    assert found.source.count("<li><svg") == 2
    assert len(re.findall('class="mark c1" d="[^"]*"><title>', found.source)) == 4


def test_runs_of_other_metrics_have_a_chart_of_their_own(tmp_path: Path, two: tuple[Path, Path]) -> None:
    def regression(result: dict[str, Any]) -> None:
        score = dict.fromkeys(result.pop("accuracy"), 54.2)
        result.update(schema=2, metric={"name": "RMSE", "higher_is_better": False, "unit": "mm"}, score=score)

    edit(two[1], regression)
    found = compared(tmp_path, *two)
    assert found.source.count("Accuracy against size of 2 runs. A: ") == 2
    assert found.source.count("RMSE against size of 2 runs. B: 54.20 mm") == 2


def test_nothing_is_loaded_run_or_left_unescaped(tmp_path: Path, two: tuple[Path, Path]) -> None:
    edit(two[0], lambda result: result.update(model=NASTY))
    edit(two[0], lambda result: result["layer_costs"][0].update(name=NASTY))
    (two[1] / "recipe.yaml").write_text("name: other\nmodel: '<script>alert(1)</script>'\n")
    found = compared(tmp_path, *two)
    assert "script" not in found.tags
    assert found.text.count(NASTY) >= 3
    assert all(link.startswith(("#", "data:,")) for link in found.links)
    assert "script-src" not in found.source


def test_the_same_runs_give_the_same_page(tmp_path: Path, two: tuple[Path, Path]) -> None:
    first = make_comparison(two, tmp_path / "a.html").read_bytes()
    assert make_comparison(two, tmp_path / "b.html").read_bytes() == first


def test_what_cannot_be_compared_is_refused_and_nothing_written(tmp_path: Path, two: tuple[Path, Path]) -> None:
    out = tmp_path / "comparison.html"
    for runs, said in (
        ([two[0]], "two run folders or more, got 1"),
        ([two[0], two[1], two[1].parent / "." / "second"], "second is given twice"),
        ([two[0], tmp_path / "none"], "result.json is not there"),
    ):
        with pytest.raises(RunFolderError, match=said):
            make_comparison(runs, out)
    with pytest.raises(RunFolderError, match="is a folder"):
        make_comparison(two, tmp_path)
    assert not out.exists()
