"""The checks of arguments: what passes, what is refused, and the words of every message."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from torch_growl.arguments import (
    check_choice,
    check_count,
    check_finite,
    check_floating,
    check_number,
    check_rows,
    check_type,
    did_you_mean,
)
from torch_growl.errors import InvalidTypeError, InvalidValueError


@pytest.mark.parametrize("value", [0, 1, 0.5, np.float64(0.25), -3])
def test_a_number_is_returned_as_a_float(value: float) -> None:
    found = check_number("x", value)
    assert found == value
    assert isinstance(found, float)


@pytest.mark.parametrize("value", [True, "1", None, 1j, [1.0], torch.tensor(1.0)])
def test_what_is_not_a_number_is_a_type_error(value: object) -> None:
    with pytest.raises(InvalidTypeError, match=f"^x must be a number, got {type(value).__name__}$"):
        check_number("x", value)


NUMBERS: list[tuple[dict[str, Any], list[float], list[float], str]] = [
    ({}, [0, -1e300], [float("nan"), float("inf"), 10**400], "x must be finite, got "),
    ({"least": 0}, [0, 7], [-1e-9, float("inf"), float("nan")], "x must be finite and ≥ 0, got "),
    ({"above": 0}, [1e-9], [0, -1, float("inf")], "x must be finite and > 0, got "),
    ({"most": 2}, [2, -5], [2.1, float("-inf")], "x must be finite and ≤ 2, got "),
    ({"below": 2}, [1.9], [2, float("-inf")], "x must be finite and < 2, got "),
    ({"least": 0, "most": 1}, [0, 1], [-0.1, 1.1, float("nan")], "x must be in [0, 1], got "),
    ({"above": 0, "most": 1}, [0.1, 1], [0, 1.1], "x must be in (0, 1], got "),
    ({"least": 0.5, "below": 1}, [0.5, 0.9], [0.4, 1], "x must be in [0.5, 1), got "),
    ({"above": 0, "below": 1}, [0.5], [0, 1, float("nan")], "x must be in (0, 1), got "),
]


@pytest.mark.parametrize(("bounds", "inside", "outside", "words"), NUMBERS)
def test_bounds_of_numbers(bounds: dict[str, Any], inside: list[float], outside: list[float], words: str) -> None:
    for value in inside:
        assert check_number("x", value, **bounds) == value
    for value in outside:
        with pytest.raises(InvalidValueError) as caught:
            check_number("x", value, **bounds)
        assert str(caught.value) == f"{words}{value}"


def test_unit_and_reason_are_in_the_message() -> None:
    with pytest.raises(InvalidValueError, match=r"^wait must be finite and > 0 seconds, got 0: time does not stop$"):
        check_number("wait", 0, above=0, unit="seconds", why="time does not stop")
    with pytest.raises(InvalidValueError, match=r"^size must be an integer ≥ 1 bytes, got 0$"):
        check_count("size", 0, unit="bytes")


@pytest.mark.parametrize(("least", "most", "inside", "outside"), [(1, None, [1, 9], [0, -1]), (0, 3, [0, 3], [-1, 4])])
def test_counts(least: int, most: int | None, inside: list[int], outside: list[int]) -> None:
    bounds = f"≥ {least}" if most is None else f"in [{least}, {most}]"
    for value in inside:
        assert check_count("n", value, least=least, most=most) is value
    for wrong in outside:
        with pytest.raises(InvalidValueError) as caught:
            check_count("n", wrong, least=least, most=most)
        assert str(caught.value) == f"n must be an integer {bounds}, got {wrong}"
    for other in (True, 1.0, "1", None):
        with pytest.raises(InvalidTypeError) as refused:
            check_count("n", other, least=least, most=most)
        assert str(refused.value) == f"n must be an integer {bounds}, got {other!r}"


def test_choices() -> None:
    assert check_choice("side", "input", ("input", "output")) == "input"
    assert check_choice("side", "b", iter(["a", "b"])) == "b"
    for value in ("inputs", None, 3, ["input"], np.array(["input", "output"])):
        with pytest.raises(InvalidValueError, match="side must be 'input', 'output' or 'channel', got"):
            check_choice("side", value, ("input", "output", "channel"))
    with pytest.raises(InvalidValueError, match="^side must be 'input', got 'output'$"):
        check_choice("side", "output", ["input"])


def test_types_are_named_as_users_import_them() -> None:
    layer = nn.Linear(1, 1)
    assert check_type("model", layer, nn.Module) is layer
    for kind, words in (
        (nn.Module, "a torch.nn.Module"),
        (torch.optim.Optimizer, "a torch.optim.Optimizer"),
        (torch.Tensor, "a torch.Tensor"),
        (int, "an int"),
    ):
        with pytest.raises(InvalidTypeError, match=f"^it must be {words}, got str$"):
            check_type("it", "text", kind)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_floating_point_tensors_pass_and_are_returned(dtype: torch.dtype) -> None:
    W = torch.ones(2, 3, dtype=dtype)
    assert check_floating("W", W) is W
    assert check_rows("W", W) is W
    assert check_finite("W", W) is W


@pytest.mark.parametrize("check", [check_floating, check_rows])
@pytest.mark.parametrize(
    ("value", "words"),
    [
        ([1.0], "W must be a torch.Tensor, got list"),
        (torch.ones(2, 2, dtype=torch.int64), "W must be a dense float16, .* tensor, got torch.int64, torch.strided"),
        (torch.ones(2, 2, dtype=torch.complex64), "got torch.complex64"),
        (torch.ones(2, 2).to(torch.float8_e4m3fn), "got torch.float8"),
        (torch.ones(2, 2).to_sparse(), "got torch.float32, torch.sparse_coo"),
    ],
)
def test_other_tensors_are_refused(check: Any, value: object, words: str) -> None:
    with pytest.raises(InvalidTypeError, match=words):
        check("W", value)


@pytest.mark.parametrize("shape", [(), (3,)], ids=str)
def test_rows_need_two_dimensions(shape: tuple[int, ...]) -> None:
    with pytest.raises(InvalidValueError, match="^W must have rows along dim 0, so two dimensions or more; got shape"):
        check_rows("W", torch.ones(shape))


def test_values_that_are_not_finite_are_counted() -> None:
    W = torch.tensor([[1.0, float("nan")], [float("-inf"), 2.0], [0.0, 0.0]], requires_grad=True)
    with pytest.raises(InvalidValueError, match="^W must be finite; 2 of its 6 values are NaN or infinite .*diverged"):
        check_finite("W", W)
    empty = torch.empty(0)
    assert check_finite("W", empty) is empty


def test_did_you_mean() -> None:
    assert did_you_mean("strenght", ["strength", "sequence"]) == "did you mean 'strength'?"
    assert did_you_mean("zzz", ["strength", "sequence"]) == "there are strength, sequence"
    assert did_you_mean("zzz", ["a"], otherwise="known fields: {known}") == "known fields: a"
    assert did_you_mean("zzz", []) == "there are none"


def test_the_checks_do_not_load_torch() -> None:
    code = "import sys, torch_growl.arguments, torch_growl.errors, torch_growl.files; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
