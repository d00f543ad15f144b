"""Every Python code block of README and of docs/ runs, the blocks of a page one after another."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from docs_build.page_blocks import blocks, run

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    path for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")] if "```python" in path.read_text("utf-8")
)


@pytest.mark.slow
@pytest.mark.filterwarnings(
    "ignore", "error::torch_growl.errors.GrowlWarning"
)  # the trainers have warnings of their own
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_the_code_of_a_page_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    run(page)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_no_block_of_a_page_is_missed(page: Path) -> None:
    text = page.read_text("utf-8")
    shown = [block for block in blocks(text) if f"```python\n{block.code}" in text]
    assert len(shown) == len(re.findall(r"^\s*(?:```|~~~)\s*(?:python|py)\b", text, re.MULTILINE))


def test_few_blocks_are_left_out() -> None:
    left_out = [block.reason for page in PAGES for block in blocks(page.read_text("utf-8")) if block.reason]
    assert len(left_out) <= 12, left_out
    assert all(len(reason) > 10 for reason in left_out)


def test_a_fault_in_a_block_is_seen_with_its_line(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "<!-- before: a = 1 -->\n```python\nb = a + 1\n```\n<!-- not run: it needs two machines -->\n"
        "```python\n1 / 0\n```\n"
        "<!-- before:\nfor c in range(3):\n    b += c\n-->\n```python\nassert b == 5\nassert b == 6\n```\n",
        encoding="utf-8",
    )
    with pytest.raises(AssertionError) as raised:
        run(page)
    assert raised.traceback[-1].lineno == 14
    assert str(raised.traceback[-1].path) == str(page)
