"""The examples of trainers run, plain and with a target, on small real data; the smaller network meets its target."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from benchmarks.deployment.trainers import EXAMPLES, run

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # of the trainers, and of so short a training
SHARES = {
    "own_loop": 0.25,
    "accelerate_loop": 0.25,
    "lightning_resnet": 0.75,
    "hugging_face_gpt": 0.6,
    "hugging_face_vit": 0.6,
}
ROOT = Path(__file__).resolve().parents[2]


def check(name: str, rows: list[dict[str, Any]], printed: str) -> None:
    plain, small = rows
    assert small["macs"] <= SHARES[name] * plain["macs"]
    assert small["weights"] < plain["weights"]
    assert f"| {small['network']} | {small['score']:.4g} |" in printed


@pytest.mark.parametrize("name", [name for name in EXAMPLES if name != "lightning_resnet"])
def test_an_example_runs_plain_and_with_a_target(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    check(name, run(name, **EXAMPLES[name]), capsys.readouterr().out)


def test_the_pretrained_resnet_runs_in_lightning(cifar10: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = ROOT / os.environ.get("GROWL_PRETRAINED", "../shared/pretrained")
    if not (folder / "resnet20-cifar10.safetensors").is_file():
        pytest.skip(f"no pretrained ResNets in {folder.name}/ (set GROWL_PRETRAINED)")
    name = "lightning_resnet"
    rows = run(name, str(cifar10), str(folder / "resnet20-cifar10.safetensors"), **EXAMPLES[name])
    check(name, rows, capsys.readouterr().out)
    assert rows[0]["score"] > 70
