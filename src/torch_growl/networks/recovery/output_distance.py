"""Distillation: the predictions in a network's output, and their distance from a teacher's, for each task."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from torch_growl.errors import InvalidValueError

__all__ = ["DISTANCES", "class_distance", "label_distance", "predictions_in", "token_distance", "value_distance"]

FIELDS = ("logits", "out", "prediction", "predictions")  # transformers, torchvision's segmentation, users' own


def predictions_in(output: Any) -> Tensor | None:
    """Find the predictions in a network's output; None if there are none.

    They are the output itself; the field or entry ``logits``, ``out``, ``prediction`` or ``predictions``; or the first
    tensor of a tuple that is not a scalar, such as a loss.
    """
    if isinstance(output, Tensor):
        return output
    for name in FIELDS:
        found = output.get(name) if isinstance(output, Mapping) else getattr(output, name, None)
        if isinstance(found, Tensor):
            return found
    if isinstance(output, tuple | list):
        return next((value for value in output if isinstance(value, Tensor) and value.ndim), None)
    return None


def class_distance(output: Tensor, wanted: Tensor, temperature: float) -> Tensor:
    """The KL divergence of softened probabilities from the teacher's: the mean of all labels.

    Args:
        output, wanted: logits ``(n, classes, …)`` of the network and of its teacher.
        temperature: by which logits are divided, > 0.

    Raises:
        InvalidValueError: there is a single class, whose probability is always 1.
    """
    if output.ndim < 2 or output.shape[1] == 1:
        raise InvalidValueError(
            f"distill: outputs of shape {tuple(output.shape)} have no two classes whose probabilities could be "
            "compared; give task='regression' for values, or task='multilabel' for the logit of yes or no"
        )
    teacher = F.log_softmax(wanted / temperature, dim=1)
    given = F.log_softmax(output / temperature, dim=1)
    distance = F.kl_div(given, teacher, log_target=True, reduction="batchmean")
    return distance / (output[:, 0].numel() // len(output))


def token_distance(output: Tensor, wanted: Tensor, temperature: float) -> Tensor:
    """As :func:`class_distance`, of logits ``(n, tokens, classes)``."""
    return class_distance(output.transpose(1, 2), wanted.transpose(1, 2), temperature)


def label_distance(output: Tensor, wanted: Tensor, temperature: float) -> Tensor:
    """The mean KL divergence of each yes-or-no label's softened probability from the teacher's."""
    teacher = torch.sigmoid(wanted / temperature)
    crossed = F.binary_cross_entropy_with_logits(output / temperature, teacher)
    return crossed - F.binary_cross_entropy_with_logits(wanted / temperature, teacher)


def value_distance(output: Tensor, wanted: Tensor, temperature: float) -> Tensor:
    """The mean squared difference over the squared temperature, so that the loss does not depend on it."""
    return F.mse_loss(output, wanted) / temperature**2


DISTANCES: dict[str, Callable[[Tensor, Tensor, float], Tensor]] = {
    "classification": class_distance,
    "multilabel": label_distance,
    "regression": value_distance,
    "segmentation": class_distance,
    "language-model": token_distance,
}
