"""Taking a parametrization off one module without touching its copies."""

from __future__ import annotations

from torch import nn
from torch.nn.utils import parametrize

__all__ = ["make_plain_"]


def make_plain_(module: nn.Module, name: str) -> None:
    """Make a parametrized tensor a plain parameter again, with the value it has now.

    torch makes a class of its own for every parametrized module, and ``deepcopy`` shares it: taking the property off
    that class would break every copy (or the original). So the module gets a class of its own first.

    Args:
        module: a parametrized module; modified.
        name: of the tensor, ``"weight"`` say.
    """
    shared = type(module)
    own = {key: value for key, value in vars(shared).items() if key not in ("__dict__", "__weakref__")}
    module.__class__ = type(shared.__name__, shared.__bases__, own)
    parametrize.remove_parametrizations(module, name, leave_parametrized=True)
