"""The loss in the outputs of transformers' networks, with a teacher's part added to it."""

from __future__ import annotations

import functools
import sys
from collections.abc import Mapping
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn

from torch_growl.errors import InvalidValueError
from torch_growl.integrations.recovery import Recovery
from torch_growl.networks.recovery import predictions_in

__all__ = ["distil", "distilled"]


def distil(callback: Any, model: nn.Module, recovery: Recovery) -> None:
    """Add the teacher's part to the network's loss wherever the Trainer that is at work computes its own.

    Outside the Trainer's ``compute_loss`` the network's outputs stay as they are, so that another Trainer on the
    network, after an exception, has its own loss.

    Args:
        callback: the Trainer's callback.
        model: the network.
        recovery: it has the teacher and the weights of the parts; its ``remove`` gives ``compute_loss`` back.

    Raises:
        InvalidValueError: no Trainer is at work.
    """
    trainer = _trainer_with(callback)
    own = {name: value for name, value in vars(trainer).items() if name == "compute_loss"}
    compute, found, checked = trainer.compute_loss, [], False  # the distilled losses of this step

    def take(args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
        output = distilled(model, recovery, args, kwargs, output)
        found.append(output["loss"] if isinstance(output, Mapping) else output[0])
        return output

    @functools.wraps(compute)
    def compute_loss(*args: Any, **kwargs: Any) -> Any:
        nonlocal checked
        if callback not in trainer.callback_handler.callbacks:  # it was removed, after an exception
            recovery.remove()
            return compute(*args, **kwargs)
        found.clear()
        with recovery.in_loss():
            loss = compute(*args, **kwargs)
        if not checked and model.training and torch.is_grad_enabled():
            checked = True
            _check_distilled(loss[0] if isinstance(loss, tuple) else loss, found)
        found.clear()
        return loss

    def undo() -> None:
        vars(trainer).pop("compute_loss", None)
        vars(trainer).update(own)

    recovery.watch(model, take, undo)
    trainer.compute_loss = compute_loss


def _trainer_with(callback: Any) -> Any:
    """The Trainer that calls the callback, which is not among the arguments of its events."""
    from transformers import Trainer

    frame: FrameType | None = sys._getframe()
    while frame is not None:
        found = frame.f_locals.get("self")
        if isinstance(found, Trainer) and callback in found.callback_handler.callbacks:
            return found
        frame = frame.f_back
    raise InvalidValueError("distill and distill_features need the Trainer's loss, and no Trainer of transformers runs")


def _check_distilled(loss: Tensor, found: list[Tensor]) -> None:
    """Refuse a loss that does not depend on a distilled one."""
    wanted = {each.grad_fn for each in found}
    seen, left = set(), [loss.grad_fn]
    while left:
        node = left.pop()
        if node in wanted:
            return
        if node is not None and node not in seen:
            seen.add(node)
            left += [each for each, _ in node.next_functions]
    raise InvalidValueError(
        "distill and distill_features change the loss that the network returns, and the Trainer's compute_loss, or its "
        "compute_loss_func, computes another one from the outputs; return the network's own loss, or add the distance "
        "from a teacher there"
    )


def distilled(
    model: nn.Module, recovery: Recovery, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Any
) -> Any:
    """The network's output with the teacher's part in its loss.

    Args:
        model: the network.
        recovery: it has the teacher and the weights of the parts.
        args, kwargs: the network's inputs.
        output: the network's output on them; a mapping is modified.

    Raises:
        InvalidValueError: the output has no loss.
    """
    loss = output.get("loss") if isinstance(output, Mapping) else output[0] if isinstance(output, tuple) else None
    if not isinstance(loss, Tensor) or loss.ndim:
        raise InvalidValueError(
            "distill and distill_features need a network that returns its loss: give it labels, and the Trainer no "
            "compute_loss_func"
        )
    added = recovery.loss(args, kwargs, output, _task_of(model, predictions_in(output)))
    loss = (1 - recovery.share) * loss + added * _share_of_step(model, kwargs)
    if isinstance(output, tuple):
        return (loss, *output[1:])
    output["loss"] = loss
    return output


def _task_of(model: nn.Module, logits: Tensor | None) -> str:
    """The recipe's task whose outputs are compared as this network's are."""
    problem = getattr(getattr(model, "config", None), "problem_type", None)
    if problem in ("regression", "multi_label_classification"):
        return "regression" if problem == "regression" else "multilabel"
    return "language-model" if logits is not None and logits.ndim == 3 else "classification"


def _share_of_step(model: nn.Module, given: Mapping[str, Any]) -> Tensor | int:
    """The part of a step's labels that are in one of its batches; 1 where the Trainer divides the loss itself."""
    items, labels = given.get("num_items_in_batch"), given.get("labels")
    if items is None or not isinstance(labels, Tensor):
        return 1
    if isinstance(shifted := given.get("shift_labels"), Tensor):
        labels = shifted
    elif getattr(model, "loss_type", None) in ("ForCausalLM", "ForConditionalGeneration"):  # as the Trainer counts
        labels = labels if getattr(model.config, "is_encoder_decoder", False) else labels[..., 1:]
    share: Tensor = labels.ne(-100).sum() / items
    return share
