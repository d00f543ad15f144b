"""One run of a network on its example inputs, recorded: which channels go where, and which must stay.

The run is watched at the level of ATen operations, below all Python, so that nothing has to be traced symbolically:
data-dependent Python, keyword arguments, caches and lists of outputs are all as they are. Registered layers are taken
whole: each of their output channels gets an identity of its own (:mod:`torch_growl.networks.wiring.identities`), which
the operations after it carry on (:mod:`torch_growl.networks.wiring.operations`). That a removal found in this way is
right is not believed but proven afterwards, by comparing outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils.weak import WeakTensorKeyDictionary

from torch_growl.networks.execution import tensors_in
from torch_growl.networks.layers import kind_of, registered_kind
from torch_growl.networks.wiring.identities import FIXED, couples, expanded, squashed, varying

__all__ = ["Chain", "Follow", "Grid", "Recording", "Resize", "Watch", "record"]

Follow = Callable[["Watch", Any, tuple[Any, ...], dict[str, Any], Any], None]
_MANY = 1 << 16  # elements of a parameter: in larger ones only the last dimension has channels


@dataclass
class Grid:
    """A tensor with channels along several dimensions: what is left of it must be a grid again.

    Attributes:
        ids: identities, with only the dimensions that have channels.
        needs: ``(axes, ids)``: what lies along these axes of another tensor that meets this one; while it stays, so
            must the slices that it meets.
    """

    ids: Tensor
    needs: list[tuple[tuple[int, ...], Tensor]] = field(default_factory=list)


@dataclass(frozen=True)
class Resize:
    """A tensor that a module shaped with sizes that it may know from its own attributes."""

    module: str
    ids: Tensor


Chain = tuple[str, tuple[str, ...]]


@dataclass
class Recording:
    """What the run showed, in identities.

    Attributes:
        count: identities are 0 … count − 1.
        inputs: for every layer that was called, the identities of its inputs, ``(inputs,)``.
        outputs: for every layer that was called, those of its output channels, ``(outputs,)``.
        parameters: for every other parameter and buffer that met channels, its identities, of its shape.
        edges: pairs that must go together.
        reads: pairs ``(read, reader)``: the first is needed while the second is.
        grids: see :class:`Grid`.
        pins: identities that must stay, and why.
        resizes: see :class:`Resize`.
        groups: group normalisations by name: identities of their channels, and the number of groups.
        calls: how often each layer was called.
        chains: for layers whose input follows from one other layer's output by linear operations that are the same for
            every channel: that layer, and the batch normalisations on the way.
        sources: for every layer, a number that says which tensor it read.
        outside: layers whose weight was read by other code than their own forward.
    """

    count: int = 1
    inputs: dict[str, Tensor] = field(default_factory=dict)
    outputs: dict[str, Tensor] = field(default_factory=dict)
    parameters: dict[str, Tensor] = field(default_factory=dict)
    edges: list[Tensor] = field(default_factory=list)
    reads: list[Tensor] = field(default_factory=list)
    grids: list[Grid] = field(default_factory=list)
    pins: list[tuple[Tensor, str]] = field(default_factory=list)
    resizes: list[Resize] = field(default_factory=list)
    groups: dict[str, tuple[Tensor, int]] = field(default_factory=dict)
    calls: dict[str, int] = field(default_factory=dict)
    chains: dict[str, Chain] = field(default_factory=dict)
    sources: dict[str, int] = field(default_factory=dict)
    outside: set[str] = field(default_factory=set)

    def fresh(self, number: int) -> Tensor:
        """New identities."""
        ids = torch.arange(self.count, self.count + number)
        self.count += number
        return ids

    def pin(self, ids: Tensor, reason: str) -> None:
        """Hold that these must stay."""
        found = torch.unique(ids)
        found = found[found != FIXED]
        if len(found):
            self.pins.append((found, reason))

    def couple(self, a: Tensor, b: Tensor) -> None:
        """Hold that identities at the same place go together; shapes broadcast."""
        self.edges.append(couples(a, b))

    def read(self, what: Tensor, reader: Tensor) -> None:
        """Hold that what is at a place is needed while the reader there is; shapes broadcast."""
        pairs = couples(what, reader)
        self.reads.append(pairs[(pairs[:, 0] != FIXED)])

    def grid(self, ids: Tensor, needs: Iterable[tuple[tuple[int, ...], Tensor]] = ()) -> None:
        """Hold that what is left of a tensor must be a grid; ``needs`` are along its varying dimensions."""
        needs = list(needs)
        dims = varying(ids)
        if len(dims) < 2 and not needs:
            return
        for dim in range(ids.ndim):
            if dim not in dims:
                ids = ids.narrow(dim, 0, 1)
        self.grids.append(Grid(ids.reshape([ids.shape[dim] for dim in dims]).clone(), needs))


def _layout(x: Tensor) -> tuple[Any, ...]:
    """Which element of its storage a tensor has at which place; the stride of a dimension of size 1 says nothing."""
    strides = tuple(stride for size, stride in zip(x.shape, x.stride(), strict=True) if size != 1)
    return tuple(x.shape), strides, x.storage_offset()


class Watch(TorchDispatchMode):
    """Sees every ATen operation and keeps the identities of all tensors that are alive."""

    def __init__(self, model: nn.Module, fixed: Mapping[str, str], follow: Follow) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found = Recording()
        self.fixed = fixed
        self._follow = follow
        self._ids = WeakTensorKeyDictionary()
        self._chains = WeakTensorKeyDictionary()
        self._numbers = WeakTensorKeyDictionary()
        self._count = 0
        self._inside = 0  # calls of registered layers that are being run
        self._modules: list[str] = []
        self._whose: dict[int, str] = {}  # parameters and buffers by id
        self._layer_of: dict[int, str] = {}  # weights of registered layers by id
        for name, module in model.named_modules(remove_duplicate=False):
            for key, value in [*module._parameters.items(), *module._buffers.items()]:
                if value is None:
                    continue
                full = f"{name}.{key}" if name else key
                if kind_of(module) is not None:
                    self._layer_of.setdefault(id(value), name)
                else:
                    self._whose.setdefault(id(value), full)

    # ── identities ──────────────────────────────────────────────────────────────────────────────────────────────

    def of(self, value: Any) -> Tensor | None:
        """The identities of a tensor; None where it has none."""
        if not isinstance(value, Tensor):
            return None
        known = self._ids.get(value)
        if known is not None:
            return cast(Tensor, known)
        name = self._whose.get(id(value))
        return None if name is None else self._of_parameter(name, value)

    def _of_parameter(self, name: str, value: Tensor) -> Tensor | None:
        if name not in self.found.parameters:
            if value.ndim == 0:
                return None
            if value.numel() <= _MANY:
                ids = self.found.fresh(value.numel()).reshape(value.shape)
            else:
                ids = expanded(self.found.fresh(value.shape[-1]), value.ndim - 1, value.shape)
            self.found.parameters[name] = ids
            self.found.grid(squashed(ids))
            why = self.fixed.get(name.rpartition(".")[0])
            if why is not None:
                self.found.pin(ids, why)
        return squashed(self.found.parameters[name])

    def keep(self, value: Tensor, ids: Tensor | None) -> None:
        """Note the identities of a tensor."""
        if ids is not None and not bool((ids == FIXED).all()):
            self._ids[value] = squashed(ids)
            self.found.grid(self._ids[value])
        elif value in self._ids:
            del self._ids[value]

    def chain(self, value: Tensor) -> Chain | None:
        """Which layer's output a tensor follows from linearly."""
        return cast("Chain | None", self._chains.get(value))

    def chained(self, value: Tensor, chain: Chain) -> None:
        """Note that it does."""
        self._chains[value] = chain

    @property
    def module(self) -> str:
        """The module whose own code is running."""
        return self._modules[-1] if self._modules else ""

    # ── what happens ────────────────────────────────────────────────────────────────────────────────────────────

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        restrided = _layout(args[0]) if func is torch.ops.aten.as_strided_.default else None
        result = func(*args, **kwargs)
        if restrided is not None and _layout(args[0]) == restrided:
            return result  # adaptive pooling does so to call (n, c, 1, 1) channels-last: no element has moved
        if not self._inside:
            for value in pytree.tree_leaves((args, kwargs)):
                if isinstance(value, Tensor) and id(value) in self._layer_of:
                    self.found.outside.add(self._layer_of[id(value)])
            self._follow(self, func, args, kwargs, result)
        return result

    def enter(self, name: str, layer: bool) -> Callable[..., None]:
        """A hook for before a module's forward."""

        def before(module: nn.Module, args: Any) -> None:
            self._modules.append(name)
            self._inside += layer

        return before

    def leave(self, name: str, layer: bool) -> Callable[..., None]:
        """A hook for after a module's forward."""

        def after(module: nn.Module, args: Any, kwargs: Any, result: Any) -> None:
            self._modules.pop()
            self._inside -= layer
            if layer and not self._inside:
                given = [value for value in pytree.tree_leaves((args, kwargs)) if isinstance(value, Tensor)]
                with _disable_current_modes():
                    self._call(name, module, given[0], result)

        return after

    def _call(self, name: str, module: nn.Module, x: Tensor, y: Tensor) -> None:
        found, kind = self.found, registered_kind(module)
        found.calls[name] = found.calls.get(name, 0) + 1
        inputs = self._read(name, x, x.ndim + kind.channel_dim)
        if x not in self._numbers:
            self._count += 1
            self._numbers[x] = self._count
        found.sources[name] = self._numbers[x]
        chain = self.chain(x)
        if chain is not None:
            found.chains[name] = chain
        if y is not x:
            self.chained(y, (name, ()))
        dim = y.ndim + kind.channel_dim
        if name not in found.outputs:
            found.inputs[name], found.outputs[name] = inputs, found.fresh(y.shape[dim])
            groups = kind.groups(module)
            if groups > 1:
                rows, outs = inputs.reshape(groups, -1), found.outputs[name].reshape(groups, -1)
                found.couple(rows, outs[:, :1])
                found.couple(outs, outs[:, :1])
        else:  # another call: the same rows and channels
            found.couple(found.inputs[name], inputs)
        if name in self.fixed:
            found.pin(inputs, f"its reader {name} must stay: {self.fixed[name]}")
            found.pin(found.outputs[name], self.fixed[name])
        self.keep(y, expanded(found.outputs[name], dim, y.shape))

    def _read(self, name: str, x: Tensor, dim: int) -> Tensor:
        """The identities of a layer's inputs, where each of them is one channel."""
        ids = self.of(x)
        if ids is None:
            return torch.full((x.shape[dim],), FIXED)
        rows = ids.movedim(dim, 0)
        for other in range(1, rows.ndim):
            if rows.stride(other) == 0:
                rows = rows.narrow(other, 0, 1)
        rows = rows.flatten(1)
        first = rows[:, 0].contiguous()
        if rows.shape[1] > 1:
            if len(torch.unique(couples(rows, first[:, None])[:, 0])) < len(couples(rows, first[:, None])):
                self.found.pin(ids, f"its reader {name} takes another dimension as channels")
                return torch.full((x.shape[dim],), FIXED)
            self.found.couple(rows, first[:, None])  # several channels that this layer sees as one
        return first


