"""TensorBoard's event files of a run, where the ``tensorboard`` extra is installed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

__all__ = ["event_log"]


@contextmanager
def event_log(folder: Path, stage: str, epochs_done: int) -> Iterator[Callable[[dict[str, Any]], None]]:
    """A function that writes one epoch's metrics record as TensorBoard events; it does nothing without TensorBoard.

    Args:
        folder: where the event files go, a folder of their own for every stage.
        stage: the training stage.
        epochs_done: epochs before this start; what a killed run wrote after them is marked as void.
    """
    if find_spec("tensorboard") is None:
        yield lambda record: None
        return
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(str(folder / stage), purge_step=epochs_done + 1)

    def log(record: dict[str, Any]) -> None:
        epoch = record["epoch"]
        for key in ("loss", "penalty", "train_accuracy", "validation_accuracy", "lr", "compression"):
            if record[key] is not None:
                writer.add_scalar(key, record[key], epoch)
        for layer, counts in record["layers"].items():
            for key, value in counts.items():
                writer.add_scalar(f"{layer}/{key}", value, epoch)

    try:
        yield log
    finally:
        writer.close()
