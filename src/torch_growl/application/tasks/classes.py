"""Tasks whose labels are classes: classification, segmentation, language models; their loss is the cross-entropy."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from torch_growl.application.tasks.batch_forms import Batch, read_batch
from torch_growl.application.tasks.metric import ACCURACY, PERCENT, Metric
from torch_growl.application.tasks.outputs import widest
from torch_growl.application.tasks.task import Task
from torch_growl.errors import DataError
from torch_growl.networks.recovery import class_distance, token_distance

__all__ = ["IGNORED", "Classification", "LanguageModel", "Segmentation"]

IGNORED = -100  # torch's ignore_index: pixels and tokens of this class are not counted


class Classes(Task):
    """Base: logits ``(n, classes, …)`` and int64 labels ``(n, …)``."""

    dims: int
    kind: str
    smooths = True

    def labels_fault(self, labels: Tensor) -> str:
        """Say what is wrong with labels; empty if nothing is."""
        if labels.ndim != self.dims or labels.dtype != torch.int64:
            return f"are {str(labels.dtype).removeprefix('torch.')} of shape {tuple(labels.shape)}"
        counted = labels[labels != IGNORED] if self.dims > 1 else labels
        if not counted.numel():
            return f"are all {IGNORED}, which counts for nothing"
        return f"must be classes ≥ 0, found {int(counted.min())}; {self._left_out}" if int(counted.min()) < 0 else ""

    @property
    def _left_out(self) -> str:
        return "leave such examples out" if self.dims == 1 else f"{self.kind} to leave out have class {IGNORED}"

    def classes(self, output: Tensor) -> int:
        """The number of classes that the labels must be below."""
        return output.shape[1]

    def loss(self, output: Tensor, labels: Tensor, smoothing: float = 0.0) -> Tensor:
        """Compute the mean cross-entropy of a batch."""
        return F.cross_entropy(output, labels, label_smoothing=smoothing)

    def distance(self, output: Tensor, wanted: Tensor, temperature: float) -> Tensor:
        """Compute the distillation loss of a batch: KL divergence of softened probabilities, the mean of its labels."""
        return class_distance(output, wanted, temperature)

    def predicted(self, output: Tensor) -> Tensor:
        """The class of the largest logit."""
        return output.argmax(1)


class Classification(Classes):
    """One class for each example."""

    name, metric, dims, kind = "classification", ACCURACY, 1, "examples"
    labels = "one int64 class for each example: (n,)"
    outputs = "logits of shape ({n}, number of classes)"

    def output_fault(self, output: Tensor, batch: Batch) -> str:
        """Say what is wrong with the outputs on a batch; empty if nothing is."""
        return "" if output.ndim == 2 and len(output) == len(batch) else "shape"

    def sums(self, output: Tensor, labels: Tensor) -> Tensor:
        """Count correct predictions and examples."""
        right = (output.argmax(1) == labels).sum()
        return torch.stack([right, right.new_tensor(len(labels))]).to(widest(output.device))


class Segmentation(Classes):
    """One class for each pixel; the metric is the intersection over union, the mean of all classes that occur."""

    name, metric, dims, kind = "segmentation", Metric("mean IoU", True, PERCENT), 3, "pixels"
    labels = "one int64 class for each pixel: (n, height, width)"
    outputs = "logits of shape ({n}, number of classes, height, width), with the height and width of the labels"

    def output_fault(self, output: Tensor, batch: Batch) -> str:
        """Say what is wrong with the outputs on a batch; empty if nothing is."""
        fits = output.ndim == 4 and output.shape[:1] + output.shape[2:] == batch.labels.shape
        return "" if fits else "shape"

    def sums(self, output: Tensor, labels: Tensor) -> Tensor:
        """Count the pixels of the intersection and of the union for each class."""
        classes = output.shape[1]
        counted = labels != IGNORED
        found, wanted = output.argmax(1)[counted], labels[counted]
        if wanted.numel() and int(wanted.max()) >= classes:
            raise DataError(f"labels go up to class {int(wanted.max())}, but the network has {classes} outputs")
        both = torch.bincount(wanted[found == wanted], minlength=classes)
        either = torch.bincount(found, minlength=classes) + torch.bincount(wanted, minlength=classes) - both
        return torch.cat([both, either]).to(widest(output.device))

    def score(self, sums: Tensor) -> float:
        """The mean of the intersections over the unions, of the classes with any pixel in either."""
        both, either = sums.view(2, -1)
        return float((both[either > 0] / either[either > 0]).mean())


class LanguageModel(Classes):
    """The next token for each token; the metric is the perplexity.

    In tuples ``(tokens, next tokens)`` the labels are those to predict at each place. In dicts they are in
    transformers' convention: ``labels`` (or, without them, ``input_ids`` where ``attention_mask`` is not 0) have the
    place of their own token, and are moved by one here.
    """

    name, metric, dims, kind = "language-model", Metric("perplexity", False), 2, "tokens"
    labels = "the int64 token after each token: (n, tokens)"
    outputs = "logits of shape ({n}, number of tokens, size of the vocabulary)"

    def read(self, found: Any, where: str = "a batch of the data") -> Batch:
        """Read a batch of the data, with the next token as the label of each."""
        batch = read_batch(found, where)
        if not isinstance(found, Mapping):
            return batch
        labels = batch.labels
        if labels is None:
            labels = found.get("input_ids")
            if not isinstance(labels, Tensor):
                raise DataError(f"{where} must have 'labels' or 'input_ids', found {', '.join(map(str, found))}")
            if isinstance(mask := found.get("attention_mask"), Tensor):
                labels = labels.masked_fill(mask == 0, IGNORED)
        return Batch(batch.inputs, F.pad(labels[..., 1:], (0, 1), value=IGNORED))

    def output_fault(self, output: Tensor, batch: Batch) -> str:
        """Say what is wrong with the outputs on a batch; empty if nothing is."""
        if output.ndim != 3 or output.shape[:2] != batch.labels.shape:
            return "shape"
        first = batch.inputs[0][0] if batch.inputs[0] else None
        if isinstance(first, Tensor) and torch.equal(first, batch.labels):
            return "the labels are the input's tokens themselves; give the token after each, tokens[1:] of tokens[:-1]"
        return ""

    def classes(self, output: Tensor) -> int:
        """The size of the vocabulary."""
        return output.shape[2]

    def loss(self, output: Tensor, labels: Tensor, smoothing: float = 0.0) -> Tensor:
        """Compute the mean cross-entropy of a batch's tokens."""
        return super().loss(output.transpose(1, 2), labels, smoothing)

    def distance(self, output: Tensor, wanted: Tensor, temperature: float) -> Tensor:
        """Compute the distillation loss of a batch."""
        return token_distance(output, wanted, temperature)

    def sums(self, output: Tensor, labels: Tensor) -> Tensor:
        """Sum the negative log-likelihood, and count the tokens."""
        loss = F.cross_entropy(output.transpose(1, 2).float(), labels, reduction="sum")
        return torch.stack([loss.to(widest(loss.device)), (labels != IGNORED).sum()])

    def score(self, sums: Tensor) -> float:
        """The exponential of the mean negative log-likelihood."""
        return math.exp(min(super().score(sums), 700.0))

    def predicted(self, output: Tensor) -> Tensor:
        """The token of the largest logit."""
        return output.argmax(2)
