"""Shrinking without training: the target is met, and the network answers nearly as before."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import torch_growl as tg
from torch_growl.errors import InvalidTypeError, InvalidValueError
from torch_growl.networks.compaction import SumInputs
from torch_growl.networks.execution import split_examples
from torch_growl.networks.moments import float_outputs, output_error
from torch_growl.networks.shrinking import shrink_tying


class Convolutional(nn.Module):
    """A residual network with a batch normalisation, a depthwise and a transposed convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)
        self.inner, self.back = nn.Conv2d(16, 24, 1), nn.Conv2d(24, 16, 3, padding=1)
        self.deep, self.up = nn.Conv2d(16, 16, 3, padding=1, groups=16), nn.ConvTranspose2d(16, 8, 2, stride=2)
        self.last = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.stem(x)))
        x = x + self.back(torch.relu(self.inner(x)))
        x = torch.relu(self.up(torch.relu(self.deep(x))))
        return self.last(x.mean((2, 3)))


class Tokens(nn.Module):
    """An embedding, a transformer's feed-forward layers and a head, with inputs by name."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(30, 16)
        self.layer = nn.TransformerEncoderLayer(16, 2, 48, batch_first=True, dropout=0.0)
        self.head = nn.Linear(16, 5)

    def forward(self, ids: Tensor) -> dict[str, Tensor]:
        return {"scores": self.head(self.layer(self.embed(ids)).mean(1))}


def mlp() -> tuple[nn.Module, list[Any]]:
    net = nn.Sequential(nn.Linear(12, 40), nn.ReLU(), nn.Linear(40, 30), nn.ReLU(), nn.Linear(30, 5))
    return net, [torch.randn(60, 12) for _ in range(4)]


def convolutional() -> tuple[nn.Module, list[Any]]:
    return Convolutional(), [torch.randn(12, 3, 8, 8) for _ in range(4)]


def tokens() -> tuple[nn.Module, list[Any]]:
    return Tokens(), [{"ids": torch.randint(30, (24, 6))} for _ in range(4)]


NETWORKS = {"perceptron": mlp, "residual convolutions": convolutional, "transformer": tokens}


def left(network: nn.Module, example: Any, of: str) -> int:
    return int(getattr(tg.measure(network, example), of))


@pytest.mark.slow
@pytest.mark.parametrize("of", ["weights", "macs", "bytes"])
@pytest.mark.parametrize("name", NETWORKS)
def test_at_most_what_is_asked_for_is_left_and_the_rest_takes_over(name: str, of: str) -> None:
    torch.manual_seed(0)
    model, inputs = NETWORKS[name]()
    model.eval()
    before = copy.deepcopy(model.state_dict())
    small = tg.shrink(model, inputs, tg.Target(**{of: 0.8}))
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    dense = left(model, inputs[0], of)
    assert 0.72 * dense < left(small, inputs[0], of) <= 0.8 * dense
    batches = split_examples(inputs[3:])
    wanted = [float_outputs(model, batch) for batch in batches]
    assert output_error(small, wanted, batches) < 0.2


def error(small: nn.Module, model: nn.Module, inputs: list[Any]) -> float:
    batches = split_examples(inputs[3:])
    return output_error(small, [float_outputs(model, batch) for batch in batches], batches)


@pytest.mark.parametrize("ties", [True, False])
@pytest.mark.parametrize("norm", [True, False])
def test_a_constant_input_stays_where_nothing_takes_its_mean(norm: bool, ties: bool) -> None:
    """The first input has the smallest weights; the last one is 5, and only a bias or a norm's mean can replace it."""
    torch.manual_seed(0)
    inputs = [torch.cat([torch.randn(200, 8), torch.full((200, 1), 5.0)], 1) for _ in range(4)]
    model = nn.Sequential(nn.Linear(9, 16, bias=False), nn.BatchNorm1d(16) if norm else nn.Identity(), nn.Tanh()).eval()
    with torch.no_grad():
        model[0].weight[:, 0] *= 0.05
    small = tg.shrink(model, inputs, tg.Target(weights=left(model, inputs[0], "weights") - 16), ties=ties)
    first = copy.deepcopy(model)
    with torch.no_grad():
        first[0].weight[:, 0] = 0
    assert error(small, model, inputs) < (1e-8 if norm else 1.05 * error(first, model, inputs))


@pytest.mark.parametrize(("of", "ties"), [("weights", False), ("macs", True), ("bytes", True)])
def test_rows_that_are_zero_or_equal_already_are_counted_and_go_first(ties: bool, of: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(12, 10), nn.Tanh(), nn.Linear(10, 9), nn.Tanh(), nn.Linear(9, 3))
    with torch.no_grad():
        model[0].weight[:, 0] = 0
        model[0].weight[:, 2:4] = model[0].weight[:, 1:2]
        model[2].weight[:, 5] = 0
        model[2].weight[:, 7:] = model[2].weight[:, 6:7]
    inputs = [torch.randn(100, 12) for _ in range(4)]
    alone = left(tg.compact(model, inputs[0]), inputs[0], of)
    assert alone < left(model, inputs[0], of)
    for asked in (alone + 7, alone):
        small = tg.shrink(model, inputs, tg.Target(**{of: asked}), ties=ties)
        assert left(small, inputs[0], of) == alone
        torch.testing.assert_close(small(inputs[0]), model(inputs[0]))
    assert left(tg.shrink(model, inputs, tg.Target(**{of: int(0.9 * alone)}), ties=ties), inputs[0], of) <= 0.9 * alone


