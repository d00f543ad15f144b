"""Hooks of mkdocs: pages that are made at build time, and links as the site needs them."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

from docs_build.api_pages import api_pages, navigation

ROOT = Path(__file__).resolve().parents[1]
REPOSITORY = "https://github.com/torch-growl/torch-growl/blob/main"
# Pages beside the folder docs that the site shows: path in the site → file.
OUTSIDE = {
    "index.md": "README.md",
    "changelog.md": "CHANGELOG.md",
    "contributing/index.md": "CONTRIBUTING.md",
    "security.md": "SECURITY.md",
}


def on_config(config: Any) -> Any:
    """Put the API pages where the navigation has "API: api"."""
    config.nav = [{"API": navigation()} if entry == {"API": "api"} else entry for entry in config.nav]
    return config


def on_files(files: Files, config: Any) -> Files:
    """Add the API pages and the pages beside the folder."""
    outside = {page: (ROOT / file).read_text("utf-8") for page, file in OUTSIDE.items()}
    for page, text in {**api_pages(), **outside}.items():
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, **kwargs: Any) -> str:
    """Write links and lists as the site needs them; the files themselves are as GitHub shows them."""
    where = page.file.src_uri
    place = OUTSIDE.get(where, f"docs/{where}")  # in the repository
    parts = re.split(r"(^```.*?^```)", markdown, flags=re.MULTILINE | re.DOTALL)
    return "".join(part if part.startswith("```") else spaced(relinked(part, where, place)) for part in parts)


def relinked(markdown: str, page: str, place: str) -> str:
    """Return the text with links to files of the repository that the site does not have as links to GitHub.

    Args:
        markdown: text of a page.
        page: its path in the site.
        place: its path in the repository.
    """
    shown = {file: where for where, file in OUTSIDE.items()}

    def link(found: re.Match[str]) -> str:
        target, _, anchor = found[1].partition("#")
        if re.match(r"[a-z]+:", found[1]) or not target:
            return found[0]
        file = posixpath.normpath(posixpath.join(posixpath.dirname(place), target))
        if page.startswith("api/") and not file.startswith("docs/../"):
            return found[0]
        inside = shown.get(file) or (file.removeprefix("docs/") if file.startswith("docs/") else None)
        there = posixpath.relpath(inside, posixpath.dirname(page) or ".") if inside else f"{REPOSITORY}/{file}"
        return f"]({there}{'#' + anchor if anchor else ''})"

    return re.sub(r"\]\(([^)\s]+)\)", link, markdown)


def spaced(markdown: str) -> str:
    """Return the text with an empty line before each list and table, which Python-Markdown needs."""
    lines: list[str] = []
    for line in markdown.split("\n"):
        before = lines[-1] if lines else ""
        item = re.match(r"(\* |- |\d+\. )", line) and not re.match(r"(\s|\* |- |\d+\. |$)", before)
        table = line.startswith("|") and before and not before.startswith("|")
        if item or table:
            lines.append("")
        lines.append(line)
    return "\n".join(lines)
