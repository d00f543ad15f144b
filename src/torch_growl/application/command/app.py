"""The command ``growl``: recipes run from the shell, stage by stage or in one go.

Everything that is wrong with what the user gave is one line on stderr and exit status 2; nothing is written then.
"""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from torch_growl.errors import GrowlError, GrowlWarning

if TYPE_CHECKING:
    from torch_growl.application.command.progress import TerminalWatcher
    from torch_growl.application.runs import Pipeline

__all__ = ["app", "main"]

app = typer.Typer(
    name="growl",
    help="Make a PyTorch network smaller and faster: learn which inputs of every layer to drop and which to share.",
    epilog="Start with: growl run digits",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
console = Console()
errors = Console(stderr=True)

RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder, as `growl run` made it.")]
RecipeArgument = Annotated[str, typer.Argument(metavar="RECIPE", help="A built-in recipe's name, or a YAML file.")]
DataOption = Annotated[
    Path | None,
    typer.Option("--data", metavar="DIR", help="Where MNIST and CIFAR-10 are, in their official files."),
]
AgainOption = Annotated[
    bool, typer.Option("--again", help="Do the stage again, and drop what it and later stages have made.")
]


def _show_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        console.print(f"torch-growl {version('torch-growl')}", highlight=False)
        raise typer.Exit


@app.callback()
def _growl(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


@app.command()
def run(
    recipe: RecipeArgument = "digits",
    data: DataOption = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="The run's folder.  (default: runs/RECIPE)")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change a field of the recipe; may be given several times."),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of everything random.  (default: the recipe's)")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda.  (default: the recipe's)")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a run that was stopped.")] = False,
    until: Annotated[str, typer.Option(help="The last stage to do: train, tie, retrain, compact or eval.")] = "eval",
) -> None:
    """Train, tie, retrain, compact, measure and report: the whole way.

    It is safe to stop at any moment; --resume goes on where it was. Example: growl run digits --set train.epochs=30
    """
    from torch_growl.application.command.progress import TerminalWatcher
    from torch_growl.application.recipes import load_recipe, parse_overrides
    from torch_growl.application.runs import STAGES, Pipeline, RunFolder

    if until not in STAGES:
        raise GrowlError(f"--until must be one of {', '.join(STAGES)}; got {until!r}")
    changes: dict[str, Any] = dict(parse_overrides(settings or []))
    if seed is not None:
        changes["seed"] = seed
    if device is not None:
        changes["device"] = device
    chosen = load_recipe(recipe, changes)
    folder = RunFolder(out or Path("runs") / chosen.name)
    folder.check(chosen, resume=resume)  # said before anything is loaded, and before anything is written
    watcher = TerminalWatcher(console)
    pipeline = Pipeline(folder, chosen, data_dir=data, watcher=watcher)
    folder.create(chosen, resume=resume)
    _do(pipeline, watcher, STAGES[: STAGES.index(until) + 1])


def _do(pipeline: Pipeline, watcher: TerminalWatcher, stages: Iterable[str]) -> None:
    stage = ""
    with pipeline.folder.locked():
        try:
            for stage in stages:
                pipeline.do(stage)
        finally:
            watcher.close()
        if stage == "eval":
            _show(pipeline.folder)


def _show(folder: Any) -> None:
    from torch_growl.application.reports import headline, make_report, summary_table

    report = make_report(folder.path)
    result = folder.result()
    console.print()
    console.print(summary_table(result))
    console.print(headline(result), highlight=False)
    console.print(f"\nreport: {report}", highlight=False, soft_wrap=True)


def _stage(run_path: Path, data: Path | None, stage: str, again: bool) -> None:
    from torch_growl.application.command.progress import TerminalWatcher
    from torch_growl.application.runs import Pipeline, RunFolder

    folder = RunFolder(run_path)
    watcher = TerminalWatcher(console)
    pipeline = Pipeline(folder, data_dir=data, watcher=watcher)
    if again:
        with folder.locked():
            folder.drop_from(stage)
    _do(pipeline, watcher, [stage])


@app.command()
def sweep(
    recipe: RecipeArgument = "digits",
    strengths: Annotated[
        str, typer.Option(metavar="A,B,…", help="The strengths, rising.  (default: 8 from 0.1 to 4)")
    ] = "",
    data: DataOption = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="The sweep's folder.  (default: runs/RECIPE-sweep)")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a field of the recipe.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of everything random.  (default: the recipe's)")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a sweep that was stopped.")] = False,
) -> None:
    """The curve of accuracy against size: one run for every strength, each starting where the one before it ended.

    Example: growl sweep digits --strengths 0.3,0.6,1.2,2.4
    """
    from torch_growl.application.command.progress import TerminalWatcher
    from torch_growl.application.recipes import load_recipe, parse_overrides
    from torch_growl.application.runs import DEFAULT_STRENGTHS, Sweep, parse_strengths

    changes: dict[str, Any] = dict(parse_overrides(settings or []))
    if seed is not None:
        changes["seed"] = seed
    chosen = load_recipe(recipe, changes)
    wanted = parse_strengths(strengths) if strengths else DEFAULT_STRENGTHS
    watcher = TerminalWatcher(console)
    path = Sweep(out or Path("runs") / f"{chosen.name}-sweep", chosen, wanted, data_dir=data, watcher=watcher)
    try:
        path.run(resume=resume)
    finally:
        watcher.close()
    console.print(path.table())
    console.print(f"\ncurve: {path.picture_file}", highlight=False, soft_wrap=True)


@app.command()
def train(run: RunArgument, data: DataOption = None, again: AgainOption = False) -> None:
    """Stage 1: train the dense network, then with the penalty."""
    _stage(run, data, "train", again)


@app.command()
def tie(run: RunArgument, data: DataOption = None, again: AgainOption = False) -> None:
    """Stage 2: find pruned rows and groups; writes tying.json."""
    _stage(run, data, "tie", again)


@app.command()
def retrain(run: RunArgument, data: DataOption = None, again: AgainOption = False) -> None:
    """Stage 3: train on with the tying enforced."""
    _stage(run, data, "retrain", again)


@app.command()
def compact(run: RunArgument, data: DataOption = None, again: AgainOption = False) -> None:
    """Stage 4: make the smaller network with the same outputs; writes model.safetensors."""
    _stage(run, data, "compact", again)


@app.command("eval")
def evaluate(run: RunArgument, data: DataOption = None, again: AgainOption = False) -> None:
    """Stage 5: test every stage, measure, check; writes result.json and the report."""
    _stage(run, data, "eval", again)


@app.command()
def report(run: RunArgument) -> None:
    """Make report.html and the figures again from a run's files."""
    from torch_growl.application.runs import RunFolder

    _show(RunFolder(run))


@app.command()
def bench(
    run: RunArgument,
    data: DataOption = None,
    batch: Annotated[
        list[int] | None, typer.Option(help="Batch sizes.  (default: 1, 8, 64, 256 and the recipe's)")
    ] = None,
    runtime: Annotated[
        list[str] | None, typer.Option(help="eager, compile, onnxruntime; several allowed.  (default: all)")
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads of every runtime.  (default: torch's own, as in result.json)")
    ] = None,
    repeats: Annotated[
        int | None, typer.Option(min=3, help="Timed calls per network and batch size.  (default: the recipe's)")
    ] = None,
) -> None:
    """Time the dense network beside the compact one, and say where it is slower; writes latency.json."""
    from torch_growl.application.runs import Pipeline, RunFolder, compare_run, environment
    from torch_growl.networks.measurement import RUNTIMES
    from torch_growl.networks.storage import load

    folder = RunFolder(run)
    pipeline = Pipeline(folder, data_dir=data)
    if not folder.model_file.is_file():
        raise GrowlError(f"{run}: stage 'compact' is not done yet; go on with `growl run … --resume`")
    dense, small = pipeline.trained("dense"), load(folder.model_file, pipeline.network())
    found = compare_run(
        pipeline,
        dense,
        small,
        batch_sizes=batch or sorted({1, 8, 64, 256, *pipeline.recipe.measure.batch_sizes}),
        runtimes=tuple(runtime or RUNTIMES),
        threads=threads,
        repeats=repeats,
    )
    where = environment(pipeline.device)
    threads = threads or where["threads"]
    kept = {
        "threads": threads,
        "environment": where,
        "comparisons": [each.to_dict() for each in found],
    }
    folder.write_text(run / "latency.json", json.dumps(kept, indent=2) + "\n")
    table = Table(title=f"latency, median ms, threads: {threads}", title_justify="left")
    for title in ("runtime", "batch", "dense", "compact", "compact is"):
        table.add_column(title, justify="left" if title in ("runtime", "compact is") else "right")
    for each in found:
        shown = ("–" if ms is None else f"{ms:.3f}" for ms in (each.dense_ms, each.compact_ms))
        table.add_row(each.runtime, str(each.batch), *shown, each.verdict)
    console.print(table)


@app.command()
def export(
    run: RunArgument,
    format: Annotated[
        str, typer.Option("--format", help="onnx, pt2 (torch.export) or pte (ExecuTorch).", show_default=True)
    ] = "onnx",
    data: DataOption = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="(default: RUN/model.FORMAT)")] = None,
) -> None:
    """Write the compact network for another runtime; kept only if it gives the same outputs there."""
    from torch_growl.application.runs import Pipeline, RunFolder
    from torch_growl.networks.exporting import exported
    from torch_growl.networks.storage import load

    writers = {
        "onnx": exported.export_onnx,
        "pt2": exported.export_program,
        "pte": exported.export_executorch,
    }
    if format not in writers:
        raise GrowlError(f"--format must be one of {', '.join(writers)}; got {format!r}")
    folder = RunFolder(run)
    pipeline = Pipeline(folder, data_dir=data)
    if not folder.model_file.is_file():
        raise GrowlError(f"{run}: stage 'compact' is not done yet; go on with `growl run … --resume`")
    small = load(folder.model_file, pipeline.network())
    written = writers[format](small, pipeline.example(), out or run / f"model.{format}")
    console.print(str(written), highlight=False, soft_wrap=True)


