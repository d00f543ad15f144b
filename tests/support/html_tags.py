"""The tags and the texts of a piece of HTML."""

from __future__ import annotations

from html.parser import HTMLParser

__all__ = ["NASTY", "HtmlTags"]

NASTY = '<script>alert("x")</script> & </pre>'  # a name that must be escaped


class HtmlTags(HTMLParser):
    """The tags with their attributes, and the texts between them, in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)

    @property
    def names(self) -> set[str]:
        return {tag for tag, _ in self.tags}

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)
