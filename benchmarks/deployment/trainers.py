"""Runs the examples in ``examples/trainers``, each plain and with a target, and keeps their tables.

Run it with ``python -m benchmarks.deployment.trainers --data DIR --weights DIR``.
"""

from __future__ import annotations

import runpy
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.harness import results, timing
from benchmarks.harness.command import keep, options

__all__ = ["EXAMPLES", "run"]

FOLDER = Path(__file__).parents[2] / "examples" / "trainers"
# name → settings of a quick run
EXAMPLES: dict[str, dict[str, Any]] = {
    "own_loop": {"epochs": 4},
    "accelerate_loop": {"epochs": 2},
    "lightning_resnet": {"epochs": 1, "images": 80, "tested": 50, "size": 4},
    "hugging_face_gpt": {"steps": 20, "tested": 20},
    "hugging_face_vit": {"epochs": 2},
}


def run(name: str, *folders: str, **settings: Any) -> list[dict[str, Any]]:
    """Run an example.

    Args:
        name: of the file.
        folders: of data and weights, for the one that takes them.
        settings: in place of its own.

    Returns:
        The rows of its table: ``network``, ``score``, ``weights``, ``macs``; the plain network first.
    """
    sys.path.insert(0, str(FOLDER))
    try:
        rows: list[dict[str, Any]] = runpy.run_path(str(FOLDER / f"{name}.py"))["main"](*folders, **settings)
    finally:
        sys.path.remove(str(FOLDER))
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    """Run all examples and keep their tables."""
    parser = options(__doc__)
    parser.add_argument("--data", default="../shared/data", help="the folder with CIFAR-10")
    parser.add_argument("--weights", default="../shared/pretrained", help="the folder with the pretrained ResNets")
    parser.add_argument("--resume", action="store_true", help="go on where the last run was stopped")
    given = parser.parse_args(arguments)
    timing.one_thread()
    kept, found = results.Kept(given.name or "trainers", resume=given.resume), {}
    for name, quick in EXAMPLES.items():
        folders = [given.data, f"{given.weights}/resnet20-cifar10.safetensors"] if name == "lightning_resnet" else []
        settings = quick if given.quick else {}
        found[name] = kept.get(
            name, lambda name=name, folders=folders, settings=settings: run(name, *folders, **settings)
        )
    keep(given, "deployment.trainers", {"examples": found}, ("transformers", "lightning", "accelerate"))
    kept.done()


if __name__ == "__main__":
    main()
