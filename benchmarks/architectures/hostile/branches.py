"""Networks that compute something else for some inputs, or at some calls."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.architectures.hostile.networks import (
    CHANNELS,
    convolutions,
    gated,
    image,
    linears,
    rows,
    sequence,
    tokens,
    usual,
    with_embedding,
    with_middle,
)

__all__ = ["TABLES"]

COUNTED = {"calls": 0}


def when(test: Any) -> Any:
    """The usual network whose hidden channels are gated for the inputs that pass a test."""

    def rule(net: Any, x: Tensor) -> Any:
        h = net.a(x).relu()
        return net.b(gated(h) if test(net, x) else h)

    return rule


def of_tokens(net: Any, ids: Tensor) -> Any:
    h = net.a(net.table(ids)).relu()
    return net.b(gated(h) if bool((ids > 30).any()) else h)


def one_token(net: Any, ids: Tensor) -> Any:
    h = net.a(net.table(ids)).relu()
    return net.b(gated(h) if bool((ids == 7).any()) else h)


def statement(net: Any, x: Tensor) -> Any:
    h = net.a(x).relu()
    if len(x) == 1:
        h = gated(h)
    return net.b(h)


def early_return(net: Any, x: Tensor) -> Any:
    h = net.a(x).relu()
    if x.abs().max() > 50:
        return net.b(gated(h))
    return net.b(h)


def loop_of_size(net: Any, x: Tensor) -> Any:
    h = net.a(x).relu()
    for _ in range(len(x) - 4):
        h = gated(h)
    return net.b(h)


def while_large(net: Any, x: Tensor) -> Any:
    h = net.a(x).relu()
    while float(x.abs().max()) > 50:
        h, x = gated(h), x / 10
    return net.b(h)


def by_match(net: Any, x: Tensor) -> Any:
    h = net.a(x).relu()
    match x.shape:
        case (1, _):
            h = gated(h)
        case (9, _):
            h = -gated(h)
        case _:
            pass
    return net.b(h)


def by_dict(net: Any, x: Tensor) -> Any:
    ways = {1: gated, 2: lambda h: 2 * gated(h)}
    return net.b(ways.get(len(x), lambda h: h)(net.a(x).relu()))


def by_list(net: Any, x: Tensor) -> Any:
    ways = [lambda h: h, lambda h: h * h[..., 1:2]]
    return net.b(ways[int(x.max() > 50)](net.a(x).relu()))


def by_error(net: Any, x: Tensor) -> Any:
    h = net.a(x).relu()
    try:
        h = h + x[4, 0] * h[:, 1:2]
    except IndexError:
        h = 2 * h
    return net.b(h)


def helper(h: Tensor, number: int) -> Tensor:
    return gated(h) if number == 9 else h


def other_layer(net: Any, x: Tensor) -> Any:
    h = net.a(x).relu()
    if len(x) > 8:
        h = net.m(h)
    return net.b(h)


def experts(net: Any, x: Tensor) -> Any:
    h = net.a(x).relu()
    return net.b([h, net.m(h)][0] if x.mean() < 5 else net.m(h))


def counted(number: int, *, every: bool = False) -> Any:
    def rule(net: Any, x: Tensor) -> Any:
        net.calls += 1
        h = net.a(x).relu()
        return net.b(gated(h) if (net.calls % number == 0 if every else net.calls == number) else h)

    return rule


def by_buffer(net: Any, x: Tensor) -> Any:
    net.seen += 1
    h = net.a(x).relu()
    return net.b(gated(h) if net.seen > 8 else h)


def by_global(net: Any, x: Tensor) -> Any:
    COUNTED["calls"] += 1
    h = net.a(x).relu()
    return net.b(gated(h) if COUNTED["calls"] % 1000 == 0 else h)


def auxiliary(net: Any, x: Tensor) -> Any:
    h = net.a(x).relu()
    return (net.b(h), net.m(h)) if net.training else net.b(h)


def trained_gate(net: Any, x: Tensor) -> Any:
    h = net.a(x).relu()
    if net.training:
        h = gated(h)
    return net.b(h)


def first_call(net: Any, x: Tensor) -> Any:
    h = net.a(x).relu()
    if net.last is None:
        net.last = h.mean(dim=tuple(range(h.ndim - 1)))
    return net.b(h - net.last)


def cached(net: Any, x: Tensor) -> Any:
    h = net.a(x).relu()
    past = net.last if net.last is not None and net.last.shape == h.shape else torch.zeros_like(h)
    net.last = h.detach()
    return net.b(h + past)


def kept_list(net: Any, x: Tensor) -> Any:
    net.last = [*(net.last or []), 1]
    h = net.a(x).relu()
    return net.b(gated(h) if len(net.last) > 12 else h)


def grown(net: Any, x: Tensor) -> Any:
    h = net.a(x).relu()
    return net.b(gated(h) if x.shape[-1] > 16 or x.shape[-2] > 16 else h)


def normalised_when_large() -> dict[str, nn.Module]:
    return {**convolutions(), "norm": nn.BatchNorm2d(CHANNELS)}


TABLES: dict[str, dict[str, tuple[Any, Any, Any]]] = {
    "branches": {
        "batch of 1": (when(lambda net, x: len(x) == 1), linears, rows),
        "batch of 1, as a statement": (statement, linears, rows),
        "batch of 2": (when(lambda net, x: x.shape[0] == 2), linears, rows),
        "batch of 7": (when(lambda net, x: len(x) == 7), linears, rows),
        "batch above 16": (when(lambda net, x: x.size(0) > 16), linears, rows),
        "odd batch": (when(lambda net, x: len(x) % 2), linears, rows),
        "batch of 1 or large values": (when(lambda net, x: len(x) == 1 or x.max() > 50), linears, rows),
        "number of elements": (when(lambda net, x: x.numel() > 100), linears, rows),
        "number of dimensions": (when(lambda net, x: x.ndim == 3), linears, rows),
        "long sequence": (when(lambda net, x: x.shape[1] > 16), linears, sequence),
        "sequence of 1": (when(lambda net, x: x.size(1) == 1), linears, sequence),
        "longer than the batch": (when(lambda net, x: x.shape[1] < x.shape[0]), linears, sequence),
        "large image": (grown, convolutions, image),
        "large image, another normalisation": (
            lambda net, x: net.b(net.norm(net.a(x)) if x.shape[-1] > 20 else net.a(x)),
            normalised_when_large,
            image,
        ),
        "large values": (when(lambda net, x: (x.abs() > 50).any()), linears, rows),
        "large values, early return": (early_return, linears, rows),
        "large mean as a number": (when(lambda net, x: x.mean().item() > 5), linears, rows),
        "a value that is not finite": (when(lambda net, x: not torch.isfinite(x).all()), linears, rows),
        "while values are large": (while_large, linears, rows),
        "one large value of the output": (
            lambda net, x: net.b(net.a(x).relu()) if usual(net, x).max() < 9 else net.b(gated(net.a(x))),
            linears,
            rows,
        ),
        "tokens above 30": (of_tokens, with_embedding, tokens),
        "token 7": (one_token, with_embedding, tokens),
        "a loop over the batch": (loop_of_size, linears, rows),
        "match statement": (by_match, linears, rows),
        "functions in a dict by batch": (by_dict, linears, rows),
        "functions in a list by value": (by_list, linears, rows),
        "an error that is caught": (by_error, linears, rows),
        "number handed to a function": (lambda net, x: net.b(helper(net.a(x).relu(), len(x))), linears, rows),
        "a layer for large batches": (other_layer, with_middle, rows),
        "a layer for large means": (experts, with_middle, rows),
    },
    "state": {
        "second call": (counted(2), linears, rows),
        "ninth call": (counted(9), linears, rows),
        "every second call": (counted(2, every=True), linears, rows),
        "hundredth call": (counted(100), linears, rows),
        "calls in a buffer": (by_buffer, linears, rows),
        "calls in a global": (by_global, linears, rows),
        "calls as the length of a list": (kept_list, linears, rows),
        "layer in train mode only": (auxiliary, with_middle, rows),
        "gate in train mode only": (trained_gate, linears, rows),
        "mean of the first call": (first_call, linears, rows),
        "activation of the call before": (cached, linears, rows),
    },
}
