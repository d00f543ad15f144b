"""A user's own task: the loss and the metric that ``package.module:function`` returns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from torch_growl.application.recipes import load_object
from torch_growl.application.tasks.batch_forms import Batch, read_batch
from torch_growl.application.tasks.metric import Metric
from torch_growl.application.tasks.outputs import widest
from torch_growl.application.tasks.task import Task
from torch_growl.errors import DataError, RecipeError, first_line
from torch_growl.networks.execution import tensors

__all__ = ["OwnTask"]

_FIELDS = {"loss", "metric", "measure", "finish"}
_WANTED = "a dict with 'loss', 'metric', 'measure' and optionally 'finish'"


class OwnTask(Task):
    """A task of a user.

    Args:
        spec: ``package.module:function``. The function is called without arguments and must return a dict:

            * ``loss``: a function of the network's output and the labels that returns the batch's mean loss, a scalar;
            * ``metric``: a dict with ``name``, ``higher_is_better`` and optionally ``unit``;
            * ``measure``: a function of output and labels that returns the metric of each example, ``(n,)``, whose mean
              over all examples is the metric; with ``finish`` it returns sums, ``(k,)``, which are added up;
            * ``finish``: a function of the sums over all batches that returns the metric.

            Outputs are as the network returns them. Labels are the last entry of a tuple, ``labels`` of a dict, or a
            dict without labels as a whole.

    Raises:
        RecipeError: the function cannot be imported, fails, or returned something else.
    """

    labels = ""
    outputs = "outputs that its loss takes"
    decides = False
    distills = False

    def __init__(self, spec: str) -> None:
        self.name = spec
        try:
            parts = load_object(spec, field="task")()
        except RecipeError:
            raise
        except Exception as error:  # any error of the user's code
            raise RecipeError(f"task = {spec!r}: calling it failed with {_words(error)}") from error
        if not isinstance(parts, Mapping) or not {"loss", "metric", "measure"} <= set(parts) <= _FIELDS:
            got = (
                f"a dict with {sorted(map(str, parts))}" if isinstance(parts, Mapping) else f"a {type(parts).__name__}"
            )
            raise RecipeError(f"task = {spec!r} must return {_WANTED}; it returned {got}")
        for name in ("loss", "measure", "finish"):
            if name in parts and not callable(parts[name]):
                raise RecipeError(f"task = {spec!r}: {name!r} must be a function, got {type(parts[name]).__name__}")
        self.metric = _metric(parts["metric"], spec)
        self._loss: Callable[[Any, Any], Tensor] = parts["loss"]
        self._measure: Callable[[Any, Any], Tensor] = parts["measure"]
        self._finish: Callable[[Tensor], Any] | None = parts.get("finish")

    def read(self, found: Any, where: str = "a batch of the data") -> Batch:
        """Read a batch of the data; a dict without labels is passed to loss and metric as a whole."""
        batch = read_batch(found, where)
        return batch if batch.labels is not None else Batch(batch.inputs, batch.inputs[1])

    def output(self, found: Any) -> Any:
        """Return the network's output as it is."""
        return found

    def labels_fault(self, labels: Tensor) -> str:
        """Accept any labels; the loss and the metric are tried on the first examples."""
        return ""

    def output_fault(self, output: Any, batch: Batch) -> str:
        """Try the loss and the metric on a batch."""
        try:
            loss = self._loss(output, batch.labels)
            score = self.score(self.sums(output, batch.labels))
        except DataError as error:
            return str(error)
        except Exception as error:  # any error of the user's code
            return f"its loss and metric cannot be computed for the first examples: {_words(error)}"
        if not isinstance(loss, Tensor) or loss.ndim or not loss.is_floating_point():
            shape = f" of shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else ""
            return f"its loss must be a floating-point tensor without dimensions, got {type(loss).__name__}{shape}"
        return "" if isinstance(score, float) else f"its metric must be a number, got {type(score).__name__}"

    def loss(self, output: Any, labels: Any, smoothing: float = 0.0) -> Tensor:
        """Compute the mean loss of a batch."""
        return self._loss(output, labels)

    def distance(self, output: Any, wanted: Any, temperature: float) -> Tensor:
        """Refuse: a task of a user has no distillation loss."""
        raise RecipeError(f"task = {self.name!r} has no distillation loss; leave distill out")

    def sums(self, output: Any, labels: Any) -> Tensor:
        """Compute what is added up over batches: the user's sums, or the sum of the values and their number."""
        found = self._measure(output, labels)
        if not isinstance(found, Tensor) or found.ndim != 1:
            shape = f" of shape {tuple(found.shape)}" if isinstance(found, Tensor) else ""
            wanted = "a tensor of sums: (k,)" if self._finish else "a value for each example: (n,)"
            raise DataError(f"task = {self.name!r}: measure must return {wanted}, got {type(found).__name__}{shape}")
        found = found.to(widest(found.device))
        return found if self._finish else torch.stack([found.sum(), found.new_tensor(len(found))])

    def score(self, sums: Tensor) -> float:
        """Compute the metric from the sums of all batches."""
        return super().score(sums) if self._finish is None else float(self._finish(sums))

    def predicted(self, output: Any) -> Tensor:
        """All numbers in the output as one vector."""
        return torch.cat([each.flatten().to(widest(each.device)) for each in tensors(output)])


def _metric(given: Any, spec: str) -> Metric:
    fits = isinstance(given, Mapping) and {"name", "higher_is_better"} <= set(given) <= {
        "name",
        "higher_is_better",
        "unit",
    }
    if fits and given["name"] and isinstance(given["name"], str) and isinstance(given["higher_is_better"], bool):
        unit = given.get("unit", "")
        if isinstance(unit, str):
            return Metric(given["name"], given["higher_is_better"], unit)
    raise RecipeError(
        f"task = {spec!r}: 'metric' must be a dict with 'name' (text), 'higher_is_better' (true or false) and "
        f"optionally 'unit' (text), got {given!r}"
    )


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {first_line(error)}"
