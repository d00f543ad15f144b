"""Checks before any training: a recipe can only ask for a target and for steps of shrinking that can be met."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from torch_growl.application.data import steps_in
from torch_growl.errors import InvalidValueError
from torch_growl.networks.diagnosis import doctor
from torch_growl.networks.tying import check_readers

if TYPE_CHECKING:
    from torch_growl.application.runs.run import Run

__all__ = ["check_groups", "check_steps", "check_target"]


def check_target(run: Run) -> None:
    """Check that the training with the penalty can meet the recipe's target.

    Raises:
        InvalidValueError: the target cannot be met, or the training is too short for one.
    """
    phase, model = run.recipe.train, run.network()
    penalty = run.penalty(model)
    assert penalty is not None
    steps = phase.epochs * steps_in(run.splits.train, phase.batch_size, run.reading)[1]
    try:
        penalty.attach(torch.optim.SGD(model.parameters(), lr=phase.lr), steps=steps)
    except InvalidValueError as error:
        raise InvalidValueError(
            f"train.epochs = {phase.epochs} and train.batch_size = {phase.batch_size} make {steps} optimizer "
            f"steps, which do not fit the target: {error}"
        ) from error


def check_groups(run: Run) -> None:
    """Check that the rows of the layers in ``tying.groups`` can be compared by what they read.

    Raises:
        LayerError: a layer has groups, is transposed, shares its weight, or is not called.
    """
    check_readers(run.network(), run.recipe.tying.groups, run.example())


def check_steps(run: Run) -> None:
    """Check that the network can be shrunk to what ``tying.left`` says.

    Raises:
        InvalidValueError: the first step leaves all of the network, or the last one less than can be left; the training
            split is a single batch.
    """
    if len(run.training_inputs(2)) < 2:
        raise InvalidValueError(
            "tying.left: rows are fitted on some training batches and judged on others, but train.batch_size = "
            f"{run.recipe.train.batch_size} makes a single one of the training split; make it smaller"
        )
    targets = run.recipe.tying.targets
    of = targets[0].of
    found = doctor(run.network(), run.example(), layers=run.layers, min_rows=1, latency=False).feasibility
    for reach in (each for each in found.measures if each.of == of):
        targets[0].amount(reach.dense)  # raises an error if it is not less than the dense network's
        least = targets[-1].amount(reach.dense)
        if least < reach.least:
            raise InvalidValueError(
                f"tying.left: at least {reach.least:,.0f} of {reach.dense:,.0f} {of} are left, "
                f"{reach.least / reach.dense:.1%}, whatever rows of {', '.join(run.layers)} go; asked were {least:,.0f}"
            )
