"""Tables as HTML, as a notebook shows the results of the library: every text is escaped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

__all__ = ["html_table"]


def html_table(
    titles: Sequence[str],
    lines: Iterable[Sequence[str]],
    *,
    caption: str,
    text_columns: Sequence[int] = (0,),
    notes: Iterable[str] = (),
) -> str:
    """Return a table as HTML, with a caption, row and column headers, and paragraphs below it.

    Args:
        titles: the titles of the columns.
        lines: for each line its cells, as many as titles; the first one is the header of the line.
        caption: the title of the table.
        text_columns: the columns that are aligned to the left; all others are numbers.
        notes: lines of text below the table, in the font of a terminal.
    """

    def cell(tag: str, column: int, text: str, more: str = "") -> str:
        side = "left" if column in text_columns else "right"
        return f'<{tag}{more} style="text-align: {side}">{escape(text)}</{tag}>'

    head = "".join(cell("th", column, title, ' scope="col"') for column, title in enumerate(titles))
    body = ""
    for first, *rest in lines:
        cells = "".join(cell("td", column, text) for column, text in enumerate(rest, start=1))
        body += "<tr>" + cell("th", 0, first, ' scope="row"') + cells + "</tr>"
    below = "\n".join(notes)
    return (
        f'<table><caption style="text-align: left; font-weight: bold">{escape(caption)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        + (f'<pre style="white-space: pre-wrap">{escape(below)}</pre>' if below else "")
    )
