"""The law's times are those of the proximal steps, and it names the fewest rows that meet the target."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import torch_growl as tg
from torch_growl.networks.layers import row_norms
from torch_growl.networks.targets.figure import Figure
from torch_growl.networks.targets.pressing import Press, RowsOf
from torch_growl.networks.targets.target import Target


def network() -> torch.nn.Sequential:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(12, 40), torch.nn.ReLU(), torch.nn.Linear(40, 40), torch.nn.ReLU(),
                               torch.nn.Linear(40, 5))  # fmt: skip


def press(model: torch.nn.Sequential, target: Target, least: int = 4) -> Press:
    lam = np.full(40, 1.0)
    rows = [RowsOf(name, model[int(name)], lam, least) for name in ("2", "4")]
    return Press(Figure(model, torch.randn(3, 12), target), rows)


def norms(model: torch.nn.Sequential) -> list[np.ndarray]:
    return [row_norms(model[i]).double().numpy() for i in (2, 4)]


@pytest.mark.parametrize("target", [Target(weights=0.5), Target(macs=0.3), Target(bytes=0.2)], ids=repr)
def test_the_rows_named_are_the_fewest_that_meet_the_target(target: Target) -> None:
    model = network()
    law = press(model, target)
    found = law.solve(norms(model))
    assert not found.met
    flags = dict(zip(("2", "4"), found.gone, strict=True))
    assert law.met(law.counter.left(flags))
    for name, rows in flags.items():  # one row fewer does not meet it: the last one by the law is one of these
        last = int(np.argmax(np.where(rows, norms(model)[("2", "4").index(name)], -1)))
        if rows.any():
            fewer = {**flags, name: rows & (np.arange(40) != last)}
            assert not law.met(law.counter.left(fewer))
            break


def test_a_row_reaches_zero_after_the_steps_that_the_law_says() -> None:
    torch.manual_seed(3)
    model = network()
    with torch.no_grad():
        model[2].weight.mul_(torch.linspace(0.2, 2, 40))
    law = press(model, Target(weights=0.6))
    found = law.solve(norms(model))
    gone = found.gone[0]
    steps = 400
    growl = tg.GrOWL(model, 1.0, tg.lasso(), layers=["2", "4"], balance="none")
    squares = [float(np.square(rows).sum()) for rows in norms(model)]
    left_after = {}
    for step in range(1, steps + 1):
        growl.prox_({n: r * s / steps for n, r, s in zip(("2", "4"), found.rates, squares, strict=True)})
        left_after[step] = growl.nonzero()["2"]
    assert abs((40 - left_after[steps]) - int(gone.sum())) <= 2  # the law takes c as it is at the start
    assert left_after[steps // 4] > left_after[steps] + 1


def test_a_target_that_cannot_be_met_is_refused_with_what_can() -> None:
    with pytest.raises(tg.GrowlError, match=r"at least [\d,]+ of 2,365 weights are left, [\d.]+%.*were 47"):
        press(network(), Target(weights=0.02))


def test_the_largest_rows_of_every_layer_stay() -> None:
    model = network()
    least = press(model, Target(weights=0.9), least=7).least
    found = press(model, Target(weights=least), least=7).solve(norms(model))
    for rows, gone in zip(norms(model), found.gone, strict=True):
        assert sorted(np.flatnonzero(~gone)) == sorted(np.argsort(-rows)[:7])


def test_a_target_that_is_met_asks_for_nothing() -> None:
    model = network()
    law = press(model, Target(weights=0.5))
    with torch.no_grad():
        model[4].weight[:, :30] = 0
    law.counter.look(model)
    found = law.solve(norms(model))
    assert found.met
    assert found.rates == [0.0, 0.0]
    assert not np.concatenate(found.gone).any()


def test_the_law_is_the_same_for_a_counter_that_is_made_in_the_middle() -> None:
    model = network()
    first = press(model, Target(weights=0.3))
    with torch.no_grad():
        model[2].weight[:, 3:20] = 0
    second = press(model, Target(weights=0.3))
    first.counter.look(model)
    assert second.solve(norms(model)).rates == first.solve(norms(model)).rates
