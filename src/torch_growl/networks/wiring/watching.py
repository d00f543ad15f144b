"""One watched run of a network on its example inputs.

The run is watched at the level of ATen operations, below all Python, so that nothing has to be traced symbolically:
data-dependent branches, keyword arguments, caches and lists of outputs run as usual. A registered layer is one step:
each of its output channels gets a new identity, which the operations after it carry on
(:mod:`torch_growl.networks.wiring.operations`). Compaction verifies every removal by comparing outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils.weak import WeakTensorKeyDictionary

from torch_growl.networks.execution import FewerHeads, Inputs, call, copied, fast_path, tensors_in
from torch_growl.networks.layers import kind_of, registered_kind
from torch_growl.networks.wiring.constants import Constants
from torch_growl.networks.wiring.identities import (
    FIXED,
    all_fixed,
    couples,
    expanded,
    layout,
    squashed,
    tensor_leaves,
    varying,
)
from torch_growl.networks.wiring.recording import LinearChain, NumberedChannels, Recording

__all__ = ["Follow", "Watch", "record"]

Follow = Callable[["Watch", Any, tuple[Any, ...], dict[str, Any], Any], None]
_NORMS: dict[type[nn.Module], int] = {  # with the dimension of their channels
    **dict.fromkeys((nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm, nn.GroupNorm), 1),
    nn.InstanceNorm1d: -2,
    nn.InstanceNorm2d: -3,
    nn.InstanceNorm3d: -4,
}
_MANY = 1 << 16  # elements of a parameter: in larger ones only the last dimension has channels


class Watch(TorchDispatchMode):
    """A dispatch mode that sees every ATen operation and holds the identities of all tensors that are alive.

    Attributes:
        recording: the record of the run so far.
        fixed: modules that must stay as they are, with the reason.
    """

    def __init__(self, model: nn.Module, fixed: Mapping[str, str], follow: Follow) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._constants = Constants(model, fixed)
        self.recording = Recording(constants=self._constants.found)
        self.fixed = fixed
        self._follow = follow
        self._ids, self._chains, self._numbers = (WeakTensorKeyDictionary() for _ in range(3))
        self._count = 0
        self._inside = 0  # calls of registered layers that are being run
        self._calls: dict[str, int] = {}  # of layers in this run
        self._modules: list[str] = []
        self._bare = {  # modules that a network can have in another place without a change of its state
            name for name, module in model.named_modules() if name and not [*module.parameters(), *module.buffers()]
        }
        self._attentions = {name: module for name, module in model.named_modules() if isinstance(module, FewerHeads)}
        self._by_number: dict[str, list[Tensor]] = {}  # new channels of those that pad or slice by number, in a call
        self._tensor_names: dict[int, str] = {}  # parameters and buffers by id
        self._layer_of: dict[int, str] = {}  # weights of registered layers by id
        for name, module in model.named_modules(remove_duplicate=False):
            for key, value in [*module._parameters.items(), *module._buffers.items()]:
                if value is None:
                    continue
                full = f"{name}.{key}" if name else key
                if kind_of(module) is not None:
                    self._layer_of.setdefault(id(value), name)
                else:
                    self._tensor_names.setdefault(id(value), full)

    # ── identities ──────────────────────────────────────────────────────────────────────────────────────────────

    def of(self, value: Any) -> Tensor | None:
        """The identities of a tensor; None when all of it must stay, or when it is no tensor."""
        if not isinstance(value, Tensor):
            return None
        known = self._ids.get(value)
        if known is not None:
            return cast(Tensor, known)
        name = self._tensor_names.get(id(value))
        return None if name is None else self._of_parameter(name, value)

    def _of_parameter(self, name: str, value: Tensor) -> Tensor | None:
        if name not in self.recording.parameters:
            if value.ndim == 0:
                return None
            if value.numel() <= _MANY:
                ids = self.recording.fresh(value.numel()).reshape(value.shape)
            else:
                ids = expanded(self.recording.fresh(value.shape[-1]), value.ndim - 1, value.shape)
            self.recording.parameters[name] = ids
            self.recording.grid(squashed(ids))
            why = self.fixed.get(name.rpartition(".")[0])
            if why is not None:
                self.recording.pin(ids, why)
        return squashed(self.recording.parameters[name])

    def of_or_fixed(self, value: Tensor) -> Tensor:
        """The identities of a tensor, those that must stay included."""
        ids = self.of(value)
        return all_fixed(value.shape) if ids is None else ids

    def keep(self, value: Tensor, ids: Tensor | None) -> None:
        """Record the identities of a tensor."""
        if ids is not None and not bool((ids == FIXED).all()):
            self._ids[value] = squashed(ids)
            self.recording.grid(self._ids[value])
        elif value in self._ids:
            del self._ids[value]

    def pin_unknown(self, values: list[Tensor], operation: str) -> None:
        """Record that the channels of these tensors must stay, because this operation read them."""
        where = f" in {self.module}" if self.module else ""
        for value in values:
            ids = self.of(value)
            if ids is not None:
                reason = f"its output is read by {operation}{where}, which is not known to keep channels apart"
                self.recording.pin(ids, reason)

    def chain_to(self, value: Tensor) -> LinearChain | None:
        """The linear chain from a layer's output to this tensor; None when there is none."""
        return cast("LinearChain | None", self._chains.get(value))

    def keep_chain(self, value: Tensor, chain: LinearChain) -> None:
        """Record that a linear chain ends at this tensor."""
        self._chains[value] = chain

    @property
    def module(self) -> str:
        """The name of the module whose own code is running; empty for the network itself."""
        return self._modules[-1] if self._modules else ""

    @property
    def place(self) -> str:
        """The module whose own code is running, for messages."""
        return self.module or "the network"

    def start_run(self) -> None:
        """Prepare for another run of the network: calls are counted from 0."""
        self._calls, self._modules, self._inside = {}, [], 0

    def by_number(self, new: int) -> Tensor | None:
        """Note that the running code pads or slices channels by number, if it is that of a module without parameters.

        Such a module is given all of its channels, zeros in place of those that are removed.

        Args:
            new: the number of channels that padding makes.

        Returns:
            Identities for the new channels; None where they must stay.
        """
        if self.module not in self._bare:
            self.recording.padded += [self.place] * bool(new)
            return None
        self._by_number.setdefault(self.module, []).append(ids := self.recording.fresh(new))
        return ids

    # ── events ────────────────────────────────────────────────────────────────────────────────────────────────

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        restrided = layout(args[0]) if func is torch.ops.aten.as_strided_.default else None
        result = func(*args, **kwargs)
        if restrided is not None and layout(args[0]) == restrided:
            return result  # adaptive pooling restrides (n, c, 1, 1) as channels-last: no element has moved
        if not self._inside:
            for value in tensor_leaves((args, kwargs)):
                if id(value) in self._layer_of:
                    self.recording.outside.add(self._layer_of[id(value)])
            self._follow(self, func, args, kwargs, result)
            self._constants.follow(func, args, kwargs, result)
        return result

    def enter(self, name: str, layer: bool) -> Callable[..., None]:
        """A hook to run before a module's forward."""

        owner = self._attentions.get(around := name.rpartition(".")[0]) if name else None

        def before(module: nn.Module, args: Any) -> None:
            self._modules.append(name)
            if owner is not None:  # its output projection, the only layer inside it
                self._inside -= 1
                with _disable_current_modes():
                    self.keep(args[0], expanded(self.recording.channels_of_heads(around, owner), -1, args[0].shape))
            self._inside += layer or name in self._attentions
            if args and type(module) in _NORMS and not ([*module.parameters(), *module.buffers()]):
                with _disable_current_modes():
                    self._normalise(name, args[0], _NORMS[type(module)])

        return before

    def _normalise(self, name: str, x: Tensor, dim: int) -> None:
        """Record the channels of a normalisation; None where it has different ones in different calls."""
        ids = self.of_or_fixed(x)
        ids = ids.movedim(dim, -1).reshape(-1, ids.shape[dim])
        before = self.recording.normalised.setdefault(name, ids[0])
        if before is not None and not (torch.equal(before, ids[0]) and bool((ids == ids[0]).all())):
            self.recording.normalised[name] = None

    def leave(self, name: str, layer: bool) -> Callable[..., None]:
        """A hook to run after a module's forward."""

        def after(module: nn.Module, args: Any, kwargs: Any, result: Any) -> None:
            self._modules.pop()
            self._inside -= layer
            if name in self._attentions:
                with _disable_current_modes():
                    self._attend(name, args, kwargs, result)
            if name in self._by_number:
                with _disable_current_modes():
                    self._number(name, args, kwargs, result, self._by_number.pop(name))
            if layer and not self._inside:
                with _disable_current_modes():
                    x = tensor_leaves((args, kwargs))[0]
                    if not x.numel():  # such as an expert without tokens: its output's readers cannot be seen
                        return
                    self._call(name, module, x, result)
                    self._constants.layer(name, module, x, result)

        return after

    def _attend(self, name: str, args: Any, kwargs: Any, result: Any) -> None:
        """Record a call of an attention of torch: what it reads stays, and weights that it returns need all heads."""
        read = [ids for value in tensor_leaves((args, kwargs)) if (ids := self.of(value)) is not None]
        mask = kwargs.get("attn_mask", args[5] if len(args) > 5 else None)
        of_heads = "its attention has a mask for each head" if mask is not None and mask.ndim == 3 else ""
        returned = self.recording.attend(name, read, self.fixed.get(name, of_heads))
        if result[1] is not None:
            self.keep(result[1], returned.reshape((1,) * result[1].ndim).expand(result[1].shape))

    def _number(self, name: str, args: Any, kwargs: Any, y: Any, new: list[Tensor]) -> None:
        """Record one call of a module that pads or slices channels by number; of many tensors the new ones stay.

        Its outputs are channels of their own, which read its inputs: an output can be removed alone.
        """
        found, plain = self.recording, len(args) == 1 and not kwargs and isinstance(args[0], Tensor)
        if plain and isinstance(y, Tensor) and y.ndim == args[0].ndim:
            inputs, outputs = self.of_or_fixed(args[0]), self.of_or_fixed(y)
            dims = set(varying(inputs)) | set(varying(outputs))
            if len(dims) == 1:
                dim = dims.pop() - y.ndim
                inputs, outputs = (ids.movedim(dim, -1).reshape(-1, ids.shape[dim])[0] for ids in (inputs, outputs))
                own = torch.where(outputs == FIXED, FIXED, found.fresh(len(outputs)))
                first = found.numbered.setdefault(name, NumberedChannels(dim, inputs, own))
                if (dim, len(inputs), len(own)) == (first.dim, len(first.inputs), len(first.outputs)):
                    found.couple(first.inputs, inputs)
                    found.couple(first.outputs, own)
                    found.read(outputs, own)
                    self.keep(y, expanded(own, dim, y.shape))
                    return
        for ids in new:
            found.pin(ids, f"channels of its output meet those that {name} pads by number")

    def _call(self, name: str, module: nn.Module, x: Tensor, y: Tensor) -> None:
        """Record one call of a registered layer."""
        found, kind = self.recording, registered_kind(module)
        self._calls[name] = self._calls.get(name, 0) + 1
        found.calls[name] = max(found.calls.get(name, 0), self._calls[name])
        inputs = self._read(name, x, kind.channel_dim)
        if x not in self._numbers:
            self._count += 1
            self._numbers[x] = self._count
        found.sources[name] = (*found.sources.get(name, ()), self._numbers[x])
        chain = self.chain_to(x)
        if found.chains.setdefault(name, chain) != chain:
            found.chains[name] = None  # another way in another run
        if y is not x:
            self.keep_chain(y, LinearChain(name))
        if name not in found.outputs:
            found.inputs[name], found.outputs[name] = inputs, found.fresh(y.shape[kind.channel_dim])
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
        self.keep(y, expanded(found.outputs[name], kind.channel_dim, y.shape))

    def _read(self, name: str, x: Tensor, dim: int) -> Tensor:
        """The identities of a layer's inputs, one for each index of dimension ``dim`` (negative)."""
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
                self.recording.pin(ids, f"its reader {name} takes another dimension as channels")
                return torch.full((x.shape[dim],), FIXED)
            self.recording.couple(rows, first[:, None])  # several channels that this layer sees as one
        return first


