"""Pages: values are escaped, the style sheet is in the page, and only a known script may run."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path

import pytest
from jinja2 import UndefinedError

import torch_growl.application.reports
from torch_growl.application.pages import page
from torch_growl.application.pages.page import render

TEMPLATES = Path(torch_growl.application.reports.__file__).parent / "templates"
PACKAGE = "torch_growl.application.reports"


def test_a_script_is_known_by_its_checksum(monkeypatch: pytest.MonkeyPatch) -> None:
    found: dict[str, str] = {}

    class Caught:
        def render(self, **values: str) -> str:
            found.update(values)
            return ""

    monkeypatch.setattr(page.Environment, "get_template", lambda *_: Caught())
    render(PACKAGE, "report.html.j2", {}, script="groups.js")
    script = (TEMPLATES / "groups.js").read_text(encoding="utf-8")
    assert found["script"] == script
    checksum = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert found["policy"].endswith(f"; script-src 'sha256-{checksum}'")
    assert "--ink" in found["style"]
    render(PACKAGE, "comparison.html.j2", {})
    assert "script-src" not in found["policy"]


def test_a_missing_value_is_an_error() -> None:
    with pytest.raises(UndefinedError, match="undefined"):
        render(PACKAGE, "comparison.html.j2", {"percent": str, "in_words": str, "short": str})


def test_colours_of_the_style_sheet_are_defined_in_light_and_dark() -> None:
    style = page._text("torch_growl.application.pages", "page.css")
    light, dark = re.findall(r":root \{(.*?)\}", style, re.DOTALL)[:2]
    named = set(re.findall(r"var\((--[\w-]+)\)", style)) | {"--cell", "--alone"}  # those of the script
    assert named == set(re.findall(r"(--[\w-]+):", light))
    assert named == set(re.findall(r"(--[\w-]+):", dark))


def luminance(colour: str) -> float:
    """WCAG's relative luminance of ``#rgb`` or ``#rrggbb``."""
    digits = colour.lstrip("#")
    digits = "".join(2 * digit for digit in digits) if len(digits) == 3 else digits
    parts = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    red, green, blue = (part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_lines_and_words_stand_out_from_the_page(scheme: int) -> None:
    style = page._text("torch_growl.application.pages", "page.css")
    block = re.findall(r":root \{(.*?)\}", style, re.DOTALL)[scheme]
    colours = dict(re.findall(r"(--[\w-]+):\s*(#[0-9a-f]+)", block))
    for back in ("--back", "--card"):
        for names, least in (
            (("--ink", "--soft", "--bad", "--good", "--link"), 4.5),
            ([f"--c{n}" for n in range(1, 7)], 3.0),
        ):
            for name in names:
                first, second = sorted(luminance(colours[each]) for each in (name, back))
                assert (second + 0.05) / (first + 0.05) >= least, (name, back)
