"""A smaller network for a target, without training and without labels."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Collection
from dataclasses import replace
from typing import Any

from torch import nn

from torch_growl.arguments import check_choice, check_number, check_type
from torch_growl.errors import GrowlWarning, InvalidValueError, users_stacklevel
from torch_growl.networks.compaction import compact
from torch_growl.networks.execution import unpack_heads_, without_autocast
from torch_growl.networks.layers import check_network, plain_copy
from torch_growl.networks.moments import split_batches
from torch_growl.networks.shrinking.channels import alike_channels, heads_that_stay
from torch_growl.networks.shrinking.choice import Choice, change_
from torch_growl.networks.shrinking.compensation import compensate_
from torch_growl.networks.targets import COUNTED, Counter, Target
from torch_growl.networks.tying import Tying, existing_tying

__all__ = ["shrink", "shrink_tying"]


def shrink(model: nn.Module, inputs: Any, target: Target, *, least: float = 0.0, ties: bool = True) -> nn.Module:
    """Make a smaller network for a target without training: remove channels, and let the rest take over from them.

    For each kind of channel (those that the same layers read and make) the order is found in which they cost least,
    and the error of the network's outputs is measured with some of them removed; then channels go where the outputs
    suffer least for what is saved. Where a channel itself must stay, as those of the network's inputs, a row that reads
    it is removed or tied to another one, whichever costs less. What rows carried goes to those that stay
    (:func:`compensate_`), and the network is compacted.

    Args:
        model: the network; not modified.
        inputs: at least two batches, a list, as for :func:`compensate_`; a few hundred examples. No labels are needed.
        target: weights, macs or bytes.
        least: share of the channels of each kind that stays, 0 ≤ least < 1, and at least one channel. Least squares can
            nearly empty some layers; 0.5 keeps the widths even for a training afterwards.
        ties: whether rows may be tied; the compact network then sums their inputs.

    Returns:
        The compact network, as of :func:`torch_growl.compact`.

    Raises:
        InvalidTypeError: an argument has another type.
        InvalidValueError: there is one batch only, the target is of another measure or cannot be met, or
            ``least`` is out of range.
        CompactionError: the network cannot be copied or compacted.

    Warns:
        GrowlWarning: as :func:`compensate_` and :func:`torch_growl.compact`; heads of an attention cannot be removed.

    Example:
        >>> import torch
        >>> import torch_growl as tg
        >>> model = torch.nn.Sequential(torch.nn.Linear(6, 32), torch.nn.ReLU(), torch.nn.Linear(32, 2))
        >>> small = tg.shrink(model, [torch.randn(64, 6) for _ in range(4)], tg.Target(weights=0.5))
        >>> sum(p.numel() for p in small.parameters()) <= 0.5 * sum(p.numel() for p in model.parameters())
        True
    """
    dense, small = _changed(model, inputs, target, None, least, ties)
    compensate_(small, dense, inputs)
    return compact(small, inputs[0]).train(model.training)


def shrink_tying(model: nn.Module, inputs: Any, target: Target, layers: Collection[str]) -> Tying:
    """Find the rows that :func:`shrink` would remove and tie, in some layers alone.

    Args:
        model: the network; not modified. Rows that are zero or equal already stay so.
        inputs: as for :func:`shrink`.
        target: weights, macs or bytes; a share is one of the network with all of its rows.
        layers: names of the layers whose rows may go.

    Returns:
        The tying of these layers.

    Raises:
        GrowlError: as :func:`shrink`.
    """
    return existing_tying(_changed(model, inputs, target, layers, 0.0, True)[1], layers)


@without_autocast()
def _changed(
    model: nn.Module, inputs: Any, target: Target, layers: Collection[str] | None, least: float, ties: bool
) -> tuple[nn.Module, nn.Module]:
    """A plain copy of a network in eval mode, and another one in which rows are zero and tied, not fitted yet."""
    check_network("model", model, values=True)
    check_type("target", target, Target)
    check_choice("target", target.of, COUNTED)
    check_number("least", least, least=0, below=1)
    batches = split_batches(inputs)
    dense = plain_copy(model).eval()
    unpack_heads_(dense)
    counter = Counter(dense, inputs[0])
    if kept := heads_that_stay(dense, counter.wiring):
        warnings.warn(kept, GrowlWarning, stacklevel=users_stacklevel())
    kinds = [
        replace(kind, least=max(1, math.ceil(least * len(kind) - 1e-9)))
        for kind in alike_channels(
            counter.wiring, [name for name in counter.cuttable if layers is None or name in layers]
        )
    ]
    whole = float(getattr(counter.dense, target.of))
    asked = target.amount(whole)
    partitions, left = Choice(dense, *batches, counter, kinds, ties=ties).partitions(target.of, asked)
    if left > asked:
        raise InvalidValueError(
            f"target: at least {left:,.0f} of {whole:,.0f} {target.of} are left, {left / whole:.1%}, with "
            f"{f'{least:g} of the channels' if least else 'one channel'} of each kind; asked were {asked:,.0f}"
        )
    small = copy.deepcopy(dense)
    change_(small, partitions)
    return dense, small
