"""Convolutional networks without shortcuts: Caffe's LeNet-5, and the paper's VGG-16 for CIFAR-10."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from torch import nn

from torch_growl.application.models.initialisation import he_normal_
from torch_growl.arguments import check_count, check_number
from torch_growl.errors import InvalidValueError

__all__ = ["lenet5", "vgg16"]


def lenet5(*, channels: Sequence[int] = (20, 50), hidden: int = 500, n_classes: int = 10) -> nn.Sequential:
    """Build Caffe's LeNet-5 for ``(1, 28, 28)``: two 5×5 convolutions with 2×2 max-pools, two fully connected layers.

    As in Caffe's, the only ReLU is after ``fc1``.

    Args:
        channels: outputs of the two convolutions, each ≥ 1.
        hidden: width of ``fc1``, ≥ 1.
        n_classes: outputs, ≥ 1.

    Raises:
        InvalidTypeError, InvalidValueError: a width is not an integer ≥ 1, or there are not two convolutions.
    """
    if len(channels) != 2:
        raise InvalidValueError(f"channels must be the widths of two convolutions, got {channels!r}")
    for name, size in (("channels", min(channels)), ("hidden", hidden), ("n_classes", n_classes)):
        check_count(name, size)
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
    """Build the paper's VGG-16 for ``(3, 32, 32)``: 13 × conv3-BN-ReLU, five 2×2 max-pools, fc512-BN-ReLU, fc10.

    Its 14,977,728 weights, without batch normalisation and the last bias, are in ``conv1`` … ``conv13``, ``fc1``,
    ``fc2``. Initial weights are He-normal by outputs. Layers before a batch normalisation have no bias.

    Args:
        width: factor of every hidden width, > 0.
        n_classes: outputs, ≥ 1.

    Raises:
        InvalidTypeError, InvalidValueError: an argument has another type or is out of range.
    """
    check_number("width", width, above=0)
    check_count("n_classes", n_classes)
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
    he_normal_(network)
    return network
