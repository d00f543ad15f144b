"""Runs of two networks up to a layer, and the error of outputs."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from torch_growl.errors import InvalidValueError, LayerError
from torch_growl.networks.execution import split_examples
from torch_growl.networks.moments.paired_runs import PairedRuns, float_outputs, output_error, split_batches


class Counts(nn.Module):
    """Its second layer is called twice, and it counts the calls of its last one."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(4, 4), nn.Linear(4, 4), nn.Conv1d(1, 2, 3, bias=False)
        self.norm, self.ends = nn.BatchNorm1d(2), 0

    def forward(self, x: Tensor) -> Tensor:
        x = self.b(torch.relu(self.b(input=torch.relu(self.a(x)))))
        x = self.norm(self.c(x.unsqueeze(1)))
        self.ends += 1
        return x


def batches() -> list[Any]:
    generator = torch.Generator().manual_seed(0)
    return split_examples([torch.randn(6, 4, generator=generator) for _ in range(3)])


def test_moments_are_of_the_models_inputs_and_the_dense_outputs() -> None:
    torch.manual_seed(0)
    dense = Counts().eval()
    model = copy.deepcopy(dense)
    with torch.no_grad():
        model.a.weight[:, 1] = 0
    runs = PairedRuns(dense, batches())
    assert runs.order == ["a", "b", "c"]
    assert runs.norms == {"c": "norm"}
    ends = dense.ends, model.ends
    [moments] = runs.moments(model, "b", batches())
    assert (dense.ends, model.ends) == ends, "a run ends at the layer"
    assert moments.count == 2 * 18
    x = torch.cat([args[0] for args, _ in batches()])
    with torch.no_grad():
        z = torch.relu(model.a(x))
        z = torch.cat([z, torch.relu(model.b(z))])
        y = torch.relu(dense.a(x))
        y = torch.cat([dense.b(y), dense.b(torch.relu(dense.b(y)))])
    torch.testing.assert_close(moments.zy, z.double().t() @ y.double(), rtol=1e-5, atol=1e-5)
    own = runs.own_moments()
    assert set(own) == {"a", "b", "c"}
    torch.testing.assert_close(own["b"][0].y, y.double().sum(0), rtol=1e-5, atol=1e-5)


def test_of_many_positions_some_are_drawn_the_same_ones_for_a_seed() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 3)).eval()
    x = split_examples([torch.randn(8, 1, 34, 34)])
    runs = PairedRuns(net, x)
    first, second = (runs.moments(net, "0", x)[0] for _ in range(2))
    assert first.count == 16 * 9
    assert torch.equal(first.zz, second.zz)
    assert first.error(*_own(net)) < 1e-12, "inputs and outputs are of the same positions"


def test_layers_that_share_a_weight_have_no_moments() -> None:
    net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4))
    net[1].weight = net[0].weight
    assert PairedRuns(net.eval(), batches()).order == ["2"]


def test_nan_inputs_are_refused_by_layer_name() -> None:
    net = nn.Sequential(nn.Linear(4, 4)).eval()
    runs = PairedRuns(net, batches())
    with pytest.raises(LayerError, match="layer '0' has NaN or infinite inputs or outputs"):
        runs.moments(net, "0", split_examples([torch.full((2, 4), torch.nan)]))


def _own(net: nn.Sequential) -> Any:
    weight = net[0].weight.detach().double()
    return weight.flatten(1).t(), net[0].bias.detach().double()


def test_the_error_of_outputs_is_a_share_of_their_variance() -> None:
    net = nn.Linear(4, 3).eval()
    inputs = batches()
    wanted = [float_outputs(net, batch) for batch in inputs]
    assert output_error(net, wanted, inputs) == 0
    mean = [[outputs[0].mean(0, keepdim=True).expand_as(outputs[0])] for outputs in wanted]
    with torch.no_grad():
        net.weight.zero_()
        net.bias.zero_()
    far = sum(float(outputs[0].square().sum()) for outputs in wanted)
    spread = sum(float((o[0] - m[0]).square().sum()) for o, m in zip(wanted, mean, strict=True))
    assert output_error(net, wanted, inputs) == pytest.approx(far / spread)


def test_every_fourth_batch_is_held_out_and_one_batch_alone_is_refused() -> None:
    numbers = [torch.tensor([float(i)]) for i in range(9)]
    fitting, held = split_batches(numbers)
    assert [float(args[0]) for args, _ in held] == [3, 7]
    assert [float(args[0]) for args, _ in fitting] == [0, 1, 2, 4, 5, 6, 8]
    fitting, held = split_batches(numbers[:3])
    assert [float(args[0]) for args, _ in (*fitting, *held)] == [0, 1, 2]
    assert len(held) == 1
    for one in (numbers[:1], numbers[0]):
        with pytest.raises(InvalidValueError, match="inputs: at least two batches are needed"):
            split_batches(one)
