"""The last inputs that a network is called with in a training."""

from __future__ import annotations

import copy
import inspect
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from torch.utils.hooks import RemovableHandle

from torch_growl.errors import first_line
from torch_growl.networks.execution import Inputs, batch_size, copied, split_inputs, tensors, wide
from torch_growl.networks.layers import training_hook

__all__ = ["RecordedInputs"]

_EXAMPLES = 640  # as many as recipes take
_BYTES = 2**30
_KEPT = (type(None), bool, int, float, str)


class RecordedInputs:
    """Copies the inputs of a network's calls with gradients, and keeps the last 640 examples, or the last 1 GiB.

    At least two batches are kept. Nothing is recorded inside a compiled graph. A copy or a pickle has the inputs, and
    records no others before it is started.

    Attributes:
        refused: why the inputs of a call were not kept, of the last such call; empty if there was none.
    """

    def __init__(self) -> None:
        self.refused = ""
        self._ended = False  # by an error
        self._batches: deque[Any] = deque()
        self._model: nn.Module | None = None
        self._handle: RemovableHandle | None = None
        self._wanted: Callable[[], bool] = bool

    def start(self, model: nn.Module, wanted: Callable[[], bool]) -> None:
        """Record the inputs of the network's next calls too; the network gets a hook, which its plain copies lack.

        Args:
            model: the network.
            wanted: asked before each recording; once it returns False, nothing more is recorded.
        """
        if self._handle is None and not self._ended:
            self._model, self._wanted = model, wanted
            self._handle = model.register_forward_pre_hook(training_hook(_Hook(self)), with_kwargs=True)

    def stop(self) -> None:
        """Take the hook off the network and forget what was recorded."""
        if self._handle is not None:
            self._handle.remove()
        self.__init__()  # type: ignore[misc]

    @property
    def is_started(self) -> bool:
        """Tell whether the network's calls are recorded."""
        return self._handle is not None

    @property
    def batches(self) -> list[Any]:
        """The batches, as for :func:`torch_growl.compensate_`."""
        return list(self._batches)

    def drop_infinite(self) -> None:
        """Forget batches with NaN or infinite values."""
        self._batches = deque(batch for batch in self._batches if _is_finite(batch))

    def state(self) -> list[Any]:
        """The batches on the CPU: tensors, plain values, tuples, lists and dicts of them."""
        return [_mapped(lambda x: x.detach().to("cpu", copy=True), batch) for batch in self._batches]

    def load(self, batches: Sequence[Any], device: torch.device) -> None:
        """Keep batches of :meth:`state` in place of those that are kept.

        Args:
            batches: the batches.
            device: where they are wanted.
        """
        self._batches = deque(_mapped(lambda x: x.to(device, copy=True), batch) for batch in batches)

    def record(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Keep the inputs of one call."""
        if module is not self._model:  # a replica
            return
        if not self._wanted():
            self.stop()
            return
        if not torch.is_grad_enabled():
            return
        try:
            batch, self.refused = _as_batch(module, args, kwargs)
            if not self.refused:
                with torch.no_grad():
                    args, kwargs = _as_computed(module, copied(split_inputs(batch)))
                self._batches.append(kwargs or args)
        except Exception as error:  # no memory is left for a copy: the training goes on without
            self.stop()
            self._ended, self.refused = True, first_line(error)
        while len(self._batches) > 2 and self._enough_without_the_first():
            self._batches.popleft()

    def _enough_without_the_first(self) -> bool:
        examples = [max(1, batch_size(split_inputs(batch))) for batch in self._batches]
        size = sum(x.numel() * x.element_size() for x in tensors(list(self._batches)))
        return sum(examples[1:]) >= _EXAMPLES or size >= _BYTES

    def __deepcopy__(self, memo: dict[int, Any]) -> RecordedInputs:
        return _with_batches(copy.deepcopy(list(self._batches), memo))

    def __reduce__(self) -> tuple[Callable[[list[Any]], RecordedInputs], tuple[list[Any]]]:
        return _with_batches, (list(self._batches),)


def _with_batches(batches: list[Any]) -> RecordedInputs:
    found = RecordedInputs()
    found._batches.extend(batches)
    return found


class _Hook:
    """The hook itself, which :func:`training_hook` marks.

    It does not keep the recorder alive. Without one, as that of a copied network, it takes itself off at a call.
    """

    def __init__(self, recorded: RecordedInputs | None = None) -> None:
        self.recorded = (lambda: None) if recorded is None else weakref.ref(recorded)

    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None:
            return
        if (recorded := self.recorded()) is not None:
            recorded.record(module, args, kwargs)
        else:
            for key in [key for key, hook in module._forward_pre_hooks.items() if hook is self]:
                del module._forward_pre_hooks[key]
                module._forward_pre_hooks_with_kwargs.pop(key, None)

    def __deepcopy__(self, memo: dict[int, Any]) -> _Hook:
        return training_hook(_Hook())

    def __reduce__(self) -> tuple[Callable[[], _Hook], tuple[()]]:
        return _unbound, ()


def _unbound() -> _Hook:
    return training_hook(_Hook())


def _as_batch(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, str]:
    """The inputs of a call as a tuple or as a dict of named ones; and why they cannot be kept, empty if they can."""
    batch: Any = kwargs or args
    if args and kwargs:
        signature = inspect.signature(module.forward)
        batch = dict(signature.bind(*args, **kwargs).arguments)
        for name, parameter in signature.parameters.items():
            if name in batch and parameter.kind is parameter.VAR_KEYWORD:
                batch |= batch.pop(name)
            elif name in batch and parameter.kind in (parameter.VAR_POSITIONAL, parameter.POSITIONAL_ONLY):
                return None, f"{name!r} can be given by position alone, and others were given by name"
    if wrong := _not_kept(batch):
        return None, f"its inputs hold a {wrong}"
    if not tensors(batch):
        return None, "its inputs hold no tensor"
    return batch, ""


def _not_kept(value: Any) -> str:
    """The type of the first value that a state of plain values cannot hold; empty if it can hold all."""
    if type(value) in (tuple, list):
        return next((wrong for each in value if (wrong := _not_kept(each))), "")
    if type(value) is dict:
        others = (type(key).__name__ for key in value if type(key) not in _KEPT)
        return next(others, "") or _not_kept(list(value.values()))
    if type(value) in (Tensor, nn.Parameter):
        wrapped = torch._C._functorch.is_functorch_wrapped_tensor(value)
        return "tensor of vmap or grad" if wrapped else "nested tensor" if value.is_nested else ""
    return "" if type(value) in _KEPT else type(value).__name__


def _as_computed(module: nn.Module, inputs: Inputs) -> Inputs:
    """Under autocast: the inputs in the type of the network's parameters, in which it can be run without autocast."""
    own = next((p for p in module.parameters() if p.is_floating_point()), None)
    return wide(inputs, own.dtype) if own is not None and torch.is_autocast_enabled(own.device.type) else inputs


def _mapped(change: Callable[[Tensor], Tensor], batch: Any) -> Any:
    return pytree.tree_map_only(Tensor, change, batch)


def _is_finite(batch: Any) -> bool:
    floats = (x for x in tensors(batch) if x.layout is torch.strided and (x.is_floating_point() or x.is_complex()))
    return all(bool(torch.isfinite(x).all()) for x in floats)