def record(
    model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], fixed: Mapping[str, str], follow: Follow
) -> Recording:
    """Run a network once and note where its channels go.

    Args:
        model: the network in eval mode, parametrizations removed; hooks are added and removed again.
        args: positional inputs.
        kwargs: inputs by name.
        fixed: layers and other modules that must stay as they are, with the reason.
        follow: what every operation does to channels: :func:`torch_growl.networks.wiring.operations.follow`.

    Raises:
        Exception: whatever the network's own code raises when it is watched.
    """
    watch = Watch(model, fixed, follow)
    handles = []
    for name, module in model.named_modules():
        layer = kind_of(module) is not None
        handles.append(module.register_forward_pre_hook(watch.enter(name, layer)))
        handles.append(module.register_forward_hook(watch.leave(name, layer), with_kwargs=True))
    try:
        with torch.no_grad(), watch:
            result = model(*args, **kwargs)
    finally:
        for handle in handles:
            handle.remove()
    for _, value in tensors_in(result, ""):
        ids = watch.of(value)
        if ids is not None:
            watch.found.pin(ids, "its output is an output of the network")
    for name in watch.found.outside:
        for ids in (watch.found.inputs.get(name), watch.found.outputs.get(name)):
            if ids is not None:
                watch.found.pin(ids, f"the weight of {name} is read by other code than its own forward")
    return watch.found
