"""The command ``growl shrink``: a trained network made smaller without training, with what it loses beside it."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from torch_growl.application.command.shared_options import DataOption, JsonOption, QuietOption
from torch_growl.application.command.terminal import console, show_json, show_line, size_table
from torch_growl.errors import InvalidValueError

if TYPE_CHECKING:
    from torch_growl.application.runs import Run

__all__ = ["shrink"]

_BATCH = 64


def shrink(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="The folder of a run whose dense network is trained, or a recipe whose network has its weights.",
        ),
    ],
    target: Annotated[
        list[str],
        typer.Option(
            "--target", metavar="MEASURE=VALUE", help="What is to be left: macs=0.8, weights=20000 or bytes=0.5."
        ),
    ],
    data: DataOption = None,
    examples: Annotated[
        int, typer.Option(min=2 * _BATCH, metavar="N", help="Training examples used, without their labels.")
    ] = 10 * _BATCH,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="FILE",
            help="The compact file.  \\[default: shrunk.safetensors in the run's folder or here]",
            show_default=False,
        ),
    ] = None,
    ties: Annotated[
        bool,
        typer.Option(help="Tie inputs where that costs less than removing one; the compact network sums them."),
    ] = True,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Make a trained network smaller without training, and show what it loses on the test examples.

    Example: growl shrink runs/digits --target macs=0.5
    """
    from torch_growl.application.recipes import load_recipe, parse_overrides
    from torch_growl.application.runs import Run, RunFolder
    from torch_growl.application.training import evaluate
    from torch_growl.networks.measurement import measure
    from torch_growl.networks.shrinking import shrink as shrunk
    from torch_growl.networks.storage import save
    from torch_growl.networks.targets import Target

    folder = RunFolder(Path(model))
    made = folder.recipe_file.is_file()
    run = Run(folder, None if made else load_recipe(model, {}), data_dir=data)
    run.check_task()
    dense = (run.trained("dense") if made else run.network()).cpu().eval()
    batches = _inputs(run, examples)
    small = shrunk(dense, batches, Target(**parse_overrides(target)), ties=ties)
    file = out or (folder.path if made else Path()) / "shrunk.safetensors"
    save(small, file)
    example = run.example()
    sizes = [measure(network, example, latency=False) for network in (dense, small)]
    test = run.splits.test
    scores = [evaluate(network.to(run.device), test, run.device, **run.testing) for network in (dense, small)]
    console.print(size_table(run.task.metric, scores, sizes))
    show_line(f"\nfile: {file}")
    names = ("dense", "compact")
    show_json(
        {
            "file": str(file),
            "metric": run.task.metric.name,
            "score": dict(zip(names, scores, strict=True)),
            "sizes": {name: size.to_dict() for name, size in zip(names, sizes, strict=True)},
        }
    )


def _inputs(run: Run, examples: int) -> list[Any]:
    """Batches of training examples in a random order, without labels."""
    from torch_growl.application.data import batches

    found = islice(batches(run.splits.train, _BATCH, run.recipe.seed), -(-examples // _BATCH))
    inputs = [run.task.read(batch).example_inputs for batch in found]
    if len(inputs) < 2:
        raise InvalidValueError(f"data: at least {2 * _BATCH} training examples are needed to shrink a network")
    return inputs
