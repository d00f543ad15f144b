"""Typed errors: everything the library raises for bad input derives from :class:`GrowlError`.

A message says what must hold, what was found, which layer or field it is about, and what to do.
"""


class GrowlError(Exception):
    """Base of every error that torch-growl raises on purpose."""


class InvalidValueError(GrowlError, ValueError):
    """An argument, a tensor or a layer has a value that cannot be used."""


class InvalidTypeError(GrowlError, TypeError):
    """An argument has a type that cannot be used."""


class LayerError(InvalidValueError):
    """A layer does not exist, is not eligible, or its weights cannot be used; the message names it."""


class CompactionError(GrowlError, RuntimeError):
    """A smaller network with the same outputs could not be made; the given network is unchanged."""


class ExportError(GrowlError, RuntimeError):
    """A network could not be written for another runtime, or does not answer there as it does here."""


class FileFormatError(InvalidValueError):
    """A file is not what it should be: malformed, cut off, or of another network."""


class DataError(InvalidValueError):
    """A dataset is missing, cut off or malformed."""


class RecipeError(InvalidValueError):
    """A recipe does not exist, or has an unknown or ill-typed field."""


class RunFolderError(GrowlError):
    """A run folder is in use, incomplete, or belongs to another recipe."""


class GrowlWarning(UserWarning):
    """Something was done differently from what was asked, and the user should know."""


def first_line(error: BaseException) -> str:
    """The first line of what any error says, or its type's name where it says nothing: for a message of our own."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
