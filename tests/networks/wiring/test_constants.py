"""Constants are found from zero weights and from the operations that follow, never from equal values."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.support.wired import Between, wired

CONSTANT = [0.5, 2.0]  # the biases of the first two of four channels, whose filters are zero


def constants(between: Callable[[Tensor], Tensor], reader: nn.Module | None = None, size: int = 5) -> list[float]:
    model = Between(between, nn.Conv2d(4, 3, 1) if reader is None else reader)
    with torch.no_grad():
        model.maker.weight[:2] = 0
        model.maker.bias[:2] = torch.tensor(CONSTANT)
    return wired(model, 2, 2, size, size).constants["reader"].tolist()


KEPT: dict[str, tuple[Callable[[Tensor], Tensor], list[float]]] = {
    "nothing": (lambda x: x, [0.5, 2.0, np.nan, np.nan]),
    "an activation": (lambda x: F.hardtanh(x), [0.5, 1.0, np.nan, np.nan]),
    "an activation in place": (lambda x: F.relu(x, inplace=True), [0.5, 2.0, np.nan, np.nan]),
    "a scalar": (lambda x: x * 2 + 1, [2.0, 5.0, np.nan, np.nan]),
    "channels that move": (lambda x: x.flip(1), [np.nan, np.nan, 2.0, 0.5]),
    "a sum with itself": (lambda x: x + x, [1.0, 4.0, np.nan, np.nan]),
    "a mean": (lambda x: x.mean((2, 3), keepdim=True), [0.5, 2.0, np.nan, np.nan]),
    "pooling": (lambda x: F.max_pool2d(F.avg_pool2d(x, 2), 3, 1, 1), [0.5, 2.0, np.nan, np.nan]),
    "new channels of zeros": (lambda x: F.pad(x[:, 1:3], (0, 0, 0, 0, 1, 1)), [0.0, 2.0, np.nan, 0.0]),
    "a concatenation": (lambda x: torch.cat([x[:, 2:], x[:, :2]], 1), [np.nan, np.nan, 0.5, 2.0]),
}


@pytest.mark.parametrize("name", KEPT)
def test_constants_pass_through(name: str) -> None:
    between, wanted = KEPT[name]
    np.testing.assert_allclose(constants(between), wanted, rtol=1e-6)


def write_view(x: Tensor) -> Tensor:
    x[:, :2].add_(x[:, 2:].mean())
    return x


def write_index(x: Tensor) -> Tensor:
    x[:, :2] = x[:, 2:].mean()
    return x


def write_all(x: Tensor) -> Tensor:
    view = x.view(x.shape)
    x.copy_(x.mean().expand(x.shape))
    return view


# The values are even in the run, so that only the operations tell.
LOST: dict[str, Callable[[Tensor], Tensor]] = {
    "a view that is written": write_view,
    "an index that is written": write_index,
    "another view that is written": write_all,
    "noise": lambda x: x + torch.randn(()),
    "a sum with other values": lambda x: x + x.mean(),
    "a tensor made of the batch size": lambda x: x * torch.tensor(float(len(x))),
    "a sum over positions": lambda x: x.sum((2, 3), keepdim=True),
    "a border of zeros": lambda x: F.pad(x, (1, 1, 1, 1)),
    "an average over a border of zeros": lambda x: F.avg_pool2d(x, 3, 1, 1),
    "the mean of a map with a border": lambda x: F.pad(x, (1, 1, 1, 1)).mean((2, 3), keepdim=True),
    "softmax over positions": lambda x: x.softmax(2).softmax(3),
    "statistics of the batch": lambda x: F.batch_norm(x, None, None, training=True),
}


@pytest.mark.parametrize("name", LOST)
def test_constants_end_at(name: str) -> None:
    assert np.isnan(constants(LOST[name])).all()


def test_a_border_of_one_position_is_a_border() -> None:
    """A map of one pixel, whose only position would be equal to itself."""
    assert np.isnan(constants(lambda x: F.avg_pool2d(x, 3, 1, 1), size=1)).all()


@pytest.mark.parametrize(("padding", "size"), [(0, 5), (1, 5), (1, 1)])
def test_a_layer_that_reads_constants_only_makes_constants(padding: int, size: int) -> None:
    middle = nn.Conv2d(4, 4, 3, padding=padding)
    with torch.no_grad():
        middle.weight[1:, 2:] = 0  # channel 0 reads all, the others constants
    found = np.isfinite(constants(middle, size=size))
    assert found.tolist() == ([False, True, True, True] if padding == 0 else [False] * 4)


def test_a_normalisation_that_scales_by_zero_makes_constants() -> None:
    for norm in (nn.BatchNorm2d(4), nn.InstanceNorm2d(4, affine=True), nn.GroupNorm(2, 4)):
        with torch.no_grad():
            norm.weight[3], norm.bias[3] = 0, 0.25
        found = constants(norm.eval())
        assert found[3] == 0.25
        assert np.isfinite(found[:2]).all() == isinstance(norm, nn.BatchNorm2d)


def test_a_factor_of_zero_makes_a_constant() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.tensor([1.0, 1.0, 0.0, 1.0]).reshape(4, 1, 1))

        def forward(self, x: Tensor) -> Tensor:
            return x * self.scale

    assert constants(Scaled())[:3] == [0.5, 2.0, 0.0]
