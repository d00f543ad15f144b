"""The documentation's site: it is built without a warning, its links lead somewhere, each public name has a page."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import torch_growl as tg
from docs_build.api_pages import MODULES, api_pages, navigation
from docs_build.links import broken_links, fetched_addresses

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("mkdocs", reason="the extra docs is not installed")
    folder = tmp_path_factory.mktemp("site")
    env = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}", "NO_MKDOCS_2_WARNING": "1"}
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    return folder


@pytest.mark.slow
def test_links_of_the_site_lead_somewhere_and_nothing_is_fetched_from_elsewhere(site: Path) -> None:
    assert broken_links(site) == []
    assert fetched_addresses(site) == set()


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(tg.__all__))
def test_a_public_name_has_a_page_with_its_example(site: Path, name: str) -> None:
    page = (site / "api" / f"{name}.html").read_text("utf-8")
    assert f'id="torch_growl.{name}"' in page
    assert "&gt;&gt;&gt;" in page
    assert ":func:" not in page


def test_the_navigation_has_each_public_name_once() -> None:
    def leaves(entry: object) -> list[str]:
        if isinstance(entry, str):
            return [entry]
        return [leaf for each in (entry.values() if isinstance(entry, dict) else entry) for leaf in leaves(each)]

    names = [*tg.__all__, *MODULES, "index"]
    assert sorted(leaves(navigation())) == sorted(f"api/{name}.md" for name in names)
    assert sorted(api_pages()) == sorted(f"api/{name}.md" for name in names)


def test_roles_in_docstrings_are_links() -> None:
    docstrings = pytest.importorskip(
        "docs_build.docstrings", reason="the extra docs is not installed", exc_type=ImportError
    )
    text = docstrings.as_markdown(
        "See :func:`compact`, :meth:`GrOWL.attach`, :func:`torch.cat`, ``docs/trust.md``.\n\nExample:\n    >>> 1\n"
    )
    assert "[docs/trust.md](../trust.md)" in text
    assert "[`compact`][torch_growl.compact]" in text
    assert "[`GrOWL.attach`][torch_growl.GrOWL]" in text
    assert "`torch.cat`" in text
    assert "\n\nExamples:\n" in text


def test_links_out_of_the_folder_lead_to_the_repository() -> None:
    hooks = pytest.importorskip("docs_build.hooks", reason="the extra docs is not installed", exc_type=ImportError)
    relinked = hooks.relinked
    assert relinked("[a](../src/x.py)", "trust.md", "docs/trust.md").endswith("/blob/main/src/x.py)")
    assert relinked("[a](../CHANGELOG.md#b)", "trust.md", "docs/trust.md") == "[a](changelog.md#b)"
    assert relinked("[a](docs/method.md)", "index.md", "README.md") == "[a](method.md)"
    assert relinked("[a](docs/method.md)", "contributing/index.md", "CONTRIBUTING.md") == "[a](../method.md)"
    assert relinked("[a](#b) [c](https://d.e)", "trust.md", "docs/trust.md") == "[a](#b) [c](https://d.e)"


def test_lists_and_tables_get_the_line_that_markdown_needs() -> None:
    hooks = pytest.importorskip("docs_build.hooks", reason="the extra docs is not installed", exc_type=ImportError)
    assert hooks.spaced("Text:\n* a\n  b\n* c\n<!-- table: d -->\n| e |\n| - |") == (
        "Text:\n\n* a\n  b\n* c\n<!-- table: d -->\n\n| e |\n| - |"
    )


def test_a_broken_link_is_seen(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text(
        '<a href="b.html#c">x</a><a href="d.html">y</a><a href="#e">z</a>', encoding="utf-8"
    )
    (tmp_path / "b.html").write_text('<h1 id="c"></h1><script src="https://f.g/h.js"></script>', encoding="utf-8")
    assert broken_links(tmp_path) == ["a.html: d.html does not exist", "a.html: #e has no such anchor"]
    assert fetched_addresses(tmp_path) == {"https://f.g/h.js"}


@pytest.mark.slow
def test_each_page_is_in_the_navigation() -> None:
    pages = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    listed = set(re.findall(r": ([\w/-]+\.md)$", (ROOT / "mkdocs.yml").read_text("utf-8"), re.MULTILINE))
    assert pages - listed == set(), "add them to nav in mkdocs.yml"
    assert listed - pages == {"index.md", "changelog.md", "security.md", "contributing/index.md"}  # made at the build


def test_no_page_installs_the_bare_name_from_pypi() -> None:
    bare = r"pip install (?:-\S+ )*[\"']?torch-growl(?!\[cli\] @)"
    assert re.search(bare, 'pip install "torch-growl[cli]"')
    for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "src").rglob("*.py")]:
        assert not re.search(bare, path.read_text("utf-8")), path
