"""Random zero rows and heads, to try what compaction can remove of a network before it is trained."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from torch_growl.networks.layers import registered_kind, zero_rows_
from torch_growl.networks.wiring import Wiring

__all__ = ["zero_half_"]


@torch.no_grad()
def zero_half_(network: nn.Module, names: Sequence[str], wiring: Wiring, seed: int) -> None:
    """Set about half of the input rows of some layers to zero, at random, and all rows that read half of the heads.

    The first row of each layer stays, and the head that it reads.

    Args:
        network: modified in place.
        names: of layers of registered types.
        wiring: of the network, whose attentions have the heads.
        seed: of the choice.
    """
    random = np.random.default_rng(seed)
    rows = {}
    for name in names:
        module = network.get_submodule(name)
        rows[name] = random.random(registered_kind(module).sizes(module).inputs) >= 0.5
    for values in sorted({tuple(values.tolist()) for _, values in wiring.heads}):
        if random.random() >= 0.5:
            for name in names:
                of_head = np.isin(wiring.inputs.get(name, ()), values)
                if of_head.any() and not of_head[0]:
                    rows[name] |= of_head
    for name, gone in rows.items():
        gone[0] = False  # a layer of zeros would be a constant
        zero_rows_(network.get_submodule(name), torch.from_numpy(gone))
