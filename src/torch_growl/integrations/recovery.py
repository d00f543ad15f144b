"""Recovery in a training under a trainer: distillation, an average of the weights, batch norms estimated anew.

The options have the words of recipes. :class:`~torch_growl.integrations.phases.Phases` calls :meth:`Recovery.begin`,
:meth:`Recovery.after_step` and :meth:`Recovery.finish`; the trainers' callbacks add :meth:`Recovery.loss` to the loss.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.hooks import RemovableHandle

from torch_growl.arguments import check_choice, check_number, check_type
from torch_growl.errors import InvalidTypeError, InvalidValueError, first_line
from torch_growl.networks.execution import call, outputs_of, split_inputs
from torch_growl.networks.layers import plain_model, remove_training_hooks_, training_hook
from torch_growl.networks.recovery import DISTANCES, FeatureDistance, WeightAverage, predictions_in, recalibrate_

__all__ = ["LABELS", "Recovery", "inputs_of", "training_batches"]

LABELS = ("labels", "label", "targets", "target")  # entries of a batch that are not passed to the network
_RECALIBRATED = 50  # batches at most, as in recipes
_FEW = 32  # examples in a batch whose size is not known


def _nothing() -> None:
    pass


class Recovery:
    """Helps the network back while rows are removed and afterwards.

    Args:
        distill: weight of the distillation loss from the teacher's outputs, in [0, 1]; the trainer's loss has 1 minus
            this weight.
        temperature: of the distillation loss, > 0.
        distill_features: weight, ≥ 0, of the distance from the teacher's features; added to the loss.
        average: decay of a running average of the weights, in [0, 1), which replaces them at the end; 0: none.
        recalibrate: whether batch normalisations are estimated anew at the end.
        teacher: the dense network, on the same inputs; it is put in eval mode and on the network's device. None: a copy
            of the network as it is when training begins, which checkpoints hold too.
        task: a recipe's task, whose distance of outputs is taken; None: the trainer's callback finds it.

    Raises:
        InvalidValueError, InvalidTypeError: an option is out of its range or of the wrong type.
    """

    def __init__(
        self,
        distill: float = 0.0,
        temperature: float = 2.0,
        distill_features: float = 0.0,
        average: float = 0.0,
        recalibrate: bool = False,
        teacher: nn.Module | None = None,
        task: str | None = None,
    ) -> None:
        self.share = check_number("distill", distill, least=0, most=1)
        self.temperature = check_number("temperature", temperature, above=0)
        self.feature_weight = check_number("distill_features", distill_features, least=0)
        self.decay = check_number("average", average, least=0, below=1)
        self.recalibrate = check_type("recalibrate", recalibrate, bool)
        if teacher is not None:
            check_type("teacher", teacher, nn.Module)
        self.task = task if task is None else check_choice("task", task, DISTANCES)
        if (teacher is not None or task is not None) and not self.distills:
            raise InvalidValueError(
                f"{'task' if teacher is None else 'teacher'} goes with distill or distill_features, which are both 0"
            )
        self.teacher = teacher
        self.copied: Callable[[nn.Module], nn.Module] = copy.deepcopy
        self._given = teacher is not None
        self._features: FeatureDistance | None = None
        self._average: WeightAverage | None = None
        self._handle: RemovableHandle | None = None
        self._undo: Callable[[], None] = _nothing
        self._in_loss = False
        self._step = 0

    @property
    def distills(self) -> bool:
        """Tell whether the loss has a part from the teacher."""
        return bool(self.share or self.feature_weight)

    def begin(self, model: nn.Module, done: int, state: Mapping[str, Any], batches: Callable[[], Any]) -> None:
        """Make the teacher and the average, or go on from a state.

        Args:
            model: the network, with the weights from which training starts or goes on.
            done: the steps that were made.
            state: as :meth:`state_dict` gave it; empty for a new training.
            batches: gives an iterator of inputs of the network, batches of the training data.

        Raises:
            InvalidValueError: the network's batch normalisations are to be estimated anew, and it cannot be run on what
                the training data gives.
        """
        plain, self._step = plain_model(model), done
        remove_training_hooks_(plain)  # of a training that an exception ended
        if self.recalibrate:
            _check_runs(plain, batches)
        if self.distills:
            if not self._given:
                self.teacher = self.copied(plain)
                if "teacher" in state:
                    self.teacher.load_state_dict(state["teacher"])
            assert self.teacher is not None
            self.teacher.to(next(plain.parameters()).device).eval()
        if self.decay:
            self._average = WeightAverage(plain, self.decay)
            if "average" in state:
                self._average.load_state_dict(state["average"])

    def watch(
        self,
        model: nn.Module,
        take: Callable[[tuple[Any, ...], dict[str, Any], Any], Any],
        undo: Callable[[], None] = _nothing,
    ) -> None:
        """Call a function with the inputs and the output of every training run of the network in :meth:`in_loss`.

        It is called once the penalty is there, since what can be removed is found on a network without hooks.

        Args:
            model: the network.
            take: what it returns replaces the output, unless it is None.
            undo: called by :meth:`remove`.

        Raises:
            InvalidValueError: the network and its teacher have no two features to compare.
        """
        plain = plain_model(model)
        if self.feature_weight and self.teacher is not None:
            self._features = FeatureDistance(plain, self.teacher)

        def seen(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
            counts = self._in_loss and module is plain  # not in a copy, nor after an exception
            return take(args, kwargs, output) if counts and module.training and torch.is_grad_enabled() else None

        self._handle, self._undo = plain.register_forward_hook(training_hook(seen), with_kwargs=True), undo

    @contextmanager
    def in_loss(self) -> Iterator[None]:
        """Tell that the trainer computes its loss in the block."""
        self._in_loss = True
        try:
            yield
        finally:
            self._in_loss = False

    def restart(self, model: nn.Module) -> None:
        """Begin the average anew, from the network's present weights."""
        if self._average is not None:
            self._average = WeightAverage(plain_model(model), self.decay)

    def after_step(self, step: int) -> None:
        """Take the weights into the average, once a step."""
        if self._average is not None and step > self._step:
            self._average.update()
        self._step = step

    def loss(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Any, task: str = "classification"
    ) -> Tensor:
        """The teacher's part of the loss, right after the network gave an output, with its gradients.

        Args:
            args, kwargs: the network's inputs.
            output: the network's output on them.
            task: a recipe's task, by which outputs are compared, unless one was given.

        Raises:
            InvalidValueError: there are no predictions in the output, or other ones in the teacher's.
        """
        assert self.teacher is not None
        with torch.no_grad():
            theirs = call(self.teacher, (args, dict(kwargs)))
        total = torch.zeros(())
        if self.share:
            given, wanted = predictions_in(output), predictions_in(theirs)
            if given is None or wanted is None or given.shape != wanted.shape:
                raise InvalidValueError(
                    "distill compares the predictions of the network and of its teacher, which must be tensors of one "
                    f"shape, got {_shape(given)} and {_shape(wanted)}"
                )
            distance = DISTANCES[self.task or task](given, wanted, self.temperature)
            total = self.share * self.temperature**2 * distance
        return total if self._features is None else total + self.feature_weight * self._features.value()

    def finish(self, model: nn.Module, hold_: Callable[[nn.Module], None], batches: Callable[[], Any]) -> None:
        """Put the average in place of the weights, and estimate batch normalisations anew.

        Args:
            model: the network.
            hold_: sets pruned rows to zero and tied rows equal.
            batches: as for :meth:`begin`.
        """
        if self._average is not None:
            self._average.write_()
        hold_(model)
        if self.recalibrate:
            recalibrate_(plain_model(model), list(batches()))

    def remove(self) -> None:
        """Take all hooks off the networks."""
        undo, self._undo = self._undo, _nothing
        undo()
        if self._handle is not None:
            self._handle.remove()
            self._handle = None
        if self._features is not None:
            self._features.remove()
            self._features = None

    def state_dict(self) -> dict[str, Any]:
        """The state for a resumed run: tensors and plain values only."""
        own = self.distills and not self._given and self.teacher is not None
        return {
            **({"teacher": self.teacher.state_dict()} if own else {}),  # type: ignore[union-attr]
            **({} if self._average is None else {"average": self._average.state_dict()}),
        }


