"""Tracing and comparing: what the comparison with a runtime's outputs tries, and what it refuses."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from torch_growl.errors import ExportError, InvalidTypeError
from torch_growl.networks.execution.example_inputs import Inputs
from torch_growl.networks.exporting.traced import Run, Traced, quiet

X = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))


def traced(*, dynamic_batch: bool = True, tolerance: float = 1e-3) -> Traced:
    torch.manual_seed(0)
    return Traced(nn.Linear(4, 2), X, dynamic_batch=dynamic_batch, tolerance=tolerance, scatter_free=False)


def through(network: Traced, change: Callable[[Tensor], list[Tensor]]) -> Run:
    """A runtime whose outputs are the network's, changed."""

    def run(inputs: Inputs) -> list[Tensor]:
        return change(network.network(*inputs[0]).detach())

    return run


def test_the_largest_difference_of_all_batches_is_returned() -> None:
    network = traced()
    seen: list[int] = []

    def change(y: Tensor) -> list[Tensor]:
        seen.append(len(y))
        return [y + (2.0**-12 * y.abs().max() if len(seen) == 2 else 0)]

    assert network.compare("x", lambda: through(network, change)) == pytest.approx(2.0**-12, rel=1e-2)
    assert seen == [3, 3, 3, 1, 3, 8, 4]


def test_a_fixed_batch_size_is_compared_at_that_size() -> None:
    network = traced(dynamic_batch=False)
    seen: list[int] = []
    assert network.compare("x", lambda: through(network, lambda y: [y, seen.append(len(y))][:1])) == 0.0
    assert seen == [3, 3, 3]


def fails(*_: object) -> list[Tensor]:
    raise RuntimeError("no kernel\nsecond line")


def test_what_a_runtime_does_wrong_is_named() -> None:
    network = traced()
    with pytest.raises(ExportError, match="^x does not load what was exported: no kernel$"):
        network.compare("x", fails)  # type: ignore[arg-type]
    with pytest.raises(ExportError, match="^x fails on what was exported: no kernel$"):
        network.compare("x", lambda: fails)
    with pytest.raises(ExportError, match="^x gives 2 outputs, the network 1$"):
        network.compare("x", lambda: through(network, lambda y: [y, y]))
    with pytest.raises(
        ExportError, match="outputs in x differ from the network's: output differs by .* more than 0.001"
    ):
        network.compare("x", lambda: through(network, lambda y: [1.01 * y]))
    with pytest.raises(ExportError, match=r"outputs in x differ .* output must be \(1, 2\) .* got \(1,\)"):
        network.compare("x", lambda: through(network, lambda y: [y if len(y) > 1 else y.sum(1)]))


def test_a_network_without_outputs_is_refused() -> None:
    class Nothing(nn.Module):
        def forward(self, x: Tensor) -> int:
            return 3

    with pytest.raises(ExportError, match="output holds no tensor"):
        Traced(Nothing(), X, dynamic_batch=True, tolerance=1e-3, scatter_free=False)
    with pytest.raises(InvalidTypeError, match="model must be a torch.nn.Module, got int"):
        Traced(3, X, dynamic_batch=True, tolerance=1e-3, scatter_free=False)  # type: ignore[arg-type]


def test_messages_are_hidden_only_inside(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    logger = logging.getLogger("torch")
    monkeypatch.setattr(logger, "level", logging.WARNING)
    with quiet():
        warnings.warn("hidden", stacklevel=1)
        print("hidden", file=sys.stderr)
        assert logger.level == logging.CRITICAL
    assert logger.level == logging.WARNING
    print("shown", file=sys.stderr)
    assert capfd.readouterr().err == "shown\n"
    with pytest.warns(UserWarning, match="shown"):
        warnings.warn("shown", stacklevel=1)
