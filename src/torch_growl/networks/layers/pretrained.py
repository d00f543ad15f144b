"""``save_pretrained`` of networks whose folder ``from_pretrained`` would not load: it warns before it writes."""

from __future__ import annotations

import warnings
from typing import Any

from torch import nn

from torch_growl.errors import GrowlWarning

__all__ = ["plain_save_pretrained_", "warn_on_save_pretrained_"]

_NAME = "save_pretrained"


class _Warning:
    """A network's own ``save_pretrained``, after a warning."""

    def __init__(self, model: nn.Module, text: str) -> None:
        self.model = model
        self.text = text

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Warn, and call the method of the network's class."""
        warnings.warn(self.text, GrowlWarning, stacklevel=2)
        return getattr(type(self.model), _NAME)(self.model, *args, **kwargs)


def warn_on_save_pretrained_(model: nn.Module, text: str) -> None:
    """Make ``save_pretrained`` of a network, and of networks inside it, warn each time; others are left as they are."""
    for module in model.modules():
        if callable(getattr(type(module), _NAME, None)):
            vars(module)[_NAME] = _Warning(module, text)


def plain_save_pretrained_(model: nn.Module) -> None:
    """Undo :func:`warn_on_save_pretrained_`."""
    for module in model.modules():
        if isinstance(vars(module).get(_NAME), _Warning):
            del vars(module)[_NAME]
