"""Milliseconds of a dense network and its compact one, side by side, in the runtimes that people use.

Both sides take turns on the same fresh inputs with the same number of threads, in eval mode; what counts is the median,
and above all the ratio.
"""

from __future__ import annotations

import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from torch_growl.errors import GrowlError, InvalidTypeError, InvalidValueError, first_line
from torch_growl.networks.execution import Inputs, batch_of, call, random_like, split_inputs
from torch_growl.networks.exporting import export_onnx, tensors
from torch_growl.networks.layers import plain_copy

__all__ = ["RUNTIMES", "Comparison", "compare_latency"]

RUNTIMES = ("eager", "compile", "onnxruntime")
Run = Callable[[Inputs], Any]


@dataclass(frozen=True)
class Comparison:
    """One runtime at one batch size.

    Attributes:
        runtime: one of :data:`RUNTIMES`.
        batch: examples at once.
        dense_ms: median milliseconds of a call; None where the runtime is not to be had.
        compact_ms: of the compact network.
        note: why there are no times, else empty.
    """

    runtime: str
    batch: int
    dense_ms: float | None
    compact_ms: float | None
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """Dense over compact: above 1, the compact one is faster."""
        return None if self.dense_ms is None or self.compact_ms is None else self.dense_ms / self.compact_ms

    @property
    def verdict(self) -> str:
        """In words: ``"2.10x faster"``, ``"1.30x SLOWER"``, ``"the same"`` within 3 %, or the note."""
        ratio = self.ratio
        if ratio is None:
            return self.note
        if 0.97 <= ratio <= 1.03:
            return "the same"
        return f"{ratio:.2f}x faster" if ratio > 1 else f"{1 / ratio:.2f}x SLOWER"

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ratio and verdict included."""
        return {**asdict(self), "ratio": self.ratio, "verdict": self.verdict}


def compare_latency(
    dense: nn.Module,
    small: nn.Module,
    example_inputs: Any,
    *,
    batch_sizes: Sequence[int] = (1, 8, 64, 256),
    runtimes: Sequence[str] = RUNTIMES,
    threads: int = 1,
    repeats: int = 20,
) -> list[Comparison]:
    """Time both networks in every runtime, at every batch size.

    Args:
        dense: the first network; not modified, copies are run.
        small: the second one.
        example_inputs: a tensor, a tuple of positional inputs or a dict of named ones; dimension 0 is the batch.
        batch_sizes: each ≥ 1.
        runtimes: of :data:`RUNTIMES`. onnxruntime is for CPU networks, and needs the ``onnx`` extra.
        threads: for every runtime alike, ≥ 1; torch's own number is as before afterwards.
        repeats: timed calls of each network, ≥ 3.

    Raises:
        InvalidValueError: an argument is out of range.
    """
    if not isinstance(dense, nn.Module) or not isinstance(small, nn.Module):
        raise InvalidTypeError("dense and small must be torch.nn.Modules")
    unknown = sorted(set(runtimes) - set(RUNTIMES))
    if unknown:
        raise InvalidValueError(f"runtimes must be among {', '.join(RUNTIMES)}; got {unknown[0]!r}")
    if threads < 1 or repeats < 3 or any(size < 1 for size in batch_sizes) or not batch_sizes:
        raise InvalidValueError(
            f"threads and batch sizes must be ≥ 1 and repeats ≥ 3, got {threads}, {tuple(batch_sizes)}, {repeats}"
        )
    inputs = split_inputs(example_inputs)
    networks = [plain_copy(network).eval() for network in (dense, small)]
    found = []
    with ExitStack() as stack:
        stack.callback(torch.set_num_threads, torch.get_num_threads())
        torch.set_num_threads(threads)
        stack.enter_context(torch.random.fork_rng(devices=[]))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for runtime in runtimes:
            try:
                runs = [_runner(runtime, network, inputs, threads, folder) for network in networks]
                for size in batch_sizes:
                    dense_ms, compact_ms = _timed(runs, batch_of(inputs, size), repeats)
                    found.append(Comparison(runtime, size, dense_ms, compact_ms))
            except Exception as error:  # whatever a runtime raises: each has errors of its own
                note = first_line(error)
                done = {c.batch for c in found if c.runtime == runtime}
                found += [Comparison(runtime, size, None, None, note) for size in batch_sizes if size not in done]
    return found


def _runner(runtime: str, network: nn.Module, inputs: Inputs, threads: int, folder: Path) -> Run:
    if runtime == "eager":
        return lambda given: call(network, given)
    if runtime == "compile":
        torch._dynamo.reset()
        compiled = torch.compile(network, dynamic=False)
        return lambda given: call(cast(nn.Module, compiled), given)
    if any(tensor.is_cuda for tensor in (*network.parameters(), *network.buffers())):
        raise GrowlError("onnxruntime is timed for networks on the CPU only")
    if find_spec("onnxruntime") is None:
        raise GrowlError("onnxruntime is not installed: pip install 'torch-growl[onnx]'")
    import onnxruntime

    path = folder / f"{id(network)}.onnx"
    args, kwargs = inputs
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        export_onnx(network, kwargs or args, path)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_inputs()]

    def run(given: Inputs) -> Any:
        return session.run(None, dict(zip(names, (t.numpy() for t in tensors(given)), strict=True)))

    return run


@torch.no_grad()
def _timed(runs: Sequence[Run], batch: Inputs, repeats: int) -> list[float]:
    generator = torch.Generator().manual_seed(0)
    times: list[list[float]] = [[] for _ in runs]
    cuda = any(tensor.is_cuda for tensor in tensors(batch))
    for turn in range(-3, repeats):  # the first ones warm up and compile
        given = random_like(batch, generator)
        order = list(range(len(runs)))
        for number in order if turn % 2 else reversed(order):
            start = time.perf_counter()
            runs[number](given)
            if cuda:
                torch.cuda.synchronize()
            if turn >= 0:
                times[number].append((time.perf_counter() - start) * 1e3)
    return [statistics.median(mine) for mine in times]
