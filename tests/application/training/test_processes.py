"""The device and the processes of a run."""

from __future__ import annotations

import warnings

import pytest

from torch_growl.application.training.processes import accelerator_for
from torch_growl.errors import GrowlWarning, InvalidValueError


def test_a_launch_of_several_processes_that_started_one_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_USE_CPU", "False")  # what accelerate launch --num_processes N sets on a CPU
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert accelerator_for("cpu", "no").num_processes == 1  # --num_processes 1
    monkeypatch.setenv("MASTER_PORT", "29500")
    with pytest.warns(GrowlWarning, match="has started one process.*--multi_gpu"):
        accelerator_for("cpu", "no")


def test_a_device_that_this_machine_lacks_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(InvalidValueError, match="this machine has no CUDA device; use --device cpu"):
        accelerator_for("cuda", "no")
