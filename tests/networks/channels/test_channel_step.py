"""The proximal step on channels is that of the rows of all layers that read them, put beside one another."""

from __future__ import annotations

import copy

import pytest
import torch

from tests.support.channel_networks import network
from torch_growl import prox_growl
from torch_growl.errors import InvalidValueError, LayerError
from torch_growl.mathematics.owl import LambdaSequence, lasso, pld
from torch_growl.networks.channels.channel_step import ChannelLayers, ChannelStep
from torch_growl.networks.channels.penalised_channels import choose_channels


def step_of(
    name: str, min_rows: int = 1, sequence: LambdaSequence | None = None
) -> tuple[torch.nn.Module, ChannelStep]:
    model, x, _ = network(name)
    chosen, _ = choose_channels(model, x[:2], None, sequence or lasso(), 0.5)
    layers = ChannelLayers(tuple(own.rows for own in chosen), tuple(own.lam for own in chosen), min_rows)
    return model, ChannelStep(layers)


def read_rows(model: torch.nn.Module) -> torch.Tensor:
    """The rows of the channels of the stem: of both layers that read them."""
    return torch.cat([model.a.weight.transpose(0, 1).flatten(1), model.shortcut.weight[:, :, 0, 0].t()], 1).detach()


@pytest.mark.parametrize("sequence", [lasso(), pld(p=0.5, floor=0.3)], ids=["lasso", "pld"])
def test_it_is_the_prox_of_the_rows_of_all_readers(sequence: LambdaSequence) -> None:
    model, step = step_of("1×1 shortcut and gate", sequence=sequence)
    names = [own.name for own in step.layers.channels]
    before = read_rows(model)
    rate = 1.05 * float(before.norm(dim=1).median())
    step([rate if name == "stem" else 0.0 for name in names], [1.0] * 3, False)
    wanted = prox_growl(before, rate * step.layers.lams[names.index("stem")].float())
    torch.testing.assert_close(read_rows(model), wanted, rtol=1e-5, atol=1e-6)
    gone = (wanted == 0).all(1)
    assert 0 < gone.sum() < 8 or sequence != lasso()
    assert step.pruned(names.index("stem")).tolist() == gone.tolist()
    assert ((model.stem.weight == 0).all(3).all(2).all(1)).tolist() == gone.tolist()
    assert (model.norm.weight == 0).tolist() == gone.tolist()


def test_rates_of_zero_change_nothing_and_pruned_channels_stay_zero() -> None:
    model, step = step_of("1×1 shortcut and gate")
    before = copy.deepcopy(model.state_dict())
    step([0.0] * 3, [1.0] * 3, True)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    step.pruned(0)[2] = True
    step.zero_pruned()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1)
    step.zero_pruned()
    own = step.layers.channels[0]
    assert (own.values() == 0).tolist() == [number == 2 for number in range(len(own))]


def test_the_largest_channels_are_kept_where_all_would_go() -> None:
    model, step = step_of("plain CNN", min_rows=3)
    assert step([1e6] * 2, [1.0] * 2, True) == ["0", "3"]
    assert [int((own.values() > 0).sum()) for own in step.layers.channels] == [3, 3]
    assert model[0].weight.any()


def test_what_is_not_finite_is_refused_and_nothing_is_changed() -> None:
    model, step = step_of("plain CNN")
    with torch.no_grad():
        model[3].weight[0, 5] = torch.nan
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(LayerError, match="1 of the 12 channels of '0' are read by NaN"):
        step([0.1] * 2, [1.0] * 2, True)
    with pytest.raises(InvalidValueError, match="must be finite and ≥ 0"):
        step([-0.1] * 2, [1.0] * 2, True)
    torch.testing.assert_close(model.state_dict(), before, equal_nan=True, rtol=0, atol=0)


def test_channels_that_are_zero_from_the_start_stay_zero() -> None:
    model, x, _ = network("plain CNN")
    with torch.no_grad():
        model[3].weight[:, 4] = 0
    chosen, _ = choose_channels(model, x[:2], None, lasso(), 0.5)
    layers = ChannelLayers(tuple(own.rows for own in chosen), tuple(own.lam for own in chosen), 1)
    assert ChannelStep(layers).pruned(0).tolist() == [number == 4 for number in range(12)]
