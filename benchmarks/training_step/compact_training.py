"""Trains compact networks with ties beside the same networks after ``tie_``, on MNIST.

Run it with ``python -m benchmarks.training_step.compact_training --data DIR``; a run that was stopped goes on.

Ten networks 784-300-10 are trained with GrOWL, and the rows of their first layer are tied to 33 groups, of up to a
hundred pixels. Each is then trained ten times, on data in another order: after ``tie_``, in compact form, and in
compact form with the sums of the rows' gradients in place of their means. A training is spoilt if its weights are not
finite or its test accuracy is more than a point below that after ``tie_``. The outputs are compared after 50 steps.
"""

from __future__ import annotations

import copy
import statistics
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import torch_growl as tg
from benchmarks.harness import results, timing
from benchmarks.harness.command import keep, options
from benchmarks.harness.markdown import markdown
from benchmarks.harness.pages import DOCS, Page, where_measured
from benchmarks.learning.training.fitting import Fit, accuracy, example_of, fit
from torch_growl.application.data.datasets import Splits, load_mnist
from torch_growl.application.models.perceptrons import mnist_mlp

__all__ = ["FORMS", "PAGE", "in_forms", "job", "main", "pressed", "spoilt"]

NETWORKS, ORDERS, GROUPS, COMPARED = 10, 10, 33, 50
IMAGES = 30_000  # of the training split: 234 steps
PRESS = Fit(3, 0.1, 5e-4)
RETRAIN = Fit(1, 0.05, 1e-4)
FORMS = ("after tie_", "compact", "compact, sums of gradients")


def pressed(splits: Splits, seed: int) -> nn.Module:
    """Train a network with the penalty."""
    torch.manual_seed(seed)
    model = mnist_mlp(init="torch")
    growl = tg.GrOWL(model, 0.8, layers=["fc1"])
    fit(model, splits.train, PRESS, seed, attach=lambda optimizer: growl.attach(optimizer, every=5))
    model.zero_grad()
    return model


def in_forms(model: nn.Module, example: Tensor, groups: int = GROUPS) -> dict[str, nn.Module]:
    """Return copies of a network in all forms, the rows of its first layer in groups; their outputs agree."""
    tied = copy.deepcopy(model)
    tg.tie_(tied, tg.find_tying(tied, ["fc1"], method="ward", groups=groups))
    small = tg.compact(tied, example)
    plain = copy.deepcopy(small)  # a Sequential computes the same, and its gradients are sums
    fed = cast(Any, plain).fc1
    cast(Any, plain).fc1 = nn.Sequential(fed.inputs, fed.layer)
    return dict(zip(FORMS, (tied, small, plain), strict=True))


def job(in_types: dict[torch.dtype, dict[str, nn.Module]], splits: Splits, seed: int) -> dict[str, Any]:
    """Train all forms of one network in one order of the data; compare them after 50 steps and at the end.

    Args:
        in_types: what :func:`in_forms` made of the network in float64 and in float32; not modified.
        splits: the data.
        seed: of the order of the data.

    Returns:
        For each form its test accuracy and whether its weights are finite; and for both types the largest difference of
        the compact network's outputs from those after ``tie_`` after 50 steps, as a part of the largest output, with
        the difference of float32 from float64 after ``tie_``, which is rounding alone.
    """
    images = splits.test.batch(torch.arange(500))[0]  # type: ignore[attr-defined]
    found: dict[str, Any] = {}
    early = []
    for dtype, forms in in_types.items():
        tied, small = (_early(forms[form], splits, seed, images.to(dtype)).double() for form in FORMS[:2])
        found[str(dtype).removeprefix("torch.")] = float((small - tied).abs().max() / tied.abs().max())
        early.append(tied)
    found["rounding"] = float((early[1] - early[0]).abs().max() / early[0].abs().max())
    for form, model in copy.deepcopy(in_types[torch.float32]).items():
        fit(model, splits.train, RETRAIN, seed)
        finite = all(bool(torch.isfinite(p).all()) for p in model.parameters())
        found[form] = {"accuracy": accuracy(model, splits.test), "finite": finite}
    return found


