"""The pages in Chromium: no console error, nothing loaded, contrast, no overflow on a phone, keyboard, names for all.

Skipped where no Chromium is on PATH.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from tests.support.browser import Browser, chromium
from tests.support.made_up_run import edit, make_run
from torch_growl.application.reports.comparison import make_comparison

pytestmark = pytest.mark.slow

# The contrast of every visible text with the background behind it, of those below 4.5 : 1.
CONTRAST = """
(() => {
  const values = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = (rgb) => {
    const [r, g, b] = rgb.slice(0, 3).map((v) => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (node) => {
    for (; node; node = node.parentElement) {
      const found = values(getComputedStyle(node).backgroundColor);
      if (found.length < 4 || found[3] > 0) return found;
    }
    throw new Error("no background");
  };
  const low = [];
  let looked = 0;
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !node.getClientRects().length) continue;
    if (["SCRIPT", "STYLE", "title"].includes(node.tagName)) continue;
    const look = getComputedStyle(node), svg = node.closest("svg");
    const [a, b] = [light(values(svg && node.tagName === "text" ? look.fill : look.color)), light(behind(node))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    looked++;
    if (ratio < 4.5) low.push(`${walker.currentNode.data.trim().slice(0, 40)}: ${ratio.toFixed(2)}`);
  }
  return [looked, low];
})()
"""
OPEN = "document.querySelectorAll('details').forEach((each) => { each.open = true; })"
# What lies beyond the right edge and is in nothing that scrolls by itself.
OVERFLOW = """
[...document.body.querySelectorAll("*")].filter((node) => node.getBoundingClientRect().right > innerWidth + 0.5
  && !node.closest(".wide-table, pre, .skip, svg")).map((node) => node.tagName + " " + node.className)
"""
# The elements that Tab must reach: links, fields, summaries, regions that scroll.
REACHABLE = "document.querySelectorAll(\"a, select, input, summary, [tabindex='0']\").length"
LINES = "document.querySelectorAll('th:not([scope])').length + document.querySelectorAll('img:not([alt])').length"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser(chromium()) as found:
        yield found


@pytest.fixture(scope="module")
def pages(made: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A report, and a comparison of its run with another one."""
    folder = tmp_path_factory.mktemp("compared")
    other = make_run(folder)
    edit(other, lambda result: result["compression"].update(network=9.1))
    return {"report": made / "report.html", "comparison": make_comparison([made, other], folder / "comparison.html")}


@pytest.mark.parametrize("page", ["report", "comparison"])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_a_page_is_readable_at_every_width(browser: Browser, pages: dict[str, Path], page: str, dark: bool) -> None:
    browser.messages.clear()
    browser.requests.clear()
    for width in (1280, 360):
        browser.show(pages[page], width=width, dark=dark)
        browser.run(OPEN)
        assert browser.run("document.documentElement.scrollWidth") == width
        assert browser.run(OVERFLOW) == []
        looked, low = browser.run(CONTRAST)
        assert looked > 60
        assert low == []
    assert browser.messages == []
    assert {request.split(":")[0] for request in browser.requests} <= {"file", "data"}
    assert {request for request in browser.requests if request.startswith("file")} == {pages[page].as_uri()}


@pytest.mark.parametrize("page", ["report", "comparison"])
def test_tab_reaches_everything_and_everything_has_a_name(browser: Browser, pages: dict[str, Path], page: str) -> None:
    browser.show(pages[page])
    browser.run(OPEN)
    wanted = browser.run(REACHABLE)
    browser.run("window.met = new Set()")
    for _ in range(wanted + 3):
        browser.press("Tab")
        browser.run("document.activeElement === document.body || met.add(document.activeElement)")
    assert browser.run("met.size") >= wanted > 6
    assert browser.run(LINES) == 0
    assert browser.run(
        "[document.documentElement.lang, !!document.title, !!document.querySelector('[name=viewport]')]"
    ) == [*("en", True, True)]
    assert browser.run("new Set([...document.querySelectorAll('[id]')].map((e) => e.id)).size") == browser.run(
        "document.querySelectorAll('[id]').length"
    )
    levels = browser.run("[...document.querySelectorAll('h1, h2, h3')].map((each) => Number(each.tagName[1]))")
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    names = browser.names()
    for role in ("link", "combobox", "slider", "image", "region", "navigation"):
        found = [name for kind, name in names if kind == role]
        assert all(found), (role, found)
    assert {"banner", "main", "navigation", "heading", "table", "image"} <= {role for role, _ in names}


def test_the_groups_are_explored_by_keyboard(browser: Browser, pages: dict[str, Path]) -> None:
    browser.show(pages["report"])
    said = "document.getElementById('groups-said').textContent"
    picture = "document.getElementById('groups-map').toDataURL()"
    assert browser.run(said) == "fc1: 64 pixels, 22 pruned, 21 alone, 21 tied in 7 groups."
    first = browser.run(picture)
    browser.run("document.getElementById('groups-group').focus()")
    for _ in range(3):
        browser.press("ArrowDown")
    assert browser.run(said).startswith("Group 1: 3 pixels (line, column): (1, 2), (1, 5), (1, 8)")
    assert browser.run(picture) != first
    browser.press("Tab")
    for _ in range(3):
        browser.press("ArrowRight")
    assert browser.run(said) == "Pixel in line 1, column 4 (row 3) is pruned: the network does not read it."
    browser.run("document.getElementById('groups-layer').focus()")
    browser.press("ArrowDown")
    assert browser.run(said).startswith("features.3: 30 ")
    assert browser.run("document.getElementById('groups-map').getAttribute('aria-label')").startswith("Map of the 30 ")


def test_details_open_by_keyboard(browser: Browser, pages: dict[str, Path]) -> None:
    browser.show(pages["report"])
    browser.run("document.querySelector('summary').focus()")
    browser.press("Enter", text="\r")
    assert browser.run("document.querySelector('details').open") is True
