"""Reproduces the paper's Table 1 on MNIST, with six regularizers and five seeds.

Run it with ``python -m benchmarks.learning.experiments.table1 --data DIR``.

Network (784-300-10, batch normalisation), penalised layer (the first) and counting (784 rows over distinct rows) are
the paper's. Four things differ: training images are moved by up to one pixel; the strengths of group lasso and of GrOWL
are chosen on the validation split, in their rows with + l2; rows are tied in steps down to the number of groups in the
paper's table; and the tied network is trained with distillation from the dense one. All rows are treated the same.
GrOWL + l2 is also tied by one affinity propagation instead of the steps. A job is one row and seed; finished jobs are
kept.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import torch_growl as tg
from benchmarks.harness import results, timing
from benchmarks.harness.command import keep, options, workplace
from benchmarks.learning.training.counting import compacted
from benchmarks.learning.training.fitting import Fit, accuracy, example_of, fit, keep_state, scores, state_of
from benchmarks.learning.training.sums import answers, train_compact
from torch_growl.application.data.datasets import Splits, load_mnist
from torch_growl.application.models.perceptrons import mnist_mlp
from torch_growl.mathematics.owl import LambdaSequence

__all__ = ["ROWS", "SHIFT", "STEPS", "dense", "job", "main", "preference_for", "pressed", "tied", "tune"]

SEEDS, TUNING_SEED, SHIFT = range(5), 99, 1
LASSO, RAMP = tg.lasso(), tg.pld(p=0.3, floor=0.7)
# sequence, weight decay while training, and the groups of the paper's compression
ROWS: dict[str, tuple[LambdaSequence | None, float, int | None]] = {
    "none": (None, 0.0, None),
    "weight decay": (None, 5e-4, None),
    "group lasso": (LASSO, 0.0, 49),
    "group lasso + l2": (LASSO, 5e-4, 33),
    "GrOWL": (RAMP, 0.0, 46),
    "GrOWL + l2": (RAMP, 5e-4, 32),
}
COMPARED = "GrOWL + l2"  # the row that one affinity propagation is tried on too
STRENGTHS = (0.2, 0.4, 0.8)
STEPS = (120, 84, 64, 54, 46, 38)  # groups on the way
DENSE, PRESS, BETWEEN, LAST = 20, 20, 6, 120  # epochs


def dense(splits: Splits, seed: int, decay: float, work: Path, scale: int) -> nn.Module:
    """Return the dense network, trained once for every seed and weight decay."""
    torch.manual_seed(seed)
    model = mnist_mlp(init="torch")
    path = work / f"dense-{decay}-{seed}-{scale}.pt"
    state = state_of(path)
    if state is None:
        fit(model, splits.train, Fit(max(1, DENSE // scale), 0.1, decay), seed)
        state = dict(model.state_dict())
        keep_state(path, state)
    model.load_state_dict(state)
    return model.eval()


def pressed(row: str, strength: float, seed: int, splits: Splits, work: Path, scale: int) -> nn.Module:
    """Return the network trained under a row's penalty, trained once."""
    sequence, decay, _ = ROWS[row]
    assert sequence is not None
    model = dense(splits, seed, decay, work, scale)
    path = work / f"regularized-{row.replace(' ', '')}-{strength:g}-{seed}-{scale}.pt"
    state = state_of(path)
    if state is None:
        growl = tg.GrOWL(model, strength, sequence, layers=["fc1"])

        def attach(optimizer: torch.optim.Optimizer) -> None:
            growl.attach(optimizer, every=5)

        fit(model, splits.train, Fit(max(1, PRESS // scale), 0.1, decay), seed + 50, attach=attach)
        state = dict(model.state_dict())
        keep_state(path, state)
    model.load_state_dict(state)
    return model.eval()


def job(
    row: str, strength: float, seed: int, splits: Splits, work: Path, scale: int = 1, compare: bool = True
) -> dict[str, Any]:
    """Train, tie and retrain one row of the table with one seed."""
    started = time.perf_counter()
    sequence, decay, groups = ROWS[row]
    teacher = dense(splits, seed, decay, work, scale)
    found: dict[str, Any] = {"row": row, "seed": seed, "strength": strength, "dense": scores(teacher, splits)}
    if sequence is None or groups is None:
        return found | {"regularized": found["dense"], "kept": [1] * 784, "groups": 784}
    model = pressed(row, strength, seed, splits, work, scale)
    found["regularized"] = scores(model, splits)
    found["kept"] = (model.get_submodule("fc1").weight.detach() != 0).any(dim=0).int().tolist()  # type: ignore[union-attr]
    logits = answers(teacher, splits.train, SHIFT)  # type: ignore[arg-type]
    found["steps"] = tied(model, [*(step for step in STEPS if step > groups), groups], logits, splits, seed, scale)
    found["groups"] = found["steps"]["groups"]
    if row != COMPARED or not compare:
        return found | {"seconds": time.perf_counter() - started}
    once = tg.find_tying(model, ["fc1"], preference=preference_for(model, groups), max_ratio=1.0)
    found["once"] = tied(model, once, logits, splits, seed, scale)
    return found | {"seconds": time.perf_counter() - started}


def preference_for(model: nn.Module, groups: int) -> float:
    """Find by bisection the preference at which affinity propagation leaves about so many groups."""
    low, high = 0.001, 1.0
    for _ in range(10):
        middle = (low + high) / 2
        count = tg.find_tying(model, ["fc1"], preference=middle, max_ratio=1.0)["fc1"].partition.n_groups
        low, high = (middle, high) if count < groups else (low, middle)
    return high


def tied(
    model: nn.Module,
    how: list[int] | tg.Tying,
    logits: Tensor,
    splits: Splits,
    seed: int,
    scale: int,
    instead_of: int = len(STEPS),
) -> dict[str, Any]:
    """Tie, at once or in steps, and retrain the compact network.

    At once, the last training is longer by the epochs that ``instead_of`` so many steps on the way would have.
    """
    from benchmarks.learning.training.methods import expanded

    example = example_of(splits)
    steps: list[int | tg.Tying] = [how] if isinstance(how, tg.Tying) else list(how)
    plain = model
    for i, step in enumerate(steps):
        tying = step if isinstance(step, tg.Tying) else tg.find_tying(plain, ["fc1"], method="ward", groups=step)
        enforced = tg.tie_(_copy(plain), tying)
        last = i + 1 == len(steps)
        small = compacted(enforced, example)
        right_after = accuracy(small, splits.test)
        epochs = BETWEEN if not last else LAST + (0 if len(steps) > 1 else BETWEEN * instead_of)
        fitting = Fit(max(1, epochs // scale), 0.05, 1e-4, distill=0.5)
        train_compact(small, splits.train, logits, SHIFT, fitting, seed + 60 + i)  # type: ignore[arg-type]
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


def tune(row: str, splits: Splits, work: Path, scale: int) -> dict[str, Any]:
    """Choose the strength of best validation accuracy at the row's groups, with a separate seed."""
    path = work / f"choice-{row.replace(' ', '')}-{scale}.json"
    tried: dict[str, float] = results.read(path)["tried"] if path.is_file() else {}
    for strength in STRENGTHS:
        if str(strength) not in tried:
            tried[str(strength)] = job(row, strength, TUNING_SEED, splits, work, scale, False)["steps"]["validation"]
            results.write(path, {"tried": tried})
    return {"strength": max(STRENGTHS, key=lambda strength: tried[str(strength)]), "tried": tried}


def main(arguments: list[str] | None = None) -> None:
    """Run the jobs that are left; keep the result once all are done."""
    parser = options(__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--work", type=Path, default=Path("runs/learning/table1"))
    parser.add_argument("--only", choices=list(ROWS), action="append", help="run only these rows")
    given = parser.parse_args(arguments)
    timing.one_thread()
    splits = load_mnist(given.data, shift=SHIFT, limit=512 if given.quick else None)
    given.work = workplace(given)
    scale = 30 if given.quick else 1
    seeds = list(SEEDS)[: 2 if given.quick else None]
    for row in given.only or ROWS:
        tuned = {"strength": 0.0}
        if ROWS[row][0] is not None:  # a shape's strength is chosen once, with + l2
            tuned = tune(row.removesuffix(" + l2") + " + l2", splits, given.work, scale)
        for seed in seeds:
            path = given.work / f"{row.replace(' ', '')}-{seed}.json"
            if not path.is_file():
                found = job(row, tuned["strength"], seed, splits, given.work, scale) | {"tuning": tuned}
                results.write(path, found)
                print(row, seed, {k: v for k, v in found.items() if k != "kept"}, flush=True)
    done = [results.read(path) for path in sorted(given.work.glob("*-[0-9].json"))]
    done = [found for found in done if "row" in found]
    if len(done) == len(ROWS) * len(seeds):
        epochs = {"dense": DENSE, "penalty": PRESS, "between steps": BETWEEN, "last": LAST}
        keep(given, "learning.experiments.table1", {"epochs": epochs, "jobs": done})


if __name__ == "__main__":
    main()
