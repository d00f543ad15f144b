"""Progress on the terminal: a line for every stage, with the rows of all layers together."""

from __future__ import annotations

import io
import re
import threading
from typing import Any

import pytest
from rich.console import Console

from torch_growl.application.command.progress import TerminalWatcher


def record(epoch: int) -> dict[str, Any]:
    layers = {"a": {"rows": 10, "nonzero": 8, "distinct": 5}, "b": {"rows": 4, "nonzero": 3, "distinct": 3}}
    return {"stage": "train", "epoch": epoch, "loss": 0.5, "layers": layers}


def run_a_stage(console: Console) -> None:
    watcher = TerminalWatcher(console)
    watcher.stage("train", 2, 0)
    for epoch in (1, 2):
        watcher.step(epoch, 5, 10, 0.75)
        watcher.epoch(record(epoch), "accuracy 91.23 %")
    watcher.stage("tie", 0, 0)
    watcher.close()


def test_a_stage_is_one_line_at_its_start_and_one_at_its_end() -> None:
    text = io.StringIO()
    run_a_stage(Console(file=text, width=120))
    first, last, tie = text.getvalue().splitlines()
    assert first == "train    train with GrOWL, 2 epochs"
    assert last.startswith("  epoch 2/2  loss 0.5000  accuracy 91.23 %  rows 11/14 nonzero, 8 distinct  ")
    assert tie == "tie      find groups"


def test_a_terminal_keeps_the_same_lines_and_the_live_line_is_stopped() -> None:
    text = io.StringIO()
    before = set(threading.enumerate())
    run_a_stage(Console(file=text, width=120, force_terminal=True))
    for thread in set(threading.enumerate()) - before:  # rich's refresh thread, which was asked to stop
        thread.join(timeout=5)
        assert not thread.is_alive()
    assert "train with GrOWL" in text.getvalue()
    assert "accuracy 91.23 %" in text.getvalue()
    assert text.getvalue().rstrip().endswith("find groups\x1b[0m")


def test_a_resumed_stage_says_from_where() -> None:
    text = io.StringIO()
    watcher = TerminalWatcher(Console(file=text, width=120))
    watcher.stage("merge2", 30, 12)
    assert text.getvalue() == "merge2   train between two steps of tying: continued after epoch 12 of 30 epochs\n"


def test_at_80_columns_the_live_line_has_the_time_left() -> None:
    text = io.StringIO()
    watcher = TerminalWatcher(Console(file=text, width=80, force_terminal=True))
    watcher.stage("train", 100, 0)
    watcher.epoch(record(9), "accuracy 91.23 %")
    watcher.step(10, 5, 10, 0.75)
    watcher._progress.refresh()  # type: ignore[union-attr]
    watcher.close()
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text.getvalue())
    assert re.search(r"epoch 10/100  0:0\d left   loss 0.7500  accuracy 91.23 %  rows 11/14 .*…", shown)


def test_the_time_left_is_in_proportion_to_epochs_of_this_start(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    watcher = TerminalWatcher(Console(file=io.StringIO()))
    watcher.stage("train", 10, 4)  # resumed after 4 of 10 epochs
    assert watcher._left(4) == ""
    clock[0] += 60  # 2 epochs in a minute, 4 left
    assert watcher._left(6) == "2:00 left"


def test_compilation_is_said_once_and_is_no_part_of_the_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    text = io.StringIO()
    watcher = TerminalWatcher(Console(file=text, width=120))
    watcher.stage("train", 10, 0)
    for _ in range(2):
        watcher.compiling(True)
        clock[0] += 20
        watcher.compiling(False)
    clock[0] += 30  # 5 epochs in half a minute, 5 left
    assert watcher._left(5) == "0:30 left"
    watcher.epoch(record(10), "RMSE 54.2 mm")
    _first, said, last = text.getvalue().splitlines()
    assert said == "  compiling kernels, once on this machine: a minute or two"
    assert "  RMSE 54.2 mm  rows 11/14" in last
    assert last.endswith("  70 s, 40 s of it for compiling kernels")
    watcher.stage("retrain", 10, 0)
    clock[0] += 10
    assert watcher._left(5) == "0:10 left"


def test_the_live_line_says_that_kernels_are_compiled_until_the_next_step() -> None:
    text = io.StringIO()
    watcher = TerminalWatcher(Console(file=text, width=120, force_terminal=True))
    watcher.stage("train", 10, 0)
    watcher.compiling(True)
    task = watcher._progress.tasks[0]  # type: ignore[union-attr]
    assert task.fields["text"] == "compiling kernels"
    watcher.compiling(False)
    watcher.step(1, 1, 10, 0.5)
    watcher.close()
    assert task.fields["text"].startswith("epoch 1/10")


def test_with_a_target_the_line_says_what_is_left_and_what_was_asked() -> None:
    text = io.StringIO()
    watcher = TerminalWatcher(Console(file=text, width=200))
    watcher.stage("train", 1, 0)
    watcher.epoch(
        {**record(1), "target": {"of": "macs", "asked": 500.0, "left": 623, "dense": 1000}}, "accuracy 91.23 %"
    )
    assert "accuracy 91.23 %  MACs 62.3 % left, 50.0 % asked  rows 11/14 nonzero" in text.getvalue()
    watcher.stage("retrain", 1, 0)
    watcher.epoch(record(1), "accuracy 91.23 %")
    assert text.getvalue().count("asked") == 1
