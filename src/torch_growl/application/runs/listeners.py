"""Those who follow a run: watchers, which show its progress, TensorBoard's event files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

__all__ = ["Silent", "Watcher", "event_log"]

_SCORES = ("train_score", "validation_score", "train_accuracy", "validation_accuracy")  # the last two: classification
_SCALARS = ("loss", "penalty", *_SCORES, "lr", "compression")


class Watcher(Protocol):
    """An object that shows the progress of a run."""

    def stage(self, name: str, epochs: int, epoch: int) -> None:
        """Called when a stage begins, or continues after ``epoch`` of its epochs; ``epochs`` is 0 without training."""

    def step(self, epoch: int, step: int, steps: int, loss: float) -> None:
        """Called after some steps of an epoch, with the mean loss so far."""

    def compiling(self, busy: bool) -> None:
        """Called when kernels begin to be compiled, and with False afterwards; possibly from another thread."""

    def epoch(self, record: dict[str, Any], score: str) -> None:
        """Called after every epoch, with its metrics record, and with the metric on the validation split in words."""


class Silent:
    """A watcher that shows nothing."""

    def stage(self, name: str, epochs: int, epoch: int) -> None:
        """Show nothing."""

    def step(self, epoch: int, step: int, steps: int, loss: float) -> None:
        """Show nothing."""

    def compiling(self, busy: bool) -> None:
        """Show nothing."""

    def epoch(self, record: dict[str, Any], score: str) -> None:
        """Show nothing."""


@contextmanager
def event_log(
    folder: Path, stage: str, epochs_done: int, *, writes: bool = True
) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Give a function that writes an epoch's record as TensorBoard events; without TensorBoard it does nothing.

    Args:
        folder: where the event files go, a folder of their own for every stage.
        stage: the training stage.
        epochs_done: epochs done before; events of later epochs, which a killed run has written, are marked as void.
        writes: False on all but the first of several processes, where the function does nothing.
    """
    if not writes or find_spec("tensorboard") is None:
        yield lambda record: None
        return
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(str(folder / stage), purge_step=epochs_done + 1)

    def log(record: dict[str, Any]) -> None:
        epoch = record["epoch"]
        for key in _SCALARS:
            if record.get(key) is not None:
                writer.add_scalar(key, record[key], epoch)
        if "target" in record:
            writer.add_scalar("target/left", record["target"]["left"], epoch)
        for layer, counts in record["layers"].items():
            for key, value in counts.items():
                writer.add_scalar(f"{layer}/{key}", value, epoch)

    try:
        yield log
    finally:
        writer.close()
