"""The latency of a compact network, estimated from a table: the time of every layer at a few widths.

Each layer is timed alone, on inputs of the shape that it gets in the network, with a few numbers of inputs and outputs;
between them its time is interpolated. The sum tells which rows hold the time. What a sum stands for, in milliseconds of
the whole network with all that is between its layers, is told by real networks (:mod:`.figure`): each is timed side by
side with the dense one, and the ratio is the result, because a machine drifts.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, distributed, nn

from torch_growl.networks.compaction import SelectInputs
from torch_growl.networks.execution import Candidate, batch_of, call, median_ms, split_inputs
from torch_growl.networks.exporting import onnx_layer
from torch_growl.networks.layers import plain_copy, registered_kind, registered_layers
from torch_growl.networks.measurement import onnx_runner, runner
from torch_growl.networks.targets.counting import LayerLeft, Left

__all__ = ["Latency"]

Floats = NDArray[np.float64]

_WIDTHS = (0.0, 0.25, 0.5, 1.0)  # of a layer's inputs and outputs; 0: one channel
_LAYER_CALLS, _LAYER_WARMUP = 9, 2
_SECONDS = 0.4  # about so long a network is timed, beside the dense one
_CALLS = (15, 400)  # the fewest and the most
_CAREFULLY = 3  # times as many calls of a network whose rows go now


@dataclass(frozen=True)
class _Times:
    """The times of one layer: of its product by inputs and outputs, and of selecting inputs by their number."""

    inputs: Floats
    outputs: Floats
    ms: Floats  # (inputs, outputs), increasing in both
    selecting: Floats  # (inputs,), increasing

    def of(self, left: LayerLeft) -> float:
        """Interpolate the time of a layer with fewer inputs and outputs."""
        if not (left.width and left.outputs):
            return 0.0
        columns = [float(np.interp(left.width, self.inputs, column)) for column in self.ms.T]
        found = float(np.interp(left.outputs, self.outputs, columns))
        if left.selects:
            found += float(np.interp(left.width, self.inputs, self.selecting))
        return found


class Latency:
    """The milliseconds of one call of a network, in eval mode, with torch's present number of threads.

    Args:
        model: the dense network; not modified.
        example_inputs: a tensor, a tuple of positional inputs or a dict of named ones, on the network's device.
        batch: the examples in one call.
        runtime: ``"eager"`` or ``"onnxruntime"``.

    Attributes:
        whole: the dense network's milliseconds, when this was made.
        aim: the part of a target that is aimed at.

    Raises:
        InvalidValueError: the inputs have no batch dimension, or the network cannot be run on them.
        ExportError: the network cannot be run in onnxruntime.
    """

    aim = 0.98  # another measurement of the same network may be a little longer

    def __init__(self, model: nn.Module, example_inputs: Any, batch: int, runtime: str) -> None:
        self._example, self._runtime = split_inputs(example_inputs), runtime
        self._batch, self._threads = batch_of(self._example, batch), torch.get_num_threads()
        network = plain_copy(model).eval()
        self._dense = self._runner(network)
        once = median_ms([self._dense], self._batch, repeats=3)[0]
        self._repeats = min(max(_CALLS[0], math.ceil(_SECONDS * 1000 / max(once, 1e-3))), _CALLS[1])
        (whole,) = median_ms([self._dense], self._batch, repeats=self._repeats)
        with torch.random.fork_rng(devices=[]):
            table = self._table(network)
        self.whole, self._times = cast(tuple[float, dict[str, list[_Times]]], _agreed((whole, table)))

    def estimate(self, left: Left) -> float:
        """The sum of the layers' times."""
        return sum(times.of(left.layers[name]) for name, calls in self._times.items() for times in calls)

    def measured(self, small: nn.Module, *, carefully: bool = False) -> float:
        """Time a network beside the dense one, carefully with three times as many calls.

        Returns:
            Its part of the dense network's time, in milliseconds of ``whole``.
        """
        repeats = self._repeats * (_CAREFULLY if carefully else 1)
        dense, own = median_ms([self._dense, self._runner(small)], self._batch, repeats=repeats)
        return self.whole * cast(float, _agreed(own / dense))

    def _runner(self, network: nn.Module) -> Candidate:
        with torch.random.fork_rng(devices=[]):  # exporting runs the network
            return runner(self._runtime, network, self._example, self._threads)

    def _table(self, network: nn.Module) -> dict[str, list[_Times]]:
        """The times of every layer, for each of its calls in the network."""
        arriving: dict[str, list[Tensor]] = {}
        handles = [
            module.register_forward_pre_hook(
                lambda module, args, name=name: arriving.setdefault(name, []).append(args[0].detach())
            )
            for name, module in registered_layers(network).items()
        ]
        try:
            with torch.no_grad():
                call(network, self._batch)
        finally:
            for handle in handles:
                handle.remove()
        done: dict[str, _Times] = {}
        table: dict[str, list[_Times]] = {}
        for name, calls in arriving.items():
            module = network.get_submodule(name)
            for x in calls:
                key = f"{module!r} {tuple(x.shape)} {x.dtype}"
                if key not in done:
                    done[key] = self._layer(module, x)
                table.setdefault(name, []).append(done[key])
        return table

    def _layer(self, module: nn.Module, x: Tensor) -> _Times:
        """Time one layer on inputs like ``x`` with fewer inputs and outputs."""
        kind = registered_kind(module)
        inputs, outputs, groups = kind.sizes(module)
        dim = kind.channel_dim
        candidates: list[Candidate] = []
        if groups > 1:  # a part of its groups, with all of their inputs and outputs
            kept = _numbers(groups)
            widths, heights = kept * (inputs // groups), kept * (outputs // groups)
            sizes = [(i, o, g) for i, o, g in zip(widths, heights, kept, strict=True)]
        else:
            widths, heights = _numbers(inputs), _numbers(outputs)
            sizes = [(i, o, 1) for i in widths for o in heights]
        given = {
            int(i): torch.randn_like(x.narrow(dim, 0, int(i)), memory_format=torch.contiguous_format) for i in widths
        }
        for i, o, g in sizes:
            old: Any = copy.copy(module)
            if groups > 1:
                old.groups = int(g)
            smaller = kind.resized(old, int(i), int(o)).eval()
            with torch.no_grad():
                for parameter in smaller.parameters():
                    parameter.copy_(torch.randn_like(parameter))
            candidates.append(self._alone(smaller, given[int(i)]))
        candidates += [self._alone(SelectInputs(range(int(i)), dim, device=x.device), x) for i in widths]
        ms = median_ms(candidates, ((torch.zeros(1),), {}), repeats=_LAYER_CALLS, warmup=_LAYER_WARMUP)
        product = np.array(ms[: len(sizes)])
        grid = np.repeat(product[:, None], len(heights), axis=1) if groups > 1 else product.reshape(len(widths), -1)
        grid = np.maximum.accumulate(np.maximum.accumulate(grid, axis=0), axis=1)
        return _Times(widths.astype(float), heights.astype(float), grid, np.maximum.accumulate(ms[len(sizes) :]))

    def _alone(self, module: nn.Module, x: Tensor) -> Candidate:
        """One layer on one input, whatever inputs the timer gives."""
        data = onnx_layer(module, x) if self._runtime == "onnxruntime" and x.dtype == torch.float32 else None
        if data is None:
            return lambda _: module(x)
        run = onnx_runner(data, self._threads)
        return lambda _: run(((x,), {}))


def _agreed(value: object) -> object:
    """The first process's value: several that train one network measure other times, and have to decide the same."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return value
    values = [value]
    distributed.broadcast_object_list(values, src=0)
    return values[0]


def _numbers(most: int) -> NDArray[np.int64]:
    """A few increasing numbers from 1 to ``most``."""
    return np.unique(np.maximum(1, np.round(np.array(_WIDTHS) * most)).astype(np.int64))
