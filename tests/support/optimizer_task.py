"""One small task that every optimizer is trained on with the same penalty, and the optimizers with their settings.

``python -m tests.support.optimizer_task`` shows the rows kept at a low strength and small learning rates, with the
exponents R of both layers, which say how far the training came.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

import torch_growl as tg
from torch_growl.networks.optimizers import StepLengths


def small_network() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 8))


def _data() -> tuple[Tensor, Tensor]:
    """512 examples of which 12 of 64 inputs matter; half of the inputs are correlated with the others."""
    torch.manual_seed(0)
    x = torch.randn(512, 64)
    x[:, 32:] = 0.3 * x[:, :32] + 0.05 * torch.randn(512, 32)
    return x, torch.tanh(x @ torch.cat([torch.randn(12, 8), torch.zeros(52, 8)]))


def kept_rows(
    make: Callable[[nn.Module], Optimizer],
    steps: int = 2000,
    dtype: torch.dtype = torch.float32,
    strength: float = 1.0,
    exponents: dict[str, float] | None = None,
) -> tuple[int, float]:
    """Train the task, the penalty attached after 100 steps, and add to the exponents R of its layers.

    Returns:
        The nonzero rows of both penalised layers, 128 at the start, and the loss in evaluation mode.
    """
    x, y = (tensor.to(dtype) for tensor in _data())
    network = small_network().to(dtype)
    optimizer = make(network)
    schedule_free = hasattr(optimizer, "train")
    if schedule_free:
        optimizer.train()
    growl = tg.GrOWL(network, strength=strength)
    for step in range(steps + 100):
        if step == 100:
            growl.attach(optimizer)
        batch = torch.randint(0, 512, (128,))
        optimizer.zero_grad()
        (network(x[batch]) - y[batch]).square().mean().backward()
        optimizer.step()
        if exponents is not None and step >= 100:
            weights = {name: parameter for name, parameter in network.named_parameters() if name[:-7] in growl.layers}
            for name, length in StepLengths(optimizer).rates(weights, scale_free=True, period=1).items():
                share = strength * 0.5**0.5 / float(weights[name].detach().square().sum())  # two layers of one size
                exponents[name] = exponents.get(name, 0.0) + float(length) * share
    if schedule_free:
        optimizer.eval()
    return sum(growl.nonzero().values()), float((network(x) - y).square().mean().detach())


def _all(network: nn.Module) -> Iterator[nn.Parameter]:
    return network.parameters()


def _matrices(network: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in network.parameters() if parameter.ndim == 2]


OPTIMIZERS: dict[str, Callable[[nn.Module], Optimizer]] = {
    "SGD": lambda m: torch.optim.SGD(_all(m), lr=0.1, momentum=0.9),
    "Adam": lambda m: torch.optim.Adam(_all(m), lr=3e-3),
    "AdamW": lambda m: torch.optim.AdamW(_all(m), lr=3e-3),
    "NAdam": lambda m: torch.optim.NAdam(_all(m), lr=3e-3),
    "RAdam": lambda m: torch.optim.RAdam(_all(m), lr=3e-3),
    "Adamax": lambda m: torch.optim.Adamax(_all(m), lr=1e-2),
    "RMSprop": lambda m: torch.optim.RMSprop(_all(m), lr=3e-3),
    "Adagrad": lambda m: torch.optim.Adagrad(_all(m), lr=6e-2),
    "Adadelta": lambda m: torch.optim.Adadelta(_all(m), lr=3.0),
    "ASGD": lambda m: torch.optim.ASGD(_all(m), lr=1.0),
    "Adafactor": lambda m: torch.optim.Adafactor(_all(m), lr=6e-2),
    "Muon": lambda m: torch.optim.Muon(_matrices(m), lr=1e-2),
}
if not hasattr(torch.optim, "Muon"):  # before torch 2.9
    del OPTIMIZERS["Muon"]


class SteppedSGD(torch.optim.SGD):
    """An optimizer of which no formula is known: it might do anything in its step."""

    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        return super().step(closure)


class SteppedAdam(torch.optim.AdamW):
    """Another one, with weight decay."""

    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        return super().step(closure)


AT_SMALL_RATES: dict[str, tuple[Callable[[nn.Module], Optimizer], int]] = {
    "SGD, 300 steps": (OPTIMIZERS["SGD"], 300),
    "SGD, 1,100 steps": (OPTIMIZERS["SGD"], 1100),
    "SGD": (OPTIMIZERS["SGD"], 1500),
    "SGD without momentum, 1,100 steps": (lambda m: torch.optim.SGD(_all(m), lr=1.0), 1100),
    "AdamW": (OPTIMIZERS["AdamW"], 1500),
    "Adamax": (lambda m: torch.optim.Adamax(_all(m), lr=3e-3), 1500),
    "Adadelta": (lambda m: torch.optim.Adadelta(_all(m)), 1500),
    "Adagrad": (lambda m: torch.optim.Adagrad(_all(m), lr=1e-2), 1500),
    "Adafactor": (lambda m: torch.optim.Adafactor(_all(m), lr=1e-2), 1500),
}

if __name__ == "__main__":
    for label, (maker, number) in AT_SMALL_RATES.items():
        found: dict[str, float] = {}
        rows, loss = kept_rows(maker, number, strength=0.3, exponents=found)
        print(f"{label:34} {rows:4} rows, R {', '.join(f'{value:.1f}' for value in found.values())}, loss {loss:.4f}")
