"""Coupled channels: all rows, filters and parameters that belong to each of them."""

from __future__ import annotations

from tests.support.channel_networks import NETWORKS, network
from torch_growl.networks.channels.coupling import CoupledChannels, coupled_channels
from torch_growl.networks.targets import Counter


def found(name: str, staying: tuple[str, ...] = ()) -> tuple[dict[str, CoupledChannels], dict[str, str]]:
    model, x, _ = network(name)
    counter = Counter(model, x[:2])
    readers = [layer for layer in counter.cuttable if layer not in staying]
    sorts, why = coupled_channels(counter.wiring, readers, dict(model.named_parameters()), staying)
    return {own.name: own for own in sorts}, why


SORTS = {  # name: channels, readers, makers, parameters
    "plain CNN": {
        "0": (12, {"3": 1}, {"0": 1}, {"1.weight": 1, "1.bias": 1}),
        "3": (16, {"7": 4}, {"3": 1}, {}),
    },
    "1×1 shortcut and gate": {
        "stem": (8, {"a": 1, "shortcut": 1}, {"stem": 1}, {"norm.weight": 1, "norm.bias": 1}),
        "a": (16, {"b": 1}, {"a": 1}, {"bn_a.weight": 1, "bn_a.bias": 1}),
        "b": (
            12,
            {"gate": 1, "head": 1},
            {"b": 1, "shortcut": 1, "gate": 1},
            {"bn_b.weight": 1, "bn_b.bias": 1, "bn_s.weight": 1, "bn_s.bias": 1},
        ),
    },
    "depthwise": {
        "0": (8, {"6": 1}, {"0": 1, "3": 1}, {"1.weight": 1, "1.bias": 1, "4.weight": 1, "4.bias": 1}),
        "6": (12, {"12": 1}, {"6": 1, "9": 1}, {"7.weight": 1, "7.bias": 1, "10.weight": 1, "10.bias": 1}),
        "12": (16, {"17": 1}, {"12": 1}, {"13.weight": 1, "13.bias": 1}),
    },
    "transformer": {  # four whole heads
        "q": (4, {"out": 4}, {"q": 4, "k": 4, "v": 4}, {}),
        "up": (24, {"down": 1}, {"up": 1}, {}),
    },
}


def test_every_channel_has_its_readers_makers_and_parameters() -> None:
    for name, wanted in SORTS.items():
        sorts, _ = found(name)
        shapes = {
            own.name: (
                len(own),
                *(
                    {part: numbers.shape[1] for part, numbers in parts.items()}
                    for parts in (own.readers, own.makers, own.parameters)
                ),
            )
            for own in sorts.values()
        }
        assert shapes == wanted, name
    assert set(SORTS) == set(NETWORKS) - {"padded shortcuts"}


def test_a_padded_shortcut_s_channels_are_one_with_those_that_it_reads() -> None:
    sorts, why = found("padded shortcuts")
    streams = {name: len(own) for name, own in sorts.items() if "linear" in own.readers}
    assert streams == {"conv1": 8, "layer2.0.conv2": 8, "layer3.0.conv2": 16}
    first = sorts["conv1"]
    assert set(first.readers) == {"layer1.0.conv1", "layer2.0.conv1", "layer3.0.conv1", "linear"}
    assert first.readers["linear"].ravel().tolist() == [12, 13, 14, 15, 16, 17, 18, 19]
    assert why == {"conv1": "the channels that it reads must stay: they are inputs, or mixed by an operation"}


def test_channels_that_a_layer_with_rows_that_stay_reads_stay() -> None:
    sorts, _ = found("1×1 shortcut and gate", staying=("shortcut", "head"))
    assert set(sorts) == {"a"}


def test_layers_that_read_normalised_streams_are_left_with_the_reason() -> None:
    _, why = found("transformer")
    assert set(why) == {"embed", "q", "k", "v", "up", "head"}
    assert "or mixed by an operation" in why["q"]
    assert "the channels that it reads must stay: its output is" in why["head"]
