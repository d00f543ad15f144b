"""Writes the kept results into the page on latency.

Run it with ``python -m benchmarks.deployment.latency_tables``.
"""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.deployment.latency import PEER, UNROUNDED
from benchmarks.harness import results
from benchmarks.harness.markdown import markdown
from benchmarks.harness.pages import DOCS, Page, targets, where_measured

__all__ = ["PAGE", "main"]


def sizes() -> str:
    """Return weights and MACs of every network."""
    rows = []
    for name, networks in results.load("latency")["sizes"].items():
        dense = networks["dense"]
        for key, size in networks.items():
            ratios = [f"{dense[what] / size[what]:.2f}x" for what in ("weights", "macs")]
            rows.append([f"{name}, {key}", f"{size['weights']:,}", f"{size['macs']:,}", *ratios])
    return markdown(["network", "weights", "MACs", "fewer weights", "fewer MACs"], rows)


def times() -> str:
    """Return the medians and how much faster or slower the compact network is."""
    rows = []
    for cell in results.load("latency")["times"]:
        median = {key: each["median"] / 1e3 for key, each in cell["times"].items()}
        ratio = median["dense"] / median["compact"]
        said = f"{ratio:.2f}x faster" if ratio > 1 else f"**{1 / ratio:.2f}x slower**"
        others = [f"{median[key]:.3g}" if key in median else "–" for key in (UNROUNDED, PEER)]
        where = f"{cell['network']}, {cell['runtime']}, batch {cell['batch']}"
        rows.append([where, f"{median['dense']:.3g}", f"{median['compact']:.3g}", said, *others])
    return markdown(["", "dense, ms", "compact, ms", "compact is", f"{UNROUNDED}, ms", f"{PEER}, ms"], rows)


def pretrained() -> str:
    """Return the accuracy of the pretrained networks and the number of changed predictions."""
    rows = []
    for each in results.load("pretrained")["networks"]:
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
    "where-latency": lambda: where_measured(results.load("latency")),
    "targets-latency": lambda: targets("latency"),
    "sizes": sizes,
    "times": times,
    "where-pretrained": lambda: where_measured(results.load("pretrained")),
    "pretrained": pretrained,
}

PAGE = Page(DOCS / "latency.md", TABLES)


def main() -> None:
    """Fill the page."""
    PAGE.fill()


if __name__ == "__main__":
    main()
