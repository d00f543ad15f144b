"""Reference networks of the paper and of its field, and users' own by ``package.module:function``.

Weights come from torch's global generator: seed it first. A row of weights that feeds a batch normalisation has no bias
beside it, for the normalisation has one.
"""

from __future__ import annotations

import difflib
import math
import os
from collections import OrderedDict
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from torch_growl.application.recipes import check_options, load_object
from torch_growl.errors import InvalidValueError, RecipeError

__all__ = ["build_network", "digits_mlp", "lenet5", "mlp", "mnist_mlp", "resnet_cifar", "vgg16"]


def mlp(sizes: Sequence[int], *, batch_norm: bool = True, init: str = "torch") -> nn.Sequential:
    """A multilayer perceptron ``fc1, relu1, bn1, fc2, …, fcN`` that gives class scores.

    Args:
        sizes: inputs, hidden widths, outputs: at least two numbers, all ≥ 1.
        batch_norm: a BatchNorm1d after every ReLU, as in the paper.
        init: ``"torch"``: its own; ``"paper"``: weights normal with variance 2 / (the layer's outputs), biases 0.1, as
            in the paper's code.

    Raises:
        InvalidValueError: ``sizes`` is not such a list, or ``init`` is neither.
    """
    if init not in ("torch", "paper"):
        raise InvalidValueError(f"init must be 'torch' or 'paper', got {init!r}")
    if isinstance(sizes, str) or len(sizes) < 2 or not all(type(size) is int and size >= 1 for size in sizes):
        raise InvalidValueError(f"sizes must be two or more whole numbers ≥ 1, got {sizes!r}")
    last = len(sizes) - 1
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for i, (inputs, outputs) in enumerate(pairwise(sizes), start=1):
        layers[f"fc{i}"] = linear = nn.Linear(inputs, outputs)
        if init == "paper":
            nn.init.normal_(linear.weight, std=math.sqrt(2 / outputs))
            nn.init.constant_(linear.bias, 0.1)
        if i < last:
            layers[f"relu{i}"] = nn.ReLU()
            if batch_norm:
                layers[f"bn{i}"] = nn.BatchNorm1d(outputs)
    return nn.Sequential(layers)


def mnist_mlp(*, hidden: Sequence[int] = (300,), batch_norm: bool = True, init: str = "paper") -> nn.Sequential:
    """The paper's 784-300-10 for flat MNIST: fc300-ReLU-BN-fc10. ``hidden``: widths between input and output."""
    return mlp([784, *hidden, 10], batch_norm=batch_norm, init=init)


def digits_mlp(*, hidden: Sequence[int] = (300, 100), batch_norm: bool = True) -> nn.Sequential:
    """64-300-100-10 for scikit-learn's 8×8 digits. ``hidden``: widths between input and output."""
    return mlp([64, *hidden, 10], batch_norm=batch_norm)


def lenet5(*, channels: Sequence[int] = (20, 50), hidden: int = 500, n_classes: int = 10) -> nn.Sequential:
    """Caffe's LeNet-5 for ``(1, 28, 28)``: two 5×5 convolutions, each max-pooled by 2, and two fully connected layers.

    The one nonlinearity beside the pooling is the ReLU after ``fc1``, as in Caffe's.

    Args:
        channels: of the two convolutions, each ≥ 1.
        hidden: width of ``fc1``, ≥ 1.
        n_classes: outputs, ≥ 1.

    Raises:
        InvalidValueError: a width is not a whole number ≥ 1, or there are not two convolutions.
    """
    if len(channels) != 2:
        raise InvalidValueError(f"channels must be the widths of two convolutions, got {channels!r}")
    _positive(channels=min(channels), hidden=hidden, n_classes=n_classes)
    first, second = channels
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(1, first, 5),
            pool1=nn.MaxPool2d(2),
            conv2=nn.Conv2d(first, second, 5),
            pool2=nn.MaxPool2d(2),
            flatten=nn.Flatten(),
            fc1=nn.Linear(second * 16, hidden),
            relu1=nn.ReLU(),
            fc2=nn.Linear(hidden, n_classes),
        )
    )


_VGG16 = (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0)  # 0: a 2×2 max-pool


def vgg16(*, width: float = 1.0, n_classes: int = 10) -> nn.Sequential:
    """The paper's VGG-16 for ``(3, 32, 32)``: 13 × conv3-BN-ReLU, five 2×2 max-pools, fc512-BN-ReLU, fc10.

    Its 14,977,728 weights (without batch normalisation and the last bias) are in ``conv1`` … ``conv13``, ``fc1``,
    ``fc2``. Weights are He-normal by outputs.

    Args:
        width: every hidden width is multiplied by it, > 0.
        n_classes: outputs, ≥ 1.

    Raises:
        InvalidValueError: an argument is out of range.
    """
    if not 0 < width < math.inf:
        raise InvalidValueError(f"width must be a number > 0, got {width!r}")
    _positive(n_classes=n_classes)
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    inputs, i, pools = 3, 0, 0
    for size in _VGG16:
        if not size:
            pools += 1
            layers[f"pool{pools}"] = nn.MaxPool2d(2)
            continue
        i, outputs = i + 1, max(1, round(size * width))
        layers[f"conv{i}"] = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        layers[f"bn{i}"] = nn.BatchNorm2d(outputs)
        layers[f"relu{i}"] = nn.ReLU()
        inputs = outputs
    hidden = max(1, round(512 * width))
    layers["flatten"] = nn.Flatten()
    layers["fc1"] = nn.Linear(inputs, hidden, bias=False)
    layers["bn14"] = nn.BatchNorm1d(hidden)
    layers["relu14"] = nn.ReLU()
    layers["fc2"] = nn.Linear(hidden, n_classes)
    network = nn.Sequential(layers)
    _initialise(network)
    return network


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions beside a shortcut without weights (option A: every second pixel, zero channels around)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.stride = stride
        self.extra = outputs - inputs

    def forward(self, x: Tensor) -> Tensor:
        """x: ``(b, inputs, h, w)``; gives ``(b, outputs, h / stride, w / stride)``."""
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        if self.stride != 1:
            x = x[:, :, :: self.stride, :: self.stride]
        if self.extra:
            before = self.extra // 2
            x = F.pad(x, (0, 0, 0, 0, before, self.extra - before))
        return F.relu(y + x)


