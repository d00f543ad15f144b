"""Attention, recurrent networks, embeddings and unusual code that other tools fail on.

"A sub-module under two names" is ``shared`` of tests/support/compact_battery.py. All others of the list have a row here
or in tests/support/reported_images.py, some in a larger form in benchmarks/architectures/zoo.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from tests.support.reported import Report, net

__all__ = ["ATTENTION", "CODE", "RECURRENT", "Experts"]

HEADS, SIZE = 4, 4
WIDTH = HEADS * SIZE
VECTOR, SEQUENCE = ((12,),), ((6, 12),)


def heads(x: Tensor) -> Tensor:
    return x.unflatten(-1, (-1, SIZE)).transpose(1, 2)


def joined(x: Tensor) -> Tensor:
    return x.transpose(1, 2).flatten(2)


def fused_qkv(self: Any, x: Tensor) -> Tensor:
    batch, length, _ = x.shape
    q, k, v = self.qkv(self.a(x)).reshape(batch, length, 3, HEADS, SIZE).permute(2, 0, 3, 1, 4).unbind(0)
    return self.b(joined(F.scaled_dot_product_attention(self.q_norm(q), self.k_norm(k), v)))


def grouped_queries(self: Any, x: Tensor, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Four heads of queries and two of keys and values, whose caches are inputs and outputs."""
    x = self.a(x)
    keys = torch.cat([keys, heads(self.k(x))], 2)
    values = torch.cat([values, heads(self.v(x))], 2)
    mixed = F.scaled_dot_product_attention(
        heads(self.q(x)), keys.repeat_interleave(2, 1), values.repeat_interleave(2, 1)
    )
    return self.b(joined(mixed)), keys, values


def token_by_token(self: Any, x: Tensor) -> Tensor:
    """The caches stay inside the network."""
    x = self.a(x)
    keys: list[Tensor] = []
    values: list[Tensor] = []
    outputs = []
    for token in x.split(1, 1):
        keys.append(heads(self.k(token)))
        values.append(heads(self.v(token)))
        k, v = (torch.cat(cache, 2).repeat_interleave(2, 1) for cache in (keys, values))
        outputs.append(self.b(joined(F.scaled_dot_product_attention(heads(self.q(token)), k, v))))
    return torch.cat(outputs, 1)


