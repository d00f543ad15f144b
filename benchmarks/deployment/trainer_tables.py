"""Writes the kept result of ``benchmarks.deployment.trainers`` into the page on trainers.

Run it with ``python -m benchmarks.deployment.trainer_tables``.
"""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.harness import results
from benchmarks.harness.markdown import markdown
from benchmarks.harness.pages import DOCS, Page, where_measured

__all__ = ["PAGE", "main"]

# name → its title, its score, digits
_EXAMPLES = {
    "own_loop": ("own loop: a perceptron on scikit-learn's digits", "%", 1),
    "accelerate_loop": ("Accelerate: convolutions on the digits", "%", 1),
    "lightning_resnet": ("Lightning: ResNet-20 with published weights on CIFAR-10", "%", 1),
    "hugging_face_gpt": ("Hugging Face: a small GPT-2 on the text of Python's help", "bits a letter", 3),
    "hugging_face_vit": ("Hugging Face: a small vision transformer on the digits", "%", 1),
}


def examples() -> str:
    """Return the table of all examples, each plain and with a target."""
    rows = []
    for name, (title, unit, digits) in _EXAMPLES.items():
        plain, small = results.load("trainers")["examples"][name]
        rows.append(
            [
                title,
                f"`examples/trainers/{name}.py`",
                f"{plain['score']:.{digits}f} → {small['score']:.{digits}f} {unit}",
                f"{plain['weights']:,} → {small['weights']:,}",
                f"{plain['macs']:,} → {small['macs']:,} ({small['macs'] / plain['macs']:.1%})",
            ]
        )
    return markdown(["example", "file", "score", "weights", "MACs"], rows)


TABLES: dict[str, Callable[[], str]] = {
    "trainers": examples,
    "where-trainers": lambda: where_measured(results.load("trainers")),
}

PAGE = Page(DOCS / "trainers.md", TABLES)


def main() -> None:
    """Fill the page."""
    PAGE.fill()


if __name__ == "__main__":
    main()
