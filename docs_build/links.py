"""Check the built site: every link leads to a page and an anchor that exist: ``python -m docs_build.links site``."""

from __future__ import annotations

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

__all__ = ["broken_links", "fetched_addresses"]


class _Page(HTMLParser):
    """The addresses and anchors of one HTML page."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.fetched: list[str] = []  # by the browser, without a click
        self.anchors: set[str] = {"", "__top"}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        if "src" in given:
            self.fetched.append(given["src"])
        if tag == "link" and given.get("rel") in ("stylesheet", "icon", "preload"):
            self.fetched.append(given["href"])


def _pages(site: Path) -> dict[Path, _Page]:
    pages = {}
    for path in sorted(site.rglob("*.html")):
        pages[path.resolve()] = page = _Page()
        page.feed(path.read_text("utf-8"))
    return pages


def broken_links(site: Path) -> list[str]:
    """Return the links of a built site that lead to no file or to no anchor of it, each with its page."""
    pages, found = _pages(site), []
    for path, page in pages.items():
        if path.name == "404.html":  # its links begin at the root of the site
            continue
        for link in [*page.links, *page.fetched]:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            there = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            there = there / "index.html" if there.is_dir() else there
            where = path.relative_to(site.resolve())
            if not there.is_file():
                found.append(f"{where}: {link} does not exist")
            elif there in pages and unquote(parts.fragment) not in pages[there].anchors:
                found.append(f"{where}: {link} has no such anchor")
    return found


def fetched_addresses(site: Path) -> set[str]:
    """Return what a browser would fetch from elsewhere to show the site."""
    return {link for page in _pages(site).values() for link in page.fetched if urlsplit(link).netloc}


def main() -> None:
    """Check the folder named on the command line; exit with 1 if a link is broken."""
    site = Path(sys.argv[1])
    found = [*broken_links(site), *(f"{link} is fetched from elsewhere" for link in sorted(fetched_addresses(site)))]
    print("\n".join(found) or f"{len(list(site.rglob('*.html')))} pages, all links lead somewhere")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
