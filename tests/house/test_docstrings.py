"""Docstrings: every public name has an example that runs, and every first line is a sentence."""

from __future__ import annotations

import ast
import doctest
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import torch_growl as tg

SOURCE = Path(tg.__file__).parent


def examples(name: str) -> list[doctest.DocTest]:
    """The docstrings of a public name, of a class with those of its own methods, that hold examples."""
    found = doctest.DocTestFinder(exclude_empty=True).find(getattr(tg, name), name, module=False, globs={})
    return [test for test in found if test.examples]


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(tg.__all__))
def test_a_public_name_has_an_example_that_runs(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    tests = examples(name)
    assert tests, f"{name} has no example in its docstring"
    shown = [example for test in tests for example in test.examples if example.want]
    assert shown, f"{name}: an example shows a result"
    for test in tests:
        failed, tried = doctest.DocTestRunner(verbose=False).run(test)
        assert tried > 0
        assert failed == 0, capsys.readouterr().out


def test_an_example_with_a_wrong_result_is_seen(capsys: pytest.CaptureFixture[str]) -> None:
    test = doctest.DocTestParser().get_doctest(">>> 1 + 1\n3\n", {}, "wrong", None, None)
    assert doctest.DocTestRunner(verbose=False).run(test).failed == 1
    assert "Expected:" in capsys.readouterr().out


# ── first lines ─────────────────────────────────────────────────────────────────────────────────────────────────────


def docstrings(source: str) -> Iterator[tuple[str, str]]:
    """Name and docstring of a module, its classes and functions."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text:
                yield getattr(node, "name", "the module"), text


def fault(text: str) -> str:
    """What is wrong with the first line of a docstring, or nothing."""
    first = text.splitlines()[0]
    if not first.endswith((".", "::")) and "\n\n" in text + "\n\n" and text.split("\n\n")[0] == first:
        return f"ends without a full stop: {first}"
    if re.match(r"(What|How|Whether|Where|Which|Who|When|Why)\b", first):
        return f"is no sentence: {first}"
    return ""


def test_first_lines_are_sentences() -> None:
    found = [
        f"{path.relative_to(SOURCE)}, {name} {wrong}"
        for path in sorted(SOURCE.rglob("*.py"))
        for name, text in docstrings(path.read_text("utf-8"))
        if (wrong := fault(text))
    ]
    assert found == []


@pytest.mark.parametrize("name", sorted(tg.__all__))
def test_a_public_name_is_explained_in_one_sentence(name: str) -> None:
    first = (getattr(tg, name).__doc__ or "").split("\n\n")[0].strip()
    assert first[:1].isupper() or first.startswith("``"), first
    assert first.endswith("."), first
    assert not re.search(r"[.!?]\s+[A-Z]", first), first


@pytest.mark.parametrize("text", ["What goes.", "How it grows\n\nMore.", "Whether it holds."])
def test_a_fragment_is_seen(text: str) -> None:
    assert fault(text)
    assert not fault("Return the rows.")
