"""Channels that a module without parameters pads or slices by number can be removed."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import torch_growl as tg
from tests.support.compact_files import changed, refused, split
from tests.support.compaction_checks import assert_same_outputs, by_name
from torch_growl.application.models.residual import resnet_cifar
from torch_growl.errors import GrowlWarning
from torch_growl.networks.compaction import structure_of
from torch_growl.networks.layers import plain_copy


class Apply(nn.Module):
    """A function as a module, as in the networks that write ``LambdaLayer(lambda x: F.pad(…))``."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *x: Tensor) -> Any:
        return self.function(*x)


class Shortcut(nn.Module):
    """A convolution of 8 channels, a function of its output, and what a convolution of it adds to that."""

    def __init__(self, around: nn.Module, width: int) -> None:
        super().__init__()
        self.stem, self.around, self.inner = nn.Conv2d(3, 8, 1), around, nn.Conv2d(8, width, 3, padding=1)
        self.head = nn.Linear(width, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).relu()
        return self.head((self.around(x) + self.inner(x)).relu().mean((2, 3)))


def padded(*amounts: int, value: float = 0.0) -> Apply:
    return Apply(lambda x: F.pad(x, (0, 0, 0, 0, *amounts), value=value))


MODULES: dict[str, tuple[Callable[[], nn.Module], int, list[int]]] = {  # module, width, its outputs from the stem
    "padded on both sides": (lambda: padded(2, 3), 13, [-1] * 2 + list(range(8)) + [-1] * 3),
    "padded and every second pixel": (
        lambda: Apply(lambda x: F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 4, 0)).repeat(1, 1, 2, 2)),
        12,
        [-1] * 4 + list(range(8)),
    ),
    "padded with ones": (lambda: padded(0, 2, value=1.0), 10, [*range(8), -1, -1]),
    "cropped": (lambda: padded(-2, -1), 5, list(range(2, 7))),
    "sliced": (lambda: Apply(lambda x: x[:, :6]), 6, list(range(6))),
    "every second channel": (lambda: Apply(lambda x: x[:, ::2]), 4, [0, 2, 4, 6]),
    "padded, pooled inside": (lambda: nn.Sequential(nn.Identity(), padded(1, 1)), 10, [-1, *range(8), -1]),
    "torch's own module": (lambda: nn.ConstantPad3d((0, 0, 0, 0, 1, 2), 0.0), 11, [-1, *range(8), -1, -1]),
}


def with_zero_rows(name: str) -> tuple[nn.Module, Tensor]:
    """A network in which no layer reads the stem's channels 3 and 5, nor what comes of them, nor the last channel."""
    torch.manual_seed(0)
    make, width, source = MODULES[name]
    model = Shortcut(make(), width)
    with torch.no_grad():
        model.inner.weight[:, [3, 5]] = 0
        model.head.weight[:, [place for place, own in enumerate(source) if own in (3, 5)]] = 0
        model.head.weight[:, -1] = 0
    return model.eval(), torch.randn(4, 3, 6, 6)


@pytest.mark.parametrize("name", MODULES)
def test_channels_beside_those_that_are_padded_or_sliced_are_removed(name: str, tmp_path: Path) -> None:
    model, x = with_zero_rows(name)
    _, width, source = MODULES[name]
    small = tg.compact(model, x)
    gone = {place for place, own in enumerate(source) if own in (3, 5)} | {width - 1}
    cuts = by_name(small)
    assert cuts["head"].width == width - len(gone)
    assert cuts["inner"].outputs_left == width - len(gone)
    assert cuts["stem"].outputs_left == 6
    assert_same_outputs(model, small, -x)
    tg.save(small, tmp_path / "f")
    make, *_ = MODULES[name]
    assert_same_outputs(model, tg.load(tmp_path / "f", Shortcut(make(), width)), -x)
    assert_same_outputs(model, tg.load_dense(tmp_path / "f", Shortcut(make(), width)), -x)


