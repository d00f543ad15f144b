"""A strength means the same with every optimizer, or the optimizer is refused with the reason."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache

import pytest
import torch
from torch import nn
from torch.optim import Optimizer

import torch_growl as tg
from tests.support.optimizer_task import OPTIMIZERS, SteppedAdam, SteppedSGD, kept_rows, small_network
from torch_growl.errors import GrowlWarning, InvalidValueError
from torch_growl.networks.optimizers.formulas import formula_of
from torch_growl.networks.optimizers.step_lengths import StepLengths

REFUSED: dict[str, tuple[Callable[[nn.Module], Optimizer], str]] = {
    "LBFGS": (lambda m: torch.optim.LBFGS(m.parameters()), "evaluates the loss several times"),
    "Rprop": (lambda m: torch.optim.Rprop(m.parameters()), "depend on the gradient's sign only"),
    "SparseAdam": (lambda m: torch.optim.SparseAdam(m.parameters()), "takes sparse gradients only"),
}


def test_every_optimizer_of_torch_is_served_by_a_formula_or_refused() -> None:
    of_torch = {
        name
        for name, cls in vars(torch.optim).items()
        if isinstance(cls, type) and issubclass(cls, Optimizer) and cls is not Optimizer
    }
    assert of_torch == set(OPTIMIZERS) | set(REFUSED)
    for make in OPTIMIZERS.values():
        assert formula_of(make(small_network())) is not None


@pytest.mark.parametrize("name", REFUSED)
def test_an_optimizer_that_cannot_be_followed_by_the_prox_is_refused_when_attached(name: str) -> None:
    make, reason = REFUSED[name]
    network = small_network()
    with pytest.raises(InvalidValueError, match=f"{name} cannot be combined with GrOWL: .*{reason}.*; use"):
        tg.GrOWL(network).attach(make(network))


@cache
def of_sgd() -> int:
    return kept_rows(OPTIMIZERS["SGD"])[0]


@pytest.mark.slow
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_keeps_about_as_many_rows_as_sgd(name: str) -> None:
    kept, loss = kept_rows(OPTIMIZERS[name])
    assert 15 < of_sgd() < 30
    assert of_sgd() / 2 <= kept <= of_sgd() * 2
    assert loss < 0.1, "outputs have a variance of 0.6"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["AdamW8bit", "AdamW4bit", "AdamWFp8", "_AdamW"])
def test_optimizers_with_states_of_few_bits_keep_as_many(name: str) -> None:
    optimizers = pytest.importorskip("torchao.optim")
    settings = {} if name == "_AdamW" else {"block_size": 64}
    with torch.compiler.set_stance("force_eager"):
        kept, loss = kept_rows(lambda m: getattr(optimizers, name)(m.parameters(), lr=6e-3, **settings), steps=700)
    assert of_sgd() / 2 <= kept <= of_sgd() * 2
    assert loss < 0.1


@pytest.mark.slow
@pytest.mark.parametrize(
    "make",
    [lambda m: SteppedSGD(m.parameters(), 0.1, 0.9), lambda m: SteppedAdam(m.parameters(), 3e-3)],
    ids=["SGD", "AdamW"],
)
def test_an_optimizer_without_a_formula_is_measured_and_keeps_as_many(make: Callable[[nn.Module], Optimizer]) -> None:
    with pytest.warns(GrowlWarning, match="no formula is known for the length of a step of Stepped"):
        kept, loss = kept_rows(make)
    assert of_sgd() / 2 <= kept <= of_sgd() * 2
    assert loss < 0.1


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_formula_is_the_measured_displacement_along_a_steady_gradient(name: str) -> None:
    """Steps with one gradient that stays: the weight moves by length · gradient, whatever the optimizer."""
    torch.manual_seed(0)
    layer = nn.Linear(6, 4, bias=False)
    rows = torch.linalg.qr(torch.randn(6, 6)).Q[:4]  # of equal singular values, and no element is far from typical
    gradient = torch.where(rows > 0, 0.5, -0.5) if name != "Muon" else rows
    optimizer = OPTIMIZERS[name](layer)
    for group in optimizer.param_groups:
        group.update({key: 0.0 for key in ("weight_decay", "lambd") if key in group})
    for i in range(400):
        before = layer.weight.detach().clone()
        layer.weight.grad = gradient.clone()
        optimizer.step()
        if i in (150, 399):
            moved = float(((before - layer.weight.detach()) * gradient).sum() / gradient.square().sum())
            lengths = StepLengths(optimizer).rates({"": layer.weight}, scale_free=True, period=1)
            assert float(lengths[""]) == pytest.approx(moved, rel={"Muon": 0.25, "Adafactor": 0.1}.get(name, 0.05))


@pytest.mark.skipif("Muon" not in OPTIMIZERS, reason="torch before 2.9 has no Muon")
def test_a_strength_that_keeps_more_rows_with_muon_is_refused() -> None:
    network = small_network()
    growl = tg.GrOWL(network, strength=0.5)
    muon = OPTIMIZERS["Muon"](network)
    message = (
        r"Muon keeps up to four times the rows of SGD at strengths below 0.9, got 0.5; give 1 or more, or a target"
    )
    with pytest.raises(InvalidValueError, match=message):
        growl.attach(muon)
    growl.strength = 1.0
    growl.attach(muon)


def test_all_optimizers_of_torch_are_attached_without_a_warning() -> None:
    for make in OPTIMIZERS.values():
        network = small_network()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            tg.GrOWL(network).attach(make(network))
