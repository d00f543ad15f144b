"""Parts of charts: values are where they belong, texts are escaped, and both widths are there."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from torch_growl.application.pages.svg import MARKS, WIDTHS, Area, both_widths, legend

NASTY = '<b> & "'


def area() -> Area:
    return Area(10, 110, 20, 220, lambda x: x / 4, lambda y: y / 100)


def test_values_are_placed_from_left_to_right_and_from_bottom_to_top() -> None:
    found = area()
    assert (found.x(0), found.x(4)) == (10, 110)
    assert (found.y(0), found.y(100)) == (220, 20)


@pytest.mark.parametrize("mark", MARKS)
def test_every_mark_is_drawn_at_its_value_with_a_title(mark: str) -> None:
    found = area()
    found.mark(2, 50, mark, "c1", NASTY)
    path = ElementTree.fromstring(found.parts[0])
    assert path.attrib["d"].startswith("M60.0 120.0m")
    assert path[0].text == NASTY


def test_texts_of_ticks_never_overlap() -> None:
    found = area()
    found.x_axis([0, 1, 2, 3, 4], ["1,000,000"] * 5, "size")
    assert sum("1,000,000" in part for part in found.parts) == 2
    assert sum("v4" in part for part in found.parts) == 5


def test_a_line_of_one_value_is_a_mark_and_one_of_none_is_nothing() -> None:
    found = area()
    found.line([(1, 10), (2, 20)], "c1")
    found.line([(1, 10)], "c1")
    found.line([], "c1")
    assert [re.findall(r'class="(\w+)', part)[0] for part in found.parts] == ["line", "mark"]


def test_a_chart_has_both_widths_and_an_escaped_name() -> None:
    text = both_widths(NASTY, lambda width: (f'<path d="M0 0H{width}"/>', 100))
    wide, narrow = ElementTree.fromstring(f"<div>{text}</div>")
    assert [int(each.attrib["width"]) for each in (wide, narrow)] == list(WIDTHS.values())
    assert wide.attrib["aria-label"] == NASTY
    assert wide.attrib["role"] == "img"


def test_a_legend_is_a_list_with_a_sample_for_every_entry() -> None:
    found = ElementTree.fromstring(legend([("c1", "line", "a"), ("c2", "dashed", NASTY), ("c3", "plus", "c")]))
    assert ["".join(item.itertext()) for item in found] == ["a", NASTY, "c"]
    assert [item[0][0].attrib["class"] for item in found] == ["line c1", "line c2 dashed", "mark c3"]
