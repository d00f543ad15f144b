"""Builds real architectures at their smallest, with random weights and inputs.

``ARCHITECTURES`` is name → builder; :func:`build` calls one, seeded, and makes its weights look trained: no parameter
stays at an initial constant, and batch normalisation has the statistics of its inputs. Nothing is downloaded. A name
with brackets is of a network smaller than its family's smallest member.
"""

from __future__ import annotations

import sys
import types
import warnings
from typing import Any

# The pinned torchvision is built for another torch: its operators cannot be loaded, and nothing here needs them.
sys.modules.setdefault("torchvision._meta_registrations", types.ModuleType("torchvision._meta_registrations"))

import torch  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.utils import _pytree as pytree  # noqa: E402

from benchmarks.architectures.zoo import language, own, timm_models, torchvision_models  # noqa: E402
from torch_growl.networks.execution.example_inputs import batch_of, call, split_inputs  # noqa: E402

__all__ = ["ARCHITECTURES", "SOURCES", "build", "fresh_inputs"]

SOURCES = {
    "torchvision": torchvision_models.BUILDERS,
    "timm": timm_models.BUILDERS,
    "transformers": language.BUILDERS,
    "own": own.BUILDERS,
}
ARCHITECTURES = {name: make for builders in SOURCES.values() for name, make in builders.items()}

_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def build(name: str) -> tuple[nn.Module, Any]:
    """Return a network in eval mode and its example inputs, the same ones on every call.

    Args:
        name: of :data:`ARCHITECTURES`.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of other packages, about their own ways
            model, inputs = ARCHITECTURES[name]()
        model.eval()
        _leave_no_constants_(model)
        _calibrate_(model, inputs)
    return model, inputs


def fresh_inputs(inputs: Any, seed: int) -> Any:
    """Return random inputs of the same shapes: normal ones, and tokens drawn from the example's."""
    generator = torch.Generator().manual_seed(seed)

    def fresh(x: Tensor) -> Tensor:
        if x.is_floating_point():
            return torch.randn(x.shape, generator=generator, dtype=x.dtype)
        return x.flatten()[torch.randint(x.numel(), x.shape, generator=generator)]

    return pytree.tree_map_only(Tensor, fresh, inputs)


@torch.no_grad()
def _leave_no_constants_(model: nn.Module) -> None:
    """Replace scales of 1 (or 1e-6, or 0 in a residual branch's last norm) and biases of 0 by random ones."""
    for module in model.modules():
        is_norm = "norm" in type(module).__name__.lower() or isinstance(module, _BATCH_NORMS)
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.ndim > 1:
                _spread_(parameter)
            first = parameter.flatten()[0]
            if parameter.numel() < 2 or not parameter.is_floating_point() or bool((parameter != first).any()):
                continue
            if first != 0 or (is_norm and name == "weight"):
                parameter.uniform_(0.5, 1.5)
            else:
                parameter.normal_(0, 0.1)


def _spread_(weight: Tensor) -> None:
    """Enlarge weights drawn so small that the outputs would hardly depend on the inputs."""
    usual = (2 / (weight.numel() / len(weight))) ** 0.5
    spread = float(weight.std())
    if 0 < spread < usual / 2:
        weight.mul_(usual / spread)


@torch.no_grad()
def _calibrate_(model: nn.Module, inputs: Any) -> None:
    """Set running statistics to about those of a batch; otherwise a deep random network computes constants."""
    norms = [module for module in model.modules() if isinstance(module, _BATCH_NORMS) and module.track_running_stats]
    if not norms:
        return
    kept = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = None  # the batch's own
        norm.reset_running_stats()
        norm.train()
    args, kwargs = batch_of(split_inputs(inputs), 8)
    call(model, fresh_inputs((args, kwargs), 1))
    for norm, momentum in zip(norms, kept, strict=True):
        norm.momentum = momentum
        norm.eval()
        assert norm.running_mean is not None
        assert norm.running_var is not None
        # a channel that hardly varies in so few examples must not be blown up with all its rounding
        norm.running_var.clamp_(min=0.1 * float(norm.running_var.mean()))
        norm.running_mean += 0.1 * torch.randn_like(norm.running_mean) * norm.running_var.sqrt()
        norm.running_var *= torch.empty_like(norm.running_var).uniform_(0.8, 1.25)