def record(model: nn.Module, examples: Sequence[Inputs], fixed: Mapping[str, str], follow: Follow) -> Recording:
    """Run a network once on each example and record its channels.

    Args:
        model: the network in eval mode, parametrizations removed; hooks are added and removed again.
        examples: positional and named inputs; copies are passed.
        fixed: layers and other modules that must stay as they are, with the reason.
        follow: the rules for every operation: :func:`torch_growl.networks.wiring.operations.follow`.

    Raises:
        Exception: any error that the network's own code raises while it is watched.
    """
    watch = Watch(model, fixed, follow)
    handles = []
    for name, module in model.named_modules():
        layer = kind_of(module) is not None
        handles.append(module.register_forward_pre_hook(watch.enter(name, layer)))
        handles.append(module.register_forward_hook(watch.leave(name, layer), with_kwargs=True))
    try:
        for example in examples:
            watch.start_run()
            with torch.no_grad(), fast_path(False), watch:  # a fused layer hides the layers inside it
                result = call(model, copied(example))
            for path, value in tensors_in(result, ""):
                ids = watch.of(value)
                if ids is not None:
                    cached = "; with use_cache=False it is none" if "past_key_values" in path else ""
                    watch.recording.pin(ids, f"its output is an output of the network{cached}")
    finally:
        for handle in handles:
            handle.remove()
    for name in watch.recording.outside:
        for ids in (watch.recording.inputs.get(name), watch.recording.outputs.get(name)):
            if ids is not None:
                watch.recording.pin(ids, f"the weight of {name} is read by other code than its own forward")
    watch.recording.keep_unread()
    return watch.recording
