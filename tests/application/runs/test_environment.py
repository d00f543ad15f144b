"""The record of machine and versions."""

from __future__ import annotations

import torch

import torch_growl
from torch_growl.application.runs.environment import environment_record


def test_the_record_names_versions_device_and_threads() -> None:
    torch.set_num_threads(2)
    record = environment_record(torch.device("cpu"))
    assert record["torch_growl"] == torch_growl.__version__
    assert record["torch"] == torch.__version__
    assert (record["device"], record["threads"]) == ("cpu", 2)
    assert record["processor"]
    assert set(record) == {"torch_growl", "torch", "python", "platform", "processor", "device", "threads"}
