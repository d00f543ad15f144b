"""Initial weights of a network: He-normal, as in the paper's code, or read from a file."""

from __future__ import annotations

import math
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from torch_growl.errors import InvalidValueError

__all__ = ["he_normal_", "load_weights_", "paper_normal_"]


def he_normal_(network: nn.Module) -> nn.Module:
    """Draw the weights of convolutions and linear layers with variance 2 / (outputs · kernel size), biases 0."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return network


def paper_normal_(linear: nn.Linear) -> nn.Linear:
    """Draw a linear layer's weights with variance 2 / outputs, biases 0.1, as the paper's code does for MNIST."""
    nn.init.normal_(linear.weight, std=math.sqrt(2 / linear.out_features))
    nn.init.constant_(linear.bias, 0.1)
    return linear


def load_weights_(network: nn.Module, path: Path) -> nn.Module:
    """Load all weights and buffers, except the counters of batch normalisation, from a safetensors file.

    Raises:
        InvalidValueError: the file cannot be read, or its names and shapes are not the network's.
    """
    try:
        given = load_file(path)
    except (OSError, SafetensorError) as error:
        raise InvalidValueError(f"weights: {path} cannot be read as safetensors: {error}") from error
    state = {name: value for name, value in network.state_dict().items() if not name.endswith("num_batches_tracked")}
    given = {name: value for name, value in given.items() if not name.endswith("num_batches_tracked")}
    odd = sorted(set(state) ^ set(given)) or sorted(n for n in state if state[n].shape != given[n].shape)
    if odd:
        raise InvalidValueError(f"weights: {path} is of another network: {odd[0]!r} and {len(odd) - 1} more differ")
    network.load_state_dict(given, strict=False)
    return network
