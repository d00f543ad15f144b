"""Commands on what a run has made: ``report bench export``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from torch_growl.application.command.shared_options import DataOption, JsonOption, QuietOption, RunArgument
from torch_growl.application.command.terminal import (
    console,
    latency_table,
    show_json,
    show_line,
)
from torch_growl.arguments import check_choice
from torch_growl.checksums import sealed_json
from torch_growl.errors import InvalidValueError
from torch_growl.files import write_text

if TYPE_CHECKING:
    from torch_growl.application.runs import RunFolder

__all__ = ["bench", "export", "report", "show_result"]


def report(
    run: Annotated[
        list[Path], typer.Argument(metavar="RUN", help="The folder of a run; several: one page that compares them.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="FILE", help="The page of several runs.  \\[default: comparison.html]", show_default=False
        ),
    ] = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Make report.html and its figures again from the files of a run, or one page that compares several runs."""
    from torch_growl.application.runs import RunFolder

    if len(run) > 1:
        from torch_growl.application.reports import make_comparison

        page = make_comparison(run, out or Path("comparison.html"))
        show_line(f"comparison: {page}")
        show_json({"file": str(page), "runs": [RunFolder(each).result() for each in run]})
        return
    if out is not None:
        raise InvalidValueError("--out is for several runs; the report of one run lies in its folder")
    folder = RunFolder(run[0])
    with folder.locked():
        show_result(folder)


def show_result(folder: RunFolder) -> None:
    """Make the report of a finished run, and print its summary."""
    from torch_growl.application.reports import accuracy_steps, headline, make_report, summary_table, target_line
    from torch_growl.application.tasks import metric_of, scores_of

    report = make_report(folder.path)
    result = folder.result()
    console.print()
    console.print(summary_table(result))
    console.print(headline(result), highlight=False, markup=False)
    metric = metric_of(result)
    steps = accuracy_steps(scores_of(result), metric)
    console.print(f"{metric.name}: {steps}", highlight=False, markup=False)
    if line := target_line(result):
        console.print(line, style="" if result["target"]["reached"] else "yellow", highlight=False, markup=False)
    for note in result.get("notes", ()):
        console.print(note, style="yellow", highlight=False, markup=False)
    show_line(f"\nreport: {report}")
    show_json(result)


def bench(
    run: RunArgument,
    data: DataOption = None,
    batch: Annotated[
        list[int] | None,
        typer.Option(
            metavar="N",
            help="A batch size; may be given several times.  \\[default: 1, 8, 64, 256 and the recipe's]",
            show_default=False,
        ),
    ] = None,
    runtime: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="eager, compile or onnxruntime; may be given several times.  \\[default: all]",
            show_default=False,
        ),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="CPU threads of every runtime.  \\[default: torch's, as in result.json]",
            show_default=False,
        ),
    ] = None,
    repeats: Annotated[
        int | None,
        typer.Option(
            min=3,
            metavar="N",
            help="Timed calls for each network and batch size.  \\[default: the recipe's]",
            show_default=False,
        ),
    ] = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Time the dense and the compact network side by side; writes latency.json."""
    from torch_growl.application.runs import Run, RunFolder, compare_run, environment_record
    from torch_growl.networks.measurement import RUNTIMES

    folder = RunFolder(run)
    made = Run(folder, data_dir=data)
    found = compare_run(
        made,
        made.trained("dense"),
        made.compacted(),
        batch_sizes=batch or sorted({1, 8, 64, 256, *made.recipe.measure.batch_sizes}),
        runtimes=tuple(runtime or RUNTIMES),
        threads=threads,
        repeats=repeats,
    )
    environment = environment_record(made.device)
    threads = threads or environment["threads"]
    kept = {"threads": threads, "environment": environment, "comparisons": [each.to_dict() for each in found]}
    with folder.locked():
        write_text(run / "latency.json", sealed_json(kept, indent=2))
    console.print(latency_table(found, threads))
    show_json(kept)


def export(
    run: RunArgument,
    format: Annotated[
        str, typer.Option("--format", metavar="NAME", help="onnx, pt2 (torch.export) or pte (ExecuTorch).")
    ] = "onnx",
    data: DataOption = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="The file.  \\[default: RUN/model.FORMAT]", show_default=False),
    ] = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write the compact network for another runtime, once its outputs there are the same."""
    from torch_growl.application.runs import Run, RunFolder
    from torch_growl.networks.exporting import export_executorch, export_onnx, export_program

    writers = {"onnx": export_onnx, "pt2": export_program, "pte": export_executorch}
    check_choice("--format", format, writers)
    folder = RunFolder(run)
    made = Run(folder, data_dir=data)
    with folder.locked():
        written = writers[format](made.compacted(), made.example(), out or run / f"model.{format}")
    show_line(str(written))
    show_json({"file": str(written.path), "bytes": written.bytes, "difference": written.difference})
