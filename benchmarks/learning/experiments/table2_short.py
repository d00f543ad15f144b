"""Trains rows of the paper's Table 2, VGG-16 in full on CIFAR-10, on a schedule that a CPU can do.

Run it with ``python -m benchmarks.learning.experiments.table2_short --data DIR``; ``--only`` shares the work.

The paper trains 200 epochs. Here all rows start from one network of five epochs without a penalty (SGD with momentum
0.9, weight decay 5e-4, batches of 128, learning rate 0.05 on a cosine down to 0, crops and mirrored images, products in
bfloat16; the last layer's weights begin at 0.01, since from the paper's, with a loss above 4, two epochs get to 2.2),
and have at most four epochs more:

* ``none``: four epochs at 0.02, on a cosine;
* ``group lasso + l2`` and ``GrOWL + l2``: the paper's layers, sequences, weight decay and tying. Its strengths belong
  to its 150 epochs, so that all of them are multiplied by one factor, which rises from 0.1 (1.02 times every ten steps)
  until the compact network is 14.5 times smaller, the paper's compression, within one epoch; then groups are found, and
  the compact network is trained for three epochs at 0.02, on a cosine, with its ties;
* ``tg.shrink``: the network is shrunk to 1/14.5 of its weights on eight batches, and trained for four epochs as
  ``none`` is.

One seed; an interrupted training resumes from its last checkpoint, one that is being pressed starts again.
"""

from __future__ import annotations

import copy
import time
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

import torch_growl as tg
from benchmarks.harness import results, timing
from benchmarks.harness.command import keep, options, workplace
from benchmarks.learning.training.counting import compacted, matrices, ratio
from benchmarks.learning.training.fitting import (
    Bfloat16,
    Fit,
    example_of,
    file_name,
    keep_state,
    scores,
    state_of,
    training_batches,
)
from benchmarks.learning.training.resuming import fit_resumed
from benchmarks.learning.training.rising import Rise, press
from torch_growl.application.data.datasets import Splits, load_cifar10
from torch_growl.application.data.splits import TensorSplit
from torch_growl.application.models.convolutional import vgg16
from torch_growl.application.recipes import load_recipe
from torch_growl.mathematics.owl.sequences import LambdaSequence, sequence_from_dict

__all__ = ["ROWS", "main"]

RECIPES = {"group lasso + l2": "vgg16-cifar10-group-lasso-l2", "GrOWL + l2": "vgg16-cifar10-growl-l2"}
ROWS = ("none", *RECIPES, "tg.shrink")
GOAL, BATCH, SEED = 14.5, 128, 0
DENSE, AFTER = Fit(5, 0.05, 5e-4), Fit(4, 0.02, 5e-4)
PRESSED = Fit(1, 0.02, 2e-3, schedule="step", step_epochs=2)
TIED = Fit(3, 0.02, 2e-3)
RISE = Rise(GOAL, "network", start=0.1, growth=1.02, every=10, look=10, close=0.08)
QUICK = Rise(2.0, "network", start=0.05, growth=1.3, every=2, look=10)


def main(arguments: list[str] | None = None) -> None:
    """Run the rows that are left, and keep the result."""
    parser = options(__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--work", type=Path, default=Path("runs/learning/table2_short"))
    parser.add_argument("--only", choices=ROWS, action="append", help="run this row; may be repeated")
    given = parser.parse_args(arguments)
    timing.one_thread()
    given.work = workplace(given)
    splits = load_cifar10(given.data, padding=2, limit=512 if given.quick else None)
    if given.quick:
        few = {part: TensorSplit(*getattr(splits, part).batch(torch.arange(100))) for part in ("validation", "test")}
        splits = replace(splits, **few)
    file = given.work / "done.json"
    for row in given.only or ROWS:
        if row not in results.parts(file):
            found = _row(row, splits, given)
            print(row, found, flush=True)
            results.write(file, results.parts(file) | {row: found})  # others may write it too
    keep(given, "learning.experiments.table2_short", {"rows": list(results.parts(file).values())})


def _row(row: str, splits: Splits, given: Any) -> dict[str, Any]:
    started = time.perf_counter()
    model = _network(given)
    dense = copy.deepcopy(model).eval()
    fit_resumed(given.work / "dense.pt", model, splits.train, DENSE, SEED, wrap=Bfloat16, steps_kept=50)
    found: dict[str, Any] = {"row": row, "commit": results.commit(), "start": scores(model, splits)}
    path = given.work / f"{file_name(row)}.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", tg.GrowlWarning)  # the table says what is left
        if row in RECIPES:
            model, more = _penalized(row, path, model, splits, given)
            found |= more
        else:
            if row == "tg.shrink":
                model = tg.shrink(model, training_batches(splits, BATCH), tg.Target(weights=1 / GOAL), ties=False)
                model.requires_grad_(requires_grad=True)
                found["cut"] = scores(model, splits)
            fit_resumed(path, model, splits.train, AFTER, SEED + 100, wrap=Bfloat16, steps_kept=50)
            found["compression"] = matrices(dense) / matrices(model)
    example = example_of(splits)
    before, after = (tg.measure(network.eval(), example, latency=False) for network in (dense, model))
    return {
        **found,
        "accuracy": scores(model, splits),
        "weights": [before.weights, after.weights],
        **ratio(dense, model, example),
        "seconds": round(time.perf_counter() - started),  # of the last call, if it was interrupted
    }


def _network(given: Any) -> nn.Module:
    torch.manual_seed(SEED)
    model = vgg16(width=0.125 if given.quick else 1.0)
    torch.nn.init.normal_(cast(nn.Linear, model.get_submodule("fc2")).weight, std=0.01)
    return model.to(memory_format=torch.channels_last)


def _penalized(row: str, path: Path, model: nn.Module, splits: Splits, given: Any) -> tuple[nn.Module, dict[str, Any]]:
    """Press with a strength that rises, find the groups and retrain; return the compact network."""
    recipe = load_recipe(RECIPES[row], {})
    settings, tying_of = recipe.growl, recipe.tying
    assert settings is not None
    pressed = path.with_suffix(".pressed.pt")
    state = state_of(pressed)
    if state is None:
        overrides = {name: {"sequence": _sequence(each)} for name, each in settings.overrides.items()}
        growl = tg.GrOWL(model, 1.0, layers=settings.layers, overrides=overrides, form="paper")
        how, rise = (replace(PRESSED, batch_size=16), QUICK) if given.quick else (PRESSED, RISE)
        passed = press(model, growl, splits.train, how, rise, SEED + 100, Bfloat16(model))
        state = {"model": model.state_dict(), "passed": passed}
        keep_state(pressed, state)
    model.load_state_dict(state["model"])
    found: dict[str, Any] = {"path": state["passed"], "cut": scores(model, splits)}
    tying = tg.find_tying(model, settings.layers, preference=tying_of.preference, max_ratio=tying_of.max_ratio)
    small = compacted(tg.tie_(model, tying), example_of(splits)).to(memory_format=torch.channels_last)
    fit_resumed(path, small, splits.train, TIED, SEED + 200, wrap=Bfloat16, steps_kept=50)
    found |= {"compression": tying.compression(chain=True), "sparsity": tying.sparsity}
    return small, found


def _sequence(override: Any) -> LambdaSequence:
    """A layer's sequence; a strength of its own, as group lasso has, becomes a part of it, so that it can rise."""
    if override.sequence is not None:
        return sequence_from_dict(override.sequence.model_dump(exclude_none=True))
    return tg.pld(1.0, lambda1=override.strength, lambda2=0.0)


if __name__ == "__main__":
    main()
