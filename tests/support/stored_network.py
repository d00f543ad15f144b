"""The network whose compact file lies in tests/data: its values are exact in every type, with no random numbers."""

from __future__ import annotations

import torch
from torch import nn

from tests.support.compact_battery import vgg
from tests.support.pruned_networks import zero_and_tie_


@torch.no_grad()
def stored_network() -> nn.Module:
    """VGG-like, with zero and tied rows; every value is a small whole number of 64ths."""
    model = vgg().eval()
    for number, (name, value) in enumerate(model.state_dict(keep_vars=True).items()):
        if value.is_floating_point():
            places = torch.arange(1 + number, 1 + number + value.numel())
            value.copy_(((places * 7919) % 127 - 63).reshape(value.shape) / 64)
            if name.endswith("running_var"):
                value.abs_().add_(0.5)
    return zero_and_tie_(model, 4)
