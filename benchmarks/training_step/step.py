"""Times the GrOWL step of a whole network against one pass over its weights.

Run it with ``python -m benchmarks.training_step.step``.

Timed: ``GrOWL.prox_(lr)`` on all penalised layers (row norms, prox, rescaling in place), ``w.mul_(s)`` over the same
tensors one by one, and ``torch._foreach_mul_`` over all of them; in turn, on one thread and on two, each time from the
same weights with every row's norm changed by 0.1 %. Then the step as a share of a training step (forward, backward,
SGD) at batch 128, and what memory it needs beyond the model.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.harness import timing
from benchmarks.harness.command import keep, options
from benchmarks.harness.verdicts import judge, show, show_rows
from benchmarks.training_step.step_memory import in_a_process
from benchmarks.training_step.subjects import NETWORKS, STATES, Snapshot, build, nudge_
from torch_growl import GrOWL

__all__ = ["main", "step_against_weights", "step_share", "targets"]

ROUNDS = {"784-300-10 MLP": 400, "LeNet-5": 200, "ResNet-20": 200, "VGG-16": 31}
TRAINING = {"784-300-10 MLP": 200, "LeNet-5": 25, "ResNet-20": 7, "VGG-16": 4}
MEMORY = ((131072, 64), (131072, 256), (131072, 1024), (32768, 256), (524288, 64))  # (rows, row length)
SHARES = {"784-300-10 MLP": 0.10, "VGG-16": 0.02}
MEASURES = ("kept", "resident", "torch")
LR = 0.1
BATCH = 128
OURS, WEIGHTS, FOREACH = "GrOWL.prox_", "w.mul_", "torch._foreach_mul_"


def step_against_weights(network: str, state: str, threads: int, rounds: int) -> dict[str, Any]:
    """Return the medians of the step and of two ways to scale the same weights, and their ratios."""
    model = build(network, state)
    growl = GrOWL(model)
    alive = growl.nonzero()
    snapshot = Snapshot.of(model, growl.layers)
    weights = snapshot.weights
    generator = torch.Generator().manual_seed(0)
    scales = {WEIGHTS: 1.01, FOREACH: 1.01}

    def fresh(rng: np.random.Generator) -> None:
        snapshot.restore_()
        nudge_(snapshot.modules, generator)

    def scale(_: None) -> None:
        scales[WEIGHTS] = s = 1 / scales[WEIGHTS]
        for w in weights:
            w.mul_(s)

    def scale_all(_: None) -> None:
        scales[FOREACH] = s = 1 / scales[FOREACH]
        torch._foreach_mul_(weights, s)

    torch.set_num_threads(threads)
    times = timing.side_by_side(
        {OURS: lambda _: growl.prox_(LR), WEIGHTS: scale, FOREACH: scale_all}, fresh, rounds=rounds
    )
    torch.set_num_threads(1)
    snapshot.restore_()
    nudge_(snapshot.modules, generator)
    growl.prox_(LR)
    median = {name: summary["median"] for name, summary in times.items()}
    return {
        "network": network,
        "state": state,
        "threads": threads,
        "layers": len(weights),
        "rows": sum(len(dead) for dead in growl.state_dict()["dead"].values()),
        "weights": sum(w.numel() for w in weights),
        "alive": {"before": sum(alive.values()), "after": sum(growl.nonzero().values())},
        "times": times,
        "ratio": {name: round(median[OURS] / median[name], 4) for name in (WEIGHTS, FOREACH)},
    }


def step_share(network: str, threads: int, rounds: int) -> dict[str, Any]:
    """Return the share of a training step on random data that the GrOWL step takes."""
    torch.set_num_threads(threads)
    model = build(network)
    growl = GrOWL(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    loss = nn.CrossEntropyLoss()
    training, steps = [], []
    for turn in range(rounds + 1):
        x = torch.randn(BATCH, *NETWORKS[network][1])
        y = torch.randint(10, (BATCH,))
        start = time.perf_counter()
        optimizer.zero_grad()
        loss(model(x), y).backward()
        optimizer.step()
        middle = time.perf_counter()
        growl.prox_(0.01)
        end = time.perf_counter()
        if turn:
            training.append(middle - start)
            steps.append(end - middle)
    torch.set_num_threads(1)
    times = {"training step": timing.summary(training), OURS: timing.summary(steps)}
    share = round(times[OURS]["median"] / times["training step"]["median"], 5)
    return {"network": network, "threads": threads, "batch": BATCH, "times": times, "share": share}


def targets(data: dict[str, Any]) -> list[dict[str, Any]]:
    """Compare the ratios with their targets."""
    against = data["against the weights"]

    def where(found: dict[str, Any]) -> str:
        return f"{found['network']}, {found['state']}, {_threads(found['threads'])}"

    grown = {}
    for found in data["memory"]:
        shortest = min((f for f in data["memory"] if f["rows"] == found["rows"]), key=lambda f: f["row_length"])
        if found is not shortest:
            longer = f"{found['rows']:,} rows, {found['row_length'] / shortest['row_length']:g}x as long"
            least = 8 * found["rows"]  # the resident set is not exact: less than one float64 a row counts as that
            grown[longer] = max(found[way] / max(shortest[way], least) for way in MEASURES)
    verdicts = [
        judge(f"time of {name} over the same weights", 2.0, {where(f): f["ratio"][name] for f in against})
        for name in (WEIGHTS, FOREACH)
    ]
    for network, limit in SHARES.items():
        shares = {f"{network}, {_threads(f['threads'])}": f["share"] for f in data["share"] if f["network"] == network}
        verdicts.append(judge(f"share of a training step, {network}", limit, shares))
    verdicts.append(judge("memory of a step when rows get longer, against the shortest", 1.1, grown))
    return verdicts


def _threads(count: int) -> str:
    return "one thread" if count == 1 else f"{count} threads"


def _print(data: dict[str, Any]) -> None:
    rows = [
        [
            f"{f['network']}, {f['state']}, {_threads(f['threads'])}",
            f"{f['rows']:,}",
            f"{f['alive']['after']:,}",
            f"{f['weights']:,}",
            *(f"{f['times'][name]['median']:,.0f}" for name in (OURS, WEIGHTS, FOREACH)),
            *(f"{f['ratio'][name]:.2f}" for name in (WEIGHTS, FOREACH)),
        ]
        for f in data["against the weights"]
    ]
    head = ["network", "rows", "alive", "weights", OURS, WEIGHTS, FOREACH, f"/ {WEIGHTS}", f"/ {FOREACH}"]
    show_rows("median µs of one step", head, rows)
    rows = [
        [
            f"{f['network']}, {_threads(f['threads'])}",
            *(f"{f['times'][name]['median'] / 1e3:,.2f}" for name in ("training step", OURS)),
            f"{100 * f['share']:.2f} %",
        ]
        for f in data["share"]
    ]
    show_rows(f"median ms, batch {BATCH}", ["network", "training step", OURS, "share"], rows)
    rows = [
        [
            f"{f['rows']:,} × {f['row_length']:,}",
            f"{f['weights'] / 1e6:,.1f}",
            *(f"{f[measure] / 1e6:,.2f}" for measure in MEASURES),
            f"{(f['kept'] + f['resident']) / f['rows']:,.0f}",
        ]
        for f in data["memory"]
    ]
    head = ["layer", "weights, MB", "kept, MB", "resident, MB", "torch, MB", "kept + resident, bytes a row"]
    show_rows("memory beyond the model: kept between steps, and the peak of a step", head, rows)


def main(arguments: list[str] | None = None) -> None:
    """Run all three parts."""
    given = options(__doc__).parse_args(arguments)
    timing.one_thread()
    few = given.quick
    networks = ["784-300-10 MLP", "ResNet-20"] if few else list(NETWORKS)
    data: dict[str, Any] = {
        "unit": "µs",
        "against the weights": [
            step_against_weights(name, state, threads, 15 if few else ROUNDS[name])
            for threads in (1, 2)
            for name in networks
            for state in STATES
        ],
        "share": [step_share(name, threads, 2 if few else TRAINING[name]) for threads in (1, 2) for name in networks],
        "memory": [in_a_process(rows, length) for rows, length in (MEMORY[:2] if few else MEMORY)],
    }
    _print(data)
    data["targets"] = targets(data)
    show(data["targets"])
    keep(given, "training_step.step", data)


if __name__ == "__main__":
    main()