def test_a_module_that_is_called_twice_has_the_same_channels_in_both_calls() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.pad = nn.Linear(3, 6), nn.Linear(3, 6), Apply(lambda x: F.pad(x, (1, 1)))
            self.reader = nn.Linear(8, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.reader(self.pad(self.a(x)) * self.pad(self.b(x)).relu())

    torch.manual_seed(0)
    model, x = Twice().eval(), torch.randn(5, 3)
    with torch.no_grad():
        model.reader.weight[:, [0, 2, 3]] = 0
    small = tg.compact(model, x)
    assert [by_name(small)[name].outputs_left for name in ("a", "b")] == [4, 4]
    assert by_name(small)["reader"].width == 5
    assert_same_outputs(model, small, -x)


STAYING: dict[str, Callable[[], nn.Module]] = {
    "two inputs": lambda: Apply(lambda x, y: F.pad(x, (1, 1)) + F.pad(y, (1, 1))),
    "two outputs": lambda: Apply(lambda x, y: (F.pad(x, (1, 1)), y)),
}


@pytest.mark.parametrize("name", STAYING)
def test_a_module_of_several_tensors_keeps_what_it_pads_and_gives_the_reason(name: str) -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.pad = nn.Linear(3, 6), nn.Linear(3, 8), STAYING[name]()
            self.reader = nn.Linear(8, 2)

        def forward(self, x: Tensor) -> Tensor:
            y = self.pad(self.a(x), self.a(x).sin())
            return self.reader((y[0] if isinstance(y, tuple) else y) + self.b(x))

    torch.manual_seed(0)
    model, x = Two().eval(), torch.randn(5, 3)
    with torch.no_grad():
        model.reader.weight[:, [0, 3, 7]] = 0
    small = tg.compact(model, x)
    assert by_name(small)["b"].outputs_left == 7  # channel 3 is the second of the layer a, which nothing pads
    assert "" in structure_of(small).layers[1].reason
    assert_same_outputs(model, small, -x)


def test_the_streams_of_a_residual_network_narrow_in_every_stage() -> None:
    torch.manual_seed(0)
    model, x = resnet_cifar(depth=8).eval(), torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        for name, first in (("layer1.0.conv1", 0), ("layer2.0.conv1", 0), ("layer3.0.conv1", 8), ("linear", 24)):
            model.get_submodule(name).weight[:, [first + channel for channel in (1, 7, 8)]] = 0
        model.layer3[0].conv1.weight[:, [0, 31]] = 0
        model.linear.weight[:, [0, 1, 16, 47, 60]] = 0
    small = tg.compact(model, x)
    cuts = by_name(small)
    assert [cuts[name].outputs_left for name in ("conv1", "layer2.0.conv2", "layer3.0.conv2")] == [13, 27, 56]
    assert_same_outputs(model, small, -x)


def test_faults_of_its_entry_in_a_file_are_refused(tmp_path: Path) -> None:
    model, x = with_zero_rows("padded on both sides")
    tg.save(tg.compact(model, x), tmp_path / "f")
    data = (tmp_path / "f").read_bytes()
    assert '"modules":[{"module":"around","dim":-3,"inputs":8,"outputs":13,' in split(data)[0]["structure"]

    def entry(**fields: Any) -> Any:
        return lambda structure, tensors, header: structure["modules"][0].update(fields)

    def twice(structure: Any, tensors: Any, header: Any) -> None:
        structure["modules"] *= 2

    for change, message in (
        (entry(module="stem"), "module 'stem': the network has no such module, or it has parameters"),
        (entry(module="nowhere"), "module 'nowhere': the network has no such module"),
        (entry(module=""), "module '': the network has no such module"),
        (entry(dim=1), "module 'around': dim must be negative"),
        (entry(dim="1"), "module 'around': dim must be int"),
        (entry(op="exec"), "module 'around' must have the fields"),
        (entry(kept=99), "module 'around': kept: the file has no"),
        (twice, "a module is in the structure's modules twice"),
    ):
        refused(changed(data, change), tmp_path / "g", message, Shortcut(padded(2, 3), 13))


def test_a_copy_that_was_compacted_is_compacted_again_with_the_same_outputs() -> None:
    model, x = with_zero_rows("padded on both sides")
    small = tg.compact(model, x)
    with torch.no_grad():
        small.head.weight[:, 0] = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", GrowlWarning)
        assert_same_outputs(small, tg.compact(plain_copy(small), x), -x)
