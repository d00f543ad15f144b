"""Samples of layers: what each call reads and writes at a few places, with all of its channels."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from torch_growl.networks.execution.activations import sampled


class Twice(nn.Module):
    """A convolution that is called by name and twice, and a layer that is never called."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.unused = nn.Conv2d(3, 3, 1), nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(self.conv(input=x))
        return y


@pytest.mark.parametrize(
    ("shape", "places"), [((2, 3, 2, 2), 8), ((3, 3, 9, 9), 64), ((3, 2, 2), 4), ((0, 3, 2, 2), 0)]
)
def test_every_call_is_sampled_with_all_channels(shape: tuple[int, ...], places: int) -> None:
    model, x = Twice(), torch.randn(shape)
    with torch.no_grad(), sampled(model, {"conv": -3, "unused": -1}) as found:
        y = model(x)
    assert list(found) == ["conv"]
    first, second = found["conv"]
    assert first.input.shape == second.output.shape == (places, 3)
    assert torch.equal(first.output, second.input)
    flat = x.movedim(-3, -1).reshape(-1, 3)
    assert all((flat == row).all(1).any() for row in first.input)
    if places:
        assert torch.equal(first.input[0], flat[0])
        assert torch.equal(second.output[-1], y.movedim(-3, -1).reshape(-1, 3)[-1])
    assert not model.conv._forward_hooks
    assert not model.conv._forward_pre_hooks


def test_samples_do_not_change_with_the_tensor() -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.ReLU(inplace=True))
    with torch.no_grad(), sampled(model, {"0": -1}) as found:
        model(torch.randn(50, 3))
    assert (found["0"][0].output < 0).any()
