"""Quantizes compact networks with torchao: accuracy, bytes and time of dense and compact networks, before and after.

Run it with ``python -m benchmarks.deployment.quantizing``, a minute or two on one thread; ``--table`` only writes the
page from the kept result. The digits of scikit-learn, 64-300-100-10, trained from scratch with AdamW to a fifth of the
weights; beside it the same network trained as long without a target. Accuracy is of the test split.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

import torch_growl as tg
from benchmarks.harness import results
from benchmarks.harness.command import keep, options
from benchmarks.harness.markdown import markdown, spread
from benchmarks.harness.pages import DOCS, Page, where_measured
from benchmarks.learning.training.fitting import accuracy
from torch_growl.application.data.datasets import load_digits_splits
from torch_growl.application.models.perceptrons import digits_mlp
from torch_growl.networks.execution import Inputs, call, median_ms, split_inputs

__all__ = ["PAGE", "main", "stored_bytes"]

STEPS, SEEDS, SHARE = 1_500, 3, 0.2
BATCH, REPEATS = 256, 300
FORMS = ("float32", "int8 weights", "int8 weights and activations")


def trained(seed: int, steps: int, target: tg.Target | None) -> nn.Module:
    """Train a network from scratch, and compact it if it has a target."""
    torch.manual_seed(seed)
    model, data = digits_mlp(), load_digits_splits().train
    x, y = data.x, data.y  # type: ignore[attr-defined]
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=1e-2)
    if target is not None:
        tg.GrOWL(model, target=target, example_inputs=x[:8]).attach(optimizer, steps=steps)
    for _ in range(steps):
        batch = torch.randint(len(x), (64,))
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x[batch]), y[batch]).backward()
        optimizer.step()
    return model.eval() if target is None else tg.compact(model, x[:8]).eval()


def quantized(model: nn.Module, form: str) -> nn.Module:
    """Return a copy of a network in one of the forms."""
    from torchao.quantization import Int8DynamicActivationInt8WeightConfig, Int8WeightOnlyConfig, quantize_

    model = copy.deepcopy(model)
    if form != FORMS[0]:
        quantize_(model, Int8WeightOnlyConfig() if form == FORMS[1] else Int8DynamicActivationInt8WeightConfig())
    return model


def stored_bytes(model: nn.Module) -> int:
    """Count the bytes of a network's state, down to the plain tensors that a quantized one is made of."""

    def size(value: Any) -> int:
        if type(value) in (Tensor, nn.Parameter) and not hasattr(value, "__tensor_flatten__"):
            return int(value.nbytes)
        return sum(size(getattr(value, name)) for name in value.__tensor_flatten__()[0])

    return sum(size(value) for value in model.state_dict().values())


def measured(seed: int, steps: int, repeats: int) -> list[dict[str, Any]]:
    """Train with and without a target, and measure every form of both networks, their times in turn."""
    split = load_digits_splits().test
    networks = {
        "dense": trained(seed, steps, None),
        "compact": trained(seed, steps, tg.Target(weights=SHARE, compensate=False)),
    }
    made = {(name, form): quantized(model, form) for name, model in networks.items() for form in FORMS}

    def candidate(model: nn.Module) -> Any:
        def run(batch: Inputs) -> Any:
            with torch.inference_mode():
                return call(model, batch)

        return run

    times = median_ms(
        [candidate(model) for model in made.values()], split_inputs(torch.randn(BATCH, 64)), repeats=repeats
    )
    return [
        {
            "seed": seed,
            "network": name,
            "form": form,
            "accuracy": accuracy(model, split),
            "bytes": stored_bytes(model),
            "ms": ms,
        }
        for ((name, form), model), ms in zip(made.items(), times, strict=True)
    ]


def table() -> str:
    """Return the table of the page."""
    rows = results.load("quantizing")["rows"]
    lines = []
    for network in ("dense", "compact"):
        for form in FORMS:
            cells = [row for row in rows if (row["network"], row["form"]) == (network, form)]
            lines.append(
                [
                    f"{network}, {form}",
                    spread([row["accuracy"] for row in cells], 2, 100) + " %",
                    f"{sum(row['bytes'] for row in cells) / len(cells) / 1000:.1f}",
                    f"{sorted(row['ms'] for row in cells)[len(cells) // 2]:.3f}",
                ]
            )
    return markdown(["network", "test accuracy", "bytes of the state, kB", "ms, batch 256"], lines)


PAGE = Page(
    DOCS / "quantizing.md", {"quantized": table, "where-quantized": lambda: where_measured(results.load("quantizing"))}
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, keep the result and write the page."""
    parser = options(__doc__)
    parser.add_argument("--table", action="store_true", help="only write the page from the kept result")
    given = parser.parse_args(arguments)
    if not given.table:
        torch.set_num_threads(1)
        warnings.filterwarnings("ignore", module="torchao")
        steps, seeds, repeats = (50, 1, 5) if given.quick else (STEPS, SEEDS, REPEATS)
        rows = [row for seed in range(seeds) for row in measured(seed, steps, repeats)]
        print(*rows, sep="\n")
        keep(given, "deployment.quantizing", {"share": SHARE, "steps": steps, "rows": rows}, ("torchao",))
    if not given.quick:
        PAGE.fill()


if __name__ == "__main__":
    main()
