"""``growl shrink``: a smaller network without training, and what it loses."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import torch_growl as tg
from tests.support.growl_command import growl
from torch_growl.application.runs.run import Run
from torch_growl.application.training.scores import evaluate


@pytest.mark.slow
def test_a_trained_network_is_made_smaller_and_the_loss_is_shown(
    capsys: pytest.CaptureFixture[str], finished_run: Run, finished_folder: Path, tmp_path: Path
) -> None:
    asked = ["--target", "macs=0.5", "--out", str(tmp_path / "f")]
    status, out, err = growl(capsys, "shrink", str(finished_folder), *asked)
    assert (status, err) == (0, "")
    small = tg.load(tmp_path / "f", finished_run.network()).eval()
    dense = finished_run.trained("dense")
    x = torch.rand(1, 64)
    before, after = (tg.measure(network, x, latency=False) for network in (dense.cpu(), small))
    assert 0.45 * before.macs < after.macs <= 0.5 * before.macs
    test, cpu = finished_run.splits.test, torch.device("cpu")
    scores = [evaluate(network, test, cpu, **finished_run.testing) for network in (dense, small)]
    assert scores[1] > scores[0] - 0.03
    for shown in (*map(finished_run.task.metric.text, scores), f"{before.macs:,}", f"{after.macs:,}"):
        assert shown in out
    assert f"file: {tmp_path / 'f'}" in out


def test_a_target_that_cannot_be_counted_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    status, _, err = growl(capsys, "shrink", "digits", "--target", "file_bytes=0.5", "--out", str(tmp_path / "f"))
    assert (status, list(tmp_path.iterdir())) == (2, [])
    assert err == "error: target must be 'weights', 'macs' or 'bytes', got 'file_bytes'\n"
