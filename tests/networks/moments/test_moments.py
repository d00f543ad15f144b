"""Moments: what a layer reads, times its matrix, is what it gives; sums over batches are those of all positions."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from torch_growl.networks.moments.moments import (
    Moments,
    error_of,
    has_moments,
    inputs_of,
    matrices_of,
    outputs_of_layer,
    write_matrices_,
)

LAYERS: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
    "Linear": (nn.Linear(5, 3), (4, 7, 5)),
    "Linear, one example": (nn.Linear(5, 3), (5,)),
    "Conv1d, dilated": (nn.Conv1d(3, 4, 3, dilation=2, padding="same"), (2, 3, 11)),
    "Conv2d, strides": (nn.Conv2d(3, 4, (3, 2), padding=1, stride=(2, 1)), (2, 3, 8, 9)),
    "Conv2d, reflected": (nn.Conv2d(3, 4, (3, 1), padding=(1, 0), padding_mode="reflect"), (2, 3, 8, 9)),
    "Conv2d, one example": (nn.Conv2d(3, 4, 3, padding="valid"), (3, 8, 9)),
    "Conv2d, two groups": (nn.Conv2d(4, 6, 3, groups=2), (2, 4, 8, 9)),
    "Conv2d, depthwise": (nn.Conv2d(3, 3, (3, 1), groups=3), (2, 3, 8, 9)),
    "Conv3d": (nn.Conv3d(2, 3, (1, 2, 3), stride=(1, 2, 1)), (2, 2, 4, 5, 6)),
}


def seeded(name: str) -> tuple[nn.Module, Tensor]:
    module, shape = LAYERS[name]
    torch.manual_seed(0)
    module.double()
    return module, torch.randn(shape, dtype=torch.float64)


@pytest.mark.parametrize("name", LAYERS)
def test_what_a_layer_reads_times_its_matrix_is_what_it_gives(name: str) -> None:
    module, x = seeded(name)
    with torch.no_grad():
        matrices = matrices_of(module)
        parts = inputs_of(module, x).chunk(len(matrices), 1)
        found = torch.cat([z @ matrix for z, matrix in zip(parts, matrices, strict=True)], 1) + module.bias
        torch.testing.assert_close(found, outputs_of_layer(module, module(x)))


@pytest.mark.parametrize("name", LAYERS)
def test_a_matrix_is_written_where_it_was_read(name: str) -> None:
    module, _ = seeded(name)
    before = module.weight.detach().clone()
    write_matrices_(module, [2 * matrix for matrix in matrices_of(module)])
    assert torch.equal(module.weight, 2 * before)


@pytest.mark.parametrize(
    ("module", "has"),
    [
        (nn.Linear(4, 2), True),
        (nn.Conv2d(4, 2, 3), True),
        (nn.Conv2d(4, 2, 3, groups=2), True),
        (nn.ConvTranspose2d(4, 2, 3), False),
        (nn.BatchNorm2d(4), False),
        (nn.Linear(9000, 2), False),
    ],
    ids=str,
)
def test_layers_with_moments_are_those_of_one_product_and_not_too_many_values(module: nn.Module, has: bool) -> None:
    assert has_moments(module) is has


def test_sums_of_batches_give_the_error_and_the_covariance_of_all_positions() -> None:
    torch.manual_seed(0)
    z, y, matrix, bias = torch.randn(50, 3) + 1, torch.randn(50, 2), torch.randn(3, 2).double(), torch.randn(2).double()
    moments = Moments()
    for part in (slice(0, 20), slice(20, 50)):
        moments.add(z[part], y[part])
    error = (z.double() @ matrix + bias - y).square().sum()
    assert moments.error(matrix, bias) == pytest.approx(float(error) / 50)
    assert moments.error(matrix, 0.0) == pytest.approx(float((z.double() @ matrix - y).square().sum()) / 50)
    assert error_of([moments], [(matrix, bias)]) == pytest.approx(float(error / y.double().square().sum()))
    mean_z, mean_y, zz, zy = moments.centred()
    joint = torch.cov(torch.cat([z, y], 1).double().t(), correction=0)
    torch.testing.assert_close(torch.cat([mean_z, mean_y]), torch.cat([z, y], 1).double().mean(0))
    torch.testing.assert_close(zz, joint[:3, :3])
    torch.testing.assert_close(zy, joint[:3, 3:])


def test_the_error_of_a_layer_with_groups_is_a_share_of_all_its_outputs() -> None:
    torch.manual_seed(0)
    z, y, matrix = torch.randn(2, 20, 3).double(), torch.randn(2, 20, 2).double(), torch.randn(3, 2).double()
    groups = [Moments(), Moments()]
    for own, read, wanted in zip(groups, z, y, strict=True):
        own.add(read, wanted)
    error = (z @ matrix - y).square().sum() / y.square().sum()
    assert error_of(groups, [(matrix, 0.0)] * 2) == pytest.approx(float(error))
