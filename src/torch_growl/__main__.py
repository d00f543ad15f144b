"""The command ``growl``, also ``python -m torch_growl``; one line says what to install if its packages are missing."""

from __future__ import annotations

import re
import sys
from importlib.metadata import PackageNotFoundError, distribution

__all__ = ["main"]


def _missing() -> list[str]:
    """The packages of the extra ``cli`` that are not installed; none if torch-growl itself is only on the path."""
    try:
        wanted = distribution("torch-growl").requires or []
    except PackageNotFoundError:
        return []
    names = [re.split(r"[^\w.-]", each)[0] for each in wanted if re.search(r"extra == .cli.", each)]
    return [name for name in names if not _installed(name)]


def _installed(name: str) -> bool:
    try:
        distribution(name)
    except PackageNotFoundError:
        return False
    return True


def main() -> None:
    """Run the command; if packages that it needs are missing, say in one line how to install them and exit with 2."""
    missing = _missing()
    try:
        if not missing:
            from torch_growl.application.command import main as growl
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("torch_growl"):
            raise
        missing = [error.name]
    if missing:
        print(
            f"error: growl needs {', '.join(missing)}: install torch-growl with its extra cli "
            f'(pip install ".[cli]" in a checkout); the library works without',
            file=sys.stderr,
        )
        sys.exit(2)
    growl()


if __name__ == "__main__":
    main()
