"""A process that runs the command ``growl`` in forks of itself, and kills each at its n-th call that changes a folder.

The calls are counted by ``kill.c``, a library that is loaded before the C library: open to write, write, rename, mkdir,
unlink and their kin, of paths in one folder. Forks start at once, since torch is imported already. TensorBoard's event
files are not counted: another package writes them, in a thread of its own.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any

__all__ = ["Ended", "Killer", "compiler"]

_SOURCE = Path(__file__).with_name("kill.c")


def compiler() -> str | None:
    """Return the C compiler that is installed, if there is one."""
    from shutil import which

    return which("cc") or which("gcc")


@dataclass(frozen=True)
class Ended:
    """How a call of the command ended.

    Attributes:
        status: its exit status; None if it was killed.
        calls: the names of its calls that changed the folder, in order; empty if it was killed.
        said: what it printed.
    """

    status: int | None
    calls: tuple[str, ...]
    said: str


class Killer:
    """The process; a context manager that ends it.

    Raises:
        RuntimeError: there is no C compiler.
    """

    def __enter__(self) -> Killer:
        cc = compiler()
        if cc is None:
            raise RuntimeError("kills need a C compiler, cc or gcc")
        self._work = tempfile.TemporaryDirectory()
        library = Path(self._work.name) / "kill.so"
        subprocess.run([cc, "-shared", "-fPIC", "-O1", "-o", str(library), str(_SOURCE), "-ldl"], check=True)
        env = {**os.environ, "LD_PRELOAD": str(library), "OMP_NUM_THREADS": "1", "MPLBACKEND": "agg"}
        command = [sys.executable, "-m", "benchmarks.reliability.killing", str(library), self._work.name]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env, text=True, cwd=_SOURCE.parents[2]
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()
        self._work.cleanup()

    def run(self, arguments: list[str], folder: Path, *, at: int = 0, half: bool = False) -> Ended:
        """Run the command.

        Args:
            arguments: of the command.
            folder: whose changes are counted.
            at: kill it before its call of this number, from 1; 0: never.
            half: a write at that number writes half of its bytes first.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        asked = {"arguments": arguments, "folder": str(folder.absolute()), "at": at, "half": half}
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        found = json.loads(self._process.stdout.readline())
        return Ended(found["status"], tuple(found["calls"].split()), found["said"])


def _serve(library: str, work: str) -> None:
    """Answer the requests of stdin, one a line."""
    from torch_growl.application.command import main as growl

    _import_all()
    counter = ctypes.CDLL(library)
    counter.growl_what.restype = ctypes.c_char_p
    answers = os.fdopen(os.dup(1), "w")
    said, calls = Path(work) / "said", Path(work) / "calls"
    for line in sys.stdin:
        asked = json.loads(line)
        calls.write_text("")
        child = os.fork()
        if not child:
            _child(counter, growl, asked, said, calls)
        _, status = os.waitpid(child, 0)
        killed = os.WIFSIGNALED(status)
        if killed and os.WTERMSIG(status) != signal.SIGKILL:
            raise RuntimeError(f"signal {os.WTERMSIG(status)}")
        found = {"status": None if killed else os.WEXITSTATUS(status), "calls": calls.read_text()}
        answers.write(json.dumps({**found, "said": said.read_text(errors="replace")}) + "\n")
        answers.flush()


def _import_all() -> None:
    """Import what the command imports as it goes on, and load matplotlib's fonts, so that no fork needs to."""
    import io
    from importlib import import_module

    from matplotlib.figure import Figure

    for name in ("sklearn.datasets", "torch._dynamo", "torch_growl.application.runs"):
        import_module(name)
    figure = Figure(layout="constrained")
    figure.subplots().set_title("text")
    figure.savefig(io.BytesIO(), format="png")
    if find_spec("tensorboard") is not None:
        import_module("torch.utils.tensorboard")


def _child(counter: Any, growl: Any, asked: dict[str, Any], said: Path, calls: Path) -> None:
    """Run the command and leave the process."""
    output = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    sys.argv = ["growl", *asked["arguments"]]
    counter.growl_arm(asked["folder"].encode(), asked["at"], asked["half"])
    status: Any = 1
    try:
        growl()
    except SystemExit as ended:
        status = ended.code or 0
    except BaseException:
        import traceback

        traceback.print_exc()
    counter.growl_arm(b"", 0, 0) if asked["at"] else calls.write_bytes(counter.growl_what())
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(int(status))


if __name__ == "__main__":
    _serve(*sys.argv[1:])