class CifarResNet(nn.Module):
    """A residual network of three stages; see :func:`resnet_cifar`."""

    def __init__(self, blocks: int, widths: tuple[int, int, int], n_classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, widths[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.layer1 = self._stage(blocks, widths[0], widths[0], 1)
        self.layer2 = self._stage(blocks, widths[0], widths[1], 2)
        self.layer3 = self._stage(blocks, widths[1], widths[2], 2)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.linear = nn.Linear(widths[2], n_classes)

    @staticmethod
    def _stage(blocks: int, inputs: int, outputs: int, stride: int) -> nn.Sequential:
        first = ResidualBlock(inputs, outputs, stride)
        return nn.Sequential(first, *(ResidualBlock(outputs, outputs, 1) for _ in range(blocks - 1)))

    def forward(self, x: Tensor) -> Tensor:
        """x: ``(b, 3, h, w)``; gives class scores ``(b, n_classes)``."""
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return cast(Tensor, self.linear(self.flatten(self.pool(x))))


def resnet_cifar(
    *, depth: int = 20, width: float = 1.0, n_classes: int = 10, weights: str | os.PathLike[str] | None = None
) -> nn.Module:
    """ResNet-20, -32, -44, -56, -110 for CIFAR, with parameters named as in akamaster/pytorch_resnet_cifar10.

    Args:
        depth: layers: 6 n + 2 for n blocks in each of the three stages, ≥ 8.
        width: the stages' 16, 32, 64 channels are multiplied by it, > 0.
        n_classes: outputs, ≥ 1.
        weights: a safetensors file of that repository's weights, for images normalised by ImageNet's mean and standard
            deviation; None: random ones.

    Raises:
        InvalidValueError: an argument is out of range, or the file's weights are not this network's.
    """
    if type(depth) is not int or depth < 8 or (depth - 2) % 6:
        raise InvalidValueError(f"depth must be 6 n + 2 (8, 14, 20, …, 56), got {depth!r}")
    if not 0 < width < math.inf:
        raise InvalidValueError(f"width must be a number > 0, got {width!r}")
    _positive(n_classes=n_classes)
    small, middle, large = (max(1, round(size * width)) for size in (16, 32, 64))
    network = CifarResNet((depth - 2) // 6, (small, middle, large), n_classes)
    _initialise(network)
    if weights is not None:
        _take_weights(network, Path(weights))
    return network


def _take_weights(network: nn.Module, path: Path) -> None:
    try:
        given = load_file(path)
    except (OSError, SafetensorError) as error:
        raise InvalidValueError(f"weights: {path} cannot be read as safetensors: {error}") from error
    state = {name: value for name, value in network.state_dict().items() if not name.endswith("num_batches_tracked")}
    given = {name: value for name, value in given.items() if not name.endswith("num_batches_tracked")}
    odd = sorted(set(state) ^ set(given)) or sorted(n for n in state if state[n].shape != given[n].shape)
    if odd:
        raise InvalidValueError(f"weights: {path} is of another network: {odd[0]!r} and {len(odd) - 1} more differ")
    network.load_state_dict(given, strict=False)


def _initialise(network: nn.Module) -> None:
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def _positive(**sizes: int) -> None:
    for name, size in sizes.items():
        if type(size) is not int or size < 1:
            raise InvalidValueError(f"{name} must be a whole number ≥ 1, got {size!r}")


_BUILTIN: dict[str, Callable[..., nn.Module]] = {
    "mlp": mlp,
    "mnist_mlp": mnist_mlp,
    "digits_mlp": digits_mlp,
    "lenet5": lenet5,
    "vgg16": vgg16,
    "resnet_cifar": resnet_cifar,
}


def build_network(spec: str, /, **options: Any) -> nn.Module:
    """Build a network by name, freshly initialised from torch's global generator.

    Args:
        spec: ``mlp``, ``mnist_mlp``, ``digits_mlp``, ``lenet5``, ``vgg16``, ``resnet_cifar``, or
            ``package.module:function`` for something callable that returns a network.
        options: passed on.

    Raises:
        RecipeError: the name is unknown, cannot be imported, does not take the options, or gives no ``nn.Module``.
        InvalidValueError: an option of a built-in network is out of range.
    """
    function = _BUILTIN.get(spec)
    if function is None and ":" not in spec:
        close = difflib.get_close_matches(spec, _BUILTIN, n=1)
        known = ", ".join(_BUILTIN)
        hint = f"did you mean {close[0]!r}?" if close else f"there are {known}, or package.module:function"
        raise RecipeError(f"model.name = {spec!r}: no such network; {hint}")
    if function is None:
        function = load_object(spec, field="model.name")
    check_options(function, options, spec=spec, field="model.options")
    network = function(**options)
    if not isinstance(network, nn.Module):
        raise RecipeError(f"model.name = {spec!r} must return a torch.nn.Module, got {type(network).__name__}")
    return network
