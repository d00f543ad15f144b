"""Compares what the penalty adds to ``optimizer.step()`` with what torchao adds.

Run it with ``python -m benchmarks.training_step.pat``.

``torchao.prototype.pat`` wraps an optimizer: it keeps a copy of every penalised weight, and applies the proximal
operator of the group lasso after the base step. GrOWL is a hook on the same SGD. Both take the same layers of the same
model and the same groups: neurons and filters (PAT has no grouper for a convolution's inputs), and a linear layer's
inputs for the MLP. Added time is the median step less the median step of SGD alone, all in turn, with fresh gradients.

That both do the same is checked first: ours with a constant sequence, in the paper's form, gives PAT's weights.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import nn
from torch.optim import SGD, Optimizer

from benchmarks.harness import timing
from benchmarks.harness.command import keep, missing, options
from benchmarks.harness.verdicts import judge, show, show_rows
from benchmarks.training_step.held import held_bytes
from benchmarks.training_step.subjects import build
from torch_growl import GrOWL, lasso
from torch_growl.networks.layers import Side, rows_of

__all__ = ["added_time", "main", "targets"]

CASES: tuple[tuple[str, Side], ...] = (
    ("784-300-10 MLP", "input"),
    ("784-300-10 MLP", "output"),
    ("ResNet-20", "output"),
    ("VGG-16", "output"),
)
ROUNDS = {"784-300-10 MLP": 300, "ResNet-20": 100, "VGG-16": 21}
GROUPERS = {"input": "Dim1Grouper", "output": "Dim0Grouper"}
LR = 0.01
LAMBDA = 1e-5  # small: PAT's threshold is the sum of all rates so far times this, and nothing is to die meanwhile
PLAIN, PAT, OURS, SAME = "SGD alone", "torchao PAT", "GrOWL", "GrOWL as PAT's group lasso"


@dataclass
class _Side:
    model: nn.Module
    optimizer: Optimizer
    held: object

    def gradients(self) -> Optimizer:
        """Set new gradients that move weights by about 0.1 %."""
        for parameter in self.model.parameters():
            parameter.grad = torch.empty_like(parameter) if parameter.grad is None else parameter.grad
            parameter.grad.normal_(std=5e-3)
        return self.optimizer


def _sides(network: str, side: Side) -> dict[str, _Side]:
    found: dict[str, _Side] = {}
    for name in (PLAIN, PAT, OURS, SAME):
        model = build(network)
        if name == PAT:
            optimizer = _pat(model, side)
            found[name] = _Side(model, optimizer, optimizer)
            continue
        optimizer = SGD(model.parameters(), lr=LR)
        growl = None if name == PLAIN else (GrOWL(model, side=side) if name == OURS else _same_as_pat(model, side))
        if growl is not None:
            growl.attach(optimizer)
        found[name] = _Side(model, optimizer, growl)
    return found


def _pat(model: nn.Module, side: Side) -> Optimizer:
    from torchao.prototype.pat.optim import PruneOptimizer

    weights = [cast(nn.Parameter, model.get_submodule(name).weight) for name in GrOWL(model, side=side).layers]
    chosen = {id(weight) for weight in weights}
    rest = [parameter for parameter in model.parameters() if id(parameter) not in chosen]
    penalised = {"params": weights, "prox_type": "ProxGroupLasso", "group_type": GROUPERS[side], "reg_lambda": LAMBDA}
    return cast(Optimizer, PruneOptimizer(SGD([penalised, {"params": rest}], lr=LR)))


def _same_as_pat(model: nn.Module, side: Side) -> GrOWL:
    """Return the sequence that gives PAT's threshold of a group, λ √(its size)."""
    names = GrOWL(model, side=side).layers
    sizes = {name: rows_of(model.get_submodule(name), side).shape[1] for name in names}
    own = {name: {"strength": LAMBDA * math.sqrt(size)} for name, size in sizes.items()}
    return GrOWL(model, sequence=lasso(), form="paper", side=side, overrides=own)


