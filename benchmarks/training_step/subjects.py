"""Builds the networks on which the GrOWL step is timed, in two states, and the small change of a training step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from torch_growl import GrOWL
from torch_growl.application.models.convolutional import lenet5, vgg16
from torch_growl.application.models.perceptrons import mnist_mlp
from torch_growl.application.models.residual import resnet_cifar
from torch_growl.networks.layers import row_norms, rows_of, scale_rows_, write_rows_

__all__ = ["NETWORKS", "STATES", "Snapshot", "build", "nudge_"]

NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {  # name → (maker, shape of one input)
    "784-300-10 MLP": (mnist_mlp, (784,)),
    "LeNet-5": (lenet5, (1, 28, 28)),
    "ResNet-20": (resnet_cifar, (3, 32, 32)),
    "VGG-16": (vgg16, (3, 32, 32)),
}
STATES = ("fresh", "pruned and tied")

_NUDGE = 1e-3  # relative change of a row's norm from one step to the next


def build(name: str, state: str = "fresh") -> nn.Module:
    """Return a seeded network.

    Args:
        name: of :data:`NETWORKS`.
        state: ``"fresh"``: as initialised; ``"pruned and tied"``: in every layer that GrOWL takes by default, norms
            spread as after training, the smaller half of the rows zero, the others equal in groups of eight.
    """
    torch.manual_seed(0)
    model = NETWORKS[name][0]()
    if state == "pruned and tied":
        for layer in GrOWL(model).layers:
            module = model.get_submodule(layer)
            scale_rows_(module, torch.randn(len(row_norms(module))).mul(0.5).exp())
            rows = rows_of(module).detach().clone()
            order = row_norms(module).argsort(descending=True)
            alive = order[: len(order) // 2]
            for group in alive.split(8):
                rows[group] = rows[group[0]].clone()
            rows[order[len(alive) :]] = 0.0
            write_rows_(module, rows)
    return model


@dataclass
class Snapshot:
    """Copies of layers' weights, from which every timed step starts."""

    modules: list[nn.Module]
    kept: list[Tensor]

    @classmethod
    def of(cls, model: nn.Module, layers: tuple[str, ...]) -> Snapshot:
        """Copy the weights of the named layers."""
        modules = [model.get_submodule(name) for name in layers]
        return cls(modules, [module.weight.detach().clone() for module in modules])

    @torch.no_grad()
    def restore_(self) -> None:
        """Restore the weights."""
        for module, kept in zip(self.modules, self.kept, strict=True):
            module.weight.copy_(kept)

    @property
    def weights(self) -> list[Tensor]:
        """Return the current weights."""
        return [module.weight.detach() for module in self.modules]


def nudge_(modules: list[nn.Module], generator: torch.Generator) -> None:
    """Scale every row by 1 ± 0.1 %, so that norms and their order change as they do from one SGD step to the next."""
    for module in modules:
        n = len(row_norms(module))
        scale_rows_(module, 1 + _NUDGE * torch.randn(n, generator=generator))
