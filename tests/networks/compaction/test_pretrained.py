"""Networks with known accuracy: they load, score it, and give the same predictions when compact."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import pytest
import torch

import torch_growl as tg
from benchmarks.architectures.pretrained import KNOWN, damage_, images, predictions, pretrained
from torch_growl.application.models.residual import resnet_cifar
from torch_growl.errors import InvalidValueError

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def weights() -> Path:
    folder = ROOT / os.environ.get("GROWL_PRETRAINED", "../shared/pretrained")
    if not (folder / "resnet20-cifar10.safetensors").is_file():
        pytest.skip(f"no pretrained ResNets in {folder.name}/ (set GROWL_PRETRAINED)")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("depth", KNOWN)
def test_pretrained_weights_load_and_compaction_changes_no_prediction(depth: int, weights: Path, cifar10: Path) -> None:
    x, y = images(cifar10, 300)
    model = pretrained(depth, weights)
    assert float((predictions(model, x) == y).float().mean()) > 0.87
    damage_(model)
    small = tg.compact(model, x[:2])
    assert torch.equal(predictions(model, x), predictions(small, x))
    assert sum(p.numel() for p in small.parameters()) < 0.95 * sum(p.numel() for p in model.parameters())


@pytest.mark.slow
@pytest.mark.parametrize("depth", KNOWN)
def test_compaction_keeps_what_pretrained_networks_answer(depth: int, weights: Path) -> None:
    model = pretrained(depth, weights)
    x = torch.randn(4, 3, 32, 32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", tg.GrowlWarning)
        assert torch.equal(tg.compact(model, x)(x), model(x))
    damage_(model)
    small = tg.compact(model, x)
    torch.testing.assert_close(small(x), model(x), rtol=1e-4, atol=1e-4)


def test_weights_of_another_network_are_refused(weights: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidValueError, match="is of another network"):
        resnet_cifar(depth=56, weights=weights / "resnet20-cifar10.safetensors")
    with pytest.raises(InvalidValueError, match="cannot be read as safetensors"):
        resnet_cifar(weights=tmp_path / "nothing.safetensors")
    (tmp_path / "bad.safetensors").write_bytes(b"no")
    with pytest.raises(InvalidValueError, match="cannot be read as safetensors"):
        resnet_cifar(weights=tmp_path / "bad.safetensors")
