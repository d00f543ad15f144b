"""The command ``growl``: the commands put together, and how it ends.

Bad input, a full disk and a folder that cannot be written are one line on stderr and exit status 2. Ctrl-C and SIGTERM
end with one line that says how to go on, and exit status 130 and 143.
"""

from __future__ import annotations

import shlex
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from torch_growl.application.command import recipe_commands, result_commands, run_commands, shrink_command
from torch_growl.application.command.terminal import begin_output, show_error, show_line, show_warnings
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
    epilog="Start with: growl run digits. For a network of your own: growl init",
    no_args_is_help=True,
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
for _stage, _do in run_commands.STAGE_COMMANDS.items():
    app.command(_stage, cls=_Command)(_do)
app.command(cls=_Command)(result_commands.report)
app.command(cls=_Command)(result_commands.bench)
app.command(cls=_Command)(result_commands.export)
app.command(cls=_Command)(recipe_commands.doctor)
app.command(cls=_Command)(shrink_command.shrink)
app.command(cls=_Command)(recipe_commands.init)
app.command(cls=_Command)(recipe_commands.recipes)


class _Stopped(BaseException):
    """A signal asked the process to end; typer would turn a KeyboardInterrupt into a silent exit."""


@contextmanager
def _stopped_by_signals() -> Iterator[None]:
    """Raise ``_Stopped`` with the signal's number on Ctrl-C and SIGTERM in the block."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise _Stopped(number)

    numbers = (signal.SIGINT, signal.SIGTERM) if threading.current_thread() is threading.main_thread() else ()
    before = [(number, signal.signal(number, stop)) for number in numbers]
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)


def _how_to_go_on() -> str:
    """Return "; go on with: …", the command that continues this one; empty if there is nothing to continue."""
    command, *rest = [*sys.argv[1:], ""]
    words = [word for word in (command, *rest) if word not in ("", "--again", "--resume")]
    if command in ("run", "sweep"):
        words.append("--resume")
    elif command not in run_commands.STAGE_COMMANDS:
        return ""
    return f"; go on with: growl {shlex.join(words)}"


def main() -> None:
    """Run the command; exit with status 0, 2 for bad input or a file that cannot be written, 130 or 143 if stopped."""
    show_warnings()
    begin_output()
    try:
        with _stopped_by_signals():
            status = app(standalone_mode=False)
    except GrowlError as error:
        show_error(f"error: {error}")
        sys.exit(2)
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        show_error(f"error: {place}{error.strerror or error}{_how_to_go_on()}")
        sys.exit(2)
    except (_Stopped, typer.Abort, KeyboardInterrupt) as stopped:
        show_error(f"stopped{_how_to_go_on()}")
        sys.exit(128 + (stopped.args[0] if isinstance(stopped, _Stopped) else signal.SIGINT))
    except Exception as error:  # click's own usage errors carry their message and status
        show, status = getattr(error, "show", None), getattr(error, "exit_code", None)
        if not callable(show) or status is None:
            raise
        show()
        sys.exit(status)
    sys.exit(status if isinstance(status, int) else 0)
