"""Initial weights: their spread, and files of weights that fit or are refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from torch_growl.application.models.initialisation import he_normal_, load_weights_
from torch_growl.errors import InvalidValueError


def network() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 2))


def test_he_normal_counts_outputs_times_kernel() -> None:
    model = nn.Sequential(nn.Conv2d(50, 40, 5), nn.Linear(300, 200))
    assert he_normal_(model) is model
    assert float(model[0].weight.detach().std()) == pytest.approx((2 / (40 * 25)) ** 0.5, rel=0.02)
    assert float(model[1].weight.detach().std()) == pytest.approx((2 / 200) ** 0.5, rel=0.02)
    assert torch.equal(model[1].bias, torch.zeros(200))


def test_weights_of_a_file_are_taken_with_or_without_counters_of_batches(tmp_path: Path) -> None:
    given = {name: torch.rand(value.shape) for name, value in network().state_dict().items()}
    del given["1.num_batches_tracked"]
    save_file(given, tmp_path / "w.safetensors")
    model = load_weights_(network(), tmp_path / "w.safetensors")
    state = model.state_dict()
    assert all(torch.equal(state[name], value) for name, value in given.items())


def test_files_that_do_not_fit_are_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    with pytest.raises(InvalidValueError, match="w.safetensors cannot be read as safetensors"):
        load_weights_(network(), path)
    path.write_bytes(b"no safetensors")
    with pytest.raises(InvalidValueError, match="w.safetensors cannot be read as safetensors"):
        load_weights_(network(), path)
    given = {name: value for name, value in network().state_dict().items() if name != "3.bias"}
    save_file(given, path)
    with pytest.raises(InvalidValueError, match="is of another network: '3.bias' and 0 more differ"):
        load_weights_(network(), path)
    save_file({**given, "3.bias": torch.zeros(5)}, path)
    with pytest.raises(InvalidValueError, match="is of another network: '3.bias' and 0 more differ"):
        load_weights_(network(), path)
