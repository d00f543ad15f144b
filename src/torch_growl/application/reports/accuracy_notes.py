"""Sentences about accuracy: which stage of a run lost it and what to change, and falls in the middle of a training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from torch_growl.application.recipes import Recipe

__all__ = ["accuracy_steps", "collapse", "loss_note"]

_MOST_LOST = 0.01  # a run that loses more says so
_FAR, _SMOOTH = 0.2, 1.2  # a fall of the validation accuracy, and the growth of the loss that explains none


def accuracy_steps(accuracy: Mapping[str, float | None]) -> str:
    """Write the accuracy after every stage, with the difference in points that the stage has made.

    Args:
        accuracy: the ``accuracy`` of ``result.json``, 0..1; stages without a value are left out.
    """
    parts: list[str] = []
    before = None
    for stage, value in accuracy.items():
        if value is None:
            continue
        change = "" if before is None else f" ({100 * (value - before):+.1f})".replace("-", "−")
        parts.append(f"{stage} {100 * value:.1f} %{change}")
        before = value
    return " → ".join(parts)


def loss_note(accuracy: Mapping[str, float | None], recipe: Recipe) -> str:
    """Say which part of a run lost the most accuracy and what to change; empty if the run lost a point or less.

    The parts are the training with the penalty, tying with retraining, and the type of the stored weights.

    Args:
        accuracy: the ``accuracy`` of ``result.json``, 0..1.
        recipe: the run's recipe, whose present values are named.
    """
    known = [accuracy.get(stage) for stage in ("dense", "regularized", "retrained", "compact")]
    if any(value is None for value in known):
        return ""
    dense, regularized, retrained, compact = (float(value) for value in known if value is not None)
    if dense - compact <= _MOST_LOST:
        return ""
    training, weaker = "the second training (train)", ""
    if recipe.growl is not None and recipe.penalised:
        training, weaker = "the training with the penalty", f"lower growl.strength (now {recipe.growl.strength:g}), or "
    tie_less = {
        "affinity": f"raise tying.preference (now {recipe.tying.preference:g})",
        "ward": "give tying.groups more groups",
        "none": f"lower retrain.lr (now {recipe.retrain.lr:g})",
    }[recipe.tying.method]
    parts = [
        (dense - regularized, training, f"{weaker}train longer (train.epochs, now {recipe.train.epochs})"),
        (
            regularized - retrained,
            "tying, which retraining did not regain," if recipe.tying.method != "none" else "retraining",
            f"{tie_less}, or retrain longer (retrain.epochs, now {recipe.retrain.epochs})",
        ),
        (
            retrained - compact,
            f"storing the weights as {recipe.compact.dtype}",
            "choose a wider compact.dtype, such as float32",
        ),
    ]
    lost, part, remedy = max(parts, key=lambda each: each[0])
    return (
        f"the compact network is {100 * (dense - compact):.1f} points less accurate than the dense one; {part} lost "
        f"{100 * lost:.1f} points: {remedy}"
    )


def collapse(records: Sequence[Mapping[str, Any]]) -> str:
    """Name the first epoch whose validation accuracy fell far below an earlier one while the loss stayed smooth.

    Args:
        records: one training's records of ``metrics.jsonl``, in order.

    Returns:
        A sentence; empty if no epoch is 20 points below the best before it, or if the loss rose by a fifth or more in
        each such epoch and so shows the fall itself.
    """
    for before, now in pairwise(records):
        best = max(records[: records.index(now)], key=lambda each: float(each["validation_accuracy"]))
        fell = best["validation_accuracy"] - now["validation_accuracy"]
        if fell > _FAR and now["loss"] < _SMOOTH * before["loss"]:
            return (
                f"stage {now['stage']}: the validation accuracy fell to {100 * now['validation_accuracy']:.1f} % in "
                f"epoch {now['epoch']}, from {100 * best['validation_accuracy']:.1f} % in epoch {best['epoch']}, "
                f"although the loss is smooth ({before['loss']:.3g}, then {now['loss']:.3g}): if later epochs do not "
                "regain it, lower growl.strength or the learning rate (statistics of batch normalisation lag behind "
                "weights that shrink fast)"
            )
    return ""
