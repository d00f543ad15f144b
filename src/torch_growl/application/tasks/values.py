"""Tasks whose labels are values for each output: regression and several labels."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from torch_growl.application.tasks.batch_forms import Batch
from torch_growl.application.tasks.metric import PERCENT, Metric
from torch_growl.application.tasks.outputs import widest
from torch_growl.application.tasks.task import Task
from torch_growl.networks.recovery import label_distance, value_distance

__all__ = ["Multilabel", "Regression"]


class Regression(Task):
    """Numbers to predict; the loss is the mean squared error, the metric its root."""

    name, metric = "regression", Metric("RMSE", False)
    labels = "floating-point numbers, of the shape of the outputs or (n,) for one output"
    outputs = "a tensor of the shape of the labels, {labels}"
    decides = False

    def labels_fault(self, labels: Tensor) -> str:
        """Say what is wrong with labels; empty if nothing is."""
        if not labels.is_floating_point():
            return f"are {str(labels.dtype).removeprefix('torch.')} of shape {tuple(labels.shape)}"
        finite = torch.isfinite(labels)
        return (
            "" if bool(finite.all()) else f"must be finite, found {float(labels[~finite][0])}; leave such examples out"
        )

    def output_fault(self, output: Tensor, batch: Batch) -> str:
        """Say what is wrong with the outputs on a batch; empty if nothing is."""
        return "" if _in_line(output, batch.labels).shape == batch.labels.shape else "shape"

    def loss(self, output: Tensor, labels: Tensor, smoothing: float = 0.0) -> Tensor:
        """Compute the mean squared error of a batch."""
        return F.mse_loss(_in_line(output, labels), labels.to(output.dtype))

    def distance(self, output: Tensor, wanted: Tensor, temperature: float) -> Tensor:
        """Compute the mean squared difference from the dense network's outputs; the temperature does not count."""
        return value_distance(output, wanted, temperature)

    def sums(self, output: Tensor, labels: Tensor) -> Tensor:
        """Sum squared errors, and count the numbers."""
        dtype = widest(output.device)
        errors = (_in_line(output, labels).to(dtype) - labels.to(dtype)).square()
        return torch.stack([errors.sum(), errors.new_tensor(errors.numel())])

    def score(self, sums: Tensor) -> float:
        """The root of the mean squared error."""
        return math.sqrt(super().score(sums))


class Multilabel(Task):
    """Yes or no for each of several labels; the loss is the binary cross-entropy, the metric micro F1.

    The F1 score counts true positives, false positives and false negatives of all labels together, at a probability of
    one half.
    """

    name, metric = "multilabel", Metric("micro F1", True, PERCENT)
    labels = "0 or 1 for each label: (n, number of labels)"
    outputs = "logits of the shape of the labels, {labels}"

    def labels_fault(self, labels: Tensor) -> str:
        """Say what is wrong with labels; empty if nothing is."""
        if labels.ndim != 2 or labels.is_complex():
            return f"are {str(labels.dtype).removeprefix('torch.')} of shape {tuple(labels.shape)}"
        other = labels[(labels != 0) & (labels != 1)]
        return f"must be 0 or 1, found {other[0].item():g}" if other.numel() else ""

    def output_fault(self, output: Tensor, batch: Batch) -> str:
        """Say what is wrong with the outputs on a batch; empty if nothing is."""
        return "" if output.shape == batch.labels.shape else "shape"

    def loss(self, output: Tensor, labels: Tensor, smoothing: float = 0.0) -> Tensor:
        """Compute the mean binary cross-entropy of a batch."""
        return F.binary_cross_entropy_with_logits(output, labels.to(output.dtype))

    def distance(self, output: Tensor, wanted: Tensor, temperature: float) -> Tensor:
        """Compute the mean KL divergence of each label's softened probability from the dense network's."""
        return label_distance(output, wanted, temperature)

    def sums(self, output: Tensor, labels: Tensor) -> Tensor:
        """Count twice the true positives, and the positives found plus those wanted."""
        found, wanted = output > 0, labels > 0.5
        return torch.stack([2 * (found & wanted).sum(), found.sum() + wanted.sum()]).to(widest(output.device))

    def score(self, sums: Tensor) -> float:
        """F1 of all labels together; 0 without any positive."""
        return super().score(sums) if float(sums[1]) else 0.0

    def predicted(self, output: Tensor) -> Tensor:
        """Return for each label whether it is predicted."""
        return output > 0


def _in_line(output: Tensor, labels: Tensor) -> Tensor:
    """Outputs ``(n, 1)`` as ``(n,)`` where the labels are, and the other way round, so that nothing is broadcast."""
    return output.reshape(labels.shape) if output.numel() == labels.numel() == len(labels) else output
