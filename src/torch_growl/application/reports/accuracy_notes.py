"""Sentences about the metric: which stage of a run lost most and what to change, and falls in a training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from torch_growl.application.recipes import Recipe
from torch_growl.application.tasks import ACCURACY, PERCENT, Metric
from torch_growl.networks.targets import MEASURES

__all__ = ["accuracy_steps", "collapse", "loss_note"]

_FAR, _SMOOTH = 0.2, 1.2  # a fall of a share of 1, and the growth of the loss that explains none
_MUCH = 2.0  # the factor by which another metric becomes worse


def accuracy_steps(accuracy: Mapping[str, float | None], metric: Metric = ACCURACY) -> str:
    """Write the metric after every stage, with the difference (of shares: in points) that the stage has made.

    Args:
        accuracy: the ``score`` of ``result.json``; stages without a value are left out.
        metric: the run's.
    """
    parts: list[str] = []
    before = None
    for stage, value in accuracy.items():
        if value is None:
            continue
        change = "" if before is None else f" ({metric.change(before, value, 1)})"
        parts.append(f"{stage} {metric.text(value, 1)}{change}")
        before = value
    return " → ".join(parts)


def loss_note(accuracy: Mapping[str, float | None], recipe: Recipe, metric: Metric = ACCURACY) -> str:
    """Say which part of a run made the metric worst and what to change; empty if the run lost a point (1 %) or less.

    The parts are the training with the penalty, tying with retraining, and the type of the stored weights.

    Args:
        accuracy: the ``score`` of ``result.json``.
        recipe: the run's recipe, whose present values are named.
        metric: the run's.
    """
    known = [accuracy.get(stage) for stage in ("dense", "regularized", "retrained", "compact")]
    if any(value is None for value in known):
        return ""
    dense, regularized, retrained, compact = (float(value) for value in known if value is not None)
    if not metric.is_worse(dense, compact):
        return ""
    training, weaker = "the second training (train)", ""
    if recipe.growl is not None and recipe.penalised:
        asked = [f"{of}={value}" for of, value in (recipe.target or {}).items() if of in MEASURES]
        less = f"ask for less (target: {', '.join(asked)})" if asked else "lower growl.strength"
        now = "" if asked else f" (now {recipe.growl.strength:g})"
        training, weaker = "the training with the penalty", f"{less}{now}, or "
    tie_less = {
        "affinity": f"raise tying.preference (now {recipe.tying.preference:g})",
        "ward": "give tying.groups more groups",
        "least-squares": "give tying.groups more groups",
        "shrink": "leave more (tying.left)",
        "none": f"lower retrain.lr (now {recipe.retrain.lr:g})",
    }[recipe.tying.method]
    if recipe.tying_drop is not None:
        tie_less = "lower the drop (tying.drop)"
    parts = [
        (dense, regularized, training, f"{weaker}train longer (train.epochs, now {recipe.train.epochs})"),
        (
            regularized,
            retrained,
            "tying, which retraining did not regain," if recipe.tying.method != "none" else "retraining",
            f"{tie_less}, or retrain longer (retrain.epochs, now {recipe.retrain.epochs})",
        ),
        (
            retrained,
            compact,
            f"storing the weights as {recipe.compact.dtype}",
            "choose a wider compact.dtype, such as float32",
        ),
    ]
    before, after, part, remedy = max(parts, key=lambda each: metric.lost(each[0], each[1]))
    if metric == ACCURACY:
        worse = f"the compact network is {100 * (dense - compact):.1f} points less accurate than the dense one"
    else:
        direction = "below" if metric.higher_is_better else "above"
        worse = (
            f"the {metric.name} of the compact network is {metric.text(compact)}, "
            f"{metric.points(dense, compact).lstrip('+−')} {direction} that of the dense one"
        )
    lost = metric.points(before, after, 1 if metric == ACCURACY else 2).lstrip("+−")
    return f"{worse}; {part} lost {lost}: {remedy}"


def collapse(records: Sequence[Mapping[str, Any]], metric: Metric = ACCURACY) -> str:
    """Name the first epoch whose validation metric became far worse than an earlier one while the loss stayed smooth.

    Args:
        records: one training's records of ``metrics.jsonl``, in order.
        metric: the run's.

    Returns:
        A sentence; empty if no epoch is 20 points below the best before it (metrics that are no shares: twice as bad),
        or if the loss rose by a fifth or more in each such epoch and so shows the fall itself.
    """
    moved = "fell" if metric.higher_is_better else "rose"
    for before, now in pairwise(records):
        best = min(records[: records.index(now)], key=lambda each: metric.lost(0.0, _validation(each)))
        high, low = _validation(best), _validation(now)
        if _fell(high, low, metric) and now["loss"] < _SMOOTH * before["loss"]:
            return (
                f"stage {now['stage']}: the validation {metric.name} {moved} to {metric.text(low, 1)} in "
                f"epoch {now['epoch']}, from {metric.text(high, 1)} in epoch {best['epoch']}, "
                f"although the loss is smooth ({before['loss']:.3g}, then {now['loss']:.3g}): if later epochs do not "
                "regain it, lower growl.strength or the learning rate, or ask for less (statistics of batch "
                "normalisation lag behind weights that shrink fast)"
            )
    return ""


def _validation(record: Mapping[str, Any]) -> float:
    """The metric of an epoch; records of earlier versions have the accuracy alone."""
    return float(record["validation_score"] if "validation_score" in record else record["validation_accuracy"])


def _fell(best: float, now: float, metric: Metric) -> bool:
    lost = metric.lost(best, now)
    if metric.unit == PERCENT:
        return lost > _FAR
    return lost > (_MUCH - 1) * abs(best) if not metric.higher_is_better else lost > (1 - 1 / _MUCH) * abs(best)
