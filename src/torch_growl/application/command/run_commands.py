"""Commands that run recipes: ``run``, ``sweep``, and one for each stage."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from torch_growl.application.command.result_commands import show_result
from torch_growl.application.command.shared_options import (
    AgainOption,
    DataOption,
    JsonOption,
    QuietOption,
    RecipeArgument,
    RunArgument,
    SeedOption,
    SetOption,
    TargetOption,
)
from torch_growl.application.command.terminal import console, show_json, show_line, study_table, sweep_table
from torch_growl.arguments import check_choice
from torch_growl.checksums import parse_json
from torch_growl.errors import InvalidValueError

if TYPE_CHECKING:
    from torch_growl.application.command.progress import TerminalWatcher
    from torch_growl.application.recipes import Recipe
    from torch_growl.application.runs import Run

__all__ = ["STAGE_COMMANDS", "run", "sweep"]

_NEXT = """
Next, for a network of your own: mypkg.net:build returns it, mypkg.data:load its data.
  growl init mypkg.net:build --data mypkg.data:load   looks over it and writes mypkg.yaml
  growl run mypkg.yaml                                trains, ties, compacts and reports
In a training loop of your own:
  growl = tg.GrOWL(model, target=tg.Target(macs=0.5), example_inputs=x)
  growl.attach(optimizer, steps=steps)                the README has the other lines"""


def run(
    recipe: RecipeArgument = "digits",
    data: DataOption = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="The run's folder.  \\[default: runs/RECIPE]", show_default=False),
    ] = None,
    settings: SetOption = None,
    target: TargetOption = None,
    seed: SeedOption = None,
    device: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="auto, cpu, cuda, mps or xpu.  \\[default: the recipe's]", show_default=False
        ),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue a run that was stopped.")] = False,
    until: Annotated[
        str, typer.Option(metavar="STAGE", help="The last stage to do: train, tie, retrain, compact or eval.")
    ] = "eval",
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Run a recipe from training to report: train, tie, retrain, compact, measure.

    A run can be stopped at any moment; --resume continues it. Example: growl run digits --target macs=0.5

    A recipe runs code of its writer, whatever it names: read a stranger's recipe first, as you would read a script.
    """
    from torch_growl.application.command.progress import TerminalWatcher
    from torch_growl.application.recipes import STAGE_NAMES
    from torch_growl.application.runs import Run, RunFolder

    check_choice("--until", until, STAGE_NAMES)
    chosen = _chosen(recipe, settings, target, seed=seed, device=device)
    folder = RunFolder(out or Path("runs") / chosen.name)
    folder.check(chosen, resume=resume)  # before any data is loaded and anything is written
    watcher = TerminalWatcher(console)
    made = Run(folder, chosen, data_dir=data, watcher=watcher)
    made.check_task()
    if chosen.target is not None:
        show_line("\n".join(made.reach()))
    made.wait()  # no process writes before all have checked
    with folder.claimed(chosen, resume=resume) if folder.writes else nullcontext():
        made.wait()
        _do(made, watcher, STAGE_NAMES[: STAGE_NAMES.index(until) + 1])
    if until == "eval" and ":" not in chosen.model.name:
        show_line(_NEXT)