def grouped() -> dict[str, nn.Module]:
    return {
        "a": nn.Linear(12, WIDTH),
        "q": nn.Linear(WIDTH, WIDTH),
        "k": nn.Linear(WIDTH, WIDTH // 2),
        "v": nn.Linear(WIDTH, WIDTH // 2),
        "b": nn.Linear(WIDTH, 5),
    }


class BiasedAttention(nn.Module):
    """A slope for each head in a buffer, as in ALiBi."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(12, WIDTH), nn.Linear(WIDTH, 5)
        self.q, self.k, self.v = (nn.Linear(WIDTH, WIDTH) for _ in range(3))
        self.register_buffer("slopes", torch.tensor([[[0.5]], [[0.25]], [[0.125]], [[1.0]]]))

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        place = torch.arange(x.shape[1])
        scores = heads(self.q(x)) @ heads(self.k(x)).transpose(2, 3) / SIZE**0.5
        scores = scores - self.slopes * (place[:, None] - place).abs()
        return self.b(joined(scores.softmax(-1) @ heads(self.v(x))))


class TiedHead(nn.Module):
    """A language model whose last layer has the weight of its embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.head = nn.Embedding(40, WIDTH), nn.Linear(WIDTH, 40, bias=False)
        self.up, self.down = nn.Linear(WIDTH, 32), nn.Linear(32, WIDTH)
        self.head.weight = self.table.weight

    def forward(self, x: Tensor) -> Tensor:
        x = self.table(x)
        return self.head(x + self.down(F.gelu(self.up(x))))


def einsum_attention(self: Any, x: Tensor) -> Tensor:
    q, k, v = (layer(x).unflatten(-1, (-1, SIZE)) for layer in (self.q, self.k, self.v))
    shares = torch.einsum("bthd,bshd->bhts", q, k).softmax(-1)
    return self.b(torch.einsum("bhts,bshd->bthd", shares, v).flatten(2))


ATTENTION = [
    Report(
        "fused qkv with unbind and norms of each head",
        net(
            fused_qkv,
            lambda: {
                "a": nn.Linear(12, WIDTH),
                "qkv": nn.Linear(WIDTH, 3 * WIDTH),
                "q_norm": nn.LayerNorm(SIZE),
                "k_norm": nn.LayerNorm(SIZE),
                "b": nn.Linear(WIDTH, 5),
            },
        ),
        SEQUENCE,
        ("a",),
        block=SIZE,
    ),
    Report(
        "grouped queries with caches as inputs and outputs",
        net(grouped_queries, grouped),
        ((6, 12), (2, 3, SIZE), (2, 3, SIZE)),
        ("a",),
        block=SIZE,
    ),
    Report("grouped queries with caches inside", net(token_by_token, grouped), SEQUENCE, ("a",), block=2 * SIZE),
    Report("a bias for each head in a buffer", BiasedAttention, SEQUENCE, ("a",), block=SIZE),
    Report(
        "einsum",
        net(
            einsum_attention,
            lambda: {**{name: nn.Linear(12, WIDTH) for name in "qkv"}, "b": nn.Linear(WIDTH, 5)},
        ),
        SEQUENCE,
        ("q", "k", "v"),
        block=SIZE,
    ),
    Report(
        "FFT over the sequence",
        net(
            lambda self, x: self.b(torch.fft.fft(self.a(x), dim=1).real),
            lambda: {"a": nn.Linear(12, WIDTH), "b": nn.Linear(WIDTH, 5)},
        ),
        SEQUENCE,
    ),
    Report("tied heads", TiedHead, ((6,),), ("up",), tokens=40),
]


def recurrent(self: Any, x: Tensor) -> Tensor:
    return self.b(self.recurrent(self.a(x))[0])


def cells(self: Any, x: Tensor) -> Tensor:
    x = self.a(x)
    state = None
    for token in x.unbind(1):
        state = self.recurrent(token, state)
    return self.b(state[0])


def between(rule: Callable[..., Any], layer: Callable[[], nn.Module], reads: int) -> Callable[[], nn.Module]:
    return net(rule, lambda: {"a": nn.Linear(12, WIDTH), "recurrent": layer(), "b": nn.Linear(reads, 5)})


RECURRENT = [
    Report(
        "2-layer bidirectional GRU",
        between(recurrent, lambda: nn.GRU(WIDTH, 8, 2, batch_first=True, bidirectional=True), 16),
        SEQUENCE,
    ),
    Report(
        "LSTM with projection",
        between(recurrent, lambda: nn.LSTM(WIDTH, 12, proj_size=8, batch_first=True), 8),
        SEQUENCE,
    ),
    Report("LSTMCell", between(cells, lambda: nn.LSTMCell(WIDTH, 12), 12), SEQUENCE),
]


class Rounded(torch.autograd.Function):
    """Values of a fixed number of digits, with the gradient passed straight through."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return (16 * x).round() / 16

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        return grads[0]


def pair() -> dict[str, nn.Module]:
    return {"a": nn.Linear(12, 24), "b": nn.Linear(24, 5)}


def checkpointed(reentrant: bool) -> Callable[[], nn.Module]:
    def rule(self: Any, x: Tensor) -> Tensor:
        h = checkpoint(lambda v: self.m(self.a(v).relu()).relu(), x, use_reentrant=reentrant)
        return self.b(h)

    return net(rule, lambda: {**pair(), "m": nn.Linear(24, 24)})


class HookedLayers(nn.Module):
    """Hooks before and behind a layer, and layers without hooks around it."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.m, self.b = nn.Linear(12, 24), nn.Linear(24, 24), nn.Linear(24, 5)
        self.m.register_forward_pre_hook(lambda module, args: (2 * args[0],))
        self.m.register_forward_hook(lambda module, args, output: output + 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.m(self.a(x)).relu())


class Scales(nn.Module):
    """Parameters in a ParameterDict, one of which has a value for each channel."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(12, 24), nn.Linear(24, 5)
        self.values = nn.ParameterDict({"scale": torch.randn(24), "shift": torch.randn(1)})

    def forward(self, x: Tensor) -> Tensor:
        return self.b((self.a(x) * self.values["scale"]).relu() + self.values["shift"])


class Experts(nn.Module):
    """Each token goes to the expert that the gate chooses; index_add collects the results."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.gate, self.b = nn.Linear(12, WIDTH), nn.Linear(WIDTH, 3, bias=False), nn.Linear(WIDTH, 5)
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(WIDTH, 24), nn.GELU(), nn.Linear(24, WIDTH)) for _ in range(3)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x).flatten(0, 1)
        shares, chosen = self.gate(x).softmax(-1).max(-1)
        y = torch.zeros_like(x)
        for number, expert in enumerate(self.experts):
            places = (chosen == number).nonzero()[:, 0]
            y.index_add_(0, places, expert(x[places]) * shares[places, None])
        return self.b(y)


def embedded(self: Any, x: Tensor) -> Tensor:
    return self.b(self.a(self.table(x)).relu())


CODE = [
    Report("activation checkpointing, reentrant", checkpointed(True), VECTOR, ("a", "m")),
    Report("activation checkpointing, not reentrant", checkpointed(False), VECTOR, ("a", "m")),
    Report(
        "a custom autograd function",
        net(lambda self, x: self.b(Rounded.apply(self.a(x).relu())), pair),
        VECTOR,
        ("a",),
    ),
    Report("hooks on replaced layers", HookedLayers, VECTOR),
    Report("ParameterDict", Scales, VECTOR, ("a",)),
    Report("mixture of experts with index_add", Experts, ((24, 12),), ("experts.0.0", "experts.1.0", "experts.2.0")),
    Report(
        "Bilinear",
        net(
            lambda self, x, y: self.b(self.both(self.a(x), self.c(y)).relu()),
            lambda: {
                "a": nn.Linear(12, 16),
                "c": nn.Linear(7, 10),
                "both": nn.Bilinear(16, 10, 12),
                "b": nn.Linear(12, 5),
            },
        ),
        ((12,), (7,)),
    ),
    Report(
        "EmbeddingBag",
        net(embedded, lambda: {**pair(), "table": nn.EmbeddingBag(40, 12, mode="sum")}),
        ((6,),),
        ("a",),
        tokens=40,
    ),
]
