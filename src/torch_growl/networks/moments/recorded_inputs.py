"""The last inputs that a network is called with in a training."""

from __future__ import annotations

import copy
import inspect
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from torch.utils.hooks import RemovableHandle

from torch_growl.errors import first_line
from torch_growl.networks.execution import batch_size, copied, split_inputs
from torch_growl.networks.layers import training_hook

__all__ = ["RecordedInputs"]

_EXAMPLES = 640  # as many as recipes take
_BYTES = 2**30
_KEPT = (Tensor, bool, int, float, str)


class RecordedInputs:
    """Copies the inputs of a network's calls with gradients, and keeps the last 640 examples, or the last 1 GiB.

    At least two batches are kept. Nothing is recorded inside a compiled graph, or where the network's inputs cannot be
    given by position or by name alone. A copy or a pickle has the inputs, and records no others before it is started.

    Attributes:
        error: the message of an error that has ended the recording; empty if none has.
    """

    def __init__(self) -> None:
        self.error = ""
        self._batches: deque[Any] = deque()
        self._sizes: deque[tuple[int, int]] = deque()  # examples and bytes
        self._model: nn.Module | None = None
        self._handle: RemovableHandle | None = None
        self._wanted: Callable[[], bool] = bool

    def start(self, model: nn.Module, wanted: Callable[[], bool]) -> None:
        """Record the inputs of the network's next calls too; the network gets a hook, which its plain copies lack.

        Args:
            model: the network.
            wanted: asked before each recording; once it returns False, nothing more is recorded.
        """
        if self._handle is None and not self.error:
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

    def state(self) -> list[Any]:
        """The batches on the CPU."""
        return pytree.tree_map_only(Tensor, lambda x: x.detach().to("cpu", copy=True), self.batches)  # type: ignore[no-any-return]

    def load(self, batches: Sequence[Any], device: torch.device) -> None:
        """Keep batches of :meth:`state` in place of those that are kept.

        Args:
            batches: the batches.
            device: where they are wanted.
        """
        self._keep(pytree.tree_map_only(Tensor, lambda x: x.to(device, copy=True), list(batches)))

    def _keep(self, batches: Sequence[Any]) -> None:
        self._batches = deque(batches)
        self._sizes = deque(map(_size, batches))

    def record(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Keep the inputs of one call."""
        if module is not self._model or not torch.is_grad_enabled():
            return
        if not self._wanted():
            self.stop()
            return
        try:
            batch = _as_batch(module, args, kwargs)
            if batch is not None:
                with torch.no_grad():
                    args, kwargs = copied(split_inputs(batch))
                self._batches.append(kwargs or args)
                self._sizes.append(_size(kwargs or args))
        except Exception as error:  # no memory is left for a copy: the training goes on without
            self.stop()
            self.error = first_line(error)
        while len(self._sizes) > 2 and self._enough_without_the_first():
            self._batches.popleft()
            self._sizes.popleft()

    def _enough_without_the_first(self) -> bool:
        examples = sum(count for count, _ in self._sizes) - self._sizes[0][0]
        return examples >= _EXAMPLES or sum(size for _, size in self._sizes) >= _BYTES

    def __deepcopy__(self, memo: dict[int, Any]) -> RecordedInputs:
        return _with_batches(copy.deepcopy(self.batches, memo))

    def __reduce__(self) -> tuple[Callable[[list[Any]], RecordedInputs], tuple[list[Any]]]:
        return _with_batches, (self.batches,)


def _size(batch: Any) -> tuple[int, int]:
    """The examples of a batch, at least 1, and its bytes."""
    tensors = [leaf for leaf in pytree.tree_leaves(batch) if isinstance(leaf, Tensor)]
    return max(1, batch_size(split_inputs(batch))), sum(x.numel() * x.element_size() for x in tensors)


def _with_batches(batches: list[Any]) -> RecordedInputs:
    found = RecordedInputs()
    found._keep(batches)
    return found


class _Hook:
    """The hook itself, which :func:`training_hook` marks; that of a copied network does nothing."""

    def __init__(self, recorded: RecordedInputs) -> None:
        self.recorded = recorded

    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if not torch.compiler.is_compiling():
            self.recorded.record(module, args, kwargs)

    def __deepcopy__(self, memo: dict[int, Any]) -> _Hook:
        return training_hook(_Hook(RecordedInputs()))

    def __reduce__(self) -> tuple[Callable[[RecordedInputs], _Hook], tuple[RecordedInputs]]:
        return _Hook, (RecordedInputs(),)


def _as_batch(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The inputs of a call, a tuple or a dict of named ones.

    None if neither can hold them, no tensor is there, or something that cannot be kept in a file.
    """
    batch: Any = kwargs or args
    if args and kwargs:
        signature = inspect.signature(module.forward)
        batch = dict(signature.bind(*args, **kwargs).arguments)
        for name, parameter in signature.parameters.items():
            if name in batch and parameter.kind is parameter.VAR_KEYWORD:
                batch |= batch.pop(name)
            elif name in batch and parameter.kind in (parameter.VAR_POSITIONAL, parameter.POSITIONAL_ONLY):
                return None
    leaves = pytree.tree_leaves(batch)
    kept = all(leaf is None or type(leaf) in _KEPT for leaf in leaves)
    return batch if kept and any(isinstance(leaf, Tensor) for leaf in leaves) else None
