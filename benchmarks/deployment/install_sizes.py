"""Installs the wheel into empty environments: packages and megabytes of the library alone, and with the command.

Run it with ``python -m benchmarks.deployment.install_sizes``; pip must find torch and the other requirements.
``--quick`` installs nothing but the library. torch and what it requires are there before and are counted apart.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.harness import results
from benchmarks.harness.command import keep, options
from benchmarks.harness.markdown import markdown
from benchmarks.harness.pages import DOCS, Page, where_measured

__all__ = ["PAGE", "main"]

ROOT = Path(__file__).parents[2]
NAMES = {"torch": "torch and its requirements", "library": "torch-growl", "cli": "torch-growl with `[cli]`"}


def installed(python: Path) -> dict[str, Any]:
    """Return the packages of an environment, pip apart, and the bytes of their files, compiled Python apart."""
    found = json.loads(subprocess.check_output([python, "-m", "pip", "list", "--format=json"], text=True))
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    folder = Path(subprocess.check_output([python, "-c", code], text=True).strip())
    files = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc")
    size = sum(path.stat().st_size for path in files if path.relative_to(folder).parts[0].split("-")[0] != "pip")
    return {
        "packages": sorted(each["name"] for each in found if each["name"] not in ("pip", "setuptools")),
        "bytes": size,
    }


def measured(quick: bool) -> dict[str, Any]:
    """Build the wheel and install it, alone and with its extra."""
    with tempfile.TemporaryDirectory() as folder:
        python = Path(folder) / "env" / "bin" / "python"
        subprocess.run([sys.executable, "-m", "venv", Path(folder) / "env"], check=True)
        pip = [python, "-m", "pip", "install", "--quiet", "--no-compile"]
        subprocess.run([python, "-m", "pip", "wheel", "-q", "--no-deps", "-w", folder, ROOT], check=True)
        (wheel,) = Path(folder).glob("torch_growl-*.whl")
        steps = {"torch": "torch", "library": str(wheel), "cli": f"{wheel}[cli]"}
        found = {"wheel": wheel.stat().st_size}
        for name, what in list(steps.items())[: 2 if quick else 3]:
            subprocess.run([*pip, what], check=True)
            found[name] = installed(python)
        return found


def table() -> str:
    """Return the table of the page."""
    found = results.load("install_sizes")["found"]
    base = found["torch"]
    lines = [[NAMES["torch"], str(len(base["packages"])), f"{base['bytes'] / 1e6:,.0f}"]]
    for name in ("library", "cli"):
        more = len(found[name]["packages"]) - len(base["packages"])
        lines.append([f"{NAMES[name]}: more", str(more), f"{(found[name]['bytes'] - base['bytes']) / 1e6:,.0f}"])
    return markdown(["environment", "packages", "MB"], lines)


def added() -> str:
    """Return the sentence that names the packages."""
    found = results.load("install_sizes")["found"]
    base, library, command = (found[name]["packages"] for name in NAMES)
    alone, rest = sorted(set(library) - set(base)), sorted(set(command) - set(library))
    size = f"The wheel has {found['wheel'] / 1e3:.0f} kB."
    return f"The library brings {', '.join(alone)}; the command also {', '.join(rest)}. {size}"


PAGE = Page(
    DOCS / "install.md",
    {"sizes": table, "packages": added, "where-sizes": lambda: where_measured(results.load("install_sizes"))},
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, keep the result and write the page."""
    given = options(__doc__).parse_args(arguments)
    found = measured(given.quick)
    print(json.dumps(found, indent=1))
    keep(given, "deployment.install_sizes", {"found": found})
    if not given.quick:
        PAGE.fill()


if __name__ == "__main__":
    main()
