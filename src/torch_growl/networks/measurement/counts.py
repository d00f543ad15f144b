"""The counts and times of a network as plain records: weights, distinct weights, bytes, MACs, latency.

Conventions: one multiply-add is one MAC; MACs are those of matrix products, convolutions and attention at batch 1
(``torch.utils.flop_counter``, halved), and one addition of :class:`SumInputs` counts as one MAC too; biases,
normalisations, activations and pooling count as none. Shared parameters count once. Latency is the time of one
call, measured by :mod:`torch_growl.networks.execution.timing`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from torch_growl.arguments import check_count
from torch_growl.errors import InvalidValueError, first_line
from torch_growl.html_table import html_table
from torch_growl.mathematics.clustering import Partition
from torch_growl.networks.compaction import PlaceInputs, SelectInputs, SumInputs, fixed_modules
from torch_growl.networks.execution import (
    WARMUP,
    FewerHeads,
    Inputs,
    batch_of,
    call,
    copied,
    exact_arithmetic,
    fast_path,
    median_ms,
    split_inputs,
)
from torch_growl.networks.layers import LayerKind, check_network, kind_of, plain_copy, rows_of
from torch_growl.networks.wiring import Wiring, wiring_of

__all__ = ["Measurement", "count_macs", "measure", "recorded_run"]


@dataclass(frozen=True)
class Measurement:
    """The result of :func:`measure`; ``str()`` shows it as a table, and so does a notebook.

    Attributes:
        weights: elements of all parameters.
        distinct_weights: the same without zero rows, and with bit-equal rows of a layer counted once.
        bytes: size in memory of all parameters and buffers, including the indices of a compact network.
        index_bytes: the part of ``bytes`` that is indices of a compact network's inputs.
        macs: multiply-adds of one example.
        latency_ms: milliseconds of one call by batch size; empty if it was not timed.
    """

    weights: int
    distinct_weights: int
    bytes: int
    index_bytes: int
    macs: int
    latency_ms: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        """The record as plain data for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        return "\n".join(f"{name:<17} {value:>14}" for name, value in self._lines())

    def _repr_html_(self) -> str:
        return html_table(("", "value"), self._lines(), caption="measured")

    def _lines(self) -> list[tuple[str, str]]:
        counted = {
            "weights": self.weights,
            "distinct weights": self.distinct_weights,
            "bytes": self.bytes,
            "MACs": self.macs,
        }
        timed = [(f"ms, batch {size}", f"{value:.3f}") for size, value in self.latency_ms.items()]
        return [(name, f"{value:,}") for name, value in counted.items()] + timed


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
        model: dense or compact; not modified, because a copy is run. A parametrized weight counts as the value that it
            computes.
        example_inputs: a tensor, a tuple of positional inputs or a dict of named ones, on the network's device; their
            dimension 0 is the batch.
        batch_sizes: the batch sizes that are timed, each ≥ 1.
        repeats: timed calls for each batch size, ≥ 1; the median is reported.
        warmup: calls before them that are not timed, ≥ 0.
        latency: whether to time the network.

    Raises:
        InvalidTypeError: ``model`` is not a module, or the inputs have another type.
        InvalidValueError: a count is too small, or the inputs have no batch dimension.

    Example:
        >>> import torch
        >>> import torch_growl as tg
        >>> model = torch.nn.Sequential(torch.nn.Linear(6, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
        >>> print(tg.measure(model, torch.randn(3, 6), latency=False))
        weights                       38
        distinct weights              38
        bytes                        152
        MACs                          32
    """
    inputs = split_inputs(example_inputs)
    sizes = [check_count("batch_sizes", size) for size in batch_sizes]
    check_count("repeats", repeats)
    check_count("warmup", warmup, least=0)
    network = plain_copy(check_network("model", model, values=True)).eval()
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
            if isinstance(module, PlaceInputs | SelectInputs | SumInputs)
            for b in module.buffers(recurse=False)
        ),
        macs=count_macs(network, batch_of(inputs, 1)),
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


def count_macs(network: nn.Module, batch: Inputs) -> int:
    """Count the multiply-adds of one call, by the conventions of this module.

    Args:
        network: in eval mode; not modified.
        batch: its inputs.
    """
    additions = 0

    def count(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        nonlocal additions
        additions += cast(SumInputs, module).additions(args[0])

    handles = [module.register_forward_hook(count) for module in network.modules() if type(module) is SumInputs]
    counter = FlopCounterMode(display=False, custom_mapping={torch.ops.aten.mkldnn_rnn_layer: _lstm_flops})
    try:
        with torch.no_grad(), _no_fused_attention(), counter:
            call(network, copied(batch))
    finally:
        for handle in handles:
            handle.remove()
    return counter.get_total_flops() // 2 + additions


def layer_macs(network: nn.Module, batch: Inputs) -> tuple[dict[str, int], int, dict[str, int]]:
    """The multiply-adds of every layer of a registered type, and of the whole network; the places at which layers read.

    Those of attentions with heads of their own are given too, without the output projection, which is a layer.

    Args:
        network: in eval mode; not modified.
        batch: its inputs.

    Raises:
        InvalidValueError: the network cannot be run on them.
    """
    macs, places = dict[str, int](), dict[str, int]()
    handles = []
    for name, module in network.named_modules():
        kind = kind_of(module)
        if kind is not None:

            def hook(module: nn.Module, args: Any, output: Tensor, name: str = name, kind: LayerKind = kind) -> None:
                macs[name] = macs.get(name, 0) + kind.macs(module, args[0], output)
                places[name] = places.get(name, 0) + args[0].numel() // args[0].shape[kind.channel_dim]

            handles.append(module.register_forward_hook(hook))
        elif isinstance(module, FewerHeads):

            def attended(module: FewerHeads, args: Any, kwargs: Any, output: Any, name: str = name) -> None:
                inputs = (*args[:3], *(kwargs[key] for key in ("query", "key", "value") if key in kwargs))
                macs[name] = macs.get(name, 0) + module.macs(*inputs)

            handles.append(module.register_forward_hook(attended, with_kwargs=True))
    try:
        total = count_macs(network, batch)
    except Exception as error:
        raise InvalidValueError(f"the network cannot be run on the example inputs: {first_line(error)}") from error
    finally:
        for handle in handles:
            handle.remove()
    return macs, max(total, sum(macs.values())), places


class RecordedRun(NamedTuple):
    """The multiply-adds of one example, by layer and in all, the places at which each layer reads, and the wiring."""

    macs: dict[str, int]
    total: int
    places: dict[str, int]
    wiring: Wiring


def recorded_run(network: nn.Module, inputs: Inputs) -> RecordedRun:
    """Run a network for its multiply-adds and its wiring; the random state stays as it is.

    Args:
        network: in eval mode, a plain copy; not modified.
        inputs: an example.

    Raises:
        InvalidValueError: the network cannot be run on it.
    """
    devices = [tensor.device for tensor in network.parameters() if tensor.is_cuda]
    with torch.random.fork_rng(devices=devices):
        counts = layer_macs(network, batch_of(inputs, 1))
        with torch.no_grad(), exact_arithmetic(network):
            return RecordedRun(*counts, wiring_of(network, [inputs], fixed_modules(network)))


def _lstm_flops(
    x: torch.Size, from_input: torch.Size, from_state: torch.Size, *_: object, out_shape: object = None, **__: object
) -> int:
    """The FLOPs of one layer and direction of an LSTM on the CPU, which torch does not count; x is (time, batch, …)."""
    return 2 * x[0] * x[1] * (from_input.numel() + from_state.numel())


@contextmanager
def _no_fused_attention() -> Iterator[None]:
    """Turn off fused transformer layers and fused attention: the counter does not see their products."""
    with fast_path(False), sdpa_kernel(SDPBackend.MATH):
        yield
