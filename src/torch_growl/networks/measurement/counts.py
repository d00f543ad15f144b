"""Counts and times of a network as plain records: weights, distinct weights, bytes, MACs, latency.

Conventions: one multiply-add is one MAC; MACs are those of matrix products, convolutions and attention at batch 1
(``torch.utils.flop_counter``, halved), and one addition of :class:`SumInputs` counts as one MAC too; biases,
normalisations, activations and pooling count none. Latency is wall-clock time of one call, the median over repeats,
each on fresh random inputs. Shared parameters count once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, cast

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from torch_growl.arguments import check_count, check_type
from torch_growl.mathematics.clustering import Partition
from torch_growl.networks.compaction import SelectInputs, SumInputs
from torch_growl.networks.execution import WARMUP, Inputs, batch_of, call, median_ms, split_inputs
from torch_growl.networks.layers import kind_of, plain_copy, rows_of

__all__ = ["Measurement", "measure"]


@dataclass(frozen=True)
class Measurement:
    """What was counted and timed.

    Attributes:
        weights: elements of all parameters.
        distinct_weights: the same with every zero row left out and bit-equal rows of a layer counted once.
        bytes: of all parameters and buffers as they are in memory, indices of compact networks included.
        index_bytes: those of ``bytes`` that are indices of a compact network's inputs, as they are in memory.
        macs: multiply-adds of one example.
        latency_ms: milliseconds of one call by batch size; empty when not timed.
    """

    weights: int
    distinct_weights: int
    bytes: int
    index_bytes: int
    macs: int
    latency_ms: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        lines = [
            f"weights           {self.weights:>14,}",
            f"distinct weights  {self.distinct_weights:>14,}",
            f"bytes             {self.bytes:>14,}",
            f"MACs              {self.macs:>14,}",
        ]
        lines += [f"{f'ms, batch {size}':<17} {value:>14.3f}" for size, value in self.latency_ms.items()]
        return "\n".join(lines)


def measure(
    model: nn.Module,
    example_inputs: Any,
    *,
    batch_sizes: Sequence[int] = (1, 256),
    repeats: int = 30,
    warmup: int = WARMUP,
    latency: bool = True,
) -> Measurement:
    """Count a network's weights, bytes and MACs, and time it in eval mode.

    Args:
        model: dense or compact; not modified, a copy is run. Parametrized weights count as what they compute.
        example_inputs: a tensor, a tuple of positional inputs or a dict of named ones, on the network's device; their
            dimension 0 is the batch.
        batch_sizes: for latency, each ≥ 1.
        repeats: timed calls for each batch size, ≥ 1.
        warmup: calls before them that are not timed, ≥ 0.
        latency: whether to time at all.

    Raises:
        InvalidTypeError: ``model`` is no module, or the inputs are of another kind.
        InvalidValueError: a count is too small, or the inputs have no batch dimension.
    """
    inputs = split_inputs(example_inputs)
    sizes = [check_count("batch_sizes", size) for size in batch_sizes]
    check_count("repeats", repeats)
    check_count("warmup", warmup, least=0)
    network = plain_copy(check_type("model", model, nn.Module)).eval()
    parameters = {id(p): p for p in network.parameters()}
    buffers = {id(b): b for b in network.buffers()}
    times: dict[str, float] = {}
    if latency:
        for size in sizes:
            (times[str(size)],) = median_ms(
                [lambda batch: call(network, batch)], batch_of(inputs, size), repeats=repeats, warmup=warmup
            )
    return Measurement(
        weights=sum(p.numel() for p in parameters.values()),
        distinct_weights=_distinct(network, parameters),
        bytes=sum(t.numel() * t.element_size() for t in (*parameters.values(), *buffers.values())),
        index_bytes=sum(
            b.numel() * b.element_size()
            for module in network.modules()
            if isinstance(module, SelectInputs | SumInputs)
            for b in module.buffers(recurse=False)
        ),
        macs=_macs(network, batch_of(inputs, 1)),
        latency_ms=times,
    )


def _distinct(network: nn.Module, parameters: dict[int, nn.Parameter]) -> int:
    total = sum(p.numel() for p in parameters.values())
    seen: set[int] = set()
    for module in network.modules():
        weight = module._parameters.get("weight")
        if kind_of(module) is None or weight is None or not weight.is_floating_point() or id(weight) in seen:
            continue
        seen.add(id(weight))
        rows = rows_of(module)
        if rows.numel():
            total -= (rows.shape[0] - Partition.from_rows(rows).n_groups) * rows.shape[1]
    return total


def _macs(network: nn.Module, batch: Inputs) -> int:
    additions = 0

    def count(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        nonlocal additions
        additions += cast(SumInputs, module).additions(args[0])

    handles = [module.register_forward_hook(count) for module in network.modules() if type(module) is SumInputs]
    counter = FlopCounterMode(display=False, custom_mapping={torch.ops.aten.mkldnn_rnn_layer: _lstm_flops})
    try:
        with torch.no_grad(), _no_fused_attention(), counter:
            call(network, batch)
    finally:
        for handle in handles:
            handle.remove()
    return counter.get_total_flops() // 2 + additions


def _lstm_flops(
    x: torch.Size, from_input: torch.Size, from_state: torch.Size, *_: object, out_shape: object = None, **__: object
) -> int:
    """Of one layer and direction of an LSTM as the CPU runs it, unknown to torch's counter; x is (time, batch, …)."""
    return 2 * x[0] * x[1] * (from_input.numel() + from_state.numel())


@contextmanager
def _no_fused_attention() -> Iterator[None]:
    """The transformer layers' fused evaluation and fused attention hide their products from the counter."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)