@app.command()
def doctor(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="A recipe, a run's folder, or package.module:function.")
    ],
    inputs: Annotated[
        list[str] | None,
        typer.Option("--input", metavar="SHAPE", help="For a function: 1,3,32,32 or 1,16:int64; several allowed."),
    ] = None,
    data: DataOption = None,
) -> None:
    """Say before any training which layers can be made smaller, why not the others, and what it could save."""
    from torch_growl.application.command.doctor_inputs import network_and_example
    from torch_growl.application.command.doctor_table import doctor_table
    from torch_growl.networks.measurement import doctor as diagnose

    network, example, layers, side = network_and_example(model, inputs or [], data)
    found = diagnose(network, example, layers=layers, side=side)
    console.print(doctor_table(found))
    console.print(f"{found.weights:,} weights, {found.macs:,} MACs at batch 1", highlight=False)


@app.command()
def recipes() -> None:
    """List the built-in recipes."""
    from torch_growl.application.recipes import builtin_recipes

    table = Table(box=None, pad_edge=False)
    for title in ("recipe", "data", "what it does"):
        table.add_column(title, no_wrap=title == "recipe")
    for name, recipe in builtin_recipes().items():
        table.add_row(name, recipe.data.name, recipe.description)
    console.print(table)


def _warn(
    message: Any, category: type[Warning], filename: str, lineno: int, file: Any = None, line: Any = None
) -> None:
    if issubclass(category, GrowlWarning):
        errors.print(f"warning: {message}", highlight=False, markup=False, soft_wrap=True)


def main() -> None:
    """Run the command: exit status 0 when all went well, 2 for bad input, 130 when stopped from the keyboard."""
    warnings.showwarning = _warn
    try:
        status = app(standalone_mode=False)
    except GrowlError as error:
        errors.print(f"error: {error}", highlight=False, markup=False, soft_wrap=True)
        sys.exit(2)
    except (typer.Abort, KeyboardInterrupt):
        errors.print("stopped; --resume goes on from here")
        sys.exit(130)
    except Exception as error:  # click's own usage errors carry their message and status
        show, status = getattr(error, "show", None), getattr(error, "exit_code", None)
        if not callable(show) or status is None:
            raise
        show()
        sys.exit(status)
    sys.exit(status if isinstance(status, int) else 0)
