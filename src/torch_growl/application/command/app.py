"""The command ``growl``: the commands put together, and how it ends.

Bad input is one line on stderr and exit status 2, before anything is written.
"""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from torch_growl.application.command import result_commands, run_commands
from torch_growl.application.command.terminal import show_error, show_line, show_warnings
from torch_growl.errors import GrowlError
from torch_growl.version import __version__

__all__ = ["app", "main"]


class _Command(TyperCommand):
    """A command whose help shows flags without a type."""

    def get_params(self, ctx: Any) -> list[Any]:
        return _plain_flags(super().get_params(ctx))


class _Group(TyperGroup):
    """The command itself, with flags shown in the same way."""

    def get_params(self, ctx: Any) -> list[Any]:
        return _plain_flags(super().get_params(ctx))


def _plain_flags(parameters: list[Any]) -> list[Any]:
    for parameter in parameters:
        if getattr(parameter, "is_flag", False):
            parameter.metavar = ""
    return parameters


app = typer.Typer(
    name="growl",
    cls=_Group,
    help="Make a PyTorch network smaller and faster: prune inputs of its layers, and tie inputs to shared weights.",
    epilog="Start with: growl run digits",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)


def _show_version(asked: bool) -> None:
    if asked:
        show_line(f"torch-growl {__version__}")
        raise typer.Exit


@app.callback()
def _growl(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


app.command(cls=_Command)(run_commands.run)
app.command(cls=_Command)(run_commands.sweep)
app.command(cls=_Command)(run_commands.train)
app.command(cls=_Command)(run_commands.tie)
app.command(cls=_Command)(run_commands.retrain)
app.command(cls=_Command)(run_commands.compact)
app.command("eval", cls=_Command)(run_commands.evaluate)
app.command(cls=_Command)(result_commands.report)
app.command(cls=_Command)(result_commands.bench)
app.command(cls=_Command)(result_commands.export)
app.command(cls=_Command)(result_commands.doctor)
app.command(cls=_Command)(result_commands.recipes)


def main() -> None:
    """Run the command; exit with status 0, 2 for bad input, or 130 when stopped from the keyboard."""
    show_warnings()
    try:
        status = app(standalone_mode=False)
    except GrowlError as error:
        show_error(f"error: {error}")
        sys.exit(2)
    except (typer.Abort, KeyboardInterrupt):
        show_error("stopped; --resume continues from here")
        sys.exit(130)
    except Exception as error:  # click's own usage errors carry their message and status
        show, status = getattr(error, "show", None), getattr(error, "exit_code", None)
        if not callable(show) or status is None:
            raise
        show()
        sys.exit(status)
    sys.exit(status if isinstance(status, int) else 0)
