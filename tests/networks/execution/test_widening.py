"""Running in a wider type, module by module: the same outputs as of a whole copy, and the network is as before."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from torch_growl.networks.execution.widening import widened


class Called(nn.Module):
    """A layer called twice, a shared weight, a parameter of a module with children, and a counter in a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.rand(6))
        self.a, self.b, self.norm = nn.Linear(6, 6), nn.Linear(6, 6), nn.BatchNorm1d(6)
        self.b.weight = self.a.weight
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.calls = self.calls + 1
        return self.norm(self.b(self.a(self.a(x)).relu()) * self.scale)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize(
    "make",
    [Called, lambda: nn.MultiheadAttention(6, 2, batch_first=True), lambda: nn.Sequential(nn.Linear(6, 3), nn.Tanh())],
    ids=["called", "attention", "sequential"],
)
def test_outputs_are_those_of_a_whole_copy_and_tensors_are_as_before(make: type[nn.Module], dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    model, x = make().to(dtype).eval(), torch.randn(4, 3, 6).double()
    given = (x, x, x) if isinstance(model, nn.MultiheadAttention) else (x[:, 0],)
    before = {name: value.clone() for name, value in model.named_parameters()}
    wide = copy.deepcopy(model).double()
    with torch.no_grad(), widened(model, torch.float64):
        found = model(*given)
    with torch.no_grad():
        wanted = wide(*given)
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)
    assert all(value.dtype == dtype and torch.equal(value, before[name]) for name, value in model.named_parameters())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


class Nested(nn.Module):
    """A module that calls itself, and reads its own parameter after the inner call."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.rand(6, 6))

    def forward(self, x: Tensor, depth: int = 2) -> Tensor:
        inner = self(x, depth - 1) if depth else x
        return inner @ self.weight


def test_a_module_that_calls_itself_stays_wide_until_its_outer_call_ends() -> None:
    torch.manual_seed(0)
    model, x = Nested().bfloat16(), torch.rand(2, 6).double()
    wide, before = copy.deepcopy(model).double(), model.weight
    with torch.no_grad(), widened(model, torch.float64):
        assert torch.equal(model(x), wide(x))
    assert model.weight is before


def test_after_an_error_the_tensors_are_as_before() -> None:
    model = nn.Sequential(nn.Linear(6, 3), nn.Linear(4, 2)).bfloat16()
    with pytest.raises(RuntimeError), widened(model, torch.float64):
        model(torch.zeros(2, 6).double())
    assert {value.dtype for value in model.parameters()} == {torch.bfloat16}
