"""The API pages: one for each public name, made from the docstrings, and a table of them."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import torch_growl as tg

__all__ = ["MODULES", "api_pages", "navigation", "overview"]

# Rooms in the order of a network's way, with the titles of their names; a room that is not listed follows.
TITLES = {
    "networks.penalty": "The penalty",
    "networks.targets": "Targets",
    "networks.paths": "A target's path",
    "networks.diagnosis": "Before training",
    "networks.tying": "Tied rows",
    "networks.compaction": "The compact network",
    "networks.shrinking": "Without training",
    "networks.storage": "Files",
    "networks.exporting": "Other runtimes",
    "networks.measurement": "Measurement",
    "application.plots": "Figures for notebooks",
    "networks.layers": "Layer types",
    "mathematics.owl": "Norms and proximal operators",
    "mathematics.similarity": "Similarity of rows",
    "mathematics.clustering": "Groups of rows",
    "errors": "Errors",
}

# Modules that users import by path, each a page.
MODULES = ["torch_growl.integrations.lightning", "torch_growl.integrations.transformers"]


def groups() -> Iterator[tuple[str, list[str]]]:
    """Yield each title with its public names, in the order of the overview."""
    rooms = list(tg._HOME)
    for room in sorted(rooms, key=lambda room: (list(TITLES) + rooms).index(room)):
        yield TITLES.get(room, room.rpartition(".")[2].capitalize()), tg._HOME[room]


def first_sentence(name: str) -> str:
    """The first sentence of a public name's docstring, on one line."""
    text = inspect.getdoc(getattr(tg, name)) or ""
    return " ".join(text.split("\n\n")[0].split()).replace("|", r"\|")


def overview() -> str:
    """The Markdown page with a table of all public names."""
    lines = [
        "# API",
        "",
        "Pages write `import torch_growl as tg`. The names below are public: their meaning is held as the",
        "[stability note](../stability.md) says. Each page has arguments with shapes and ranges, the errors that are",
        "raised, and an example that the tests run.",
        "",
    ]
    for title, names in groups():
        lines += [f"## {title}", "", "| name | |", "|---|---|"]
        lines += [f"| [`tg.{name}`]({name}.md) | {first_sentence(name)} |" for name in names]
        lines.append("")
    if MODULES:
        lines += ["## Trainers", "", "These are imported by their path, and need the trainer's own package.", ""]
        lines += [f"* [`{module}`]({module}.md)" for module in MODULES]
    return "\n".join(lines) + "\n"


def api_pages() -> dict[str, str]:
    """Return path in the documentation → Markdown of every API page."""
    pages = {"api/index.md": overview()}
    for name in tg.__all__:
        pages[f"api/{name}.md"] = f"::: torch_growl.{name}\n"
    for module in MODULES:
        pages[f"api/{module}.md"] = f"::: {module}\n"
    return pages


def navigation() -> list[dict[str, object]]:
    """The navigation's part of the API pages."""
    nav: list[dict[str, object]] = [{"All names": "api/index.md"}]
    nav += [{title: [{name: f"api/{name}.md"} for name in names]} for title, names in groups()]
    if MODULES:
        nav.append({"Trainers": [{module.rpartition(".")[2]: f"api/{module}.md"} for module in MODULES]})
    return nav
