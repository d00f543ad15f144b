"""Every public name has an example in its docstring, and the example gives what it shows."""

from __future__ import annotations

import doctest
import importlib.util

import pytest

import torch_growl as tg

NEEDS = {"export_onnx": "onnxruntime", "export_executorch": "executorch"}


@pytest.mark.parametrize("name", tg.__all__)
def test_the_example_of_a_public_name_gives_what_it_shows(name: str) -> None:
    if name in NEEDS and importlib.util.find_spec(NEEDS[name]) is None:
        pytest.skip(f"needs {NEEDS[name]}")
    public = getattr(tg, name)
    own = [test for test in doctest.DocTestFinder(recurse=False).find(public, name, globs={}) if test.examples]
    assert len(own) == 1, f"tg.{name} has no example in its docstring"
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS)
    written: list[str] = []
    runner.run(own[0], out=written.append)
    assert runner.failures == 0, "".join(written)
    assert runner.tries > 0
