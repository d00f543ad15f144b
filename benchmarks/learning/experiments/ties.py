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

from torch import Tensor, nn

import torch_growl as tg
from benchmarks.harness import results, timing
from benchmarks.harness.command import keep, options, workplace
from benchmarks.learning.experiments.table1 import path_of, preference_for
from benchmarks.learning.training.counting import compacted
from benchmarks.learning.training.fitting import Fit, accuracy, example_of, scores
from benchmarks.learning.training.methods import expanded
from benchmarks.learning.training.sums import answers, train_compact
from torch_growl.application.models.perceptrons import mnist_mlp
from torch_growl.application.recipes import Phase, Recipe
from torch_growl.application.runs.run import Run
from torch_growl.application.runs.run_folder import RunFolder

__all__ = ["GROUPS", "PENALTIES", "job", "main"]

GROUPS, SEEDS = (64, 48, 33, 24), 1
PENALTIES = {  # the row of Table 1, and the training whose network is tied
    "none": ("weight decay", "dense"),
    "group lasso + l2": ("group lasso + l2", "train"),
    "GrOWL + l2": ("GrOWL + l2", "train"),
}
SHORTER = 3  # times, than the retraining of Table 1


def job(penalty: str, seed: int, work: Path, data: Path, quick: bool = False) -> list[dict[str, Any]]:
    """Tie one network to every number of groups."""
    shorter = 60 if quick else SHORTER
    row, stage = PENALTIES[penalty]
    folder = RunFolder(path_of(work, row, seed))
    if not folder.result_file.is_file():
        raise SystemExit(
            f"no finished run in {folder.path}; run python -m benchmarks.learning.experiments.table1 first"
        )
    tied_run = RunFolder(path_of(work, "GrOWL + l2", seed))
    if not tied_run.result_file.is_file():
        raise SystemExit(
            f"no finished run in {tied_run.path}; run python -m benchmarks.learning.experiments.table1 first"
        )
    run, recipe = Run(folder, data_dir=data), tied_run.recipe()
    model = run.trained(stage)  # type: ignore[arg-type]
    logits = answers(run.trained("dense"), run.splits.train, recipe.data.options["shift"])  # type: ignore[arg-type]
    nonzero = int((model.get_submodule("fc1").weight != 0).any(0).sum())  # type: ignore[union-attr, arg-type]
    about = {"penalty": penalty, "seed": seed, "nonzero": nonzero}
    found = [{**about, "how": "at once", **_tied(model, [groups], logits, run, recipe, shorter)} for groups in GROUPS]
    if penalty == "GrOWL + l2":
        once = tg.find_tying(model, ["fc1"], preference=preference_for(model, 52), max_ratio=1.0)
        count = once["fc1"].partition.n_groups
        steps = [int(step) for step in recipe.tying.groups["fc1"] if step > count]
        for how, given in (("affinity propagation", once), ("Ward at once", [count]), ("steps", [*steps, count])):
            tied = _tied(model, given, logits, run, recipe, shorter - 1, instead_of=len(steps))
            found.append({**about, "how": how, **tied})
    return found


def _fit(phase: Phase, epochs: int) -> Fit:
    return Fit(max(1, epochs), phase.lr, phase.weight_decay, distill=phase.distill, temperature=phase.temperature)


def _tied(
    model: nn.Module,
    how: list[int] | tg.Tying,
    logits: Tensor,
    run: Run,
    recipe: Recipe,
    shorter: int,
    instead_of: int | None = None,
) -> dict[str, Any]:
    """Tie, at once or in steps, and retrain the compact network on the sums that its first layer reads.

    At once, the last training is longer by the epochs that ``instead_of`` so many steps on the way would have.
    """
    assert recipe.merge is not None
    instead_of = recipe.tying.steps - 1 if instead_of is None else instead_of
    splits, shift = run.splits, recipe.data.options["shift"]
    steps: list[int | tg.Tying] = [how] if isinstance(how, tg.Tying) else list(how)
    plain = model
    for i, step in enumerate(steps):
        tying = step if isinstance(step, tg.Tying) else tg.find_tying(plain, ["fc1"], method="ward", groups=step)
        small = compacted(tg.tie_(_copy(plain), tying), example_of(splits))
        right_after = accuracy(small, splits.test)
        fitting = _fit(recipe.merge, recipe.merge.epochs // shorter)
        if i + 1 == len(steps):
            longer = 0 if len(steps) > 1 else recipe.merge.epochs * instead_of
            fitting = _fit(recipe.retrain, (recipe.retrain.epochs + longer) // shorter)
        train_compact(small, splits.train, logits, shift, fitting, recipe.seed + 60 + i)  # type: ignore[arg-type]
        plain = expanded(small, model)
    partition = tying["fc1"].partition
    return {
        "groups": partition.n_groups,
        "sparsity": tying.sparsity,
        "sharing": tying.sharing,
        "compression": tying.compression(),
        "tied": right_after,
        **scores(small, splits),
    }


def _copy(model: nn.Module) -> nn.Module:
    copied = mnist_mlp(init="torch")
    copied.load_state_dict(model.state_dict())
    return copied.eval()


def main(arguments: list[str] | None = None) -> None:
    """Run all jobs and keep the result."""
    parser = options(__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--work", type=Path, default=Path("runs/learning/table1"), help="the folder of Table 1")
    given = parser.parse_args(arguments)
    timing.one_thread()
    work = workplace(given)
    jobs: list[dict[str, Any]] = []
    for seed in range(SEEDS):
        for penalty in PENALTIES:
            path = work / f"ties-{penalty.replace(' ', '')}-{seed}.json"
            if not path.is_file():
                results.write(path, job(penalty, seed, work, given.data, given.quick))
            jobs += results.read(path)
            print(*jobs[-7:], sep="\n", flush=True)
    keep(given, "learning.experiments.ties", {"jobs": jobs})


if __name__ == "__main__":
    main()
