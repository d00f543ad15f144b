"""Writes the kept comparison of shrinking without training into the page on it.

Run it with ``python -m benchmarks.learning.pages.shrinking_tables``.
"""

from __future__ import annotations

from typing import Any

from benchmarks.harness import results
from benchmarks.harness.markdown import markdown, spread
from benchmarks.harness.pages import DOCS, Page, where_measured

__all__ = ["PAGE", "main"]

_METHODS = ("tg.shrink", "magnitude", "Torch-Pruning", "Torch-Pruning, one step")
_SHOWN = {"mnist-mlp": "784-300-100-10, MNIST", "resnet20": "ResNet-20, CIFAR-10", "resnet56": "ResNet-56, CIFAR-10"}


def accuracies() -> str:
    """Return the test accuracy of every network, share and method."""
    rows = []
    for name, found in results.load("training_free")["networks"].items():
        shares = sorted({float(key.rpartition(", ")[2]) for key in found if ", " in key}, reverse=True)
        for share in shares:
            cells = [found.get(f"{method}, {share:g}") for method in _METHODS]
            shown = ["–" if cell is None else f"{100 * cell['accuracy']:.2f}" for cell in cells]
            network = f"{_SHOWN[name]} ({found['images']:,} test images)"
            rows.append([network, f"{share:g}", f"{100 * found['dense']:.2f}", *shown])
    return markdown(["test %", "MACs", "dense", *_METHODS], rows)


def trained() -> str:
    """Return the test accuracy of half a ResNet-20 before and after training, for every method that was started."""
    data = results.load("halves")
    rows = []
    for method in dict.fromkeys([*data["starts"], *(one["method"] for one in data["trainings"])]):
        own = [one for one in data["trainings"] if one["method"] == method]
        for epochs, lr in sorted({(one["epochs"], one["lr"]) for one in own}):
            found = [one for one in own if (one["epochs"], one["lr"]) == (epochs, lr)]
            after = spread([one["accuracy"]["test"] for one in found], factor=100)
            starts = [one["before training"]["test"] for one in found if one["before training"]]
            before = spread(starts, factor=100) if starts else "–"
            size = [f"{found[0]['macs']:.3f}", f"{found[0]['weights']:,}"]
            rows.append([method, *size, before, str(epochs), f"{lr:g}", str(len(found)), after])
    head = ["test %", "MACs", "weights", "before training", "epochs", "learning rate", "seeds", "after"]
    return markdown(head, rows)


def shrunk_with_ties() -> str:
    """Return the test accuracy of the perceptron at shares of its weights, with ties and without."""
    data = results.load("alike_rows")["shrunk"]
    found = {(run["share"], run["ties"]): f"{100 * run['accuracy']:.2f}" for run in data["runs"]}
    shares = sorted({share for share, _ in found}, reverse=True)
    rows = [
        [name, f"{100 * data['dense']:.2f}", *(found[share, ties] for share in shares)]
        for name, ties in (("removals alone", False), ("removals and ties", True))
    ]
    return markdown(["test %, weights left", "dense", *(f"{share:g}" for share in shares)], rows)


def ways_to_tie() -> str:
    """Return the test accuracy after ties of the first layer, for every way to find them, before and after a fit."""
    rows = []
    for network, data in results.load("alike_rows")["tied"].items():
        ways = dict.fromkeys(one["way"] for one in data["ties"])
        for way in ways:
            own = {one["groups"]: one for one in data["ties"] if one["way"] == way}
            cells = [_before_and_after(own[groups]) for groups in sorted(own, reverse=True)]
            rows.append([f"{network} ({data['nonzero']} nonzero rows, {100 * data['dense']:.2f})", way, *cells])
        groups = sorted({one["groups"] for one in data["ties"]}, reverse=True)
    return markdown(["network", "ties by", *(f"{number} groups" for number in groups)], rows)


def _before_and_after(one: dict[str, Any]) -> str:
    left = "" if one["left"] == one["groups"] else f" ({one['left']} groups)"
    return f"{100 * one['tied']:.2f} → {100 * one['compensated']:.2f}{left}"


PAGE = Page(
    DOCS / "shrinking.md",
    {
        "accuracies": accuracies,
        "where": lambda: where_measured(results.load("training_free")),
        "trained": trained,
        "ties": shrunk_with_ties,
        "ways": ways_to_tie,
        "where-ties": lambda: where_measured(results.load("alike_rows")),
        "where-trained": lambda: where_measured(results.load("halves")),
    },
)


def main() -> None:
    """Fill the page."""
    PAGE.fill()


if __name__ == "__main__":
    main()
