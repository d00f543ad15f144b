"""A network that cannot be compared with its compact one, or whose compact one answers differently, is refused."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.support.compact_battery import MLP, NETS, pruned_mlp
from tests.support.compaction_checks import by_name
from torch_growl.errors import CompactionError, InvalidTypeError, InvalidValueError, LayerError
from torch_growl.networks.compaction.compactor import compact
from torch_growl.networks.compaction.structure import structure_of


class Says(nn.Module):
    """A layer, and something else done with what it gives."""

    def __init__(self, then: Any) -> None:
        super().__init__()
        self.f, self.then = nn.Linear(30, 8), then
        with torch.no_grad():
            self.f.weight[:, :20] = 0

    def forward(self, x: Tensor) -> Any:
        return self.then(self, self.f(x))


def test_networks_that_draw_random_numbers_are_compared_on_the_same_ones() -> None:
    model = Says(lambda self, y: nn.functional.dropout(y, 0.5, training=True) + torch.rand_like(y))
    assert compact(model, torch.randn(3, 30)).f.layer.weight.shape == (8, 10)


@pytest.mark.slow
def test_networks_whose_outputs_change_are_refused() -> None:
    x = torch.randn(3, 30)
    with pytest.raises(CompactionError, match="holds no tensor"):
        compact(Says(lambda self, y: "words"), x)
    with pytest.raises(CompactionError, match=r"output differs by .* more than 1e-05 × its largest value"):
        compact(Says(lambda self, y: y + len(list(self.modules()))), x)
    with pytest.raises(CompactionError, match=r"output must be .* got"):
        compact(Says(lambda self, y: y.repeat(1, len(list(self.modules())))), x)
    with pytest.raises(CompactionError, match="nested differently"):
        compact(Says(lambda self, y: [y] * len(list(self.modules()))), x)
    with pytest.raises(CompactionError, match=r"output\[1\] \(torch.int64\) differs"):
        compact(Says(lambda self, y: (y, torch.tensor([len(list(self.modules()))]))), x)
    with pytest.raises(CompactionError, match="it raises AttributeError"):
        compact(Says(lambda self, y: y * self.f.in_features), x)
    assert compact(Says(lambda self, y: y.to(self.f.weight.dtype)), x).f.layer.weight.shape == (8, 10)
    model = Says(lambda self, y: y)
    model.kept = (number for number in range(3))  # type: ignore[assignment]
    with pytest.raises(CompactionError, match="cannot be copied"):
        compact(model, x)


def test_outputs_that_are_infinite_in_other_places_are_found() -> None:
    def then(self: Says, y: Tensor) -> Tensor:
        return y / (0 if len(list(self.modules())) > 2 else 1)

    with pytest.raises(CompactionError, match="output is not finite in other places"):
        compact(Says(then), torch.randn(3, 30))


@pytest.mark.slow
def test_a_removal_that_is_given_up_has_a_reason() -> None:
    cases = {net.name: net for net in NETS}
    layers = by_name(compact(cases["reads-size"].trained(), cases["reads-size"].input()))
    assert layers["f1"].reason.startswith("removing its output channels was tried and given up: output differs by")
    layers = by_name(compact(cases["reads-weight"].trained(), cases["reads-weight"].input()))
    assert layers["f1"].reason == "its weight is read by other code than its own forward"
    assert layers["f2"].form == "local"


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_bad_weights_are_refused(bad: float) -> None:
    model = pruned_mlp()
    with torch.no_grad():
        model.fc2.weight[0, 0] = bad
    with pytest.raises(LayerError, match="layer 'fc2' has NaN or infinite weights"):
        compact(model, torch.randn(3, 20))


def test_bad_arguments_are_refused() -> None:
    x = torch.randn(3, 20)
    with pytest.raises(InvalidTypeError, match=r"model must be a torch.nn.Module, got str"):
        compact("model", x)  # type: ignore[arg-type]
    with pytest.raises(InvalidValueError, match=r"tolerance must be in \(0, 1\)"):
        compact(MLP(), x, tolerance=0)
    with pytest.raises(InvalidTypeError, match="example_inputs must be a tensor, a tuple"):
        compact(MLP(), 3)
    with pytest.raises(InvalidValueError, match="at least one tensor"):
        compact(MLP(), ())
    with pytest.raises(CompactionError, match="does not run on example_inputs"):
        compact(MLP(), torch.randn(3, 19))
    with pytest.raises(CompactionError, match=r"own output on example_inputs is not finite"):
        compact(MLP(), torch.full((3, 20), float("nan")))
    with pytest.raises(InvalidValueError, match="no structure record"):
        structure_of(MLP())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_proof_can_be_made_in_float64(dtype: torch.dtype) -> None:
    """At a tolerance that the network's own type could never hold."""
    torch.manual_seed(0)
    model, x = pruned_mlp().to(dtype), torch.randn(3, 20, dtype=dtype)
    small = compact(model, x, tolerance=1e-13, float64=True)
    assert {p.dtype for p in small.parameters()} == {dtype}
    wide, less = copy.deepcopy(model).double().eval(), copy.deepcopy(small).double().eval()
    assert (wide(x.double()) - less(x.double())).abs().max() <= 1e-13 * wide(x.double()).abs().max()
    assert structure_of(small).layers[0].outputs_left < 30
