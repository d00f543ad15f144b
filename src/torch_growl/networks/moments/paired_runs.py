"""Runs of a dense network and of a smaller one on the same batches, layer by layer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from torch_growl.errors import InvalidValueError, LayerError
from torch_growl.networks.execution import Inputs, batch_size, fast_path, outputs_of, split_examples
from torch_growl.networks.layers import registered_kind, registered_layers
from torch_growl.networks.moments.moments import Moments, has_moments, inputs_of, outputs_of_layer

__all__ = ["PairedRuns", "float_outputs", "output_error", "split_batches"]

_POSITIONS = 16  # of one batch, for each value that a layer's output element is computed from


class _Reached(BaseException):
    """Ends a run at the layer that is looked at; no network's own ``except Exception`` catches it."""


class PairedRuns:
    """Gives the moments of one layer after the other: of what it reads in the model, and of what it gives when dense.

    Args:
        dense: the network before rows were removed, in eval mode; not modified.
        batches: inputs to run both on.

    Attributes:
        order: the layers that have moments and share their weight with no other module, as they are first called.
        norms: for layers without a bias of their own, the batch normalisation that reads their outputs and nothing
            else: its mean takes the place of a bias.
        positions: for each of these layers the places of one example at which it reads, of all calls together.
    """

    def __init__(self, dense: nn.Module, batches: Sequence[Inputs]) -> None:
        self.dense, self.batches = dense, batches
        self._calls: dict[str, int] = {}
        self._groups: dict[str, int] = {}
        self.positions: dict[str, int] = {}
        self.norms: dict[str, str] = {}
        self._record()
        self.order = list(self._calls)

    def _record(self) -> None:
        places: dict[str, int] = {}
        made: dict[int, tuple[str, Tensor]] = {}  # the tensor is kept, so that no other takes its identity

        def called(name: str, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            self._calls[name] = self._calls.get(name, 0) + 1
            x = _input(args, kwargs)
            places[name] = places.get(name, 0) + x.numel() // x.shape[registered_kind(module).channel_dim]
            if isinstance(output, Tensor):
                made[id(output)] = name, output

        def read(name: str, module: nn.Module, inputs: Any) -> None:
            source = made.get(id(inputs[0])) if inputs else None
            if source is not None:
                self.norms[source[0]] = name

        hooks = []
        uses = Counter(id(p) for module in self.dense.modules() for p in module._parameters.values())
        for name, module in registered_layers(self.dense).items():
            if has_moments(module) and uses[id(module._parameters.get("weight"))] == 1:
                self._groups[name] = registered_kind(module).groups(module)
                hooks.append(module.register_forward_hook(partial(called, name), with_kwargs=True))
        for name, module in self.dense.named_modules():
            if isinstance(module, _BatchNorm) and module.running_mean is not None:
                hooks.append(module.register_forward_pre_hook(partial(read, name)))
        try:
            _run(self.dense, self.batches[0])
        finally:
            for hook in hooks:
                hook.remove()
        examples = max(1, batch_size(self.batches[0]))
        self.positions = {name: -(-count // examples) for name, count in places.items()}
        self.norms = {name: norm for name, norm in self.norms.items() if self._calls[name] == 1}

    def moments(self, model: nn.Module, name: str, batches: Sequence[Inputs], seed: int = 0) -> list[Moments]:
        """Sum the moments of every group of a layer over batches; of large inputs, positions are drawn at random.

        Args:
            model: the smaller network, of the same shapes, in eval mode; not modified.
            name: the layer.
            batches: some of the batches.
            seed: of the positions that are drawn.

        Raises:
            LayerError: the layer has NaN or infinite inputs or outputs.
        """
        found = [Moments() for _ in range(self._groups[name])]
        generator = torch.Generator().manual_seed(seed)
        theirs, mine = self.dense.get_submodule(name), model.get_submodule(name)
        for batch in batches:
            wanted = [outputs_of_layer(theirs, y) for _, y in self._until(self.dense, name, batch)]
            given = [inputs_of(mine, x) for x, _ in self._until(model, name, batch)]
            for z, y in zip(given, wanted, strict=True):
                _add(found, z, y, generator)
        _check_finite(name, found)
        return found

    def own_moments(self, names: Collection[str] | None = None) -> dict[str, list[Moments]]:
        """The moments of layers of the dense network, their own outputs being the wanted ones; each batch is run once.

        Args:
            names: some of the layers; None: all.

        Raises:
            LayerError: a layer has NaN or infinite inputs or outputs.
        """
        order = [name for name in self.order if names is None or name in names]
        found = {name: [Moments() for _ in range(self._groups[name])] for name in order}
        generator = torch.Generator().manual_seed(0)

        def hook(name: str, module: nn.Module, args: Any, kwargs: Any, y: Tensor) -> None:
            _add(found[name], inputs_of(module, _input(args, kwargs)), outputs_of_layer(module, y), generator)

        hooks = [
            self.dense.get_submodule(name).register_forward_hook(partial(hook, name), with_kwargs=True)
            for name in order
        ]
        try:
            for batch in self.batches:
                _run(self.dense, batch)
        finally:
            for handle in hooks:
                handle.remove()
        for name, own in found.items():
            _check_finite(name, own)
        return found

    def _until(self, network: nn.Module, name: str, batch: Inputs) -> list[tuple[Tensor, Tensor]]:
        """Inputs and outputs of all calls of a layer in one run, which ends there."""
        seen: list[tuple[Tensor, Tensor]] = []

        def hook(module: nn.Module, args: Any, kwargs: Any, y: Tensor) -> None:
            seen.append((_input(args, kwargs), y))
            if len(seen) == self._calls[name]:
                raise _Reached

        handle = network.get_submodule(name).register_forward_hook(hook, with_kwargs=True)
        try:
            _run(network, batch)
        except _Reached:
            pass
        finally:
            handle.remove()
        return seen


def _run(network: nn.Module, batch: Inputs) -> None:
    """Run a network without torch's fast path, which hides the layers inside transformer layers."""
    with fast_path(False):
        outputs_of(network, batch)


def _input(args: Any, kwargs: Any) -> Tensor:
    """The tensor that a layer is called with, by position or by name."""
    return next(value for value in (*args, *kwargs.values()) if isinstance(value, Tensor))


def _check_finite(name: str, found: Sequence[Moments]) -> None:
    for own in found:
        if not bool(torch.isfinite(own.zz).all() and torch.isfinite(own.zy).all()):
            raise LayerError(f"layer {name!r} has NaN or infinite inputs or outputs; its rows cannot be fitted")


def _add(found: Sequence[Moments], z: Tensor, y: Tensor, generator: torch.Generator) -> None:
    """Add positions to the moments of every group; of many more than are needed, some are drawn."""
    most = _POSITIONS * (z.shape[1] // len(found))
    if len(z) > most:
        some = torch.randperm(len(z), generator=generator)[:most].to(z.device)
        z, y = z[some], y[some]
    for own, read, wanted in zip(found, z.chunk(len(found), 1), y.chunk(len(found), 1), strict=True):
        own.add(read, wanted)


def output_error(model: nn.Module, wanted: Sequence[list[Tensor]], batches: Sequence[Inputs]) -> float:
    """The mean squared difference of a network's outputs from wanted ones, as a share of their variance over examples.

    Args:
        model: the network in eval mode.
        wanted: for every batch, the dense network's floating-point outputs.
        batches: the inputs.
    """
    difference = variance = 0.0
    for batch, outputs in zip(batches, wanted, strict=True):
        for found, want in zip(float_outputs(model, batch), outputs, strict=True):
            difference += float((found.double() - want.double()).square().sum())
            variance += float((want.double() - want.double().mean(0, keepdim=True)).square().sum())
    return difference / variance if variance else 0.0


def float_outputs(model: nn.Module, batch: Inputs) -> list[Tensor]:
    """The floating-point tensors of a network's output, without gradients."""
    return [tensor for _, tensor in outputs_of(model, batch) if tensor.is_floating_point()]


def split_batches(inputs: Any) -> tuple[list[Inputs], list[Inputs]]:
    """Return the batches to fit on and those held out: every fourth, of fewer than four the last.

    Raises:
        InvalidTypeError: a batch has another type.
        InvalidValueError: there is one batch only.
    """
    batches = split_examples(inputs)
    if len(batches) < 2:
        raise InvalidValueError("inputs: at least two batches are needed, one to fit and one held out; give a list")
    held = batches[3::4] or batches[-1:]
    return [batch for batch in batches if not any(batch is one for one in held)], held
