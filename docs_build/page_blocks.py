"""The Python code blocks of a Markdown page, with what its comments say about running them.

``<!-- before: CODE -->`` (on one line or several) is code that the page leaves out, such as a network and data;
``<!-- not run: REASON -->`` on the line before a block leaves that block out. Neither is shown to a reader.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

BEFORE = r"<!-- before:(?P<before>.*?)-->"
BLOCK = r"(?:^<!-- not run: (?P<reason>.+?) -->\n+)?^```python[^\n]*\n(?P<code>.*?)^```$"


@dataclass(frozen=True)
class Block:
    """Code of a page, the line where it begins, and the reason why it is not run, empty if it is."""

    code: str
    line: int
    reason: str = ""


def blocks(page: str) -> list[Block]:
    """Return the code of a page in its order, what is left out of it included."""
    found = []
    for match in re.finditer(f"{BEFORE}|{BLOCK}", page, re.MULTILINE | re.DOTALL):
        group = "before" if match["code"] is None else "code"
        line = page.count("\n", 0, match.start(group)) + 1
        found.append(
            Block(dedent(match[group]).strip(" ") if group == "before" else match[group], line, match["reason"] or "")
        )
    return found


def run(page: Path, first: int | None = None) -> dict[str, object]:
    """Run the blocks of a page in one namespace, in the current folder, and return that namespace.

    A traceback shows the page and its line. With ``first`` only so many blocks are run.
    """
    scope: dict[str, object] = {"__name__": "__page__"}
    for block in blocks(page.read_text("utf-8"))[:first]:
        if not block.reason:
            exec(compile("\n" * (block.line - 1) + block.code, str(page), "exec"), scope)
    return scope