def _check(network: str, side: Side) -> None:
    """Check that one step of both from the same weights and gradients ends in the same weights."""
    ends = []
    for name, found in _sides(network, side).items():
        if name in (PAT, SAME):
            torch.manual_seed(1)
            found.gradients().step()
            ends.append(found.model.state_dict())
    torch.testing.assert_close(*ends, rtol=1e-4, atol=1e-7)


def added_time(network: str, side: Side, rounds: int) -> dict[str, Any]:
    """Return the medians of the four steps, what each adds to SGD alone, and the bytes that each keeps."""
    _check(network, side)
    sides = _sides(network, side)
    torch.manual_seed(0)
    times = timing.side_by_side(
        {name: lambda optimizer: optimizer.step() for name in sides},
        lambda rng: None,
        rounds=rounds,
        prepare={name: lambda _, found=found: found.gradients() for name, found in sides.items()},
    )
    added = {name: round(times[name]["median"] - times[PLAIN]["median"], 3) for name in (PAT, OURS, SAME)}
    held = {name: held_bytes(sides[name].held, sides[name].model) for name in (PAT, OURS, SAME)}
    held[PAT] = sum(state["latent"].untyped_storage().nbytes() for state in sides[PAT].optimizer.state.values())
    growl = cast(GrOWL, sides[OURS].held)
    modules = [sides[OURS].model.get_submodule(name) for name in growl.layers]
    return {
        "network": network,
        "side": side,
        "layers": len(modules),
        "weights_bytes": sum(cast(nn.Parameter, module.weight).nbytes for module in modules),
        "alive": sum(growl.nonzero().values()),
        "rows": sum(rows_of(module, side).shape[0] for module in modules),
        "times": times,
        "added": added,
        "held": held,
        "ratio": {name: round(added[name] / max(added[PAT], 1e-3), 4) for name in (OURS, SAME)},
    }


def targets(cases: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Compare the ratios with their targets, for GrOWL by default and for the same function as PAT's."""
    return [
        judge(
            f"time that {name} adds, against {PAT}",
            0.7,
            {f"{c['network']}, {c['side']}": c["ratio"][name] for c in cases},
        )
        for name in (OURS, SAME)
    ]


def _print(cases: list[dict[str, Any]]) -> None:
    head = ["network, rows", "rows", PLAIN, *(f"+ {name}" for name in (PAT, OURS, SAME)), "GrOWL / PAT", "same / PAT"]
    rows = [
        [
            f"{c['network']}, {c['side']}",
            f"{c['rows']:,}",
            f"{c['times'][PLAIN]['median']:,.0f}",
            *(f"{c['added'][name]:,.0f}" for name in (PAT, OURS, SAME)),
            *(f"{c['ratio'][name]:.2f}" for name in (OURS, SAME)),
        ]
        for c in cases
    ]
    show_rows("median µs of optimizer.step(), and what is added to it", head, rows)
    rows = [
        [f"{c['network']}, {c['side']}", *(f"{size / 1e3:,.0f}" for size in (c["weights_bytes"], *c["held"].values()))]
        for c in cases
    ]
    show_rows("kept in memory, kB", ["network, rows", "weights", *(PAT, OURS, SAME)], rows)


def main(arguments: list[str] | None = None) -> None:
    """Run every case."""
    given = options(__doc__).parse_args(arguments)
    timing.one_thread()
    left_out = missing({PAT: "torchao"})
    chosen = [] if left_out else CASES[:3] if given.quick else CASES
    cases = [added_time(network, side, 15 if given.quick else ROUNDS[network]) for network, side in chosen]
    _print(cases)
    for name, why in left_out.items():
        print(f"left out: {name}: {why}")
    verdicts = targets(cases)
    show(verdicts)
    keep(
        given,
        "training_step.pat",
        {"unit": "µs", "left_out": left_out, "cases": cases, "targets": verdicts},
        packages=("torchao",),
    )


if __name__ == "__main__":
    main()
