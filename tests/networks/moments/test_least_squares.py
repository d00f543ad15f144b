"""Least squares on moments, compared with numpy's on the values themselves."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from torch_growl.networks.moments.least_squares import LayerToFit, fitted
from torch_growl.networks.moments.moments import Moments


def values() -> tuple[torch.Tensor, torch.Tensor, Moments]:
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(80, 5, dtype=torch.float64, generator=generator) + 0.5
    y = z @ torch.randn(5, 3, dtype=torch.float64, generator=generator) + torch.randn(
        80, 3, dtype=torch.float64, generator=generator
    )
    moments = Moments()
    moments.add(z, y)
    return z, y, moments


@pytest.mark.parametrize("offset", [False, True])
def test_the_rows_are_those_of_numpy(offset: bool) -> None:
    z, y, moments = values()
    labels = torch.tensor([0, -1, 1, 0, 2])
    sums = torch.stack([z[:, 0] + z[:, 3], z[:, 2], z[:, 4]], 1)
    design = torch.cat([sums, torch.ones(80, 1, dtype=torch.float64)], 1) if offset else sums
    wanted = np.linalg.lstsq(design.numpy(), y.numpy(), rcond=None)[0]
    [(matrix, bias)] = fitted(moments, labels, torch.zeros(5, 3).double(), offset=offset, dampings=[0.0])
    np.testing.assert_allclose(matrix[[0, 2, 4]], wanted[:3], atol=1e-10)
    assert torch.equal(matrix[3], matrix[0])
    assert not matrix[1].any()
    np.testing.assert_allclose(bias, wanted[3] if offset else np.zeros(3), atol=1e-10)


def test_damping_holds_the_rows_as_they_are() -> None:
    _, _, moments = values()
    current = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    labels = torch.arange(5)
    firm, none = fitted(moments, labels, current, offset=True, dampings=[1e9, 0.0])
    torch.testing.assert_close(firm[0], current)
    assert moments.error(*none) < moments.error(*firm)


def test_a_layer_without_rows_gives_the_mean() -> None:
    _, y, moments = values()
    [(matrix, bias)] = fitted(moments, torch.full((5,), -1), torch.zeros(5, 3).double(), offset=True, dampings=[0.1])
    assert not matrix.any()
    torch.testing.assert_close(bias, y.mean(0))


def test_the_mean_of_a_normalisation_takes_the_place_of_a_bias() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(2, 3, 3, bias=False), nn.BatchNorm2d(3)).eval()
    layer = LayerToFit(net, "0", {"0": "1"})
    x = torch.randn(4, 2, 5, 5)
    before = net(x).detach()
    layer.write_([(layer.matrices[0] * 0, torch.full((3,), 2.0))])
    gamma, size = net[1].weight, torch.sqrt(net[1].running_var + net[1].eps)
    wanted = (2.0 - 0.0) * gamma / size + net[1].bias
    torch.testing.assert_close(net(x).detach(), wanted.detach()[None, :, None, None].expand_as(before))
