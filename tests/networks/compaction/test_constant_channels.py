"""Constant channels are removed: the bias of the layer that reads them has their effect, where that is exact."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.support.compact_files import changed, split
from tests.support.compaction_checks import by_name
from tests.support.pruned_networks import settle_
from torch_growl.errors import FileFormatError, GrowlWarning
from torch_growl.networks.compaction.compactor import compact
from torch_growl.networks.compaction.training_state import compact_like, compact_optimizer
from torch_growl.networks.storage.compact_file import load, load_dense, save

CHANNELS, CONSTANT = 16, 6


class Network(nn.Module):
    """A layer ``maker`` of which six channels are constant, something ``between``, and a layer ``reader``."""

    def __init__(self, maker: nn.Module, between: nn.Module, reader: nn.Module) -> None:
        super().__init__()
        self.maker, self.between, self.reader = maker, between, reader

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.reader(self.between(self.maker(x)))
        return y


def conv(reader: nn.Module, *between: nn.Module) -> Network:
    return Network(nn.Conv2d(3, CHANNELS, 3), nn.Sequential(*between), reader)


def linear(reader: nn.Module, *between: nn.Module) -> Network:
    return Network(nn.Linear(12, CHANNELS), nn.Sequential(*between), reader)


class Mean(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))


class Scaled(nn.Module):
    """A product with parameters, and a residual of the same channels."""

    def __init__(self) -> None:
        super().__init__()
        self.scale, self.shift = nn.Parameter(torch.rand(CHANNELS)), nn.Parameter(torch.rand(CHANNELS))

    def forward(self, x: Tensor) -> Tensor:
        return x + F.gelu(x * self.scale + self.shift).sigmoid()


IMAGE, VECTOR = (2, 3, 9, 9), (4, 12)
Made = Callable[[], Network]
FOLDED: dict[str, tuple[Made, tuple[int, ...]]] = {
    "linear, ReLU": (lambda: linear(nn.Linear(CHANNELS, 4), nn.ReLU()), VECTOR),
    "linear without a bias": (lambda: linear(nn.Linear(CHANNELS, 4, bias=False), nn.GELU()), VECTOR),
    "a sequence": (lambda: linear(nn.Linear(CHANNELS, 4), nn.Tanh(), nn.Dropout()), (2, 5, 12)),
    "sums and products": (lambda: linear(nn.Linear(CHANNELS, 4), Scaled()), VECTOR),
    "another linear layer": (
        lambda: linear(nn.Linear(8, 4), nn.ReLU(), nn.Linear(CHANNELS, 8), nn.ReLU()),
        VECTOR,
    ),
    "convolution without padding": (lambda: conv(nn.Conv2d(CHANNELS, 5, 3, stride=2), nn.ReLU()), IMAGE),
    "without padding or bias": (lambda: conv(nn.Conv2d(CHANNELS, 5, 3, bias=False), nn.SiLU()), IMAGE),
    "circular padding": (lambda: conv(nn.Conv2d(CHANNELS, 5, 3, padding=1, padding_mode="circular")), IMAGE),
    "reflected padding": (lambda: conv(nn.Conv2d(CHANNELS, 5, 3, padding="same", padding_mode="reflect")), IMAGE),
    "pooling": (lambda: conv(nn.Conv2d(CHANNELS, 5, 1), nn.ReLU(), nn.MaxPool2d(3, 2, 1), nn.AvgPool2d(2)), IMAGE),
    "global pooling": (
        lambda: conv(nn.Linear(CHANNELS, 5), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        IMAGE,
    ),
    "a mean": (lambda: conv(nn.Linear(CHANNELS, 5), nn.BatchNorm2d(CHANNELS), nn.ReLU(), Mean()), IMAGE),
    "a flattened map": (lambda: conv(nn.Linear(CHANNELS * 49, 5), nn.ReLU(), nn.Flatten()), IMAGE),
    "interpolation": (lambda: conv(nn.Conv2d(CHANNELS, 5, 3), nn.Upsample(scale_factor=2), nn.ReLU()), IMAGE),
    "in-place activation": (lambda: conv(nn.Conv2d(CHANNELS, 5, 3), nn.ReLU(inplace=True)), IMAGE),
    "normalisation between": (lambda: conv(nn.Conv2d(CHANNELS, 5, 3), nn.BatchNorm2d(CHANNELS), nn.ReLU()), IMAGE),
}


def build(make: Made, *, constant: float = 0.7) -> Network:
    torch.manual_seed(0)
    model = settle_(make()).eval()
    assert isinstance(model, Network)
    with torch.no_grad():
        model.maker.weight[:CONSTANT] = 0
        model.maker.bias[:CONSTANT] = torch.linspace(constant, 2 * constant, CONSTANT)
    return model


def check(model: nn.Module, make: Callable[[], nn.Module], x: Tensor, path: Path, removed: str = "maker") -> nn.Module:
    """Compact the network, save and load it; check all outputs and that the constant channels are removed."""
    small = compact(model, x)
    others = (torch.randn_like(x) * 3, torch.randn(1, *x.shape[1:]).to(x))
    save(small, path)
    for network in (small, load(path, make()).eval(), load_dense(path, make()).eval()):
        for inputs in (x, *others):
            torch.testing.assert_close(network(inputs), model(inputs), rtol=1e-4, atol=1e-5)
    assert by_name(small)[removed].outputs_left == CHANNELS - CONSTANT
    return small


@pytest.mark.slow
@pytest.mark.parametrize("name", FOLDED)
def test_constant_channels_are_folded_into_the_next_bias(name: str, tmp_path: Path) -> None:
    make, shape = FOLDED[name]
    model = build(make)
    check(model, make, torch.randn(shape), tmp_path / "f")
    check(model.double(), lambda: make().double(), torch.randn(shape).double(), tmp_path / "g")


ZERO: dict[str, Made] = {
    "zero padding": lambda: conv(nn.Conv2d(CHANNELS, 5, 3, padding=1), nn.ReLU()),
    "transposed": lambda: conv(nn.ConvTranspose2d(CHANNELS, 5, 3, stride=2, bias=False), nn.ReLU()),
    "padded by F.pad": lambda: conv(nn.Conv2d(CHANNELS, 5, 3), nn.ReLU(), nn.ZeroPad2d(1)),
}


@pytest.mark.parametrize("name", ZERO)
def test_a_constant_of_zero_is_removed_whatever_the_padding(name: str, tmp_path: Path) -> None:
    small = check(build(ZERO[name], constant=-0.7), ZERO[name], torch.randn(IMAGE), tmp_path / "f")
    assert not any(layer.bias_added for layer in by_name(small).values())


@pytest.mark.parametrize("name", ZERO)
def test_where_padding_makes_borders_differ_the_reason_says_so(name: str) -> None:
    model = build(ZERO[name])
    with pytest.warns(GrowlWarning, match="unchanged"):
        small = compact(model, torch.randn(IMAGE))
    reason = by_name(small)["reader"].reason
    assert ("6 of its inputs are constant, but their effect differs at the border" in reason) == ("F.pad" not in name)
    torch.testing.assert_close(small(torch.ones(IMAGE)), model(torch.ones(IMAGE)))


NORMS: dict[str, tuple[Callable[[], nn.Module], Callable[[], nn.Module], tuple[int, ...]]] = {
    "batch": (lambda: nn.Conv2d(3, CHANNELS, 3, bias=False), lambda: nn.BatchNorm2d(CHANNELS), IMAGE),
    "batch of vectors": (lambda: nn.Linear(12, CHANNELS), lambda: nn.BatchNorm1d(CHANNELS), VECTOR),
    "instance": (lambda: nn.Conv2d(3, CHANNELS, 3), lambda: nn.InstanceNorm2d(CHANNELS, affine=True), IMAGE),
}


@pytest.mark.parametrize("name", NORMS)
def test_channels_that_a_normalisation_scales_by_zero_are_removed(name: str, tmp_path: Path) -> None:
    maker, norm, shape = NORMS[name]
    torch.manual_seed(0)

    def make() -> Network:
        reader = nn.Linear(CHANNELS, 4) if shape is VECTOR else nn.Conv2d(CHANNELS, 4, 3)
        return Network(maker(), nn.Sequential(norm(), nn.ReLU()), reader)

    model = settle_(make()).eval()
    with torch.no_grad():
        model.between[0].weight[:CONSTANT] = 0
        model.between[0].bias[:CONSTANT] = 0.7
    check(model, make, torch.randn(shape), tmp_path / "f")


def test_after_layer_and_group_normalisation_readers_lose_their_constant_inputs() -> None:
    for norm, maker, reader, shape in (
        (nn.LayerNorm(CHANNELS), nn.Linear(12, CHANNELS), nn.Linear(CHANNELS, 40), VECTOR),
        (nn.GroupNorm(4, CHANNELS), nn.Conv2d(3, CHANNELS, 3), nn.Conv2d(CHANNELS, 5, 3), IMAGE),
    ):
        model = Network(maker, nn.Sequential(norm, nn.ReLU()), reader).eval()
        with torch.no_grad():
            norm.weight[:CONSTANT] = 0
            norm.bias[:CONSTANT] = 0.7
        x = torch.randn(shape)
        small = compact(model, x)
        assert by_name(small)["reader"].width == CHANNELS - CONSTANT
        torch.testing.assert_close(small(-x), model(-x), rtol=1e-4, atol=1e-5)


def test_constants_pass_through_depthwise_and_grouped_convolutions(tmp_path: Path) -> None:
    for groups in (CHANNELS, 2):

        def make(groups: int = groups) -> Network:
            middle = nn.Conv2d(CHANNELS, CHANNELS, 3, groups=groups, bias=False)
            return conv(nn.Conv2d(CHANNELS, 5, 1), nn.ReLU(), middle, nn.ReLU())

        model = build(make)
        if groups == 2:  # all channels of the first group
            with torch.no_grad():
                model.maker.weight[:8] = 0
        x = torch.randn(IMAGE)
        small = compact(model, x)
        assert by_name(small)["maker"].outputs_left == (8 if groups == 2 else CHANNELS - CONSTANT)
        save(small, tmp_path / "f")
        for network in (small, load(tmp_path / "f", make()), load_dense(tmp_path / "f", make())):
            torch.testing.assert_close(network(-x), model(-x), rtol=1e-4, atol=1e-5)


def test_channels_that_are_equal_in_the_example_only_are_not_constant() -> None:
    """ReLU units that the example never reaches."""
    model = linear(nn.Linear(CHANNELS, 4), nn.ReLU())
    with torch.no_grad():
        model.maker.bias[:CONSTANT] = -50
    with pytest.warns(GrowlWarning, match="unchanged"):
        small = compact(model, torch.randn(VECTOR))
    torch.testing.assert_close(small(100 * torch.ones(1, 12)), model(100 * torch.ones(1, 12)))


class Written(nn.Module):
    """It writes the input's values into channels that were constant, through a view."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way = way

    def forward(self, x: Tensor) -> Tensor:
        part = x[:, :CONSTANT]
        if self.way == "view":
            part.add_(x[:, -1:])
        elif self.way == "index":
            x[:, :CONSTANT] = x[:, CONSTANT : 2 * CONSTANT]
        elif self.way == "number of examples":
            x = x * torch.tensor(float(len(x)))
        return x


