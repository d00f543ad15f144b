"""Networks by name: the built-in ones, and users' own by ``package.module:function``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from torch_growl.application.models.convolutional import lenet5, vgg16
from torch_growl.application.models.perceptrons import digits_mlp, mlp, mnist_mlp
from torch_growl.application.models.residual import resnet_cifar
from torch_growl.application.recipes import check_options, load_object
from torch_growl.arguments import did_you_mean
from torch_growl.errors import RecipeError

__all__ = ["BUILTIN", "build_network"]

BUILTIN: dict[str, Callable[..., nn.Module]] = {
    "mlp": mlp,
    "mnist_mlp": mnist_mlp,
    "digits_mlp": digits_mlp,
    "lenet5": lenet5,
    "vgg16": vgg16,
    "resnet_cifar": resnet_cifar,
}


def build_network(spec: str, /, **options: Any) -> nn.Module:
    """Build a network by name; initial weights are drawn from torch's global generator.

    Args:
        spec: ``mlp``, ``mnist_mlp``, ``digits_mlp``, ``lenet5``, ``vgg16``, ``resnet_cifar``, or
            ``package.module:function`` for a callable that returns a network.
        options: keyword arguments of the function.

    Raises:
        RecipeError: the name is unknown, cannot be imported, does not take the options, or returns no ``nn.Module``.
        InvalidTypeError, InvalidValueError: an option of a built-in network has another type or is out of range.
    """
    function = BUILTIN.get(spec)
    if function is None and ":" not in spec:
        hint = did_you_mean(spec, BUILTIN, otherwise="there are {known}, or package.module:function")
        raise RecipeError(f"model.name = {spec!r}: no such network; {hint}")
    if function is None:
        function = load_object(spec, field="model.name")
    check_options(function, options, spec=spec, field="model.options")
    network = function(**options)
    if not isinstance(network, nn.Module):
        raise RecipeError(f"model.name = {spec!r} must return a torch.nn.Module, got {type(network).__name__}")
    return network
