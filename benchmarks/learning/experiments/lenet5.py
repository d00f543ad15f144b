"""Makes LeNet-5 on MNIST as small as possible, in inputs and neurons.

Run it with ``python -m benchmarks.learning.experiments.lenet5``.

The network is Caffe's LeNet-5. A pruned row of ``conv2`` or ``fc2`` removes the filter or neuron that it reads, and so
do the 16 rows of ``fc1`` that read one filter, so that both sides of every hidden layer shrink. The strength rises
until the network is so many times smaller, the rows of ``fc1`` are tied in steps, and the compact network is trained
with distillation from the dense one. Training images are moved by up to a pixel. Three seeds, one CPU thread, last
epoch, test split. With ``--seed`` several processes can share the work.
"""

from __future__ import annotations

import copy
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn

import torch_growl as tg
from benchmarks.harness import results, timing
from benchmarks.harness.command import keep, options, workplace
from benchmarks.learning.training.counting import compacted, ratio
from benchmarks.learning.training.fitting import Fit, accuracy, example_of, fit, keep_state, scores, state_of
from benchmarks.learning.training.methods import expanded
from benchmarks.learning.training.rising import Rise, press
from torch_growl.application.data.datasets import Splits, load_mnist
from torch_growl.application.models.convolutional import lenet5

__all__ = ["job", "main"]

SEEDS = (0, 1, 2)
LAYERS = ("conv2", "fc1", "fc2")
DENSE, PRESS = Fit(8, 0.02, 5e-4), Fit(20, 0.02, 5e-4)
BETWEEN, LAST = (Fit(epochs, 0.02, 1e-4, distill=0.5) for epochs in (8, 40))
RISE = Rise(60.0, "network", start=0.5, growth=1.03)  # times fewer bytes, before rows are tied
SHARES = (0.5, 0.35)  # of the nonzero rows of fc1 that are left as groups


def job(seed: int, splits: Splits, work: Path, quick: bool = False) -> dict[str, Any]:
    """Run one seed, from the dense network to the compact one."""
    started = time.perf_counter()
    example = example_of(splits)
    few = {"epochs": 1} if quick else {}
    torch.manual_seed(seed)
    dense = lenet5()
    state = state_of(work / f"dense{seed}.pt")
    if state is None:
        fit(dense, splits.train, _with(DENSE, few), seed)
        state = dict(dense.state_dict())
        keep_state(work / f"dense{seed}.pt", state)
    dense.load_state_dict(state)
    dense.eval()
    model = copy.deepcopy(dense)
    growl = tg.GrOWL(model, layers=LAYERS)
    passed = press(model, growl, splits.train, _with(PRESS, few), RISE, seed + 10, model)
    found: dict[str, Any] = {
        "seed": seed,
        "dense": scores(dense, splits),
        "pressed": scores(model, splits),
    }
    found |= {"cuts": tg.structure_of(compacted(model.eval(), example)).to_records()}  # before any row is tied
    found |= {"strength": growl.strength, "nonzero": growl.nonzero(), "path": passed}
    plain: nn.Module = model.eval()
    rows = found["nonzero"]["fc1"]
    for i, share in enumerate((None, *SHARES)):
        if share is not None:
            tying = tg.find_tying(plain, ["fc1"], method="ward", groups={"fc1": max(1, round(share * rows))})
            plain = tg.tie_(copy.deepcopy(plain), tying)
        small = compacted(plain, example)
        right_after = accuracy(small, splits.test)
        fit(small, splits.train, _with(BETWEEN if share != SHARES[-1] else LAST, few), seed + 20 + i, teacher=dense)
        plain = expanded(small, dense)
        print(seed, share, right_after, scores(small, splits), ratio(dense, small, example), flush=True)
    measured = tg.measure(small, example, latency=False)
    return found | {
        "tied": right_after,
        "compact": scores(small, splits),
        **ratio(dense, small, example),
        "weights": measured.weights,
        "mac_count": measured.macs,
        "groups": tying["fc1"].partition.n_groups,
        "commit": results.commit(),
        "seconds": time.perf_counter() - started,
    }


def _with(how: Fit, few: dict[str, int]) -> Fit:
    return Fit(**{**how.__dict__, **few})


def main(arguments: list[str] | None = None) -> None:
    """Run the seeds that are left; keep the result once all are done."""
    parser = options(__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--work", type=Path, default=Path("runs/learning/lenet5"))
    parser.add_argument("--seed", type=int, choices=SEEDS, action="append", help="run only these seeds")
    given = parser.parse_args(arguments)
    timing.one_thread()
    splits = load_mnist(given.data, flat=False, shift=1, limit=512 if given.quick else None)
    given.work = workplace(given)
    paths = {seed: given.work / f"seed{seed}.json" for seed in SEEDS[: 1 if given.quick else None]}
    for seed, path in paths.items():
        if seed in (given.seed or SEEDS) and not path.is_file():
            results.write(path, job(seed, splits, given.work, given.quick))
    if all(path.is_file() for path in paths.values()):
        keep(
            given,
            "learning.experiments.lenet5",
            {"jobs": [results.read(path) for path in paths.values()]},
        )


if __name__ == "__main__":
    main()
