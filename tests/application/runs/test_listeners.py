"""TensorBoard's event files hold an epoch's figures; without TensorBoard a run goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from torch_growl.application.runs import listeners
from torch_growl.application.runs.listeners import event_log


def record(epoch: int) -> dict[str, Any]:
    figures = {"loss": 0.5, "penalty": None, "train_accuracy": 0.75, "validation_accuracy": 0.25, "lr": 0.125}
    return {"epoch": epoch, **figures, "compression": 4.0, "layers": {"fc1": {"nonzero": 10 * epoch, "groups": 3}}}


@pytest.mark.slow
def test_the_figures_of_every_epoch_are_events_and_later_epochs_of_a_killed_run_are_void(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for done, epochs in ((0, [1, 2, 3]), (1, [2])):  # killed after three epochs, of which one was kept
        with event_log(tmp_path, "train", done) as log:
            for epoch in epochs:
                log(record(epoch))
    events = EventAccumulator(str(tmp_path / "train")).Reload()
    figures = ["compression", "fc1/groups", "fc1/nonzero", "loss", "lr", "train_accuracy", "validation_accuracy"]
    assert sorted(events.Tags()["scalars"]) == figures  # no penalty, which has no value
    assert [(event.step, event.value) for event in events.Scalars("fc1/nonzero")] == [(1, 10.0), (2, 20.0)]
    assert [event.value for event in events.Scalars("lr")] == [0.125, 0.125]


def test_without_tensorboard_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listeners, "find_spec", lambda name: None)
    with event_log(tmp_path, "train", 0) as log:
        log(record(1))
    assert list(tmp_path.iterdir()) == []
