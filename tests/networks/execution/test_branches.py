"""Branches that no run took: those on sizes, values and state are reported, those on the configuration are not."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from torch_growl.networks.execution.branches import Branches

CALLS = 0


class Net(nn.Module):
    """A network that computes a function."""

    def __init__(self, rule: Callable[[Any, Tensor], Any]) -> None:
        super().__init__()
        self.rule, self.calls, self.width, self.skip = rule, 0, 3, None
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x: Tensor) -> Any:
        return self.rule(self, x)


def untaken(rule: Callable[[Any, Tensor], Any], *inputs: Tensor) -> list[str]:
    """The conditions that are reported after runs on these inputs."""
    model, branches = Net(rule).eval(), Branches()
    with branches.followed():
        for x in inputs or (torch.ones(4, 3),):
            model(x)
    return [text.partition(" ")[2][1:-1] for text in branches.untaken()]


def number(x: Tensor, n: int) -> Tensor:
    return -x if n == 9 else x


def counted(net: Any, x: Tensor) -> Tensor:
    global CALLS
    CALLS += 1
    net.calls += 1
    x = -x if net.calls == 9 else x
    return -x if CALLS == 10**6 else x


def derived(net: Any, x: Tensor) -> Tensor:
    rows, columns = x.shape
    if columns > 16:
        x = -x
    total = x.sum()
    if rows > 99 and total:
        x = -x
    return x


def looped(net: Any, x: Tensor) -> Tensor:
    for _ in range(len(x) - 4):
        x = -x
    while x.max() > 50:
        x = x / 2
    return x


def caught(net: Any, x: Tensor) -> Tensor:
    try:
        return x + x[4]
    except IndexError:
        return x


def matched(net: Any, x: Tensor) -> Tensor:
    match len(x):
        case 4:
            return x
        case 9:
            return -x
    return x


def listed(net: Any, x: Tensor) -> Tensor:
    ways = [lambda x: x, lambda x: -x]
    y: Tensor = ways[int(x[0, 0] > 5)](x)
    return y


REPORTED: list[tuple[Callable[[Any, Tensor], Any], list[str]]] = [
    (lambda net, x: -x if len(x) == 1 else x, ["len(x) == 1"]),
    (lambda net, x: -x if x.shape[1] > 16 else x, ["x.shape[1] > 16"]),
    (lambda net, x: -x if x.mean().item() > 5 else x, ["x.mean().item() > 5"]),
    (lambda net, x: -x if (x > 5).any() else x, ["(x > 5).any()"]),
    (lambda net, x: -x if not x[0, 0] else x, ["x[0, 0]"]),
    (lambda net, x: -x if net.training else x, ["net.training"]),
    (lambda net, x: -x if net.seen > 8 else x, ["net.seen > 8"]),
    (lambda net, x: number(x, len(x)), ["n == 9"]),
    (counted, ["net.calls == 9", "CALLS == 10**6"]),
    (derived, ["columns > 16", "rows > 99"]),
    (looped, ["for _ in range(len(x) - 4):", "x.max() > 50"]),
    (caught, ["except"]),
    (matched, ["4"]),
    (listed, ["<lambda>, which was not called"]),
]


@pytest.mark.parametrize("case", range(len(REPORTED)))
def test_a_branch_on_sizes_values_or_state_is_reported(case: int) -> None:
    rule, wanted = REPORTED[case]
    assert untaken(rule) == wanted


QUIET: list[Callable[[Any, Tensor], Any]] = [
    lambda net, x: x if net.skip is None else x + net.skip,
    lambda net, x: -x if net.width > 5 else x,
    lambda net, x: -x if isinstance(x, nn.Parameter) else x,
    lambda net, x: nn.functional.dropout(x, 0.5, training=net.training),
    lambda net, x: sum(x[i] for i in range(3)),
]


@pytest.mark.parametrize("case", range(len(QUIET)))
def test_a_branch_on_the_configuration_is_not_reported(case: int) -> None:
    assert untaken(QUIET[case]) == []


def test_a_check_that_only_raises_is_not_reported() -> None:
    def checked(net: Any, x: Tensor) -> Tensor:
        if x.shape[1] > 16:
            raise ValueError(f"too many columns: {x.shape[1]}")
        return x

    assert untaken(checked) == []


def test_a_branch_that_both_ways_were_taken_of_is_not_reported() -> None:
    rule = REPORTED[0][0]
    assert untaken(rule, torch.ones(4, 3), torch.ones(1, 3)) == []


def test_a_tracer_that_was_set_before_is_set_again() -> None:
    before = sys.gettrace()
    with pytest.raises(ValueError, match="stop"), Branches().followed():
        raise ValueError("stop")
    assert sys.gettrace() is before