def sweep(
    recipe: RecipeArgument = "digits",
    strengths: Annotated[
        str, typer.Option(metavar="A,B,…", help="Rising strengths.  \\[default: 8 from 0.1 to 4]", show_default=False)
    ] = "",
    data: DataOption = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="DIR", help="The sweep's folder.  \\[default: runs/RECIPE-sweep]", show_default=False
        ),
    ] = None,
    settings: SetOption = None,
    seed: SeedOption = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue a sweep that was stopped.")] = False,
    study: Annotated[
        str,
        typer.Option(
            metavar="STORAGE", help="Search with Optuna in this journal file or database URL, which workers may share."
        ),
    ] = "",
    trials: Annotated[int, typer.Option(metavar="N", help="With --study: trials of all workers together.")] = 30,
    vary: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FIELD=VALUES", help="With --study: a range such as growl.strength=0.1:4, or a list [0.6, 0.8]."
        ),
    ] = None,
    drop: Annotated[
        float, typer.Option(metavar="X", help="With --study: the best network is the smallest within this drop.")
    ] = 1.0,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Draw the metric against size: one run for every strength, each from the weights of the one before.

    Example: growl sweep digits --strengths 0.3,0.6,1.2,2.4

    With --study, Optuna chooses settings of --vary for each run; any number of workers share a study, and a worker that
    was killed is started again. Example: growl sweep digits --study digits.journal --trials 40

    A recipe runs code of its writer, whatever it names: read a stranger's recipe first, as you would read a script.
    """
    from torch_growl.application.command.progress import TerminalWatcher
    from torch_growl.application.runs import DEFAULT_STRENGTHS, Sweep, parse_strengths

    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise InvalidValueError("growl sweep runs in one process; start a single run with torchrun: growl run")
    chosen = _chosen(recipe, settings, seed=seed)
    if study:
        if strengths:
            raise InvalidValueError("--strengths is not for --study; use --vary growl.strength=LOW:HIGH")
        place = out or Path("runs") / f"{chosen.name}-study"
        _study(place, study, lambda changes: _chosen(recipe, settings, seed=seed, **changes), vary, trials, drop, data)
        return
    if vary:
        raise InvalidValueError("--vary needs --study")
    wanted = parse_strengths(strengths) if strengths else DEFAULT_STRENGTHS
    watcher = TerminalWatcher(console)
    path = Sweep(out or Path("runs") / f"{chosen.name}-sweep", chosen, wanted, data_dir=data, watcher=watcher)
    try:
        path.run(resume=resume)
    finally:
        watcher.close()
    console.print(sweep_table(path.result_file))
    show_line(f"\ncurve: {path.picture_file}")
    show_json(parse_json(path.result_file.read_bytes(), str(path.result_file)))


def _stage_command(stage: str, text: str) -> Callable[..., None]:
    """The command of a stage; its help is the text."""

    def command(
        run: RunArgument,
        data: DataOption = None,
        again: AgainOption = False,
        quiet: QuietOption = False,
        as_json: JsonOption = False,
    ) -> None:
        _stage(run, data, stage, again)

    command.__doc__ = text
    return command


_STAGES = {
    "train": "Stage 1: train the dense network, then train with the penalty.",
    "tie": "Stage 2: find pruned rows and groups of similar rows; writes tying.json.",
    "retrain": "Stage 3: continue training with the tying enforced.",
    "compact": "Stage 4: make the smaller network with the same outputs; writes model.safetensors.",
    "eval": "Stage 5: test every stage, measure and check; writes result.json and report.html.",
}
STAGE_COMMANDS = {stage: _stage_command(stage, text) for stage, text in _STAGES.items()}


def _chosen(recipe: str, settings: list[str] | None, target: list[str] | None = None, **options: Any) -> Recipe:
    """The recipe, changed by --set, --target and those options that were given."""
    from torch_growl.application.recipes import load_recipe, parse_overrides

    options["target"] = parse_overrides(target, "--target") if target else None
    changes = {**parse_overrides(settings or []), **{key: value for key, value in options.items() if value is not None}}
    return load_recipe(recipe, changes)


def _study(
    folder: Path,
    place: str,
    make: Callable[[Mapping[str, Any]], Recipe],
    vary: list[str] | None,
    trials: int,
    drop: float,
    data: Path | None,
) -> None:
    """Run a worker of a study and show the Pareto front."""
    from torch_growl.application.command.progress import TerminalWatcher
    from torch_growl.application.studies import Study, parse_space

    watcher = TerminalWatcher(console)
    worker = Study(
        folder, place, make, parse_space(vary or []), trials=trials, drop=drop, data_dir=data, watcher=watcher
    )
    try:
        outcome = worker.run()
    finally:
        watcher.close()
    console.print(study_table(outcome))
    show_line(f"\nreport: {folder / 'study.html'}")
    show_json(outcome)


def _stage(path: Path, data: Path | None, stage: str, again: bool) -> None:
    from torch_growl.application.command.progress import TerminalWatcher
    from torch_growl.application.runs import Run, RunFolder

    folder = RunFolder(path)
    watcher = TerminalWatcher(console)
    run = Run(folder, data_dir=data, watcher=watcher)
    with folder.locked() if folder.writes else nullcontext():
        if again and folder.writes:
            folder.drop_from(stage)
        run.wait()
        _do(run, watcher, [stage])


def _do(run: Run, watcher: TerminalWatcher, stages: Iterable[str]) -> None:
    """Do stages of a run whose folder is locked."""
    from torch_growl.application.runs import do_stage

    stage = ""
    try:
        for stage in stages:
            do_stage(run, stage)
    finally:
        watcher.close()
    if stage == "eval" and run.folder.writes:
        show_result(run.folder)
    elif stage != "eval":
        show_json({"run": str(run.folder.path), "stage": stage})
