"""Progress of a run on the terminal: a live line for the current stage, and a line for each finished one."""

from __future__ import annotations

import time
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Column

from torch_growl.application.recipes import title_of
from torch_growl.application.reports import target_progress

__all__ = ["TerminalWatcher"]


class TerminalWatcher:
    """Shows stage, epoch, loss, metric, nonzero and distinct rows, and the time left.

    Args:
        console: the output; if it is no terminal, a line is printed every ten seconds in place of the live line.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self._progress: Progress | None = None
        self._task: TaskID | None = None
        self._epochs = 0
        self._first = 0
        self._started = 0.0
        self._shown = 0.0
        self._rows = ""
        self._score = ""
        self._target = ""
        self._compiled = 0.0
        self._compiling_since = 0.0
        self._told = False

    def stage(self, name: str, epochs: int, epoch: int) -> None:
        """Begin a stage, or continue it after ``epoch`` of its epochs."""
        self.close()
        title = f"[bold]{name:8} {title_of(name)}[/bold]"
        if not epochs:
            self._print(title)
            return
        self._epochs, self._first = epochs, epoch
        self._started = self._shown = time.monotonic()
        self._compiled = 0.0
        self._rows = self._score = self._target = ""
        self._print(f"{title}{f': continued after epoch {epoch} of' if epoch else ','} {epochs} epochs")
        if self.console.is_terminal:
            columns = (BarColumn(bar_width=8, table_column=Column(width=8)), TextColumn("{task.fields[text]}"))
            self._progress = Progress(*columns, console=self.console, transient=True)
            self._progress.start()
            self._task = self._progress.add_task(name, total=epochs, completed=epoch, text="")

    def step(self, epoch: int, step: int, steps: int, loss: float) -> None:
        """Show the loss after some steps of an epoch."""
        done = epoch - 1 + step / steps
        # What a narrow terminal cuts off comes last.
        state = f"{self._score}{self._target}{self._rows}"
        text = f"epoch {epoch}/{self._epochs}  {self._left(done):10}  loss {loss:.4f}{state}"
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, completed=done, text=text)

    def compiling(self, busy: bool) -> None:
        """Say once that kernels are compiled; the time it takes is no part of the time left."""
        now = time.monotonic()
        if not busy:
            self._compiled += now - self._compiling_since
            return
        self._compiling_since = now
        if not self._told:
            self._told = True
            self._print("  compiling kernels, once on this machine: a minute or two")
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, text="compiling kernels")

    def epoch(self, record: dict[str, Any], score: str) -> None:
        """Show the record of an epoch, with the metric in words."""
        layers = record["layers"].values()
        rows, nonzero = sum(layer["rows"] for layer in layers), sum(layer["nonzero"] for layer in layers)
        distinct = sum(layer["distinct"] for layer in layers)
        self._score = f"  {score}"
        self._rows = f"  rows {nonzero}/{rows} nonzero, {distinct} distinct"
        if (target := record.get("target")) is not None:
            self._target = f"  {target_progress(target)}"
        now = time.monotonic()
        last = record["epoch"] == self._epochs
        if last or (self._progress is None and now - self._shown > 10):
            self._shown = now
            left = self._took(now) if last else self._left(record["epoch"])
            epoch = f"epoch {record['epoch']}/{self._epochs}"
            self._print(f"  {epoch}  loss {record['loss']:.4f}{self._score}{self._target}{self._rows}  {left}")

    def _print(self, text: str) -> None:
        """Print a line; only a terminal gets line breaks in it."""
        self.console.print(text, highlight=False, soft_wrap=not self.console.is_terminal)

    def _left(self, done: float) -> str:
        passed = time.monotonic() - self._started - self._compiled
        if done - self._first <= 0:
            return ""
        seconds = round(passed / (done - self._first) * (self._epochs - done))
        return f"{seconds // 60}:{seconds % 60:02d} left"

    def _took(self, now: float) -> str:
        compiled = f", {self._compiled:.0f} s of it for compiling kernels" if self._compiled >= 1 else ""
        return f"{now - self._started:.0f} s{compiled}"

    def close(self) -> None:
        """Stop the live line."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = self._task = None
