"""The headline and the table: what was gained, and what became worse."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tests.support.made_up_run import Page, edit, page
from torch_growl.application.reports.summary import headline, summary_table


def test_the_headline_has_all_ratios(made: Path) -> None:
    expected = (
        "64-30-10 network: 15.8x smaller in memory, 9.1x fewer MACs, 4.3x faster at batch 256, "
        "1.7x faster at batch 1, accuracy 98.3 % → 98.1 %"
    )
    assert headline(json.loads((made / "result.json").read_text())) == expected
    assert expected in Page(made / "report.html").text.replace("\u00a0", " ")


@pytest.mark.usefixtures("quick")
def test_slower_and_larger_figures_are_named(run: Path) -> None:
    def worse(result: dict[str, Any]) -> None:
        result["latency_ms"]["compact"] = {"1": 0.0626, "256": 1.2904}
        result["bytes_held"]["compact"] = 1_000_000
        result["macs"]["compact"] = 238_200

    edit(run, worse)
    said = headline(json.loads((run / "result.json").read_text()))
    assert said == (
        "64-30-10 network: 1.05x larger in memory, no fewer MACs, no faster at batch 256, 1.2x slower at batch 1, "
        "accuracy 98.3 % → 98.1 %"
    )
    found = page(run)
    assert found.row("ms at batch 1") == "|ms at batch 1|0.050|0.063|1.2x slower"
    assert found.row("bytes in memory") == "|bytes in memory|954,040|1,000,000|1.05x larger"
    assert found.row("MACs") == "|MACs|238,200|238,200|about the same"
    assert found.source.count('class="worse"') == 3  # these two and the accuracy


def test_a_run_of_an_earlier_version_is_called_smaller_with_packed_indices(run: Path) -> None:
    edit(run, lambda result: result.pop("bytes_held"))
    said = headline(json.loads((run / "result.json").read_text()))
    assert said.startswith("64-30-10 network: 18.2x smaller with packed indices, ")


def test_the_table_for_the_terminal(run: Path) -> None:
    edit(run, lambda result: result.update(recipe="[red]x[/nope]"))
    console = Console(file=io.StringIO(), width=100)
    console.print(summary_table(json.loads((run / "result.json").read_text())))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "[red]x[/nope]" in shown
    for text in ("238,510", "14,021", "18.2x smaller", "15.8x smaller", "4.3x faster", "−0.20 points", "55,204"):
        assert text in shown