@pytest.mark.parametrize("way", ["view", "index", "number of examples"])
def test_values_that_are_written_over_are_not_constant(way: str) -> None:
    model = build(lambda: linear(nn.Linear(CHANNELS, 4), Written(way)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", GrowlWarning)
        small = compact(model, torch.randn(VECTOR))
    for x in (torch.randn(VECTOR), torch.randn(1, 12)):
        torch.testing.assert_close(small(x), model(x), rtol=1e-4, atol=1e-5)


def test_a_layer_with_hooks_makes_no_constants() -> None:
    model = build(FOLDED["linear, ReLU"][0])
    model.maker.register_forward_hook(lambda module, args, y: y + args[0][:, :1])
    with pytest.warns(GrowlWarning, match="unchanged"):
        compact(model, torch.randn(VECTOR))


def test_a_layer_that_is_called_twice_folds_constants_that_are_the_same_in_both_calls() -> None:
    class Twice(nn.Module):
        def __init__(self, factor: float) -> None:
            super().__init__()
            self.maker, self.reader, self.factor = nn.Linear(12, CHANNELS), nn.Linear(CHANNELS, 4), factor

        def forward(self, x: Tensor) -> Tensor:
            return self.reader(self.maker(x).relu()) + self.reader(self.maker(-x).relu() * self.factor)

    for factor, left in ((1.0, CHANNELS - CONSTANT), (2.0, CHANNELS)):
        model = Twice(factor)
        with torch.no_grad():
            model.maker.weight[:CONSTANT] = 0
            model.maker.bias[:CONSTANT] = 0.7
        x = torch.randn(VECTOR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", GrowlWarning)
            small = compact(model, x)
        assert by_name(small)["maker"].outputs_left == left
        torch.testing.assert_close(small(-x), model(-x), rtol=1e-4, atol=1e-5)


def test_the_local_form_alone_folds_nothing() -> None:
    with pytest.warns(GrowlWarning, match="unchanged"):
        compact(build(FOLDED["linear, ReLU"][0]), torch.randn(VECTOR), full=False)


class PaddedShortcut(nn.Module):
    """ResNet's block without parameters in its shortcut: every second pixel, and channels of zeros on both sides."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.a, self.b = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 16, 3, 2, 1), nn.Conv2d(16, 16, 3, 1, 1)
        self.head = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).relu()
        y = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 4, 4)) + self.b(self.a(x).relu())
        return self.head(y.relu().mean((2, 3)))


@pytest.mark.slow
def test_channels_padded_with_zeros_move_with_the_data() -> None:
    model = PaddedShortcut()
    with torch.no_grad():
        model.a.weight[:, [1, 2, 5]] = 0
        model.head.weight[:, [5, 6, 9, 0]] = 0  # 5, 6 and 9 are the stem's channels 1, 2 and 5; 0 is padding
    x = torch.randn(IMAGE)
    small = compact(model, x)
    cuts = by_name(small)
    assert cuts["stem"].kept == (0, 3, 4, 6, 7)
    assert cuts["b"].kept == tuple(channel for channel in range(16) if channel not in (5, 6, 9))
    torch.testing.assert_close(small(-x), model(-x), rtol=1e-4, atol=1e-5)


class TestAnAddedBias:
    make = staticmethod(FOLDED["linear without a bias"][0])

    def test_is_in_the_file_and_checked(self, tmp_path: Path) -> None:
        small = compact(build(self.make), torch.randn(VECTOR))
        cut = by_name(small)["reader"]
        assert cut.bias_added
        assert cut.folded == CONSTANT
        save(small, tmp_path / "f")
        data = (tmp_path / "f").read_bytes()
        assert split(data)[0]["version"] == "2.2"
        assert '"folded":6,"bias_added":true' in split(data)[0]["structure"]
        for number, fields, message in (
            (0, {"bias_added": True}, "bias_added is only for a layer that has no bias"),
            (1, {"bias_added": 1}, "bias_added must be bool"),
            (1, {"folded": 17}, r"folded must be 0\.\.16"),
        ):
            (tmp_path / "g").write_bytes(changed(data, lambda s, t, m, n=number, f=fields: s["layers"][n].update(f)))
            with pytest.raises(FileFormatError, match=message):
                load(tmp_path / "g", self.make())

    def test_is_trained_with_its_weight(self) -> None:
        model, x = build(self.make), torch.randn(VECTOR)
        optimizer = torch.optim.AdamW(
            [{"params": model.maker.parameters(), "lr": 1.0}, {"params": model.reader.parameters(), "lr": 2.0}]
        )
        small = compact(model, x)
        new = compact_optimizer(optimizer, model, small)
        assert [len(group["params"]) for group in new.param_groups] == [2, 2]
        assert any(p is small.reader.bias for p in new.param_groups[1]["params"])
        small(x).sum().backward()
        before = small.reader.bias.clone()
        new.step()
        assert not torch.equal(before, small.reader.bias)

    def test_compact_like_says_that_another_networks_constants_are_lost(self) -> None:
        model = build(self.make)
        small = compact(model, torch.randn(VECTOR))
        with pytest.warns(GrowlWarning, match="'reader' replaced 6 constant inputs by its bias"):
            compact_like(model, small)
