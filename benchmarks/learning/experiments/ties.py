"""Tests whether ties are predictive, and whether tying in steps is better than tying once.

Run it with ``python -m benchmarks.learning.experiments.ties --data DIR``.

The networks are those of Table 1 before tying, without a penalty, with group lasso + l2 and with GrOWL + l2 (run
``python -m benchmarks.learning.experiments.table1`` first). The rows of their first layer are tied at once to the same
numbers of groups, and scored right after tying and after retraining. GrOWL + l2 is also tied to the number of groups
that one affinity propagation finds, at once and in steps, with as many epochs in all.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch_growl as tg
from benchmarks.harness import results, timing
from benchmarks.harness.command import keep, options, workplace
from benchmarks.learning.experiments import table1
from benchmarks.learning.training.fitting import state_of
from benchmarks.learning.training.sums import answers
from torch_growl.application.data.datasets import Splits, load_mnist
from torch_growl.application.models.perceptrons import mnist_mlp

__all__ = ["GROUPS", "PENALTIES", "job", "main"]

GROUPS, SEEDS = (64, 48, 33, 24), 1
PENALTIES = {
    "none": "dense-0.0005",
    "group lasso + l2": "regularized-grouplasso+l2-*",
    "GrOWL + l2": "regularized-GrOWL+l2-*",
}


def job(penalty: str, seed: int, splits: Splits, work: Path, scale: int = 1) -> list[dict[str, Any]]:
    """Tie one network to every number of groups."""
    state = state_of(next(iter(work.glob(f"{PENALTIES[penalty]}-{seed}-{scale}.pt")), work / "none"))
    if state is None:
        raise SystemExit(
            f"no {PENALTIES[penalty]}-{seed}-{scale}.pt in {work}; "
            "run python -m benchmarks.learning.experiments.table1 first"
        )
    model = mnist_mlp(init="torch")
    model.load_state_dict(state)
    model.eval()
    teacher = table1.dense(splits, seed, 5e-4, work, scale)
    logits = answers(teacher, splits.train, table1.SHIFT)  # type: ignore[arg-type]
    nonzero = int((model.get_submodule("fc1").weight != 0).any(0).sum())  # type: ignore[union-attr, arg-type]
    found = []
    for groups in GROUPS:
        tied = table1.tied(model, [groups], logits, splits, seed, 3 * scale)
        found.append({"penalty": penalty, "seed": seed, "nonzero": nonzero, "how": "at once", **tied})
    if penalty == "GrOWL + l2":
        once = tg.find_tying(model, ["fc1"], preference=table1.preference_for(model, 52), max_ratio=1.0)
        count = once["fc1"].partition.n_groups
        steps = [step for step in table1.STEPS if step > count]
        for how, given in (("affinity propagation", once), ("Ward at once", [count]), ("steps", [*steps, count])):
            tied = table1.tied(model, given, logits, splits, seed, 2 * scale, instead_of=len(steps))
            found.append({"penalty": penalty, "seed": seed, "nonzero": nonzero, "how": how, **tied})
    return found


def main(arguments: list[str] | None = None) -> None:
    """Run all jobs and keep the result."""
    parser = options(__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--work", type=Path, default=Path("runs/learning/table1"), help="the folder of Table 1")
    given = parser.parse_args(arguments)
    timing.one_thread()
    given.work = workplace(given)
    splits = load_mnist(given.data, shift=table1.SHIFT, limit=512 if given.quick else None)
    scale = 30 if given.quick else 1
    jobs: list[dict[str, Any]] = []
    for seed in range(1 if given.quick else SEEDS):
        for penalty in PENALTIES:
            path = given.work / f"ties-{PENALTIES[penalty]}-{seed}-{scale}.json"
            if not path.is_file():
                results.write(path, job(penalty, seed, splits, given.work, scale))
            jobs += results.read(path)
            print(*jobs[-7:], sep="\n", flush=True)
    keep(given, "learning.experiments.ties", {"jobs": jobs})


if __name__ == "__main__":
    main()
