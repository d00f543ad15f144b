"""Trains a network; every method of the experiments is trained by this loop."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer
from torch.utils.data import Dataset

from torch_growl.application.data import batches
from torch_growl.application.data.datasets import Splits
from torch_growl.application.training.scores import evaluate
from torch_growl.files import write_whole

__all__ = [
    "Bfloat16",
    "Fit",
    "accuracy",
    "example_of",
    "file_name",
    "fit",
    "keep_state",
    "scores",
    "state_of",
    "training_batches",
]

CPU = torch.device("cpu")


class Bfloat16(nn.Module):
    """A network whose products are computed in bfloat16; the parameters, which are its own, stay float32.

    A processor that can only emulate bfloat16, which takes ten times as long, computes in float32.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        """Run the network on x and return its output in float32."""
        emulated = x.device.type == "cpu" and not torch.ops.mkldnn._is_mkldnn_bf16_supported()
        with torch.autocast(x.device.type, torch.bfloat16, enabled=not emulated):
            return cast(Tensor, self.network(x)).float()


@dataclass(frozen=True)
class Fit:
    """The settings of a training: SGD with momentum, the learning rate on a cosine down to 0 or in steps.

    Attributes:
        epochs: passes over the training split.
        lr: learning rate at the start.
        weight_decay: the "+ l2".
        distill: share of the loss that asks for a teacher's answers.
        temperature: softens both answers then.
        batch_size: examples in a step.
        schedule: "cosine", or "step": times ``gamma`` every ``step_epochs`` epochs.
        step_epochs: of "step".
        gamma: of "step".
    """

    epochs: int
    lr: float
    weight_decay: float = 0.0
    distill: float = 0.0
    temperature: float = 3.0
    batch_size: int = 128
    schedule: Literal["cosine", "step"] = "cosine"
    step_epochs: int = 10
    gamma: float = 0.1

    def rate(self, epochs: float) -> float:
        """Return the learning rate after so many epochs."""
        if self.schedule == "step":
            return self.lr * float(self.gamma ** int(epochs // self.step_epochs))
        return self.lr * 0.5 * (1 + math.cos(math.pi * epochs / self.epochs))


def fit(
    model: nn.Module,
    train: Dataset[Any],
    how: Fit,
    seed: int,
    *,
    attach: Callable[[Optimizer], object] | None = None,
    teacher: nn.Module | None = None,
    after_step: Callable[[int], bool | None] | None = None,
    after_epoch: Callable[[int, float], None] | None = None,
    first: int = 0,
    skip: int = 0,
    state: dict[str, Any] | None = None,
    make_optimizer: Callable[[list[nn.Parameter]], Optimizer] | None = None,
) -> nn.Module:
    """Train a network in place, and return it in eval mode.

    Args:
        model: where the training split's batches are, plain or channels-last.
        train: any split of :mod:`torch_growl.application.data.datasets`; one whose classes are ``(b, 1 + classes)``
            brings a teacher's answers with it.
        how: the settings.
        seed: of the order of the data and its augmentation.
        attach: given the optimizer before the first step: a penalty's ``attach``.
        teacher: in eval mode, for ``how.distill``.
        after_step: called with the number of steps done; True ends the training.
        after_epoch: called with the number of epochs done and the mean loss.
        first: epochs done already.
        skip: steps of the next epoch that are done already too; its batches are read, not trained on.
        state: the optimizer's, when some are.
        make_optimizer: another optimizer than SGD; its learning rate follows the schedule too.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    if make_optimizer is None:
        optimizer: Optimizer = torch.optim.SGD(parameters, lr=how.lr, momentum=0.9, weight_decay=how.weight_decay)
    else:
        optimizer = make_optimizer(parameters)
    if state is not None:
        optimizer.load_state_dict(state)
    if attach is not None:
        attach(optimizer)
    steps = len(train) // how.batch_size  # type: ignore[arg-type]
    for epoch in range(first, how.epochs):
        torch.manual_seed(seed * 10_007 + epoch)
        model.train()
        total = torch.zeros(())
        for i, (x, y) in enumerate(batches(train, how.batch_size, seed * 10_007 + epoch, drop_last=True)):
            if epoch == first and i < skip:
                continue
            for group in optimizer.param_groups:
                group["lr"] = how.rate(epoch + i / steps)
            loss = _loss(model(x), x, y, how, teacher)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            total = total.to(loss.device) + loss.detach()  # a tensor: asking for its value would wait for the device
            if after_step is not None and after_step(epoch * steps + i + 1):
                return model.eval()
        if after_epoch is not None:
            model.eval()
            after_epoch(epoch + 1, float(total) / (steps - (skip if epoch == first else 0)))
    return model.eval()


def _loss(output: Tensor, x: Tensor, y: Tensor, how: Fit, teacher: nn.Module | None) -> Tensor:
    """Compute the loss; y is (b,) classes, or (b, 1 + classes) with a teacher's answers beside the class."""
    answers = None
    if y.ndim == 2:
        answers, y = y[:, 1:], y[:, 0].long()
    elif teacher is not None and how.distill:
        with torch.no_grad():
            answers = teacher(x)
    loss = F.cross_entropy(output, y)
    if answers is None or not how.distill:
        return loss
    wanted = F.log_softmax(answers / how.temperature, dim=1)
    given = F.log_softmax(output / how.temperature, dim=1)
    distance = F.kl_div(given, wanted, log_target=True, reduction="batchmean")
    return (1 - how.distill) * loss + how.distill * how.temperature**2 * distance


def accuracy(model: nn.Module, split: Dataset[Any]) -> float:
    """Return the share of a split's examples that are classified correctly, 0..1."""
    return evaluate(model, split, CPU)


def scores(model: nn.Module, splits: Splits) -> dict[str, float]:
    """Return the accuracy on the validation and the test split."""
    return {"validation": accuracy(model, splits.validation), "test": accuracy(model, splits.test)}


def example_of(splits: Splits) -> Tensor:
    """Return a batch of two inputs."""
    x: Tensor = splits.validation.batch(torch.arange(2))[0]  # type: ignore[attr-defined]
    return x


def training_batches(splits: Splits, size: int, count: int = 8) -> list[Tensor]:
    """Return batches of inputs of the training split, drawn with seed 0."""
    train: Any = splits.train
    index = torch.randperm(len(train), generator=torch.Generator().manual_seed(0))[: count * size]
    return list(train.batch(index)[0].split(size))


def file_name(text: str) -> str:
    """Return a text with every sign that file names may not hold replaced."""
    return "".join(c if c.isalnum() else "-" for c in text)


def keep_state(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, lambda temporary: torch.save(state, temporary))


def state_of(path: Path) -> dict[str, Any] | None:
    """Load a checkpoint onto the CPU, or return None."""
    if not path.is_file():
        return None
    found: dict[str, Any] = torch.load(path, map_location=CPU, weights_only=True)
    return found
