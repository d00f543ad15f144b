"""Torch's fast path of transformer layers: one fused kernel that reads the weights of the layers inside by itself.

In eval mode without gradients, :class:`torch.nn.TransformerEncoderLayer` does not call the layers inside it, and
:class:`torch.nn.TransformerEncoder` turns a padded batch into a nested tensor, whose padding is zero in the output.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

__all__ = ["fast_path", "has_fast_path"]


@contextmanager
def fast_path(enabled: bool) -> Iterator[None]:
    """Turn torch's fast path on or off in the block, as ``torch.backends.mha.set_fastpath_enabled`` does."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(enabled)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def has_fast_path(model: nn.Module) -> bool:
    """Tell whether a network has transformer layers of torch, which run in two ways."""
    return any(isinstance(module, nn.TransformerEncoderLayer) for module in model.modules())
