"""Progress of a run on the terminal: a live line for the current stage, and a line for each finished one."""

from __future__ import annotations

import time
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from torch_growl.application.recipes import title_of

__all__ = ["TerminalWatcher"]


class TerminalWatcher:
    """Shows stage, epoch, loss, accuracy, nonzero and distinct rows, and the time left.

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
        self._accuracy = ""

    def stage(self, name: str, epochs: int, epoch: int) -> None:
        """Begin a stage, or continue it after ``epoch`` of its epochs."""
        self.close()
        title = f"{name:8} {title_of(name)}"
        if not epochs:
            self.console.print(f"[bold]{title}[/bold]", highlight=False)
            return
        self._epochs, self._first = epochs, epoch
        self._started = self._shown = time.monotonic()
        self._rows = self._accuracy = ""
        if epoch:
            self.console.print(f"{title}: continued after epoch {epoch} of {epochs}", highlight=False)
        if self.console.is_terminal:
            columns = (
                TextColumn("[bold]{task.description}"),
                BarColumn(bar_width=16),
                TextColumn("{task.fields[text]}"),
            )
            self._progress = Progress(*columns, console=self.console, transient=True)
            self._progress.start()
            self._task = self._progress.add_task(title, total=epochs, completed=epoch, text="")
        else:
            self.console.print(f"[bold]{title}[/bold], {epochs} epochs", highlight=False)

    def step(self, epoch: int, step: int, steps: int, loss: float) -> None:
        """Show the loss after some steps of an epoch."""
        done = epoch - 1 + step / steps
        text = f"epoch {epoch}/{self._epochs}  loss {loss:.4f}{self._accuracy}{self._rows}  {self._left(done)}"
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, completed=done, text=text)

    def epoch(self, record: dict[str, Any]) -> None:
        """Show the record of an epoch."""
        layers = record["layers"].values()
        rows, nonzero = sum(layer["rows"] for layer in layers), sum(layer["nonzero"] for layer in layers)
        distinct = sum(layer["distinct"] for layer in layers)
        self._accuracy = f"  acc {100 * record['validation_accuracy']:.2f} %"
        self._rows = f"  rows {nonzero}/{rows} nonzero, {distinct} distinct"
        now = time.monotonic()
        last = record["epoch"] == self._epochs
        if last or (self._progress is None and now - self._shown > 10):
            self._shown = now
            name = "" if not last else f"{record['stage']:8} "
            line = (
                f"  {name}epoch {record['epoch']}/{self._epochs}  loss {record['loss']:.4f}{self._accuracy}{self._rows}"
            )
            left = f"  {self._left(record['epoch'])}" if not last else f"  {now - self._started:.0f} s"
            self.console.print(line + left, highlight=False)

    def _left(self, done: float) -> str:
        passed = time.monotonic() - self._started
        if done - self._first <= 0:
            return ""
        seconds = round(passed / (done - self._first) * (self._epochs - done))
        return f"{seconds // 60}:{seconds % 60:02d} left"

    def close(self) -> None:
        """Stop the live line."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = self._task = None
