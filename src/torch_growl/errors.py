"""The library's errors and its warning; every error for bad input derives from :class:`GrowlError`.

A message names the argument, layer or field, what must hold, what was found, and what to do.
"""

import inspect


class GrowlError(Exception):
    """Base class of all errors that torch-growl raises for bad input, bad files and impossible requests.

    Example:
        >>> import torch_growl as tg
        >>> try:
        ...     tg.pld(p=2)
        ... except tg.GrowlError as error:
        ...     print(error)
        pld: p must be in (0, 1], got 2
    """


class InvalidValueError(GrowlError, ValueError):
    """An argument, a tensor or a layer has a value that cannot be used."""


class InvalidTypeError(GrowlError, TypeError):
    """An argument has a type that cannot be used."""


class LayerError(InvalidValueError):
    """A layer does not exist, is not eligible, or its weights cannot be used; the message names it."""


class CompactionError(GrowlError, RuntimeError):
    """A smaller network with the same outputs could not be made; the given network is unchanged."""


class ExportError(GrowlError, RuntimeError):
    """A network could not be written for another runtime, or its outputs there differ."""


class FileFormatError(InvalidValueError):
    """A file is malformed, truncated, or belongs to another network."""


class DataError(InvalidValueError):
    """A dataset is missing, truncated or malformed."""


class RecipeError(InvalidValueError):
    """A recipe does not exist, or has an unknown or ill-typed field."""


class RunFolderError(GrowlError):
    """A run folder is in use, incomplete, or belongs to another recipe."""


class GrowlWarning(UserWarning):
    """Warning about a result that differs from what was asked for.

    Example:
        >>> import warnings, torch, torch_growl as tg
        >>> W = torch.randn(60, 3, generator=torch.Generator().manual_seed(0))
        >>> with warnings.catch_warnings(record=True) as caught:
        ...     warnings.simplefilter("always", tg.GrowlWarning)
        ...     groups = tg.cluster_rows(W, preference=0.5, max_iter=1)
        >>> print(caught[0].category.__name__, groups.converged)
        GrowlWarning False
    """


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or the name of its type if the message is empty."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def users_stacklevel() -> int:
    """Return the ``stacklevel`` at which a warning shows the first line outside of this package and torch."""
    frame, level = inspect.currentframe(), 0
    while frame is not None and frame.f_globals.get("__name__", "").split(".")[0] in ("torch_growl", "torch"):
        frame, level = frame.f_back, level + 1
    return level
