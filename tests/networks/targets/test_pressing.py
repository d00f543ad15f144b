"""The law names the fewest rows that meet the target, the least important ones, and empties no layer or group."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
import torch

import torch_growl as tg
from torch_growl.errors import GrowlWarning
from torch_growl.networks.layers import row_norms
from torch_growl.networks.targets.figure import Figure
from torch_growl.networks.targets.pressing import Press, Pressure, RowsOf, _importance
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


def test_the_least_is_that_of_the_rows_that_stay_not_of_rows_that_are_zero_already() -> None:
    model, zeroed = network(), network()
    with torch.no_grad():
        for i in (2, 4):
            zeroed[i].weight[:, :10] = 0  # the first ones, of which 4 would stay
    least = press(model, Target(weights=0.5)).least
    assert least == 12 * 4 + 4 + 4 * 4 + 4 + 4 * 5 + 5
    assert press(zeroed, Target(weights=0.5)).least == least
    with pytest.raises(tg.GrowlError, match=f"at least {least:.0f} of"):
        press(zeroed, Target(weights=least - 1))


def test_importance_is_the_share_of_the_energy_that_is_left() -> None:
    found = _importance(np.array([3.0, 0.0, 1.0, 2.0]))
    np.testing.assert_allclose(found, [1, 0, 1 / 14, 4 / 13])


def test_layers_lose_rows_evenly_whatever_their_scale_and_spread() -> None:
    model = network()
    with torch.no_grad():
        model[2].weight.mul_(torch.linspace(0.05, 2, 40))  # a norm far below its layer's mean is no reason to empty it
        model[4].weight.mul_(100)
    found = press(model, Target(weights=0.2)).solve(norms(model))
    assert all(22 < rows.sum() < 30 for rows in found.gone)


def pooled() -> tuple[torch.nn.Sequential, torch.Tensor, list[RowsOf]]:
    """A network in which 16 rows of a layer read one channel."""
    torch.manual_seed(0)
    conv, second, linear = torch.nn.Conv2d(1, 8, 3), torch.nn.Conv2d(8, 12, 3), torch.nn.Linear(12 * 16, 30)
    model = torch.nn.Sequential(conv, torch.nn.ReLU(), second, torch.nn.ReLU(), torch.nn.Flatten(), linear)
    rows = [RowsOf("2", second, np.ones(8), 2), RowsOf("5", linear, np.ones(192), 4)]
    return model, torch.randn(2, 1, 8, 8), rows


@pytest.mark.parametrize("share", [0.5, 0.31, 0.2])
def test_where_one_row_is_a_large_step_others_are_given_back(share: float) -> None:
    model, x, rows = pooled()
    law = Press(Figure(model, x, Target(macs=share)), rows)
    found = law.solve([row_norms(layer.module).double().numpy() for layer in rows])
    asked = law.figure.asked
    assert 0.99 * asked < law.left_without(found.gone) <= asked  # a channel of the second layer is 8 %


def test_the_rows_that_stay_at_least_hold_as_few_channels_as_possible() -> None:
    model, x, rows = pooled()
    least = Press(Figure(model, x, Target(weights=0.9)), rows).least
    law = Press(Figure(model, x, Target(weights=least)), rows)
    found = law.solve([row_norms(layer.module).double().numpy() for layer in rows])
    assert law.left_without(found.gone) == least
    assert len(set(np.flatnonzero(~found.gone[1]) // 16)) == 1  # four rows of one channel
    assert (~found.gone[1]).sum() == 4


@pytest.mark.parametrize("compensate", [None, False], ids=["in one step", "slowly"])
def test_no_group_of_a_layer_is_emptied(compensate: bool | None) -> None:
    torch.manual_seed(0)
    grouped, last = torch.nn.Conv2d(24, 24, 3, groups=6), torch.nn.Conv2d(24, 4, 1)
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 24, 1), torch.nn.ReLU(), grouped, torch.nn.ReLU(), last)
    x = torch.randn(2, 3, 6, 6)
    for share, width in ((0.63, 2), (0.45, 1)):
        growl = tg.GrOWL(model, target=Target(macs=share, compensate=compensate), example_inputs=x, layers=["2"])
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        growl.attach(optimizer, steps=20)
        with contextlib.nullcontext() if compensate is False else pytest.warns(GrowlWarning, match="of smallest norm"):
            for _ in range(20):
                optimizer.zero_grad()
                model(x).square().mean().backward()
                optimizer.step()
        left = (row_norms(grouped) != 0).reshape(6, 4).sum(dim=1)
        assert left.tolist() == [width] * 6  # as many in each group, so that nothing is constant
        assert growl.progress.left == tg.measure(tg.compact(model, x), x, latency=False).macs <= growl.progress.asked


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
    assert not np.concatenate(found.gone).any()


def test_the_law_is_the_same_for_a_counter_that_is_made_in_the_middle() -> None:
    model = network()
    first = press(model, Target(weights=0.3))
    with torch.no_grad():
        model[2].weight[:, 3:20] = 0
    second = press(model, Target(weights=0.3))
    first.counter.look(model)
    assert all(map(np.array_equal, second.solve(norms(model)).gone, first.solve(norms(model)).gone))


def test_of_real_networks_the_one_nearest_to_the_aim_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    model = network()
    law = press(model, Target(weights=0.5))
    asked = law.figure.asked
    law.figure.aim = 0.98 * asked
    answers = iter([Pressure([np.arange(40) < rows, np.arange(40) < rows], False) for rows in (2, 3, 4, 5)])
    reals, carefully = iter([0.999, 1.02, 0.983, 0.98]), []  # of what is asked; the third is near enough

    def check(gone: object, **how: bool) -> float:
        carefully.append(how["carefully"])
        return next(reals) * asked

    monkeypatch.setattr(law.figure, "check", check)
    monkeypatch.setattr(law, "solve", lambda norms: next(answers))
    found = law.corrected(law.solve([]), [], final=True)
    assert found.gone[0].sum() == 4
    assert carefully == [True] * 3  # the last word on a network is measured longer


def test_where_a_figure_grows_in_steps_rows_are_given_back_that_do_not_make_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = network()
    law = press(model, Target(weights=0.5))
    asked = law.figure.asked
    law.figure.aim = 0.98 * asked

    def real(gone: list[np.ndarray]) -> float:
        kept = [40 - int(rows.sum()) for rows in gone]
        return asked * (0.03 * (kept[0] // 8) + 0.02 * (kept[1] // 4) + (0.7 if kept[0] <= 16 else 1.3))

    def check(gone: dict[str, np.ndarray], **how: bool) -> float:
        return real(list(gone.values()))

    answers = [[30, 36], [22, 22]] * 4
    solved = [Pressure([np.arange(40) < rows for rows in pair], False) for pair in answers]
    monkeypatch.setattr(law.figure, "check", check)
    turns = iter(solved)
    monkeypatch.setattr(law, "solve", lambda norms: next(turns))
    assert real(solved[0].gone) < 0.8 * asked < asked < real(solved[1].gone)  # 17 rows of a layer take much longer
    found = law.corrected(law.solve([]), norms(model), final=True)
    assert 0.82 * asked < real(found.gone) <= asked