def training_batches(loader: Any, size: int | None = None) -> Iterator[Any]:
    """Batches of the training data in an order of their own, the same at every call: 50 at most, all of one size.

    Args:
        loader: a data loader; it is not iterated, so that its state stays.
        size: examples in a batch; None: the loader's own.

    Raises:
        InvalidValueError: its examples cannot be read by their number.
    """
    data: Any = getattr(loader, "dataset", None)
    collate = getattr(loader, "collate_fn", None)
    if not (hasattr(data, "__len__") and hasattr(data, "__getitem__") and callable(collate)):
        raise InvalidValueError(
            "recalibrate needs one loader of training data with a length, whose examples can be read by their number; "
            "leave it out and call tg.recalibrate_(network, batches) after the training"
        )
    count = len(data)
    size = min(count, size or getattr(loader, "batch_size", None) or _FEW)
    order = torch.randperm(count, generator=torch.Generator().manual_seed(0)).tolist()
    for first in range(0, min(count - size + 1, _RECALIBRATED * size), size):
        yield collate([data[i] for i in order[first : first + size]])


def inputs_of(batch: Any) -> Any:
    """The network's inputs in a batch: all but the last entry of a tuple, all entries of a dict but the labels.

    Raises:
        InvalidTypeError: the batch has another form.
    """
    if isinstance(batch, Tensor):
        return batch
    if isinstance(batch, Mapping):
        return {name: value for name, value in batch.items() if name not in LABELS}
    if isinstance(batch, tuple | list) and len(batch) > 1:
        return batch[0] if len(batch) == 2 else tuple(batch[:-1])
    raise InvalidTypeError(
        f"recalibrate needs batches (inputs, …, labels), dicts or tensors, got {type(batch).__name__}; leave it out "
        "and call tg.recalibrate_(network, batches) after the training"
    )


def _check_runs(model: nn.Module, batches: Callable[[], Iterator[Any]]) -> None:
    """Run the network on a batch before training, so that the end of a training does not fail."""
    inputs = next(batches())
    if not any(isinstance(module, _BatchNorm) for module in model.modules()):
        return
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        outputs_of(model, split_inputs(inputs))
    except Exception as error:  # any error of the network's own code
        raise InvalidValueError(
            f"recalibrate: the network cannot be run on the inputs of the training data ({first_line(error)}); leave "
            "it out and call tg.recalibrate_(network, batches) after the training"
        ) from error
    finally:
        for module, mode in modes.items():
            module.training = mode


def _shape(found: Tensor | None) -> str:
    return "none" if found is None else str(tuple(found.shape))
