"""The loss in the outputs of transformers' networks, with a teacher's part added to it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from torch_growl.errors import InvalidValueError
from torch_growl.integrations.recovery import Recovery
from torch_growl.networks.recovery import predictions_in

__all__ = ["distilled"]


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
