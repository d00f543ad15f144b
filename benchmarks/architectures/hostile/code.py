"""Networks whose code does unusual things: values that leave torch, writing in place, fused and borrowed weights."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from benchmarks.architectures.hostile.networks import (
    CHANNELS,
    convolutions,
    image,
    linears,
    rows,
    sequence,
    with_middle,
)

__all__ = ["TABLES"]


def between(change: Any) -> Any:
    return lambda net, x: net.b(change(net.a(x)))


class Doubled(torch.autograd.Function):
    """Twice the input, with a backward of its own."""

    @staticmethod
    def forward(ctx: Any, h: Tensor) -> Tensor:
        return 2 * h

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        return 2 * grads[0]


def writes(net: Any, x: Tensor) -> Any:
    return net.b(net.a(x.add_(1)).relu())


def writes_later(net: Any, x: Tensor) -> Any:
    y = net.b(net.a(x).relu())
    x.zero_()
    return y


def one_channel(h: Tensor) -> Tensor:
    h = h.clone()
    h[..., 0] = h[..., 1]
    return h


def masked_channel(h: Tensor) -> Tensor:
    h = h.clone()
    h[:, torch.arange(h.shape[-1]) % 3 == 2] = 0
    return h


def out_variant(h: Tensor) -> Tensor:
    room = torch.empty_like(h)
    torch.clamp(h, min=0, out=room)
    return room


def borrowed(net: Any, x: Tensor) -> Any:
    return net.b(net.a(x).relu()) @ net.b.weight.abs()


def resized_data(net: Any, x: Tensor) -> Any:
    return functional.linear(net.a(x).relu(), net.b.weight.data, net.b.bias)


def copied_layer(net: Any, x: Tensor) -> Any:
    return copy.deepcopy(net.b)(net.a(x).relu())


def named(net: Any, x: Tensor) -> Any:
    for name in ("a", "b"):
        x = dict(net.named_modules())[name](x).relu()
    return x


def sizes_of_layers(net: Any, x: Tensor) -> Any:
    h = net.a(x).relu()
    assert h.shape[-1] == net.b.in_features
    return net.b(h) * net.b.in_features**0.5


def encoder() -> dict[str, nn.Module]:
    return {**linears(), "t": nn.TransformerEncoderLayer(12, 2, 20, batch_first=True, dropout=0.0)}


def attention() -> dict[str, nn.Module]:
    return {**linears(), "t": nn.MultiheadAttention(CHANNELS, 2, batch_first=True)}


def recurrent() -> dict[str, nn.Module]:
    return {**linears(), "t": nn.GRU(CHANNELS, CHANNELS, batch_first=True)}


def fused_qkv() -> dict[str, nn.Module]:
    return {"a": nn.Linear(12, CHANNELS), "b": nn.Linear(CHANNELS, 5), "qkv": nn.Linear(CHANNELS, 3 * CHANNELS)}


def tied() -> dict[str, nn.Module]:
    found = with_middle()
    found["m"].weight = nn.Parameter(torch.eye(CHANNELS))
    found["norm"] = nn.Linear(CHANNELS, CHANNELS)
    found["norm"].weight = found["m"].weight
    return found


def hooked() -> dict[str, nn.Module]:
    found = linears()
    found["b"].register_forward_pre_hook(lambda module, args: (args[0].flip(-1),))
    return found


def kept_in_attribute(net: Any, x: Tensor) -> Any:
    net.last = net.a(x).relu()
    return net.b(net.last)


def attend(net: Any, x: Tensor) -> Any:
    q, k, v = net.qkv(net.a(x).relu()).chunk(3, -1)
    return net.b(functional.scaled_dot_product_attention(q, k, v))


TABLES: dict[str, dict[str, tuple[Any, Any, Any]]] = {
    "code outside torch": {
        "numpy": (between(lambda h: torch.from_numpy(h.relu().detach().numpy() * 2)), linears, rows),
        "numpy, mean added": (between(lambda h: h + float(np.mean(h.detach().numpy()))), linears, rows),
        "numpy, array protocol": (between(lambda h: torch.as_tensor(np.asarray(h.detach())).relu()), linears, rows),
        "lists": (between(lambda h: torch.tensor(h.relu().tolist())), linears, rows),
        "one number": (between(lambda h: h * h[0, 0].item()), linears, rows),
        "one number of a channel that is not read": (between(lambda h: h * (1 + h[0, 1].item())), linears, rows),
        "DLPack": (between(lambda h: torch.from_dlpack(h.detach().contiguous()).relu()), linears, rows),
        "bytes": (
            between(
                lambda h: torch.frombuffer(bytearray(h.detach().numpy().tobytes()), dtype=h.dtype).view(h.shape).relu()
            ),
            linears,
            rows,
        ),
        "Python's mathematics": (
            between(lambda h: h * math.tanh(sum(h.detach().flatten().tolist()))),
            linears,
            rows,
        ),
        "a norm as a number": (between(lambda h: h / (1 + float(h.norm()))), linears, rows),
    },
    "unusual code": {
        "writes into its input": (writes, linears, rows),
        "clears its input": (writes_later, linears, rows),
        "activation in place": (between(lambda h: h.relu_()), linears, rows),
        "one channel overwritten by another": (between(one_channel), linears, rows),
        "channels overwritten by a mask": (between(masked_channel), linears, rows),
        "result written into a given tensor": (between(out_variant), linears, rows),
        "strided view": (between(lambda h: h.as_strided(h.shape, h.stride()).relu()), linears, rows),
        "own autograd function": (between(lambda h: Doubled.apply(h)), linears, rows),
        "checkpointed": (
            lambda net, x: checkpoint(lambda v: net.b(net.a(v).relu()), x, use_reentrant=False),
            linears,
            rows,
        ),
        "vmap": (lambda net, x: torch.vmap(lambda v: net.b(net.a(v).relu()))(x), linears, rows),
        "einsum with its own weight": (
            lambda net, x: torch.einsum("ni,oi->no", net.a(x).relu(), net.b.weight),
            linears,
            rows,
        ),
        "the next layer's weight read again": (borrowed, linears, rows),
        "the weight's data": (resized_data, linears, rows),
        "a copied layer": (copied_layer, linears, rows),
        "layers found by name": (named, linears, rows),
        "sizes read from layers": (sizes_of_layers, linears, rows),
        "a hook that turns channels around": (lambda net, x: net.b(net.a(x).relu()), hooked, rows),
        "two layers with one weight": (lambda net, x: net.b(net.norm(net.m(net.a(x)))), tied, rows),
        "activation kept in an attribute": (kept_in_attribute, linears, rows),
        "a layer called twice": (lambda net, x: net.b(net.m(net.m(net.a(x)).relu())), with_middle, rows),
        "layer normalisation": (lambda net, x: net.b(net.norm(net.a(x))), with_middle, rows),
        "torch's transformer layer": (lambda net, x: net.b(net.a(net.t(x)).relu()), encoder, sequence),
        "torch's attention": (lambda net, x: net.b(net.t(*[net.a(x)] * 3)[0]), attention, sequence),
        "recurrent layer": (lambda net, x: net.b(net.t(net.a(x))[0]), recurrent, sequence),
        "fused query, key and value": (attend, fused_qkv, sequence),
        "channels last": (
            lambda net, x: net.b(net.a(x.to(memory_format=torch.channels_last)).relu()),
            convolutions,
            image,
        ),
        "complex numbers": (
            between(lambda h: torch.fft.irfft(torch.fft.rfft(h.relu(), dim=0), n=len(h), dim=0)),
            linears,
            rows,
        ),
        "nested tensors": (
            between(lambda h: torch.nested.as_nested_tensor(list(h)).to_padded_tensor(0.0).relu()),
            linears,
            rows,
        ),
        "sparse tensors": (between(lambda h: h.relu().to_sparse().to_dense()), linears, rows),
        "sum over the batch of one channel": (between(lambda h: h + h[..., 1].sum()), linears, rows),
        "half precision inside": (between(lambda h: h.bfloat16().relu().float()), linears, rows),
    },
}
