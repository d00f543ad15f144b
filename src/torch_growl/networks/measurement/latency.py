"""The latency of a dense network beside that of its compact one, in eager PyTorch, torch.compile and onnxruntime.

Both networks take turns in eval mode on the same random inputs, with the same number of threads. Times are medians; the
ratio of two times depends less on the machine than the times do.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from torch_growl.arguments import check_choice, check_count
from torch_growl.errors import GrowlError, first_line
from torch_growl.networks.execution import (
    Candidate,
    Inputs,
    batch_of,
    call,
    median_ms,
    split_inputs,
    tensors,
    threads_set,
)
from torch_growl.networks.exporting import export_onnx
from torch_growl.networks.layers import check_network, plain_copy
from torch_growl.networks.measurement.ratios import SAME_TIME, in_words

__all__ = ["RUNTIMES", "Comparison", "compare_latency", "onnx_runner", "runner"]

RUNTIMES = ("eager", "compile", "onnxruntime")
_TIMED = 0.5  # difference of outputs that are only timed: where they are small, rounding is a large part of them


@dataclass(frozen=True)
class Comparison:
    """The latencies of both networks in one runtime at one batch size.

    Attributes:
        runtime: one of :data:`RUNTIMES`.
        batch: examples in one call.
        dense_ms: median milliseconds of a call of the dense network; None if it could not be timed.
        compact_ms: the same for the compact network.
        note: the reason why they could not be timed; otherwise empty.
    """

    runtime: str
    batch: int
    dense_ms: float | None
    compact_ms: float | None
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """Dense over compact: the compact network is faster if it is above 1; None if they could not be timed."""
        return None if self.dense_ms is None or self.compact_ms is None else self.dense_ms / self.compact_ms

    @property
    def verdict(self) -> str:
        """The ratio in words: ``"2.1x faster"``, ``"1.3x slower"``, ``"about the same"`` within 3 %, or the note."""
        return self.note if self.ratio is None else in_words(self.ratio, "faster", "slower", same=SAME_TIME)

    def to_dict(self) -> dict[str, Any]:
        """The comparison as plain data for JSON, including ratio and verdict."""
        return {**asdict(self), "ratio": self.ratio, "verdict": self.verdict}


def compare_latency(
    dense: nn.Module,
    small: nn.Module,
    example_inputs: Any,
    *,
    batch_sizes: Sequence[int] = (1, 8, 64, 256),
    runtimes: Sequence[str] = RUNTIMES,
    threads: int | None = None,
    repeats: int = 20,
) -> list[Comparison]:
    """Time two networks in every runtime, at every batch size.

    Args:
        dense: the first network; not modified, because a copy is run.
        small: the second network; not modified.
        example_inputs: a tensor, a tuple of positional inputs or a dict of named ones; dimension 0 is the batch.
        batch_sizes: one or more, each ≥ 1.
        runtimes: names from :data:`RUNTIMES`. onnxruntime times networks on the CPU, and needs the ``onnx`` extra.
        threads: threads of every runtime, ≥ 1; None: torch's present number. Torch has its former number afterwards.
        repeats: timed calls of each network, ≥ 1.

    Returns:
        One comparison for each runtime and batch size. An error that a runtime raises becomes its ``note``.

    Raises:
        InvalidTypeError: an argument has another type.
        InvalidValueError: an argument is out of range.
    """
    check_network("dense", dense)
    check_network("small", small)
    for runtime in runtimes:
        check_choice("runtimes", runtime, RUNTIMES)
    check_count("the number of batch_sizes", len(batch_sizes))
    for size in batch_sizes:
        check_count("batch_sizes", size)
    if threads is not None:
        check_count("threads", threads)
    check_count("repeats", repeats)
    inputs = split_inputs(example_inputs)
    networks = [plain_copy(network).eval() for network in (dense, small)]
    found = []
    with ExitStack() as stack:
        number = stack.enter_context(threads_set(threads))
        stack.enter_context(torch.random.fork_rng(devices=[]))  # exporting runs the networks
        for runtime in runtimes:
            try:
                runs = [runner(runtime, network, inputs, number) for network in networks]
                for size in batch_sizes:
                    dense_ms, compact_ms = median_ms(runs, batch_of(inputs, size), repeats=repeats)
                    found.append(Comparison(runtime, size, dense_ms, compact_ms))
            except Exception as error:  # every runtime has its own errors
                note = first_line(error)
                done = {c.batch for c in found if c.runtime == runtime}
                found += [Comparison(runtime, size, None, None, note) for size in batch_sizes if size not in done]
    return found


def runner(runtime: str, network: nn.Module, inputs: Inputs, threads: int) -> Candidate:
    """Return a function that runs a network in a runtime.

    Args:
        runtime: one of :data:`RUNTIMES`.
        network: in eval mode; held by reference, except in onnxruntime.
        inputs: an example; onnxruntime takes any batch size if the network does.
        threads: threads of onnxruntime; torch runs with those that are set when it is called.

    Raises:
        GrowlError: onnxruntime: the network is on a CUDA device, or cannot be exported.
    """
    if runtime == "eager":
        return lambda given: call(network, given)
    if runtime == "compile":
        torch._dynamo.reset()
        compiled = torch.compile(network, dynamic=False)
        return lambda given: call(cast(nn.Module, compiled), given)
    if any(tensor.is_cuda for tensor in (*network.parameters(), *network.buffers())):
        raise GrowlError("onnxruntime is timed for networks on the CPU only")
    args, kwargs = inputs
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
        warnings.simplefilter("ignore")
        file = Path(folder) / "network.onnx"
        written = export_onnx(network, kwargs or args, file, tolerance=_TIMED)  # raises if a package is missing
        return onnx_runner(str(written.path), threads)


def onnx_runner(model: str | bytes, threads: int) -> Candidate:
    """Return a function that runs an ONNX file, or its contents, in onnxruntime on the CPU.

    Args:
        model: the path, or the bytes; not needed any more afterwards.
        threads: of onnxruntime.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = threads
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_inputs()]

    def run(given: Inputs) -> Any:
        return session.run(None, dict(zip(names, (t.numpy() for t in tensors(given)), strict=True)))

    return run
