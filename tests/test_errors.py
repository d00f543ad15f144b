"""The errors: all are of one family, and can be caught as Python's own kinds."""

from __future__ import annotations

import inspect

import pytest

from torch_growl import errors
from torch_growl.errors import GrowlError, GrowlWarning, InvalidTypeError, InvalidValueError, first_line

CLASSES = [value for _, value in inspect.getmembers(errors, inspect.isclass)]


def test_every_error_is_a_growl_error() -> None:
    assert len(CLASSES) >= 10
    for kind in CLASSES:
        assert issubclass(kind, UserWarning if kind is GrowlWarning else GrowlError)


@pytest.mark.parametrize(
    ("kind", "builtin"),
    [
        (InvalidValueError, ValueError),
        (InvalidTypeError, TypeError),
        (errors.LayerError, ValueError),
        (errors.FileFormatError, ValueError),
        (errors.DataError, ValueError),
        (errors.RecipeError, ValueError),
        (errors.CompactionError, RuntimeError),
        (errors.ExportError, RuntimeError),
    ],
)
def test_errors_can_be_caught_as_builtin_ones(kind: type[Exception], builtin: type[Exception]) -> None:
    with pytest.raises(builtin, match="why"):
        raise kind("why")


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("one"), "one"),
        (ValueError("\n first\nsecond"), "first"),
        (ValueError(), "ValueError"),
        (RuntimeError("  \n"), "RuntimeError"),
    ],
)
def test_the_first_line_of_an_error(error: Exception, line: str) -> None:
    assert first_line(error) == line
