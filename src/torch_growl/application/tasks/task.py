"""A task: what its labels and the network's outputs must be, its loss, and its metric from sums over batches."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from torch_growl.application.recipes import Phase
from torch_growl.application.tasks.batch_forms import Batch, read_batch
from torch_growl.application.tasks.metric import Metric
from torch_growl.errors import RecipeError
from torch_growl.networks.recovery import predictions_in

__all__ = ["Task"]


class Task(ABC):
    """Base of all tasks.

    Attributes:
        name: the recipe's ``task``.
        metric: the measure of its networks.
        labels: in words, what labels must be; empty: anything.
        outputs: in words, what outputs must be.
        decides: whether predictions are classes, so that those of two networks are equal or not.
        smooths: whether the loss has label smoothing.
        distills: whether there is a distillation loss.
    """

    name: str
    metric: Metric
    labels: ClassVar[str]
    outputs: ClassVar[str]
    decides: ClassVar[bool] = True
    smooths: ClassVar[bool] = False
    distills: ClassVar[bool] = True

    def check_settings(self, trainings: Mapping[str, Phase]) -> None:
        """Check that the settings of trainings have a meaning for the task.

        Raises:
            RecipeError: label smoothing or distillation is asked for, and the task has none.
        """
        for name, phase in trainings.items():
            if phase.label_smoothing and not self.smooths:
                raise RecipeError(
                    f"{name}.label_smoothing must be 0 in task {self.name!r}: it is for labels of classes"
                )
            if phase.distill and not self.distills:
                raise RecipeError(f"{name}.distill must be 0 in task {self.name!r}, which has no such loss")

    def read(self, found: Any, where: str = "a batch of the data") -> Batch:
        """Read a batch of the data, with labels in line with the outputs.

        Raises:
            DataError: it has another form.
        """
        return read_batch(found, where)

    def output(self, found: Any) -> Any:
        """Take the predictions from the output of a network; None if there are none."""
        return predictions_in(found)

    @abstractmethod
    def labels_fault(self, labels: Tensor) -> str:
        """Say what is wrong with labels; empty if nothing is."""

    @abstractmethod
    def output_fault(self, output: Tensor, batch: Batch) -> str:
        """Say what is wrong with the outputs on a batch; empty if nothing is."""

    def classes(self, output: Tensor) -> int | None:
        """The number of classes that the labels must be below; None if labels are no classes."""
        return None

    @abstractmethod
    def loss(self, output: Any, labels: Any, smoothing: float = 0.0) -> Tensor:
        """Compute the mean loss of a batch.

        Args:
            output: as :meth:`output` returns it.
            labels: as :meth:`read` returns them.
            smoothing: label smoothing, for losses of classes.
        """

    @abstractmethod
    def distance(self, output: Any, wanted: Any, temperature: float) -> Tensor:
        """Compute the distillation loss of a batch against the outputs of the dense network."""

    @abstractmethod
    def sums(self, output: Any, labels: Any) -> Tensor:
        """Compute what is added up over batches for the metric: ``(k,)``, float64."""

    def score(self, sums: Tensor) -> float:
        """Compute the metric from the sums of all batches: the first over the second."""
        total, count = sums.tolist()
        return float(total / count)

    def predicted(self, output: Any) -> Tensor:
        """The predictions that two networks are compared by: classes where the task decides, otherwise outputs."""
        found: Tensor = output
        return found
