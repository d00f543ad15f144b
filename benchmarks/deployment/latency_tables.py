"""Writes the kept results into ``docs/latency.md``: ``python -m benchmarks.deployment.latency_tables``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from benchmarks.deployment.latency import PEER, UNROUNDED
from benchmarks.harness import pages, timing
from benchmarks.harness.markdown import markdown

__all__ = ["PAGE", "TABLES", "filled", "main"]

PAGE = Path(__file__).parents[2] / "docs" / "latency.md"


def sizes() -> str:
    """Weights and MACs of every network."""
    rows = []
    for name, networks in timing.load("latency")["sizes"].items():
        dense = networks["dense"]
        for key, size in networks.items():
            ratios = [f"{dense[what] / size[what]:.2f}x" for what in ("weights", "macs")]
            rows.append([f"{name}, {key}", f"{size['weights']:,}", f"{size['macs']:,}", *ratios])
    return markdown(["network", "weights", "MACs", "fewer weights", "fewer MACs"], rows)


def times() -> str:
    """Medians, and the compact network's ratio to the dense one in words."""
    rows = []
    for cell in timing.load("latency")["times"]:
        median = {key: each["median"] / 1e3 for key, each in cell["times"].items()}
        ratio = median["dense"] / median["compact"]
        said = f"{ratio:.2f}x faster" if ratio > 1 else f"**{1 / ratio:.2f}x slower**"
        others = [f"{median[key]:.3g}" if key in median else "–" for key in (UNROUNDED, PEER)]
        where = f"{cell['network']}, {cell['runtime']}, batch {cell['batch']}"
        rows.append([where, f"{median['dense']:.3g}", f"{median['compact']:.3g}", said, *others])
    return markdown(["", "dense, ms", "compact, ms", "compact is", f"{UNROUNDED}, ms", f"{PEER}, ms"], rows)


def pretrained() -> str:
    """Accuracy of the pretrained networks and predictions that changed."""
    rows = []
    for each in timing.load("pretrained")["networks"]:
        known = "" if each["known"] is None else f" (known: {each['known']:.2%})"
        rows.append(
            [
                f"{each['network']}{', rows zeroed and tied' if each['damaged'] else ''}",
                f"{each['accuracy']:.2%}{known}",
                f"{each['predictions_differ']} of {each['images']:,}",
                " → ".join(f"{count:,}" for count in each["weights"]),
                " → ".join(f"{count / 1e6:.2f} M" for count in each["macs"]),
            ]
        )
    return markdown(["network", "accuracy, dense", "predictions that differ", "weights", "MACs"], rows)


TABLES: dict[str, Callable[[], str]] = {
    "where-latency": lambda: pages.where_measured(timing.load("latency")),
    "targets-latency": lambda: pages.targets("latency"),
    "sizes": sizes,
    "times": times,
    "where-pretrained": lambda: pages.where_measured(timing.load("pretrained")),
    "pretrained": pretrained,
}


def filled(page: str) -> str:
    """The page with every marked table written anew."""
    return pages.filled(page, TABLES)


def main() -> None:
    """Fill the page."""
    pages.fill(PAGE, TABLES)


if __name__ == "__main__":
    main()
