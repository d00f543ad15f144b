"""The proof that two networks give the same outputs: run both on the same inputs and compare what they compute.

The inputs are every example, and random ones of the first example's size and of batch sizes 1 and 2. Output tensors are
compared, and what the layers read and write on the way, so that a constant output or a mask hides nothing. Where the
difference could be rounding alone, the same inputs are run in a wider type, which decides; half precision always is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from torch_growl.errors import CompactionError, first_line
from torch_growl.networks.execution.activations import LayerSample, sampled
from torch_growl.networks.execution.branches import Branches
from torch_growl.networks.execution.example_inputs import (
    Inputs,
    batch_of,
    batch_size,
    new_batch,
    random_like,
    wide,
)
from torch_growl.networks.execution.fused_layers import fast_path, has_fast_path
from torch_growl.networks.execution.outputs import HALF_TOLERANCE, Difference, difference, outputs_of, tensors
from torch_growl.networks.execution.widening import widened
from torch_growl.networks.layers import sharing_copy

__all__ = ["KeptChannels", "Proof"]

_LAYER_TOLERANCE = 3e-3  # of layers, where no wider type can tell rounding from a fault


class KeptChannels(NamedTuple):
    """The channels of a layer that a smaller layer still reads and writes; None: all."""

    inputs: Sequence[int] | None
    outputs: Sequence[int] | None


class _Seen(NamedTuple):
    outputs: list[tuple[str, Tensor]]
    layers: dict[str, list[LayerSample]]


class Proof:
    """Reference outputs of a dense network, with which other networks are compared.

    Args:
        dense: the network in eval mode; not modified, copies of it are run. It must stay as it is.
        examples: the examples, at least one; random inputs are added, unless the network does not take them.
        tolerance: largest difference allowed, as a part of an element's size; see
            :func:`~torch_growl.networks.execution.outputs.difference`.
        layers: the dimension of the channels of every layer to compare, by name.

    Attributes:
        batches: the inputs that are compared.
        gaps: what cannot be proven, in words.
        called: the layers that were called in any run, with an input that is not empty.
        same: the layers that read one and the same value everywhere in every run, so that nothing is known of them.
        untaken: the branches of the network's code that no run took, see
            :class:`~torch_growl.networks.execution.branches.Branches`.
        faulty: the inputs on which the network that was compared last differed.

    Raises:
        CompactionError: the network cannot be run on an example, or its outputs there are not finite.
    """

    def __init__(
        self, dense: nn.Module, examples: Sequence[Inputs], tolerance: float, layers: Mapping[str, int] | None = None
    ) -> None:
        self.tolerance = tolerance
        self.gaps: list[str] = []
        self.faulty: list[Inputs] = []
        self._dense = dense
        self._layers = dict(layers or {})
        types = {value.dtype for value in [*dense.parameters(), *dense.buffers()] if value.is_floating_point()}
        self._half = bool(types & set(HALF_TOLERANCE))
        wider = [torch.float64, torch.float32] if self._half else [torch.float64] * (torch.float32 in types)
        self._wider = [(dtype, by_module) for dtype in wider for by_module in (True, False)]
        now = torch.backends.mha.get_fastpath_enabled()
        self._paths = (now, not now) if has_fast_path(dense) else (now,)
        self._wide_expected: list[_Seen] | None = None
        self.batches: list[Inputs] = []
        self.expected: list[_Seen] = []
        running = sharing_copy(dense)
        generator, branches = torch.Generator().manual_seed(0), Branches()
        with branches.followed():
            for example in examples:
                self._take_example(running, example)
            taken = [self._take_random(running, example, generator) for example in _asked(examples)]
        self.untaken = branches.untaken()
        if not any(taken):
            self.gaps.append("the network runs on the given examples only, so nothing else was compared")
        calls = [(name, one.input) for seen in self.expected for name, own in seen.layers.items() for one in own]
        calls = [(name, value) for name, value in calls if value.numel()]  # an empty input shows nothing
        self.called = frozenset(name for name, _ in calls)
        self.same = self.called - {name for name, value in calls if not _uniform(value)}

    def _take_example(self, running: nn.Module, example: Inputs) -> None:
        try:
            seen = self._run(running, example, self._layers)
        except Exception as error:  # any error of the network's own code
            raise CompactionError(f"the network does not run on example_inputs: {first_line(error)}") from error
        if not seen.outputs:
            raise CompactionError("the network's output holds no tensor, so nothing can be compared")
        for path, value in seen.outputs:
            finite = torch.isfinite(value)
            if value.numel() and (not bool(finite.any()) or bool(torch.isnan(value).any())):
                raise CompactionError(f"the network's own {path} on example_inputs is not finite; nothing to compare")
        self.batches.append(example)
        self.expected.append(seen)

    def _take_random(self, running: nn.Module, example: Inputs, generator: torch.Generator) -> bool:
        """Add random inputs of an example's shapes; return whether the network takes them."""
        for integers in (True, False):
            batch = random_like(example, generator, integers=integers)
            try:
                seen = self._run(running, batch, self._layers)
            except Exception:  # the network's own code refuses this size, or these integers
                continue
            self.batches.append(batch)
            self.expected.append(seen)
            return True
        return False

    def _run(self, network: nn.Module, batch: Inputs, layers: Iterable[str]) -> _Seen:
        """Run a network, with torch's fast path of transformer layers, which hides the layers inside, and without."""
        seen = _Seen([], {})
        for enabled in self._paths:
            hidden = enabled and len(self._paths) > 1
            dims = {} if hidden else {name: self._layers[name] for name in layers}
            with fast_path(enabled), sampled(network, dims) as calls:
                seen.outputs.extend(outputs_of(network, batch))
            seen.layers.update(calls)
        return seen

    def fault(self, small: nn.Module, kept: Mapping[str, KeptChannels] | None = None) -> str:
        """Describe the largest difference of a network in eval mode from the dense one; empty when they agree.

        Args:
            small: the network; not modified, copies of it are run.
            kept: the layers to compare, under their names in the dense network.
        """
        kept = kept or {}
        own = self._worst(sharing_copy(small).eval(), self.batches, self.expected, kept)
        if own.fault and not own.rounding:
            return own.fault
        if own.fault or self._half:
            wider = self._wide_difference(small, kept)
            if wider is not None:
                return wider.fault
        if own.fault:
            own = self._worst(sharing_copy(small).eval(), self.batches, self.expected, kept, of_layers=_LAYER_TOLERANCE)
        return own.fault

    def _wide_difference(self, small: nn.Module, kept: Mapping[str, KeptChannels]) -> Difference | None:
        """Compare in a wider type; None where the network does not run in one."""
        while self._wider:
            dtype, by_module = self._wider[0]
            batches = [wide(batch, dtype) for batch in self.batches]
            try:
                if self._wide_expected is None:
                    with _wider(sharing_copy(self._dense), dtype, by_module) as dense:
                        self._wide_expected = [self._run(dense, batch, self._layers) for batch in batches]
                with _wider(sharing_copy(small).eval(), dtype, by_module) as narrow:
                    found = self._worst(narrow, batches, self._wide_expected, kept)
            except Exception:  # its own code takes one type only
                self._next_way()
                continue
            if not found.fault or not by_module:
                return found
            self._next_way()  # code between the modules may have rounded
        most = max(HALF_TOLERANCE.values())
        text = f"the network runs in half precision only, where differences up to {most:.0%} are not seen"
        if self._half and text not in self.gaps:
            self.gaps.append(text)
        return None

    def _next_way(self) -> None:
        """Give up the present way of running in a wider type."""
        self._wider.pop(0)
        self._wide_expected = None

    def _worst(
        self,
        small: nn.Module,
        batches: Sequence[Inputs],
        wanted: Sequence[_Seen],
        kept: Mapping[str, KeptChannels],
        *,
        of_layers: float = 0.0,
    ) -> Difference:
        worst, self.faulty = Difference(), []
        for number, (batch, expected) in enumerate(zip(batches, wanted, strict=True)):
            try:
                found, calls = self._run(small, batch, kept)
            except Exception as error:  # the network's own code does not allow a cut
                self.faulty.append(self.batches[number])
                return _beyond(f"it raises {type(error).__name__}: {first_line(error)}")
            if [path for path, _ in found] != [path for path, _ in expected.outputs]:
                return _beyond("its outputs are nested differently")
            here = [
                difference(path, value, wanted, self.tolerance)
                for (path, value), (_, wanted) in zip(found, expected.outputs, strict=True)
            ]
            here += _of_layers(calls, expected.layers, kept, max(self.tolerance, of_layers))
            faults = [one for one in here if one.fault]
            if faults:
                self.faulty.append(self.batches[number])
            worst = max([worst, *faults], key=lambda one: (bool(one.fault) and not one.rounding, one.excess))
        return worst


