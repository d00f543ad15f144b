"""Writes the kept result of ``benchmarks.deployment.export`` into the page on export.

Run it with ``python -m benchmarks.deployment.export_tables``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.deployment.export import shape_of
from benchmarks.deployment.export_forms import FORMS
from benchmarks.harness import results
from benchmarks.harness.markdown import markdown, short
from benchmarks.harness.pages import DOCS, Page, targets, where_measured

__all__ = ["PAGE", "main"]


def forms() -> str:
    """Return the times of every form, and its bytes after constant folding."""
    data = results.load("export")
    rows = []
    for case in data["sums"]:
        for batch, times in case["times"].items():
            rows.append([f"{shape_of(case)}, batch {batch}", *(short(times[form]["median"]) for form in FORMS)])
        rows.append([f"{shape_of(case)}, bytes folded", *(f"{case['sizes'][form]['folded']:,}" for form in FORMS)])
    return markdown(["channels × rest, kept → groups", *FORMS], rows)


def threads() -> str:
    """Return the counts of wrong answers with two threads."""
    data = results.load("export")["threads"]
    where = f"{data['inputs']}, {data['kept']} → {data['groups']}, batch {data['batch']}: wrong of {data['tries']}"
    return markdown([where, *data["wrong"]], [["two threads", *(str(count) for count in data["wrong"].values())]])


def networks() -> str:
    """Return times of whole networks in onnxruntime and sizes in every format."""
    rows = []
    for case in results.load("export")["networks"]:
        for name, files in case["files"].items():
            sizes: list[Any] = [files["state"], *(files[kind]["bytes"] for kind in ("onnx", "pt2", "pte"))]
            rows.append(
                [
                    f"{case['network']}, {name}",
                    *(short(case["times"][batch][name]["median"]) for batch in case["times"]),
                    *(f"{size / 1e3:,.0f}" for size in (*sizes, files["folded"])),
                    f"{max(files[kind]['difference'] for kind in ('onnx', 'pt2', 'pte')):.0e}",
                ]
            )
    head = [
        "network",
        "batch 1, µs",
        "batch 32, µs",
        "state, kB",
        "onnx",
        "pt2",
        "pte",
        "onnxruntime keeps",
        "differs by",
    ]
    return markdown(head, rows)


TABLES: dict[str, Callable[[], str]] = {
    "where-export": lambda: where_measured(results.load("export")),
    "targets-export": lambda: targets("export"),
    "forms": forms,
    "threads": threads,
    "networks": networks,
}

PAGE = Page(DOCS / "export.md", TABLES)


def main() -> None:
    """Fill the page."""
    PAGE.fill()


if __name__ == "__main__":
    main()
