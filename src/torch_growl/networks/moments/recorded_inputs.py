"""The last inputs that a network is called with in a training."""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from torch_growl.networks.execution import batch_size, copied, split_inputs
from torch_growl.networks.layers import training_hook

__all__ = ["RecordedInputs"]

_EXAMPLES = 640  # as many as recipes take


class RecordedInputs:
    """Copies the inputs of a network's calls with gradients, and keeps the last 640 examples, at least two batches.

    Nothing is recorded inside a compiled graph, or where the network's inputs cannot be given by position or by name
    alone. A copy or a pickle has no inputs and records none.
    """

    def __init__(self) -> None:
        self._batches: deque[Any] = deque()
        self._sizes: deque[int] = deque()
        self._model: nn.Module | None = None
        self._handle: RemovableHandle | None = None
        self._wanted: Callable[[], bool] = bool

    def start(self, model: nn.Module, wanted: Callable[[], bool]) -> None:
        """Record the inputs of the network's next calls too; the network gets a hook, which its plain copies lack.

        Args:
            model: the network.
            wanted: asked before each recording; once it returns False, nothing more is recorded.
        """
        if self._handle is None:
            self._model, self._wanted = model, wanted
            self._handle = model.register_forward_pre_hook(training_hook(_Hook(self)), with_kwargs=True)

    def stop(self) -> None:
        """Take the hook off the network and forget what was recorded."""
        if self._handle is not None:
            self._handle.remove()
        self.__init__()  # type: ignore[misc]

    @property
    def batches(self) -> list[Any]:
        """The batches, as for :func:`torch_growl.compensate_`."""
        return list(self._batches)

    def record(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Keep the inputs of one call."""
        if module is not self._model or not torch.is_grad_enabled():
            return
        if not self._wanted():
            self.stop()
            return
        batch = _as_batch(module, args, kwargs)
        if batch is None:
            return
        with torch.no_grad():
            args, kwargs = copied(split_inputs(batch))
        self._batches.append(kwargs or args)
        self._sizes.append(batch_size((args, kwargs)))
        while len(self._sizes) > 2 and sum(self._sizes) - self._sizes[0] >= _EXAMPLES:
            self._batches.popleft()
            self._sizes.popleft()

    def __deepcopy__(self, memo: dict[int, Any]) -> RecordedInputs:
        return RecordedInputs()

    def __reduce__(self) -> tuple[type[RecordedInputs], tuple[()]]:
        return RecordedInputs, ()


class _Hook:
    """The hook itself, which :func:`training_hook` marks."""

    def __init__(self, recorded: RecordedInputs) -> None:
        self.recorded = recorded

    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if not torch.compiler.is_compiling():
            self.recorded.record(module, args, kwargs)


def _as_batch(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The inputs of a call, a tuple or a dict of named ones; None if neither can hold them, or no tensor is there."""
    batch: Any = kwargs or args
    if args and kwargs:
        signature = inspect.signature(module.forward)
        batch = dict(signature.bind(*args, **kwargs).arguments)
        for name, parameter in signature.parameters.items():
            if name in batch and parameter.kind is parameter.VAR_KEYWORD:
                batch |= batch.pop(name)
            elif name in batch and parameter.kind in (parameter.VAR_POSITIONAL, parameter.POSITIONAL_ONLY):
                return None
    try:
        split_inputs(batch)
    except ValueError:  # it holds no tensor
        return None
    return batch
