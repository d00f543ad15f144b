"""What a watched run takes from the network's own code, and what it leaves on the network."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.support.wired import Between, inputs_of_channels, wired
from torch_growl.networks.wiring.operations import follow
from torch_growl.networks.wiring.watching import record
from torch_growl.networks.wiring.wiring import wiring_of


def test_a_layer_called_twice_has_the_same_channels_both_times() -> None:
    shared = nn.Linear(4, 4)
    found = wired(nn.Sequential(nn.Linear(3, 4), shared, nn.ReLU(), shared, nn.Linear(4, 2)), 2, 3)
    assert (found.inputs["1"] == found.outputs["0"]).all()
    assert (found.inputs["1"] == found.outputs["1"]).all()
    assert not found.pinned[found.outputs["1"]].any()


def test_channels_that_a_layer_reads_along_another_dimension_are_one_class() -> None:
    found = wired(Between(lambda x: x.transpose(1, 2), nn.Conv2d(3, 2, 1)), 2, 2, 3, 3)
    (channel,) = set(found.outputs["maker"].tolist())
    assert set(found.inputs["reader"].tolist()) == {channel}
    assert not found.pinned[channel]


class Branch(nn.Module):
    """A network that reads one of two layers, by the sign of its input's sum."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.reader = nn.Linear(3, 4), nn.Linear(3, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.reader(self.a(x) if x.sum() > 0 else self.b(x))


@pytest.mark.parametrize(("sign", "taken", "other"), [(1, "a", "b"), (-1, "b", "a")])
def test_the_branch_that_runs_is_recorded(sign: int, taken: str, other: str) -> None:
    found = wiring_of(Branch(), [((sign * torch.ones(2, 3),), {})])
    assert inputs_of_channels(found, "reader", taken) == [[0], [1], [2], [3]]
    assert found.reasons[other].startswith("it is not called")


def test_a_layer_whose_output_is_dropped_has_no_reader() -> None:
    class Forgets(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(3, 4), nn.Linear(3, 4)

        def forward(self, x: Tensor, scale: float = 1.0, *more: Tensor, skip: bool = False) -> Tensor:
            self.a(x)
            return x if skip else self.b(x) * scale

    assert wired(Forgets(), 2, 3).links["a"] == ()
    found = wiring_of(Forgets(), [((torch.randn(2, 3),), {"skip": True})])
    assert found.reasons["b"].startswith("it is not called")


class Regularized(nn.Sequential):
    """A network whose own code reads the weight of a layer."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * self[1].weight.sum()


def test_a_weight_that_other_code_reads_pins_the_layer_and_its_inputs() -> None:
    found = wired(Regularized(nn.Linear(3, 4), nn.Linear(4, 4), nn.Linear(4, 2)), 2, 3)
    assert found.outside == {"1"}
    reason = "the weight of 1 is read by other code than its own forward"
    assert (found.reasons["0"], found.reasons["1"]) == (reason, reason)


class Fails(nn.Sequential):
    """A network that cannot be run."""

    def forward(self, x: Tensor) -> Tensor:
        super().forward(x)
        raise RuntimeError("of weather\nand wind")


@pytest.mark.parametrize("fails", [False, True])
def test_the_run_leaves_values_and_hooks_as_they_were(fails: bool) -> None:
    parts = nn.Conv2d(2, 4, 1), nn.BatchNorm2d(4), nn.Conv2d(4, 3, 1)
    model = (Fails if fails else nn.Sequential)(*parts).eval()
    handle = model[1].register_forward_hook(lambda module, args, result: None)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    if fails:
        with pytest.raises(RuntimeError, match="of weather"):
            record(model, [((torch.randn(2, 2, 3, 3),), {})], {}, follow)
    else:
        record(model, [((torch.randn(2, 2, 3, 3),), {})], {}, follow)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    hooks = {name: [*module._forward_hooks, *module._forward_pre_hooks] for name, module in model.named_modules()}
    assert hooks == {"": [], "0": [], "1": [handle.id], "2": []}


def test_moving_to_channels_last_inside_adaptive_pooling_is_no_operation() -> None:
    pooled = Between(lambda x: F.adaptive_avg_pool2d(x, 1).flatten(1), nn.Linear(4, 3))
    x = torch.randn(2, 2, 3, 3).to(memory_format=torch.channels_last)
    assert inputs_of_channels(wiring_of(pooled.eval(), [((x,), {})])) == [[0], [1], [2], [3]]


def test_the_outputs_of_a_module_that_pads_read_its_inputs() -> None:
    found = wired(Between(nn.ConstantPad3d((0, 0, 0, 0, 1, 2), 0.0), nn.Conv2d(7, 3, 1)), 2, 2, 3, 3)
    made, read = found.outputs["maker"], found.inputs["reader"]
    assert not found.pinned[made].any()
    assert not found.pinned[read].any()
    assert len({*made.tolist(), *read.tolist()}) == 4 + 7
    pairs = {tuple(pair) for pair in found.reads.tolist()}
    assert {(own, place) for own, place in zip(made.tolist(), read[1:5].tolist(), strict=True)} <= pairs
    assert found.numbered["between"].outputs.tolist() == read.tolist()


class PadsInside(nn.Module):
    """A block with a layer that pads its shortcut in its own forward."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(4, 6, 1)

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x, (0, 0, 0, 0, 1, 1))[:, [0, 5, 0, 5, 0, 5]] + self.layer(x)


def test_code_that_pads_in_a_module_with_layers_is_named() -> None:
    found = wired(nn.Sequential(nn.Conv2d(2, 4, 1), PadsInside(), nn.Conv2d(6, 3, 1)), 2, 2, 3, 3)
    assert found.reasons["1.layer"].endswith("must stay as it is; 1 pads channels: write this as a module of its own")