def _early(model: nn.Module, splits: Splits, seed: int, images: Tensor) -> Tensor:
    """Train a copy of a network for 50 steps; return its outputs in eval mode."""
    model = copy.deepcopy(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=RETRAIN.lr, momentum=0.9, weight_decay=RETRAIN.weight_decay)
    order = torch.randperm(len(cast(Any, splits.train)), generator=torch.Generator().manual_seed(seed))
    for indices in order[: COMPARED * RETRAIN.batch_size].split(RETRAIN.batch_size):
        x, y = splits.train.batch(indices, torch.Generator().manual_seed(seed))  # type: ignore[attr-defined]
        optimizer.zero_grad()
        F.cross_entropy(model.train()(x.to(images.dtype)), y).backward()
        optimizer.step()
    with torch.no_grad():
        return cast(Tensor, model.eval()(images))


def spoilt(run: dict[str, Any], form: str) -> bool:
    """Tell whether a training was spoilt: not finite, or more than a point below that after ``tie_``."""
    return not run[form]["finite"] or run[form]["accuracy"] < run[FORMS[0]]["accuracy"] - 0.01


def table() -> str:
    """Return the table of the kept result."""
    data = results.load("compact_training")
    rows = []
    for form in FORMS:
        own = [run[form] for run in data["runs"]]
        accuracies = torch.tensor([run["accuracy"] for run in own], dtype=torch.float64)
        rows.append(
            [
                form.replace("tie_", "`tie_`"),
                f"{sum(spoilt(run, form) for run in data['runs'])} of {len(own)}",
                f"{100 * float(accuracies.mean()):.2f} %",
                f"{100 * float(accuracies.min()):.2f} %",
            ]
        )
    worst = {key: max(run[key] for run in data["runs"]) for key in ("float64", "float32", "rounding")}
    middle = {key: statistics.median(run[key] for run in data["runs"]) for key in worst}
    says = (
        f"Outputs of the compact network after 50 steps differ from those after `tie_` by at most "
        f"{worst['float64']:.1g} of the largest in float64, and by {middle['float32']:.1g} (median; at most "
        f"{worst['float32']:.1g}) in float32, where rounding alone makes {middle['rounding']:.1g} "
        f"({worst['rounding']:.1g})."
    )
    return "\n\n".join([markdown(["trained", "spoilt", "accuracy, mean", "least"], rows), says, where_measured(data)])


PAGE = Page(DOCS / "own-training.md", {"compact-training": table})


def main(arguments: list[str] | None = None) -> None:
    """Train all networks, keep the result and fill the page."""
    parser = options(__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    given = parser.parse_args(arguments)
    timing.one_thread()
    splits = load_mnist(given.data, shift=1, limit=2_000 if given.quick else IMAGES)
    kept = results.Kept("compact_training-quick" if given.quick else "compact_training", resume=not given.quick)
    networks, orders = (1, 2) if given.quick else (NETWORKS, ORDERS)
    runs = []
    for network in range(networks):
        left = [order for order in range(orders) if f"{network}-{order}" not in kept.found]
        types = {}
        if left:
            model, images = pressed(splits, network), example_of(splits)
            for dtype in (torch.float64, torch.float32):
                types[dtype] = in_forms(copy.deepcopy(model).to(dtype), images.to(dtype))
        for order in range(orders):
            seed = 1_000 + network * orders + order
            run = kept.get(f"{network}-{order}", lambda types=types, seed=seed: job(types, splits, seed))  # type: ignore[misc]
            runs.append(run)
            print(network, order, {form: (run[form], spoilt(run, form)) for form in FORMS}, flush=True)
    keep(given, "training_step.compact_training", {"networks": networks, "orders": orders, "runs": runs})
    kept.done()
    if results.exists("compact_training") and not given.quick:
        PAGE.fill()


if __name__ == "__main__":
    main()
