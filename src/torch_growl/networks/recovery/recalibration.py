"""Batch normalisations estimated anew, after weights were removed, averaged or fitted."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from torch_growl.errors import InvalidValueError, first_line
from torch_growl.networks.execution import outputs_of, split_examples
from torch_growl.networks.layers import check_network, plain_model

__all__ = ["recalibrate_"]


@torch.no_grad()
def recalibrate_(model: nn.Module, inputs: Any) -> int:
    """Estimate the means and variances of batch normalisations anew, as the averages over batches.

    Everything else runs as in evaluation: dropout is off, and no weight changes.

    Args:
        model: the network; the running statistics of its batch normalisations are modified. Without any it is not run.
        inputs: a batch or a list of batches, each as for :func:`torch_growl.compact`, on the network's device; a few
            hundred examples of the training data in batches of about the training's size. No labels are needed.

    Returns:
        The number of batch normalisations estimated anew. Those that the network does not call keep their statistics.

    Raises:
        InvalidTypeError: an argument has another type.
        InvalidValueError: the network cannot be run on the inputs, or a batch normalisation has NaN or infinite inputs;
            nothing is changed.

    Example:
        >>> import torch
        >>> import torch_growl as tg
        >>> model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
        >>> batches = [torch.randn(100, 3) for _ in range(5)]
        >>> tg.recalibrate_(model, batches)
        1
        >>> mean = torch.stack([model[0](x).mean(0) for x in batches]).mean(0)
        >>> torch.allclose(model[1].running_mean, mean, atol=1e-5)
        True
    """
    check_network("model", model)
    examples = split_examples(inputs)
    norms = [m for m in plain_model(model).modules() if isinstance(m, _BatchNorm) and m.running_mean is not None]
    if not norms:
        return 0
    modes = {module: module.training for module in model.modules()}
    momenta = [norm.momentum for norm in norms]
    before = [[value.clone() for value in norm.buffers()] for norm in norms]
    try:
        model.eval()
        for norm in norms:
            norm.reset_running_stats()
            norm.train()
            norm.momentum = None  # the mean of all batches
        for example in examples:
            outputs_of(model, example)
        if not all(bool(value.isfinite().all()) for norm in norms for value in norm.buffers()):
            raise InvalidValueError("a batch normalisation has NaN or infinite inputs")
    except Exception as error:  # any error of the network's own code
        for norm, values in zip(norms, before, strict=True):
            _put_back_(norm, values)
        raise InvalidValueError(f"the network cannot be run on inputs: {first_line(error)}") from error
    finally:
        for module, mode in modes.items():
            module.training = mode
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
    count = 0
    for norm, values in zip(norms, before, strict=True):
        if norm.num_batches_tracked:
            count += 1
        else:  # such as a head that is called in training only
            _put_back_(norm, values)
    return count


def _put_back_(norm: nn.Module, values: list[Tensor]) -> None:
    for value, old in zip(norm.buffers(), values, strict=True):
        value.copy_(old)
