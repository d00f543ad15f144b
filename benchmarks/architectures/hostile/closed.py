"""Networks whose outputs show little of what they compute, and networks that depend on their own width."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.architectures.hostile.networks import CHANNELS, convolutions, image, linears, rows, sequence, usual

__all__ = ["TABLES"]

LAST = torch.tensor([False, False, False, False, True])


def scaled(net: Any, x: Tensor) -> Tensor:
    """The network with its hidden channels divided by a function of their number."""
    h = net.a(x).relu()
    y: Tensor = net.b(h / h.shape[-1] ** 0.5)
    return y


def through(change: Any, hidden: Any = scaled) -> Any:
    return lambda net, x: change(hidden(net, x))


def width(change: Any) -> Any:
    """A network whose hidden channels go through a function that may depend on their number."""
    return lambda net, x: net.b(change(net.a(x)))


def zero_head() -> dict[str, nn.Module]:
    head = nn.Linear(5, 3)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    return {**linears(), "head": head}


def closings(hidden: Any) -> dict[str, tuple[Any, Any, Any]]:
    return {
        "one column masked with −1e4": (through(lambda y: y.masked_fill(LAST, -1e4), hidden), linears, rows),
        "one column masked with the least float": (
            through(lambda y: y.masked_fill(LAST, torch.finfo(y.dtype).min), hidden),
            linears,
            rows,
        ),
        "all but one column masked": (through(lambda y: y.masked_fill(~LAST, -1e9), hidden), linears, rows),
        "all but one column shifted": (through(lambda y: y - 1e4 * ~LAST, hidden), linears, rows),
        "minus infinity": (through(lambda y: y.masked_fill(LAST, -torch.inf), hidden), linears, rows),
        "times zero": (through(lambda y: y * 0, hidden), linears, rows),
        "half times zero": (through(lambda y: y * torch.tensor([0, 1, 0, 1, 0]), hidden), linears, rows),
        "argmax": (through(lambda y: y.argmax(-1), hidden), linears, rows),
        "signs": (through(lambda y: y > 0, hidden), linears, rows),
        "never true": (through(lambda y: y > 1e6, hidden), linears, rows),
        "rounded to integers": (through(lambda y: (10 * y).round().int(), hidden), linears, rows),
        "sorted indices": (through(lambda y: y.argsort(-1), hidden), linears, rows),
        "a head that starts at zero": (lambda net, x: net.head(hidden(net, x)), zero_head, rows),
        "beside a large constant": (through(lambda y: (y, torch.full((3,), 1e30)), hidden), linears, rows),
        "in one tensor with a large constant": (
            through(lambda y: torch.cat([y, torch.full_like(y, 1e6)], -1), hidden),
            linears,
            rows,
        ),
        "saturated": (through(lambda y: (1e4 * y).sigmoid(), hidden), linears, rows),
        "clamped to nothing": (through(lambda y: y.clamp(5, 5), hidden), linears, rows),
    }


TABLES: dict[str, dict[str, tuple[Any, Any, Any]]] = {
    "closed outputs": {
        **{f"by width, {name}": entry for name, entry in closings(scaled).items()},
        **closings(usual),
    },
    "widths": {
        "divided by the width": (width(lambda h: h / h.shape[-1]), linears, rows),
        "mean over channels added": (width(lambda h: h + h.mean(-1, keepdim=True)), linears, rows),
        "softmax over channels": (width(lambda h: h.softmax(-1)), linears, rows),
        "cumulative sum": (width(lambda h: h.cumsum(-1)), linears, rows),
        "largest channel": (width(lambda h: h - h.amax(-1, keepdim=True)), linears, rows),
        "sorted channels": (width(lambda h: h.sort(-1).values), linears, rows),
        "reversed channels": (width(lambda h: h.flip(-1)), linears, rows),
        "channel numbers added": (width(lambda h: h + torch.arange(h.shape[-1])), linears, rows),
        "noise by width, drawn again": (
            width(lambda h: h + torch.randn(h.shape[-1], generator=torch.Generator().manual_seed(3))),
            linears,
            rows,
        ),
        "norm of the channels": (width(lambda h: nn.functional.normalize(h, dim=-1)), linears, rows),
        "view of fixed size": (width(lambda h: h.view(-1, CHANNELS).relu().view(h.shape)), linears, rows),
        "heads of fixed size": (
            width(lambda h: h.unflatten(-1, (4, 6)).softmax(-1).flatten(-2)),
            linears,
            sequence,
        ),
        "channels as places": (
            width(lambda h: h.transpose(1, 2).flip(1).transpose(1, 2).relu()),
            linears,
            sequence,
        ),
        "shuffled channels": (
            width(lambda h: h.unflatten(1, (4, 6)).transpose(1, 2).flatten(1, 2)),
            convolutions,
            image,
        ),
        "group statistics": (width(lambda h: nn.functional.group_norm(h, 4)), convolutions, image),
        "channels beyond a fixed number": (
            width(lambda h: torch.cat([h[..., :20], h[..., 20:] * 2], -1)),
            linears,
            rows,
        ),
        "last channel added": (width(lambda h: h + h[..., -1:]), linears, rows),
    },
}
