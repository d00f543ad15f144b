"""Parts of the page about layers: what is in no layer is a line of its own, and groups are numbered by size."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.made_up_run import edit
from torch_growl.application.reports import layer_parts
from torch_growl.application.reports.layer_parts import CostLine, cost_lines, groups_data, short
from torch_growl.application.reports.run_files import read_run


def test_every_weight_and_mac_is_in_a_line(run: Path) -> None:
    lines = cost_lines(read_run(run).facts)
    assert [line.name for line in lines] == ["fc1", "features.3", "fc2", "the rest", "whole network"]
    whole = lines[-1]
    assert (whole.weights, whole.macs) == ((238_510, 14_021), (238_200, 26_176))
    for of in ("weights", "macs"):
        sums = [sum(getattr(line, of)[side] for line in lines[:-1]) for side in (0, 1)]
        assert tuple(sums) == getattr(whole, of)


def test_a_run_of_an_earlier_version_has_no_lines(run: Path) -> None:
    edit(run, lambda result: result.pop("layer_costs"))
    assert cost_lines(read_run(run).facts) == []


def test_bars_are_shares_of_the_widest() -> None:
    line = CostLine("fc", "", (50, 10), (0, 0))
    assert line.shares((200, 0)) == [(25.0, 5.0), (0.0, 0.0)]


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (0, "0"),
        (999_999, "999,999"),
        (1_000_000, "1M"),
        (1_537_000, "1.54M"),
        (999_700_000, "1,000M"),
        (2.4e12, "2.4T"),
    ],
)
def test_counts_are_short(number: float, said: str) -> None:
    assert short(number) == said


def test_groups_are_numbered_by_size_and_the_first_layer_has_its_pixels(run: Path) -> None:
    labels = [-1] * 30 + [7] * 3 + [5] * 20 + [9] + [8] * 10
    edit(run, lambda tying: tying["layers"][0].update(labels=labels), "tying.json")
    text, missing = groups_data(read_run(run))
    assert missing == []
    assert text is not None
    first, second, third = json.loads(text)["layers"]
    assert (first["what"], first["height"], first["width"]) == ("pixel", 8, 8)
    assert first["labels"] == [-1] * 30 + [3] * 3 + [1] * 20 + [0] + [2] * 10
    assert (second["name"], second["what"], third["what"]) == ("features.3", "channel", "row")
    assert second["height"] * second["width"] >= 30


def test_names_cannot_end_the_script_and_too_many_rows_are_left_out(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "</script><b>"
    for file in ("result.json", "tying.json"):
        edit(run, lambda found: found["layers"][0].update(name=name), file)
    (run / "checkpoints" / "rows.safetensors").unlink()
    monkeypatch.setattr(layer_parts, "_MOST_ROWS", 80)
    text, missing = groups_data(read_run(run))
    assert text is not None
    assert "<" not in text
    assert [layer["name"] for layer in json.loads(text)["layers"]] == [name, "fc2"]
    assert missing == ["The map of groups leaves out features.3: too many rows for a page."]
