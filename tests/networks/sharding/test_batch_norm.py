"""Joint batch norm: in one process it is torch's; with several see tests/distributed."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from tests.support.fake_processes import playing
from torch_growl.networks.sharding import joint_batch_norms


def test_in_one_process_it_is_torchs_and_leaves_nothing_behind() -> None:
    wanted = nn.Sequential(nn.Conv2d(2, 3, 2), nn.BatchNorm2d(3), nn.Flatten(), nn.BatchNorm1d(27, affine=False))
    wanted.double()
    model = copy.deepcopy(wanted)
    x = torch.randn(6, 2, 4, 4, dtype=torch.float64)
    with playing(0, 1), joint_batch_norms(model):
        found = model(x)
        found.pow(3).sum().backward()
    given = wanted(x)
    given.pow(3).sum().backward()
    torch.testing.assert_close(found, given)
    torch.testing.assert_close(model.state_dict(), wanted.state_dict())
    torch.testing.assert_close(model[0].weight.grad, wanted[0].weight.grad)
    assert not any("forward" in vars(module) for module in model.modules())
    assert torch.equal(model.eval()(x), copy.deepcopy(model)(x))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_in_half_precision_sums_and_counts_are_those_of_float32(dtype: torch.dtype) -> None:
    wanted = nn.BatchNorm2d(2)
    model = copy.deepcopy(wanted)
    x = (torch.randn(66, 2, 32, 32, generator=torch.Generator().manual_seed(0)) + 3).to(dtype)  # above 65504 values
    with playing(0, 1), joint_batch_norms(model):
        found = model(x)
    torch.testing.assert_close(found, wanted(x), atol=2e-2, rtol=1e-2)
    torch.testing.assert_close(model.state_dict(), wanted.state_dict(), atol=1e-3, rtol=1e-3)