def test_channels_that_others_stand_for_go_without_a_trace() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 10), nn.Linear(10, 10), nn.ReLU(), nn.Linear(10, 3))
    inputs = [torch.randn(40, 6) for _ in range(4)]
    whole = sum(p.numel() for p in model.parameters())
    small = tg.shrink(model, inputs, tg.Target(weights=whole - 2 * (7 + 10)))
    assert small[0].out_features == 8, "ten linear channels of six inputs"
    torch.testing.assert_close(small(inputs[0]), model(inputs[0]), atol=1e-3, rtol=1e-3)


def nearly_tied(layer: nn.Module, groups: int) -> None:
    """Let the inputs of a layer with the same number modulo ``groups`` have nearly the same weights."""
    with torch.no_grad():
        rows = torch.randn(groups, layer.out_features).repeat(layer.in_features // groups, 1)
        layer.weight.copy_((rows + 0.1 * torch.randn_like(rows)).t())


def test_inputs_are_tied_where_that_costs_less_than_their_removal() -> None:
    """Independent inputs: none can take over from another, but those of equal weights can be summed."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(24, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 3))
    nearly_tied(model[0], 6)
    inputs = [torch.randn(200, 24) + torch.linspace(-0.5, 0.5, 24) for _ in range(4)]
    target = tg.Target(weights=left(model, inputs[0], "weights") - 18 * 8)
    small = tg.shrink(model, inputs, target)
    sums = next(module for module in small.modules() if isinstance(module, SumInputs))
    assert sorted(sorted(members) for members in sums.groups) == [[i, i + 6, i + 12, i + 18] for i in range(6)]
    cut = tg.shrink(model, inputs, target, ties=False)
    assert not any(isinstance(module, SumInputs) for module in cut.modules())
    wanted, batches = [float_outputs(model, batch) for batch in split_examples(inputs[3:])], split_examples(inputs[3:])
    assert output_error(small, wanted, batches) < 0.05 < 0.2 < output_error(cut, wanted, batches)


class Hidden(nn.Module):
    """A layer whose inputs cannot be removed, because other code reads them, at every place of a sequence."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Linear(4, 24), nn.Linear(24, 16), nn.Linear(16, 3)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = torch.tanh(self.first(x))
        return self.last(torch.relu(self.second(x))), x.sort(-1).values


@pytest.mark.parametrize("of", ["weights", "macs", "bytes"])
def test_sums_are_counted_in_every_measure(of: str) -> None:
    torch.manual_seed(0)
    model, inputs = Hidden(), [torch.randn(60, 5, 4) for _ in range(4)]
    nearly_tied(model.second, 3)
    dense = left(model, inputs[0], of)
    small = tg.shrink(model, inputs, tg.Target(**{of: 0.8}))
    assert any(isinstance(module, SumInputs) for module in small.modules())
    assert 0.72 * dense < left(small, inputs[0], of) <= 0.8 * dense


@pytest.mark.parametrize("least", [0.5, 0.56, 0.0])
def test_the_least_share_of_every_kind_stays(least: float) -> None:
    """The hidden layers have 40 and 30 channels, of which six matter."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 40), nn.Linear(40, 30), nn.ReLU(), nn.Linear(30, 3))
    small = tg.shrink(model, [torch.randn(60, 6) for _ in range(4)], tg.Target(weights=0.4), least=least)
    first, second = small[0].out_features, small[1].out_features
    assert first >= least * 40
    assert second >= least * 30
    assert (first < 20) == (least == 0), "without a floor linear channels go first"


def test_the_same_seedless_call_gives_the_same_network_and_keeps_the_mode() -> None:
    torch.manual_seed(0)
    model, inputs = mlp()
    state = torch.random.get_rng_state()
    first, second = (tg.shrink(model.train(), inputs, tg.Target(macs=0.5)) for _ in range(2))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert first.training
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


@pytest.mark.parametrize(
    ("target", "inputs", "kind", "message"),
    [
        (tg.Target(file_bytes=0.5), 4, InvalidValueError, "target must be 'weights', 'macs' or 'bytes', got 'fil"),
        (tg.Target(weights=10), 4, InvalidValueError, "target: at least .* weights are left"),
        (tg.Target(weights=0.5), 1, InvalidValueError, "inputs: at least two batches"),
        (0.5, 4, InvalidTypeError, "target must be"),
    ],
)
def test_what_cannot_be_done_is_refused(target: Any, inputs: int, kind: type[Exception], message: str) -> None:
    model, batches = mlp()
    with pytest.raises(kind, match=message):
        tg.shrink(model, batches[:inputs], target)


@pytest.mark.parametrize(
    ("least", "message"),
    [
        (1.0, "least must be"),
        (-0.1, "least must be"),
        (0.9, "target: at least .* macs are left, .* with 0.9 of the channels"),
    ],
)
def test_a_least_share_that_cannot_be_is_refused(least: float, message: str) -> None:
    model, batches = mlp()
    with pytest.raises(InvalidValueError, match=message):
        tg.shrink(model, batches, tg.Target(macs=0.5), least=least)


def test_the_tying_that_shrinking_would_make_is_that_of_its_network_and_of_the_layers_asked_for() -> None:
    torch.manual_seed(0)
    model, inputs = mlp()
    target = tg.Target(weights=0.3)
    tying = shrink_tying(model, inputs, target, ("0", "2", "4"))
    cuts = {layer.name: layer for layer in tg.structure_of(tg.shrink(model, inputs, target)).layers}
    assert {layer.name: layer.partition.n_groups for layer in tying} == {name: cuts[name].width for name in cuts}
    alone = shrink_tying(model, inputs, tg.Target(weights=0.9), ("2",))
    assert [layer.name for layer in alone] == ["2"]
    assert alone["2"].partition.nonzero < 40