def _of_layers(
    found: Mapping[str, list[LayerSample]],
    wanted: Mapping[str, list[LayerSample]],
    kept: Mapping[str, KeptChannels],
    tolerance: float,
) -> Iterator[Difference]:
    """Compare what the layers of two networks read and wrote in one run."""
    for name, (inputs, outputs) in kept.items():
        mine, given = found.get(name, []), wanted.get(name, [])
        if len(mine) != len(given):
            yield _beyond(f"layer {name!r} is called {len(mine)} times instead of {len(given)}")
            return
        for call, before in zip(mine, given, strict=True):
            read = before.input if inputs is None else before.input[:, list(inputs)]
            written = before.output if outputs is None else before.output[:, list(outputs)]
            for what, value, reference in (("input", call.input, read), ("output", call.output, written)):
                here = difference(f"the {what} of layer {name!r}", value, reference, tolerance)
                rounding = here.rounding or (value.shape == reference.shape and here.relative < float("inf"))
                yield Difference(here.relative, here.excess, here.fault, rounding)


@contextmanager
def _wider(network: nn.Module, dtype: torch.dtype, by_module: bool) -> Iterator[nn.Module]:
    """Give a network in a wider type: module by module while they are called, or as a whole."""
    if not by_module:
        yield network.to(dtype)
        return
    with widened(network, dtype):
        yield network


def _beyond(fault: str) -> Difference:
    return Difference(float("inf"), float("inf"), fault)


def _asked(examples: Sequence[Inputs]) -> Iterator[Inputs]:
    """Yield inputs of the shapes that random ones are drawn for: the examples', and batch sizes 1 and 2."""
    yield from examples
    first = examples[0]
    if not any(value.ndim for value in tensors(first)[:1]):
        return
    for size in (1, 2):
        yield batch_of(first, size) if batch_size(first) else new_batch(first, size)


def _uniform(x: Tensor) -> bool:
    return bool((x == x.flatten()[0]).all())
