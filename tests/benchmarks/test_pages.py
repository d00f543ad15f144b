"""Pages of the docs show what was measured: one check of all pages that benchmarks fill."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import pytest

import benchmarks
from benchmarks.harness import pages, results
from benchmarks.harness.pages import Page

ROOT = Path(benchmarks.__file__).parents[1]
MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in (ROOT / "benchmarks").rglob("*.py")
    if re.search(r"^PAGE = ", path.read_text("utf-8"), re.MULTILINE)
)


def page_of(module: str) -> Page:
    page = import_module(module).PAGE
    assert isinstance(page, Page)
    return page


def test_every_page_with_tables_is_filled_by_one_module() -> None:
    filled = [page_of(module).path for module in MODULES]
    marked = [path for path in sorted(pages.DOCS.rglob("*.md")) if "<!-- table: " in path.read_text("utf-8")]
    assert sorted(filled) == marked
    assert len(marked) > 4


@pytest.mark.parametrize("module", MODULES)
def test_a_page_shows_what_was_measured(module: str) -> None:
    page = page_of(module)
    text = page.path.read_text("utf-8")
    assert page.filled(text) == text
    assert page.tables
    for name in page.tables:
        assert text.count(f"<!-- table: {name} -->") == 1, name


@pytest.mark.slow
@pytest.mark.parametrize("module", MODULES)
def test_a_changed_figure_in_any_table_of_a_page_is_found(module: str) -> None:
    page = page_of(module)
    text = page.path.read_text("utf-8")
    for name in page.tables:
        start = text.index("\n", text.index(f"<!-- table: {name} -->"))
        end = text.index("<!-- end -->", start)
        changed = text[:start] + re.sub(r"\w", lambda sign: "7" if sign[0] != "7" else "8", text[start:end], count=1)
        changed += text[end:]
        assert len(changed) == len(text), name
        assert changed != text, name
        assert page.filled(changed) == text, name


def test_an_unknown_table_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="no-such"):
        Page(tmp_path / "page.md", {}).filled("<!-- table: no-such -->\n<!-- end -->")


def test_a_page_is_filled_from_its_file(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    path.write_text("a\n<!-- table: t -->\nold\n<!-- end -->\nb\n", encoding="utf-8")
    Page(path, {"t": lambda: "new"}).fill()
    assert path.read_text("utf-8") == "a\n<!-- table: t -->\nnew\n<!-- end -->\nb\n"


def test_the_architectures_page_is_of_all_networks() -> None:
    from benchmarks.architectures.zoo import ARCHITECTURES

    kept = results.load("architectures")
    assert not kept["quick"]
    assert list(kept["networks"]) == list(ARCHITECTURES)
